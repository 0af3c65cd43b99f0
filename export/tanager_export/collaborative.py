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
"""EASE inverts an items x items matrix; the most taken-up items get a row, the text carries the others."""


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
    used = matrix[:, chosen]
    gram = (used.T @ used).toarray()
    gram[np.diag_indices_from(gram)] += l2
    # The inverse of a positive-definite matrix by its Cholesky factor; LAPACK fills the lower triangle only.
    factor, _ = linalg.lapack.dpotrf(gram, lower=1, overwrite_a=1)
    precision, _ = linalg.lapack.dpotri(factor, lower=1, overwrite_c=1)
    precision = np.tril(precision) + np.tril(precision, -1).T
    weights = -precision / np.diag(precision)
    np.fill_diagonal(weights, 0.0)
    keep = min(top, len(chosen) - 1)
    if keep == 0:
        return Neighbours(indptr, np.empty(0, np.int32), np.empty(0, np.float32))
    columns = np.sort(np.argpartition(-np.abs(weights), keep - 1, axis=1)[:, :keep], axis=1)
    indptr[chosen + 1] = keep
    return Neighbours(
        indptr=np.cumsum(indptr),
        indices=chosen[columns].ravel().astype(np.int32),
        weights=np.take_along_axis(weights, columns, axis=1).ravel().astype(np.float32),
    )


def _matrix(interactions: Interactions, *, items: int) -> sparse.csr_array:
    positive = interactions.weight > 0
    pairs = np.unique(np.stack([interactions.user[positive], interactions.item[positive]]), axis=1)
    shape = (len(interactions.user_ids), items)
    return sparse.csr_array((np.ones(pairs.shape[1]), (pairs[0], pairs[1])), shape=shape)
