"""What lists are worth beyond their accuracy: coverage, concentration, novelty, diversity, calibration.

A list is a row of `(cases, k) int32` positions, best first, filled up with -1. Where a list says nothing of a measure,
for instance because none of its items has a category, the measure is NaN.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from tanager_export.dataset import Dataset, Interactions, Item
    from tanager_export.evaluation.cases import Histories

CALIBRATION_ALPHA = 0.01
"""Of the history's distribution, mixed into that of the list so that the divergence is finite (Steck, 2018)."""

_CELLS = 1 << 22  # numbers of the dense rows of a chunk: 16 MB


def coverage(top: NDArray[np.int32], *, items: int) -> float:
    """The share of the catalogue that is on any list."""
    return float((_exposure(top, items=items) > 0).mean())


def gini(top: NDArray[np.int32], *, items: int) -> float:
    """How unevenly places go to the items of the catalogue: 0 when all have as many, nearly 1 when one has them all."""
    ascending = np.sort(_exposure(top, items=items))
    total = ascending.sum()
    if not total:
        return float("nan")
    return float(2 * (np.arange(1, items + 1) @ ascending) / (items * total) - (items + 1) / items)


def information(train: Interactions, *, items: int) -> NDArray[np.float64]:
    """`(items,)`: -log2 of each item's share of the uptakes in `train`, one added to each so that none is infinite."""
    taken = np.bincount(train.item[train.weight > 0], minlength=items) + 1.0
    bits: NDArray[np.float64] = -np.log2(taken / taken.sum())
    return bits


def novelty(top: NDArray[np.int32], information: NDArray[np.float64]) -> NDArray[np.float64]:
    """`(cases,)`: the mean `information` of a list, in bits: the less popular its items, the more."""
    listed = top >= 0
    return _mean(np.where(listed, information[top], 0.0).sum(axis=1), listed.sum(axis=1))


def category_matrix(items: Sequence[Item]) -> sparse.csr_array:
    """`(items, categories)`: 1 where an item is of a category."""
    names: dict[str, int] = {}
    columns = [[names.setdefault(name, len(names)) for name in dict.fromkeys(item.categories)] for item in items]
    indptr = np.cumsum([0, *map(len, columns)])
    indices = np.array([column for row in columns for column in row], np.int32)
    return sparse.csr_array((np.ones(len(indices), np.float32), indices, indptr), shape=(len(items), len(names)))


def category_diversity(top: NDArray[np.int32], categories: sparse.csr_array) -> NDArray[np.float64]:
    """`(cases,)`: mean over the pairs of a list of 1 - Jaccard of their categories; items without any are left out."""
    sizes = np.asarray(categories.sum(axis=1)).ravel()

    def distance(common: NDArray[np.float32], positions: NDArray[np.int32]) -> NDArray[np.float32]:
        size = sizes[positions]
        jaccard: NDArray[np.float32] = common / np.maximum(size[:, :, None] + size[:, None, :] - common, 1)
        return 1 - jaccard

    return _mean_of_pairs(top, categories, (top >= 0) & (sizes[top] > 0), distance)


def vector_diversity(top: NDArray[np.int32], vectors: NDArray[np.floating] | sparse.csr_array) -> NDArray[np.float64]:
    """`(cases,)`: mean over the pairs of a list of 1 - cosine of their vectors; items whose vector is 0 are left out.

    Args:
        top: the lists.
        vectors: `(items, dim)`, never of the model that made the lists: the rows of EASE's B on `train`.
    """
    squares = np.square(vectors) if isinstance(vectors, np.ndarray) else vectors.multiply(vectors)
    norms = np.sqrt(np.asarray(squares.sum(axis=1), np.float64)).ravel()

    def distance(product: NDArray[np.float32], positions: NDArray[np.int32]) -> NDArray[np.float32]:
        norm = np.where(norms[positions] > 0, norms[positions], 1)
        cosine: NDArray[np.float32] = product / (norm[:, :, None] * norm[:, None, :])
        return 1 - cosine

    return _mean_of_pairs(top, vectors, (top >= 0) & (norms[top] > 0), distance)


