"""Item-item weights from behaviour, in closed form: EASE (Steck, 2019).

B = I - P / diag(P) with P = (G + L)^-1 and a zero diagonal, G = X'X over the binary user-item matrix X: the weights
that best reproduce every user's items from their other items.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import linalg, sparse

from tanager_export.errors import ExportError
from tanager_server.bundle import Neighbours

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from tanager_export.dataset import Interactions

    # Its diagonal, and what gives rows of it.
    _Inverse = tuple[NDArray[np.float64], Callable[[NDArray[np.int64]], NDArray[np.float64]]]

L2 = 100.0
TOP_NEIGHBOURS = 100
MAX_ITEMS = 20_000
"""EASE inverts an items x items matrix (3 GB)."""

_CHUNK = 512


def binary_matrix(interactions: Interactions, items: int) -> sparse.csr_array:
    """`(users, items) float32`: 1 where a user took up an item; a weight of 0 or less (a dislike) is no uptake."""
    liked = interactions.weight > 0
    pairs = np.unique(interactions.user[liked].astype(np.int64) * items + interactions.item[liked])
    shape = (len(interactions.user_ids), items)
    return sparse.csr_array((np.ones(len(pairs), np.float32), np.divmod(pairs, items)), shape=shape)


def item_users(interactions: Interactions, *, items: int) -> NDArray[np.int64]:
    """(items,) int64: how many users took up each item (a positive weight)."""
    return np.asarray(binary_matrix(interactions, items).sum(axis=0, dtype=np.float64), dtype=np.int64).ravel()


def ease_weights(
    taken: sparse.csr_array, *, l2: float, dropout: float = 0.0, user_exponent: float = 0.0
) -> NDArray[np.float32]:
    """`(items, items)`: all of B; 0 for items that nobody took up.

    Args:
        taken: `(users, items)`, 1 where a user took up an item.
        l2: In L = l2 I + dropout / (1 - dropout) diag(G).
        dropout: At least 0, below 1.
        user_exponent: In G = X' diag(n^-exponent) X, n the number of a user's items, scaled back to the mean.

    Raises:
        ExportError: More than `MAX_ITEMS` items were taken up.
    """
    warm = np.flatnonzero(np.asarray(taken.sum(axis=0)).ravel() > 0)
    weights = np.zeros((taken.shape[1], taken.shape[1]), np.float32)
    if len(warm) == 0:
        return weights
    if len(warm) > MAX_ITEMS:
        raise ExportError(f"{len(warm):,} items were taken up; EASE inverts a matrix for {MAX_ITEMS:,} at most")
    lengths = np.maximum(np.asarray(taken.sum(axis=1)).ravel(), 1)
    of_user = lengths ** (-user_exponent / 2)
    of_user *= np.sqrt(lengths.sum() / (lengths * of_user**2).sum())  # as many likes in all, so that l2 means the same
    scaled = (sparse.diags_array(of_user) @ taken[:, warm]).astype(np.float64).tocsr()
    for rows, block in _rows_of_b(scaled, l2=l2, dropout=dropout):
        weights[np.ix_(warm[rows], warm)] = block
    return weights


def ease_neighbours(
    interactions: Interactions, *, items: int, l2: float = L2, top: int = TOP_NEIGHBOURS, max_items: int = MAX_ITEMS
) -> Neighbours:
    """The largest weights of B, which is never held as a whole.

    Args:
        interactions: who took up what; negative weights and repetition are left out.
        items: size of the catalogue.
        l2: in L = l2 I.
        top: weights kept for an item, the largest in absolute value.
        max_items: items that get a row, the most taken up; the text carries the others.
    """
    matrix = binary_matrix(interactions, items)
    popularity = np.asarray(matrix.sum(axis=0)).ravel()
    chosen = np.sort(np.argsort(-popularity, kind="stable")[:max_items])
    chosen = chosen[popularity[chosen] > 0]
    keep = min(top, len(chosen) - 1)
    if keep < 1:
        return Neighbours.none(items)
    columns, weights = np.empty((len(chosen), keep), np.int64), np.empty((len(chosen), keep), np.float32)
    for rows, block in _rows_of_b(matrix[:, chosen].astype(np.float64), l2=l2):
        columns[rows] = np.sort(np.argpartition(-np.abs(block), keep - 1, axis=1)[:, :keep], axis=1)
        weights[rows] = np.take_along_axis(block, columns[rows], axis=1)
    indptr = np.zeros(items + 1, dtype=np.int64)
    indptr[chosen + 1] = keep
    return Neighbours(
        indptr=np.cumsum(indptr), indices=chosen[columns].ravel().astype(np.int32), weights=weights.ravel()
    )


def _gram(matrix: sparse.csr_array) -> NDArray[np.float64]:
    """X'X, dense; one items x items array is all that it takes."""
    transposed = matrix.T.tocsr()
    gram = np.empty((matrix.shape[1], matrix.shape[1]))
    for start in range(0, len(gram), _CHUNK):
        gram[start : start + _CHUNK] = (transposed[start : start + _CHUNK] @ matrix).toarray()
    return gram


def _rows_of_b(
    matrix: sparse.csr_array, *, l2: float, dropout: float = 0.0
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Rows of B, some at a time, and their numbers."""
    added = l2 + dropout / (1 - dropout) * np.asarray(matrix.multiply(matrix).sum(axis=0)).ravel()
    inverse = _inverse_by_users if 2 * matrix.shape[0] < matrix.shape[1] else _inverse_by_items
    diagonal, rows_of_inverse = inverse(matrix, added)
    for start in range(0, len(diagonal), _CHUNK):
        rows = np.arange(start, min(start + _CHUNK, len(diagonal)))
        block = -rows_of_inverse(rows) / diagonal
        block[np.arange(len(rows)), rows] = 0.0
        yield rows, block


def _inverse_by_items(matrix: sparse.csr_array, added: NDArray[np.float64]) -> _Inverse:
    """(X'X + diag(added))^-1 by its Cholesky factor, in place."""
    gram = _gram(matrix)
    gram[np.diag_indices_from(gram)] += added
    # LAPACK works in place on columns, and a symmetric matrix is its own transpose.
    factor, _ = linalg.lapack.dpotrf(gram.T, lower=1, overwrite_a=1)
    inverse = linalg.lapack.dpotri(factor, lower=1, overwrite_c=1)[0]
    every = np.arange(len(inverse))

    def rows_of(rows: NDArray[np.int64]) -> NDArray[np.float64]:
        # Only the lower triangle is filled.
        return np.asarray(np.where(every <= rows[:, None], inverse[rows], inverse.T[rows]), np.float64)

    return np.diag(inverse), rows_of


def _inverse_by_users(matrix: sparse.csr_array, added: NDArray[np.float64]) -> _Inverse:
    """The same where users are fewer, by Woodbury's identity: what is inverted is users x users."""
    scaled = matrix / added
    small = (scaled @ matrix.T).toarray()
    small[np.diag_indices_from(small)] += 1.0
    half = linalg.solve_triangular(linalg.cholesky(small, lower=True), scaled.toarray(), lower=True)
    half = np.ascontiguousarray(half.T)  # the inverse is diag(1 / added) - half half'

    def rows_of(rows: NDArray[np.int64]) -> NDArray[np.float64]:
        found = -(half[rows] @ half.T)
        found[np.arange(len(rows)), rows] += 1 / added[rows]
        return np.asarray(found, np.float64)

    return 1 / added - np.einsum("ij,ij->i", half, half), rows_of
