"""Model and dataset to a bundle: export, parity gate, encode, index, write."""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import shutil
import tempfile
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
from tqdm import tqdm

from tanager_export import quality
from tanager_export.atomic import fresh_directory
from tanager_export.collaborative import ease_neighbours, item_users
from tanager_export.model import Prompts
from tanager_export.onnx_model import convert, export_onnx
from tanager_server.bundle import (
    DatasetInfo,
    EncoderInfo,
    FileInfo,
    IndexInfo,
    Item,
    Manifest,
    ModelInfo,
    Neighbours,
    NewItems,
    Probe,
    ProfileWeights,
    Scoring,
)
from tanager_server.bundle import manifest as schema
from tanager_server.index import HnswIndex
from tanager_server.runtime import Encoder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray
    from sentence_transformers import SentenceTransformer

    from tanager_export.dataset import Dataset
    from tanager_export.model import SourceModel
    from tanager_export.training.sequence_onnx import ServedSequence
    from tanager_server.bundle import Precision
    from tanager_server.settings import Device

_log = logging.getLogger(__name__)

INDEX = IndexInfo(m=16, ef_construction=200, ef_search=64)

# Weights that serve without having been fitted, chosen by hand. A row of B is small: a sum over the history of a few
# hundredths, where a cosine is a few tenths.
DEFAULT_SCORING = Scoring(
    origin="default",
    collaborative=10.0,
    collaborative_half_life=5.0,
    transitions=0.0,
    transitions_half_life=2.0,
    history_text=0.2,
    history_text_half_life=5.0,
    sequence=0.0,
    wish=1.0,
    wish_prior=0.2,
    profile=1.0,
    profile_text=0.5,
    context_text=0.1,
    history_limit=200,
    known_events=5.0,
)
# What log(1 + users) of an item is worth until priors are fitted.
_DEFAULT_PRIOR = 0.05

MAX_PARITY_TEXTS = 10_000
_TORCH_CHUNK = 256  # texts between two steps of the progress bar
_PROBE_TEXTS = 16
_MAX_TOKENS = 1 << 20
_DEFAULT_MAX_TOKENS = 512
# Kernels of other CPUs round differently (about 1e-3); int8 that saturates falls far lower.
_PROBE_MIN_COSINE = 0.99
_TOOLS = (
    *("tanager", "torch", "transformers", "sentence-transformers", "optimum", "optimum-onnx"),
    *("onnx", "hnswlib", "numpy", "scipy", "tokenizers"),
)


@dataclass(frozen=True, slots=True)
class BundleOptions:
    """How to make a bundle.

    Attributes:
        precision: of the served encoder.
        device: where to encode the catalogue.
        overwrite: whether a bundle that is there already may be replaced.
        seed: for the index and for what is drawn at random.
    """

    precision: Precision = "int8"
    device: Device = "cpu"
    overwrite: bool = False
    seed: int = 0


FITTED_TO = "fitted_to_interactions"
"""In a bundle's quality report: how many interactions its scores were fitted to; fewer where a test was held out."""


@dataclass(frozen=True, slots=True)
class Scores:
    """What the score of a bundle is made of, beside the vectors; see `Scoring`.

    Attributes:
        neighbours: B.
        transitions: T.
        priors: (2, items) float32: what is added to an item's score for anybody, and what for a user who is known.
        profile: A.
        scoring: the blend.
        fitted_to: number of interactions that all of this was fitted to.
        sequence: the sequence head; None where the blend has no use for one.
        new_items: what is expected of items that come later, but for the sequence head's; None where nothing is, so
            that their texts carry them.
    """

    neighbours: Neighbours
    transitions: Neighbours
    priors: NDArray[np.float32]
    profile: ProfileWeights
    scoring: Scoring
    fitted_to: int
    sequence: ServedSequence | None = None
    new_items: NewItems | None = None


def default_scores(dataset: Dataset) -> Scores:
    """Scores that are not fitted but for B: no transitions, no profiles, priors by popularity, weights by hand.

    Of items that come later they expect what they do of those that nobody took up: nothing.
    """
    items = len(dataset.items)
    users = item_users(dataset.interactions, items=items)
    return Scores(
        neighbours=ease_neighbours(dataset.interactions, items=items),
        transitions=Neighbours.none(items),
        priors=np.stack([_DEFAULT_PRIOR * np.log1p(users), np.zeros(items)]).astype(np.float32),
        profile=ProfileWeights.none(),
        scoring=DEFAULT_SCORING,
        fitted_to=len(dataset.interactions),
    )


