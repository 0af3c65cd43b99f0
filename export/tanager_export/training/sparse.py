"""B and T as they are served: the largest weights of each row."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tanager_server.bundle import Neighbours

if TYPE_CHECKING:
    from numpy.typing import NDArray

TOP = 100
"""Weights kept of a row of B or T, the largest in absolute value."""
TOP_UNKNOWN = 50
"""Weights kept beside these of items with little behaviour of their own: theirs are small, and would never be kept."""

ROUNDING = 5e-3
"""Share by which what is computed in float16 may be smaller than it was, and still is kept."""


def sparsest(weights: NDArray[np.float32], little: NDArray[np.bool_], *, used: bool = True) -> Neighbours:
    """The largest weights of each row.

    Args:
        weights: (items, items) float32, B or T.
        little: (items,) which items have little behaviour of their own.
        used: whether the blend has any use for them.
    """
    items = len(weights)
    if not used:
        return Neighbours.none(items)
    columns = [np.flatnonzero(~little), np.flatnonzero(little)]
    rows, kept_columns, values = [], [], []
    for some, top in zip(columns, (TOP, TOP_UNKNOWN), strict=True):
        keep = min(top, len(some))
        if not keep:
            continue
        part = weights[:, some]
        found = np.argpartition(-np.abs(part), keep - 1, axis=1)[:, :keep]
        value = np.take_along_axis(part, found, axis=1)
        there = value != 0
        rows.append(np.nonzero(there)[0])
        kept_columns.append(some[found[there]])
        values.append(value[there])
    row, column, value = (np.concatenate(part) for part in (rows, kept_columns, values))
    order = np.lexsort((column, row))
    indptr = np.concatenate(([0], np.cumsum(np.bincount(row, minlength=items))))
    return Neighbours(indptr.astype(np.int64), column[order].astype(np.int32), value[order].astype(np.float32))


def least_kept(neighbours: Neighbours, little: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(items,) float32: what one more item with little behaviour needs at least to be kept in each row; 0 for nothing.

    Args:
        neighbours: what `sparsest` kept.
        little: as it was given.
    """
    items = len(neighbours.indptr) - 1
    of_little = little[neighbours.indices]
    row = np.repeat(np.arange(items), np.diff(neighbours.indptr))[of_little]
    least = np.full(items, np.inf, np.float32)
    np.minimum.at(least, row, np.abs(neighbours.weights[of_little]))
    full = np.bincount(row, minlength=items) >= TOP_UNKNOWN
    return np.where(full, (1 - ROUNDING) * least, 0).astype(np.float32)


def dense(neighbours: Neighbours) -> NDArray[np.float32]:
    """(items, items) float32: what the server adds up."""
    items = len(neighbours.indptr) - 1
    matrix = np.zeros((items, items), np.float32)
    matrix[np.repeat(np.arange(items), np.diff(neighbours.indptr)), neighbours.indices] = neighbours.weights
    return matrix
