"""The neighbourhood of each item by text, searched for once and kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tanager_server.index.hnsw import HnswIndex

MAX_WIDTH = 64
"""Items of a neighbourhood: enough for a page of usual size, its exclusions, and some that other terms reorder."""


class TextNeighbours:
    """The items nearest to each item, itself included, nearest first.

    They are fixed for as long as the vectors are, so each item is searched for at most once. The table is reserved, not
    filled, at the start: the system gives memory to those rows that are written. Not thread-safe.

    Args:
        index: where to search.
        vectors: (rows, dim) float32, unit length, those of the index first.

    Attributes:
        rows: (rows, width) int32, positions; undefined where it is not `found`.
        similarities: (rows, width) float32, inner products of the item with each of its row.
        found: (rows,) uint8, 1 where the row was filled.
    """

    def __init__(self, index: HnswIndex, vectors: NDArray[np.float32]) -> None:
        self._index = index
        self._vectors = vectors
        self.rows: NDArray[np.int32] = np.empty((len(vectors), min(MAX_WIDTH, len(index))), dtype=np.int32)
        self.similarities: NDArray[np.float32] = np.empty(self.rows.shape, dtype=np.float32)
        self.found: NDArray[np.uint8] = np.zeros(len(vectors), dtype=np.uint8)

    def fill(self, positions: Sequence[int]) -> None:
        """Searches for the neighbours of these items."""
        nearest = self._index.search(self._vectors[positions], self.rows.shape[1])
        self.rows[positions], self.similarities[positions] = nearest.positions, nearest.similarities
        self.found[positions] = 1
