"""Text to the ten nearest items without Tanager's server: what RAW runs, and what the other frameworks are given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self, TypedDict

import hnswlib
import numpy as np
from tests.bench.contenders.tuning import Tuning, bundle_from_environment
from tests.bench.request_files import TOP

from tanager_server.bundle import manifest as schema
from tanager_server.bundle import open_bundle
from tanager_server.runtime import Encoder

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray


class Item(TypedDict):
    """One of the ten."""

    id: str
    title: str
    score: float


class Pipeline:
    """The bundle's encoder and index, called directly.

    Args:
        path: the bundle.
        threads: of the encoder; 0 takes all cores.
        run_size: texts that `answer` encodes at a time, sorted by length; 0 encodes all at once, as they come.
    """

    def __init__(self, path: Path, *, threads: int = 0, run_size: int = 0) -> None:
        bundle = open_bundle(path)
        self._encoder = Encoder.from_bundle(bundle, threads=threads)
        self._prompt = bundle.manifest.encoder.query_prompt
        catalogue = bundle.read_catalogue()
        self._ids, self._titles = catalogue.ids, catalogue.titles
        self._index = open_index(path, bundle.manifest)
        self._run_size = run_size

    @classmethod
    def from_environment(cls) -> Self:
        """With the bundle, threads and run size that a framework's process was given."""
        tuning = Tuning.from_environment()
        return cls(bundle_from_environment(), threads=tuning.threads, run_size=tuning.run_size)

    def answer(self, texts: Sequence[str]) -> list[list[Item]]:
        """The ten items nearest to each text of a batch."""
        encoder = self._encoder
        tokens = encoder.tokenize([self._prompt + text for text in texts])
        if not 0 < self._run_size < len(tokens):
            return self._items(*self._search(encoder.encode(tokens)))
        order = sorted(range(len(tokens)), key=lambda i: len(tokens[i]))
        runs = [order[start : start + self._run_size] for start in range(0, len(order), self._run_size)]
        encoded = np.concatenate([encoder.encode([tokens[i] for i in run]) for run in runs])
        vectors = np.empty_like(encoded)
        vectors[order] = encoded
        return self._items(*self._search(vectors))

    def answer_all(self, texts: Sequence[str]) -> list[list[Item]]:
        """The same for any number of texts, sorted by length into batches."""
        return self._items(*self._search(self._encoder.encode_texts([self._prompt + text for text in texts])))

    def _search(self, vectors: NDArray[np.float32]) -> tuple[NDArray[np.uint64], NDArray[np.float32]]:
        return self._index.knn_query(vectors, k=TOP, num_threads=1)  # type: ignore[no-any-return]

    def _items(self, labels: NDArray[np.uint64], distances: NDArray[np.float32]) -> list[list[Item]]:
        return [
            [
                {"id": self._ids[label], "title": self._titles[label], "score": round(1 - distance, 6)}
                for label, distance in zip(*row, strict=True)
            ]
            for row in zip(labels.tolist(), distances.tolist(), strict=True)
        ]


def open_index(path: Path, manifest: schema.Manifest) -> hnswlib.Index:
    """The bundle's index as hnswlib opens it; the files must have been verified."""
    index = hnswlib.Index(space="ip", dim=manifest.encoder.dim)
    index.load_index(str(path / schema.INDEX))
    index.set_ef(manifest.index.ef_search)
    return index