def build_bundle(
    source: SourceModel,
    dataset: Dataset,
    target: Path,
    *,
    options: BundleOptions,
    fit_scores: Callable[[NDArray[np.float32]], Scores] | None = None,
) -> Manifest:
    """Makes a bundle; it appears complete or not at all.

    Args:
        source: the language model.
        dataset: catalogue and behaviour.
        target: directory to make.
        options: how.
        fit_scores: fits what the score is made of, given the (items, dim) vectors that are served; `default_scores` if
            not given.

    Raises:
        ModelError: the model cannot be exported.
        ParityError: the served encoder differs too much from the model.
        ExportError: the target is there already, or cannot be written.
    """
    # Marked by its index: a manifest.json is found in directories of many kinds.
    with fresh_directory(target, overwrite=options.overwrite, marker=schema.INDEX) as new:
        measured: dict[str, float] = {}
        _log.info("exporting %s to ONNX, %s", source.name, options.precision)
        model = source.load()
        prompts = Prompts.of(model)
        texts = [prompts.item + item.encoder_text for item in dataset.items]
        with tempfile.TemporaryDirectory(prefix="tanager-export-") as scratch:
            fp32 = Path(scratch) / schema.ENCODER
            export_onnx(source, model, Path(scratch))
            convert(fp32, new / schema.ENCODER, precision=options.precision)
            shutil.copyfile(Path(scratch) / schema.TOKENIZER, new / schema.TOKENIZER)  # perhaps on another device
            max_tokens = token_limit(model)
            reference = Encoder(model_path=fp32, tokenizer_path=new / schema.TOKENIZER, max_tokens=max_tokens)
            encoder = Encoder(
                model_path=new / schema.ENCODER,
                tokenizer_path=new / schema.TOKENIZER,
                max_tokens=max_tokens,
                device=options.device,
            )
            vectors = _encode(encoder, texts, measured)
            _gate(model, reference, texts, vectors, measured, options=options)
        _log.info("building the index over %d vectors", len(vectors))
        index = HnswIndex.build(vectors, info=INDEX, seed=options.seed)
        measured["index_recall_at_10"] = quality.index_recall(index, vectors, seed=options.seed)
        _log.info("fitting collaborative weights")
        scores = default_scores(dataset) if fit_scores is None else fit_scores(vectors)
        measured[FITTED_TO] = scores.fitted_to
        _write_contents(new, dataset, vectors, index, _probe(encoder, texts), scores)
        sequence = None
        new_items = scores.new_items or NewItems.none(vectors.shape[1])
        if scores.sequence is not None:
            from tanager_export.training.sequence_onnx import text_projection, write_sequence_head  # imports torch

            how = options.precision
            sequence = write_sequence_head(scores.sequence, new, how, index=INDEX, seed=options.seed, measured=measured)
            new_items = replace(new_items, sequence=text_projection(scores.sequence.head))
        new_items.write(new / schema.NEW_ITEMS)
        manifest = Manifest.seal(
            schema_version=schema.SCHEMA_VERSION,
            created_at=datetime.now(UTC),
            model=ModelInfo(name=source.name, source=source.source, weights_sha256=source.weights_sha256),
            encoder=EncoderInfo(
                precision=options.precision,
                dim=vectors.shape[1],
                max_tokens=max_tokens,
                pooling=_pooling(model),
                item_prompt=prompts.item,
                query_prompt=prompts.query,
                profile_prompt=prompts.query,
                context_prompt=prompts.query,
            ),
            index=INDEX,
            sequence=sequence,
            dataset=DatasetInfo(
                name=dataset.name,
                simulated_behaviour=dataset.simulated_behaviour,
                items=len(dataset.items),
                users=len(dataset.interactions.user_ids),
                interactions=len(dataset.interactions),
            ),
            quality=measured,
            tools={name: version(name) for name in _TOOLS}
            | {"onnxruntime": onnxruntime.__version__, "python": platform.python_version()},
            files={path.name: _describe(path) for path in sorted(new.iterdir())},
        )
        (new / schema.MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return manifest


def _encode(encoder: Encoder, texts: Sequence[str], measured: dict[str, float]) -> NDArray[np.float32]:
    began = time.perf_counter()
    with tqdm(total=len(texts), desc="encoding the catalogue", unit="text", disable=None) as bar:
        vectors = encoder.encode_texts(texts, progress=bar.update)
    measured["encode_texts_per_s"] = len(texts) / (time.perf_counter() - began)
    return vectors


def _gate(
    model: SentenceTransformer,
    reference: Encoder,
    texts: Sequence[str],
    vectors: NDArray[np.float32],
    measured: dict[str, float],
    *,
    options: BundleOptions,
) -> None:
    """Compares torch, ONNX fp32 and the served precision over the catalogue's own texts."""
    chosen = np.sort(np.random.default_rng(options.seed).permutation(len(texts))[:MAX_PARITY_TEXTS])
    sample = [texts[i] for i in chosen]
    with tqdm(total=2 * len(sample), desc="checking parity", unit="text", disable=None) as bar:
        onnx_vectors = reference.encode_texts(sample, progress=bar.update)
        torch_vectors = np.empty_like(onnx_vectors)
        for start in range(0, len(sample), _TORCH_CHUNK):
            part = slice(start, start + _TORCH_CHUNK)
            # The texts have their prompt already; without prompt="" the model may add its default one.
            torch_vectors[part] = model.encode(
                sample[part], prompt="", batch_size=32, normalize_embeddings=True, show_progress_bar=False
            )
            bar.update(len(sample[part]))
    exact = quality.Parity.measure(torch_vectors, onnx_vectors)
    served = quality.Parity.measure(onnx_vectors, vectors[chosen])
    measured |= {
        "parity_texts": len(sample),
        "onnx_cosine_mean": exact.cosine_mean,
        "onnx_cosine_min": exact.cosine_min,
        "onnx_top10_overlap": exact.top10_overlap,
        "quantized_cosine_mean": served.cosine_mean,
        "quantized_cosine_min": served.cosine_min,
        "quantized_top10_overlap": served.top10_overlap,
    }
    exact.require(
        quality.ONNX_BOUND, what="ONNX against torch", mend="This model cannot be exported faithfully: use another"
    )
    served.require(
        quality.PRECISION_BOUNDS[options.precision],
        what=f"{options.precision} against fp32",
        mend="Choose a higher --precision",
    )


def _probe(encoder: Encoder, texts: Sequence[str]) -> Probe:
    """Texts of the catalogue from the shortest to the longest, with the vectors they have here."""
    by_length = sorted(texts, key=len)
    spread = np.linspace(0, len(texts) - 1, min(_PROBE_TEXTS, len(texts))).round().astype(int)
    probe_texts = tuple(by_length[i] for i in spread)
    vectors = encoder.encode(encoder.tokenize(probe_texts))
    rows = tuple(tuple(round(float(x), 7) for x in row) for row in vectors)
    return Probe(texts=probe_texts, vectors=rows, min_cosine=_PROBE_MIN_COSINE)


def _write_contents(
    directory: Path, dataset: Dataset, vectors: NDArray[np.float32], index: HnswIndex, probe: Probe, scores: Scores
) -> None:
    users = item_users(dataset.interactions, items=len(dataset.items))
    np.save(directory / schema.VECTORS, vectors)
    index.save(directory / schema.INDEX)
    scores.neighbours.write(directory / schema.NEIGHBOURS)
    scores.transitions.write(directory / schema.TRANSITIONS)
    np.save(directory / schema.PRIORS, np.ascontiguousarray(scores.priors, dtype=np.float32))
    scores.profile.write(directory / schema.PROFILE)
    with (directory / schema.ITEMS).open("w", encoding="utf-8") as lines:
        for item, popularity in zip(dataset.items, users.tolist(), strict=True):
            record = Item(
                id=item.id,
                title=item.title,
                text=item.encoder_text,
                domain=item.domain,
                categories=item.categories,
                attributes={k: list(v) if isinstance(v, tuple) else v for k, v in item.attributes.items()},
                popularity=popularity,
            )
            lines.write(record.model_dump_json() + "\n")
    (directory / schema.SCORING).write_text(scores.scoring.model_dump_json(indent=2) + "\n", encoding="utf-8")
    (directory / schema.PROBE).write_text(probe.model_dump_json() + "\n", encoding="utf-8")


def _describe(path: Path) -> FileInfo:
    with path.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
        return FileInfo(sha256=digest, size=os.fstat(content.fileno()).st_size)


def token_limit(model: SentenceTransformer) -> int:
    """What the model says that it can read; models without a limit of their own state none, or 1e30."""
    stated = (model.max_seq_length, model.tokenizer.model_max_length)
    return min((int(limit) for limit in stated if limit and limit <= _MAX_TOKENS), default=_DEFAULT_MAX_TOKENS)


def _pooling(model: SentenceTransformer) -> str:
    return next((str(part.pooling_mode) for part in model if hasattr(part, "pooling_mode")), "none")
