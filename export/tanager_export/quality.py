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
_TIE = 1e-5  # the same text, in batches of other shapes, gives vectors that differ by about 1e-6


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
        return cls(float(cosines.mean()), float(cosines.min()), _overlap(reference, other))

    def require(self, bound: ParityBound, *, what: str, mend: str) -> None:
        """The gate.

        Args:
            bound: the least to reach.
            what: what was compared with what.
            mend: what to do about it.

        Raises:
            ParityError: a figure is under its bound, or no number.
        """
        short = [
            f"{name} {getattr(self, name):.4f} (at least {getattr(bound, name)})"
            for name in ("cosine_mean", "cosine_min", "top10_overlap")
            if not getattr(self, name) >= getattr(bound, name)
        ]
        if short:
            raise ParityError(f"{what}: {', '.join(short)}; nothing was written. {mend}")


def index_recall(index: HnswIndex, vectors: NDArray[np.float32], *, seed: int = 0) -> float:
    """Recall@10 of the index against exact search, queried with items of its own (each without itself).

    Equal texts are interchangeable.

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
        hits.append(_hits(_to_others(vectors, chunk), index.search(vectors[chunk], top + 1).positions, top=top))
    return float(np.concatenate(hits).mean())


def _overlap(reference: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Mean share of the TOP nearest texts that stay the same; equal texts are interchangeable."""
    count = len(reference)
    top = min(TOP, count - 1)
    if top < 1:
        return 1.0
    hits = []
    for start in range(0, count, _CHUNK):
        rows = np.arange(start, min(start + _CHUNK, count))
        found = np.argpartition(-_to_others(other, rows), top - 1, axis=1)[:, :top]
        hits.append(_hits(_to_others(reference, rows), found, top=top))
    return float(np.concatenate(hits).mean())


def _to_others(vectors: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """(rows, items) similarity of these rows to every item, to themselves least of all."""
    similarities: NDArray[np.float32] = vectors[rows] @ vectors.T
    similarities[np.arange(len(rows)), rows] = -np.inf
    return similarities


def _hits(similarities: NDArray[np.float32], found: NDArray[np.int64], *, top: int) -> NDArray[np.float64]:
    """(rows,) share of the `top` most similar that are found: a result counts when it is as near as the last of them.

    Which of several equally near ones are found is chance, and says nothing of whoever found them.
    """
    last = -np.partition(-similarities, top - 1, axis=1)[:, top - 1]
    near = np.take_along_axis(similarities, found, axis=1) >= last[:, None] - _TIE
    shares: NDArray[np.float64] = np.minimum(near.sum(axis=1), top) / top
    return shares
