"""What export measures: parity of the served encoder with the model it came from, and recall of the index."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tanager_export.errors import ExportError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tanager_server.bundle import Precision
    from tanager_server.index import HnswIndex

TOP = 10
_RECALL_QUERIES = 1000
_CHUNK = 512


class ParityError(ExportError):
    """The exported encoder answers too differently from the model it came from."""


@dataclass(frozen=True, slots=True)
class ParityBound:
    """The least that an export must reach.

    Attributes:
        cosine_mean: mean cosine between the vectors of the same text.
        cosine_min: smallest such cosine.
        top10_overlap: mean share of the ten nearest texts that stay the same.
    """

    cosine_mean: float
    cosine_min: float
    top10_overlap: float


ONNX_BOUND = ParityBound(cosine_mean=0.9999, cosine_min=0.999, top10_overlap=0.99)
"""ONNX fp32 against torch: the same arithmetic in another order."""

PRECISION_BOUNDS: dict[Precision, ParityBound] = {
    "fp32": ParityBound(cosine_mean=0.9999, cosine_min=0.999, top10_overlap=0.99),
    "fp16": ParityBound(cosine_mean=0.999, cosine_min=0.99, top10_overlap=0.95),
    "int8": ParityBound(cosine_mean=0.98, cosine_min=0.90, top10_overlap=0.70),
}
"""The served precision against ONNX fp32."""


@dataclass(frozen=True, slots=True)
class Parity:
    """How alike two encoders are over the same texts."""

    cosine_mean: float
    cosine_min: float
    top10_overlap: float

    @classmethod
    def measure(cls, reference: NDArray[np.float32], other: NDArray[np.float32]) -> Parity:
        """Compares row by row.

        Args:
            reference: (texts, dim) float32, unit length.
            other: (texts, dim) float32, unit length, of the same texts.
        """
        cosines = np.einsum("td,td->t", reference, other)
        overlap = 1.0
        if len(reference) > 1:
            pairs = zip(_nearest(reference), _nearest(other), strict=True)
            overlap = float(np.mean([len(np.intersect1d(a, b)) / len(a) for a, b in pairs]))
        return cls(float(cosines.mean()), float(cosines.min()), overlap)

    def require(self, bound: ParityBound, *, what: str) -> None:
        """The gate.

        Raises:
            ParityError: a figure is under its bound, or no number.
        """
        short = [
            f"{name} {getattr(self, name):.4f} (at least {getattr(bound, name)})"
            for name in ("cosine_mean", "cosine_min", "top10_overlap")
            if not getattr(self, name) >= getattr(bound, name)
        ]
        if short:
            raise ParityError(f"{what}: {', '.join(short)}; nothing was written. Choose a higher --precision")


def index_recall(index: HnswIndex, vectors: NDArray[np.float32], *, seed: int = 0) -> float:
    """Recall@10 of the index against exact search, queried with items of its own (each without itself).

    A result counts when it is as near as the tenth nearest: equal texts are interchangeable.

    Returns:
        Mean over up to 1,000 items drawn at random.
    """
    count = len(vectors)
    top = min(TOP, count - 1)
    if top < 1:
        return 1.0
    queries = np.sort(np.random.default_rng(seed).permutation(count)[:_RECALL_QUERIES])
    hits = []
    for start in range(0, len(queries), _CHUNK):
        chunk = queries[start : start + _CHUNK]
        similarities = vectors[chunk] @ vectors.T
        similarities[np.arange(len(chunk)), chunk] = -np.inf
        tenth = -np.partition(-similarities, top - 1, axis=1)[:, top - 1]
        found = index.search(vectors[chunk], top + 1)
        near = np.take_along_axis(similarities, found, axis=1) >= tenth[:, None] - 1e-6
        hits.append(np.minimum(near.sum(axis=1), top) / top)
    return float(np.concatenate(hits).mean())


def _nearest(vectors: NDArray[np.float32]) -> NDArray[np.int64]:
    """(texts, up to TOP) positions of the nearest other texts, in no order."""
    top = min(TOP, len(vectors) - 1)
    rows = []
    for start in range(0, len(vectors), _CHUNK):
        similarities = vectors[start : start + _CHUNK] @ vectors.T
        similarities[np.arange(len(similarities)), start + np.arange(len(similarities))] = -np.inf
        rows.append(np.argpartition(-similarities, top - 1, axis=1)[:, :top])
    return np.concatenate(rows)
