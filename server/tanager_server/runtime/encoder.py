"""The bundle's encoder on ONNX Runtime: tokens in, unit vectors out. Synchronous and thread-safe."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np
from tokenizers import Tokenizer

from tanager_server.bundle import manifest as schema
from tanager_server.errors import BundleError, EncodeError, StartupError
from tanager_server.runtime.session import BoundRunner, DirectRunner, Runner, open_session

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from tanager_server.bundle import Bundle, Probe
    from tanager_server.settings import Device

Tokens = list[int]
"""Token ids of one text, special tokens included, not padded."""

_tokenizers: OrderedDict[tuple[str, int], Tokenizer] = OrderedDict()
_KEPT_TOKENIZERS = 2

# On CPUs the fastest batches are those whose activations stay in the caches of a core.
_BULK_BATCH_TOKENS = 768


class Encoder:
    """Tokenizer and ONNX session of a bundle.

    Args:
        model_path: ONNX file mapping `input_ids, attention_mask (batch, tokens) int64` to `(batch, dim) float32`.
        tokenizer_path: Hugging Face `tokenizer.json`.
        max_tokens: tokens read of a text; the rest is cut off.
        device: where to run.
        threads: of one batch on the CPU; 0 takes one for each core this process may use.
        bound: whether to run fixed shapes through buffers bound once, which is how a GPU is run; on the CPU, for tests.
        tokenizer_sha256: of the tokenizer's file; one that was read lately is taken again.

    Raises:
        StartupError: CUDA is asked for and cannot be had.
        BundleError: a file is not what it should be.
    """

    def __init__(
        self,
        *,
        model_path: Path,
        tokenizer_path: Path,
        max_tokens: int,
        device: Device = "cpu",
        threads: int = 0,
        bound: bool = False,
        tokenizer_sha256: str = "",
    ) -> None:
        self._tokenizer = _tokenizer(tokenizer_path, tokenizer_sha256, max_tokens)
        self.max_tokens = max_tokens
        """Tokens read of a text."""
        session = open_session(model_path, device=device, threads=threads)
        runner = (
            BoundRunner(session, device, max_length=max_tokens) if bound or device == "cuda" else DirectRunner(session)
        )
        self._runner: Runner = runner
        self._fixed_shapes = runner.fixed_shapes
        self.padded_tokens: Callable[[int, int], int] = runner.padded_tokens
        """Tokens of a batch of so many texts, the longest so long, as it is run: with the padding up to a fixed shape,
        where shapes are fixed."""
        self.provider: str = session.get_providers()[0]
        """ONNX Runtime execution provider in use."""

    @classmethod
    def from_bundle(cls, bundle: Bundle, *, device: Device = "cpu", threads: int = 0) -> Encoder:
        """Opens the encoder of a verified bundle."""
        return cls(
            model_path=bundle.file(schema.ENCODER),
            tokenizer_path=bundle.file(schema.TOKENIZER),
            max_tokens=bundle.manifest.encoder.max_tokens,
            device=device,
            threads=threads,
            tokenizer_sha256=bundle.manifest.files[schema.TOKENIZER].sha256,
        )

    def tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        """Token ids of each text, cut at the encoder's limit."""
        return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(list(texts))]

    def encode(self, batch: Sequence[Tokens]) -> NDArray[np.float32]:
        """Encodes one batch, padded to its longest text.

        Args:
            batch: token ids of each text.

        Returns:
            (batch, dim) float32, unit length.

        Raises:
            EncodeError: the session failed, or a vector is not finite.
        """
        lengths = np.fromiter(map(len, batch), dtype=np.int64, count=len(batch))
        mask = np.arange(lengths.max()) < lengths[:, None]
        ids = np.zeros(mask.shape, dtype=np.int64)
        ids[mask] = np.concatenate([np.asarray(tokens, dtype=np.int64) for tokens in batch])
        try:
            vectors = self._runner.run(ids, mask.astype(np.int64))
        except Exception as error:  # ONNX Runtime's exceptions share no root but this
            raise EncodeError(f"ONNX Runtime failed on a batch of shape {mask.shape}: {error}") from error
        if not np.isfinite(vectors).all():
            raise EncodeError(f"the encoder returned vectors that are not finite for a batch of shape {mask.shape}")
        return vectors

    def warm(self, *, max_batch_tokens: int, max_batch_size: int) -> int:
        """Runs every shape that a batch may have, where shapes are fixed: the first run of each takes long.

        Returns:
            How many shapes; 0 where any shape is as good as another.

        Raises:
            StartupError: one of them cannot be run.
        """
        shapes = self._fixed_shapes(
            max_batch_tokens=max_batch_tokens, max_batch_size=max_batch_size, max_length=self.max_tokens
        )
        for shape in shapes:
            tokens = np.ones(shape, dtype=np.int64)
            try:
                self._runner.run(tokens, tokens)
            except Exception as error:  # ONNX Runtime's exceptions share no root but this
                raise StartupError(
                    f"batching.max_batch_tokens is {max_batch_tokens}, but a batch of shape {shape} does not run: "
                    f"{error}; set a smaller one"
                ) from error
        return len(shapes)

    def encode_texts(
        self, texts: Sequence[str], *, progress: Callable[[int], object] | None = None
    ) -> NDArray[np.float32]:
        """Encodes any number of texts, sorted by length into batches.

        Args:
            texts: what to encode.
            progress: told the size of each batch when it is done.

        Returns:
            (texts, dim) float32, unit length, in the order of the texts.
        """
        tokens = self.tokenize(texts)
        order = sorted(range(len(tokens)), key=lambda i: len(tokens[i]))
        parts, start = [], 0
        while start < len(order):
            stop = start + 1
            while stop < len(order) and len(tokens[order[stop]]) * (stop + 1 - start) <= _BULK_BATCH_TOKENS:
                stop += 1
            parts.append(self.encode([tokens[i] for i in order[start:stop]]))
            if progress is not None:
                progress(stop - start)
            start = stop
        vectors = np.empty((len(order), parts[0].shape[1] if parts else 0), dtype=np.float32)
        vectors[order] = np.concatenate(parts) if parts else vectors
        return vectors

    def check_probe(self, probe: Probe) -> float:
        """Encodes the probe's texts and compares with the vectors that the export recorded.

        This catches int8 arithmetic that saturates on CPUs without VNNI, and wrong kernels in general.

        Returns:
            The smallest cosine.

        Raises:
            BundleError: it is under the probe's bound: this machine would serve wrong vectors.
        """
        expected = np.asarray(probe.vectors, dtype=np.float32)
        try:
            vectors = self.encode(self.tokenize(probe.texts))
        except EncodeError as error:
            raise BundleError(f"{schema.ENCODER}: cannot encode the probe on this machine: {error}") from error
        if expected.shape != vectors.shape:
            raise BundleError(f"{schema.PROBE}: vectors of shape {expected.shape}, the encoder makes {vectors.shape}")
        lengths = np.linalg.norm(expected, axis=1) * np.linalg.norm(vectors, axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):  # a vector of zeros is refused like any wrong one
            lowest = float(((expected * vectors).sum(axis=1) / lengths).min())
        if not lowest >= probe.min_cosine:
            raise BundleError(
                f"{schema.ENCODER}: on this machine it makes other vectors than when it was exported (cosine "
                f"{lowest:.4f}, needed {probe.min_cosine}); export on a machine like it, or with --precision fp32"
            )
        return lowest


def _tokenizer(path: Path, sha256: str, max_tokens: int) -> Tokenizer:
    """The tokenizer of a file.

    To read one takes 60 ms and more, all of it with Python's lock, while calls may have to be answered; a bundle that
    comes in the place of another one has the same as that for the most.
    """
    key = (sha256, max_tokens)
    if sha256 and (kept := _tokenizers.get(key)) is not None:
        return kept
    try:
        read: Tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises bare Exception
        raise BundleError(f"{path}: not a tokenizer file: {error}") from error
    read.no_padding()
    read.enable_truncation(max_length=max_tokens)
    if sha256:
        _tokenizers[key] = read
        if len(_tokenizers) > _KEPT_TOKENIZERS:
            _tokenizers.popitem(last=False)
    return read
