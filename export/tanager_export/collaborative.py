"""Item-item weights from behaviour, in closed form: EASE (Steck, 2019), kept to the strongest neighbours."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import linalg, sparse

from tanager_server.bundle import Neighbours

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tanager_export.dataset import Interactions

L2 = 100.0
TOP_NEIGHBOURS = 100
MAX_ITEMS = 20_000
"""EASE inverts an items x items matrix (3 GB); the most taken-up items get a row, the text carries the others."""

_CHUNK = 512


def item_users(interactions: Interactions, *, items: int) -> NDArray[np.int64]:
    """(items,) int64: how many users took up each item (a positive weight)."""
    return np.asarray(_matrix(interactions, items=items).sum(axis=0), dtype=np.int64).ravel()


def ease_neighbours(
    interactions: Interactions, *, items: int, l2: float = L2, top: int = TOP_NEIGHBOURS, max_items: int = MAX_ITEMS
) -> Neighbours:
    """B of the blend: the item-item weights that best reproduce every user's items from their other items.

    B = I - P / diag(P) with P = (X'X + l2 I)^-1 and a zero diagonal, X the binary user-item matrix.

    Args:
        interactions: who took up what; negative weights and repetition are left out.
        items: size of the catalogue.
        l2: regularisation.
        top: weights kept for an item, the largest in absolute value.
        max_items: items that get a row.
    """
    matrix = _matrix(interactions, items=items)
    popularity = np.asarray(matrix.sum(axis=0)).ravel()
    chosen = np.sort(np.argsort(-popularity, kind="stable")[:max_items])
    chosen = chosen[popularity[chosen] > 0]
    indptr = np.zeros(items + 1, dtype=np.int64)
    if len(chosen) == 0:
        return Neighbours(indptr, np.empty(0, np.int32), np.empty(0, np.float32))
    keep = min(top, len(chosen) - 1)
    if keep == 0:
        return Neighbours(indptr, np.empty(0, np.int32), np.empty(0, np.float32))
    columns, weights = _strongest(_precision(matrix[:, chosen], l2=l2), keep=keep)
    indptr[chosen + 1] = keep
    return Neighbours(
        indptr=np.cumsum(indptr), indices=chosen[columns].ravel().astype(np.int32), weights=weights.ravel()
    )


def _precision(matrix: sparse.csr_array, *, l2: float) -> NDArray[np.float64]:
    """P, of which only the lower triangle is filled; one items x items array is all that it takes."""
    count = matrix.shape[1]
    transposed = matrix.T.tocsr()
    gram = np.empty((count, count))
    for start in range(0, count, _CHUNK):
        gram[start : start + _CHUNK] = (transposed[start : start + _CHUNK] @ matrix).toarray()
    gram[np.diag_indices_from(gram)] += l2
    # The inverse of a positive-definite matrix by its Cholesky factor. LAPACK works in place on columns, and a
    # symmetric matrix is its own transpose.
    factor, _ = linalg.lapack.dpotrf(gram.T, lower=1, overwrite_a=1)
    precision: NDArray[np.float64] = linalg.lapack.dpotri(factor, lower=1, overwrite_c=1)[0]
    return precision


def _strongest(precision: NDArray[np.float64], *, keep: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """(items, keep) columns of B, ascending, and the weights there."""
    count = len(precision)
    diagonal = np.diag(precision)
    every = np.arange(count)
    columns, weights = np.empty((count, keep), np.int64), np.empty((count, keep), np.float32)
    for start in range(0, count, _CHUNK):
        rows = every[start : start + _CHUNK]
        symmetric = np.where(every <= rows[:, None], precision[rows], precision.T[rows])
        block = -symmetric / diagonal
        block[np.arange(len(rows)), rows] = 0.0
        columns[rows] = np.sort(np.argpartition(-np.abs(block), keep - 1, axis=1)[:, :keep], axis=1)
        weights[rows] = np.take_along_axis(block, columns[rows], axis=1)
    return columns, weights


def _matrix(interactions: Interactions, *, items: int) -> sparse.csr_array:
    positive = interactions.weight > 0
    pairs = np.unique(interactions.user[positive].astype(np.int64) * items + interactions.item[positive])
    shape = (len(interactions.user_ids), items)
    return sparse.csr_array((np.ones(len(pairs)), np.divmod(pairs, items)), shape=shape)
