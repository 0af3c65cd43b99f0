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
        vectors: (items, dim) float32, unit length, those of the index.
    """

    def __init__(self, index: HnswIndex, vectors: NDArray[np.float32]) -> None:
        self._index = index
        self._vectors = vectors
        self._rows = np.empty((len(vectors), min(MAX_WIDTH, len(vectors))), dtype=np.int32)
        self._found = bytearray(len(vectors))

    @property
    def width(self) -> int:
        """Items of each neighbourhood."""
        return self._rows.shape[1]

    def of(self, positions: Sequence[int], count: int) -> NDArray[np.int32]:
        """The nearest items of some items: (items, count) int32 positions, or (items, width) if `count` is more."""
        found = self._found
        if missing := [position for position in positions if not found[position]]:
            self._rows[missing] = self._index.search(self._vectors[missing], self.width).positions
            for position in missing:
                found[position] = True
        return self._rows[:, :count][positions]  # not take, which would copy the whole table first