def calibration(
    top: NDArray[np.int32],
    histories: Histories,
    categories: sparse.csr_array,
    *,
    alpha: float = CALIBRATION_ALPHA,
) -> NDArray[np.float64]:
    """`(cases,)`: how far the categories of a list are from those of the history; 0 is the same (Steck, 2018).

    The Kullback-Leibler divergence, in nats, of the list's distribution from the history's. Each item spreads 1 over
    its categories. Dislikes are not part of a history here.
    """
    sizes = np.asarray(categories.sum(axis=1)).ravel()
    shares = sparse.csr_array(sparse.diags_array(1 / np.maximum(sizes, 1)) @ categories)
    liked = histories.weight > 0
    case = np.repeat(np.arange(len(top)), top.shape[1])
    listed = top.ravel() >= 0
    wanted = _distribution(histories.row_of_event[liked], histories.item[liked], shares, cases=len(top))
    given = _distribution(case[listed], top.ravel()[listed], shares, cases=len(top))
    # Only where the history has something does the divergence have a term.
    row = np.repeat(np.arange(len(top)), np.diff(wanted.indptr))
    p = wanted.data.astype(np.float64)
    q = np.asarray(given[row, wanted.indices], np.float64).ravel() if len(row) else p
    divergence = np.bincount(row, weights=p * np.log(p / ((1 - alpha) * q + alpha * p)), minlength=len(top))
    return np.where(np.diff(wanted.indptr) > 0, np.maximum(divergence, 0), np.nan)


@dataclass(frozen=True, slots=True, eq=False)
class Yardstick:
    """What lists are measured with, the same for all recommenders of a split.

    Attributes:
        information: `(items,)`, see `information`.
        categories: `(items, categories)`; without columns where no item has a category.
        vectors: `(items, dim)`, see `vector_diversity`; None where diversity in them is not asked for.
    """

    information: NDArray[np.float64]
    categories: sparse.csr_array
    vectors: NDArray[np.floating] | sparse.csr_array | None = None

    @classmethod
    def of(
        cls, dataset: Dataset, train: Interactions, *, vectors: NDArray[np.floating] | sparse.csr_array | None = None
    ) -> Yardstick:
        """Everything but the vectors from the catalogue and what may be learned from."""
        return cls(information(train, items=len(dataset.items)), category_matrix(dataset.items), vectors)

    def each(self, top: NDArray[np.int32], histories: Histories) -> dict[str, NDArray[np.float64]]:
        """`(cases,)` of each measure of a list, by name."""
        measures = {"novelty": novelty(top, self.information)}
        if self.categories.shape[1]:
            measures["category_diversity"] = category_diversity(top, self.categories)
            measures["calibration"] = calibration(top, histories, self.categories)
        if self.vectors is not None:
            measures["ease_diversity"] = vector_diversity(top, self.vectors)
        return measures

    def overall(self, top: NDArray[np.int32]) -> dict[str, float]:
        """Each measure of all the lists together, by name."""
        items = len(self.information)
        return {"coverage": coverage(top, items=items), "gini": gini(top, items=items)}


def _exposure(top: NDArray[np.int32], *, items: int) -> NDArray[np.int64]:
    return np.bincount(top[top >= 0], minlength=items).astype(np.int64)


def _mean(total: NDArray[np.float64], count: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _distribution(
    case: NDArray[np.int64], item: NDArray[np.int32], shares: sparse.csr_array, *, cases: int
) -> sparse.csr_array:
    """`(cases, categories)`: the sum of the items' shares, each row with a sum of 1 or 0."""
    counts = sparse.csr_array((np.ones(len(item)), (case, item)), shape=(cases, shares.shape[0]))
    total = sparse.csr_array(counts @ shares)
    sums = np.asarray(total.sum(axis=1)).ravel()
    return sparse.csr_array(sparse.diags_array(1 / np.where(sums > 0, sums, 1)) @ total)


def _mean_of_pairs(
    top: NDArray[np.int32],
    rows: NDArray[np.floating] | sparse.csr_array,
    known: NDArray[np.bool_],
    distance: Callable[[NDArray[np.float32], NDArray[np.int32]], NDArray[np.float32]],
) -> NDArray[np.float64]:
    """Means over the pairs of the known items of a list.

    Args:
        top: the lists.
        rows: `(items, dim)`.
        known: `(cases, k)`: which places count.
        distance: from the inner products `(chunk, k, k)` of rows, and the positions `(chunk, k)`.
    """
    cases, k = top.shape
    means = np.empty(cases)
    step = max(1, _CELLS // max(1, k * rows.shape[1]))
    others = ~np.eye(k, dtype=np.bool_)
    for start in range(0, cases, step):
        part = slice(start, start + step)
        chosen = rows[top[part].ravel()]
        block = (chosen if isinstance(chosen, np.ndarray) else chosen.toarray()).reshape(-1, k, rows.shape[1])
        pairs = known[part][:, :, None] & known[part][:, None, :] & others
        total = np.where(pairs, distance(block @ block.transpose(0, 2, 1), top[part]), 0.0).sum(axis=(1, 2))
        means[part] = _mean(total, pairs.sum(axis=(1, 2)))
    return means
