"""Sparse item-item weights of a bundle, in compressed-sparse-row form: `neighbours.npz` and `transitions.npz`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tanager_server.bundle.sparse import SparseRows, read_arrays
from tanager_server.errors import BundleError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Neighbours:
    """B or T of the blend: how much having taken up item h speaks for item i, at [h, i].

    Attributes:
        indptr: (items + 1,) int64; row h lies at indptr[h] : indptr[h + 1].
        indices: (entries,) int32, columns.
        weights: (entries,) float32.
    """

    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    weights: NDArray[np.float32]

    @classmethod
    def none(cls, items: int) -> Neighbours:
        """No weight between any two of so many items."""
        return cls(np.zeros(items + 1, np.int64), np.empty(0, np.int32), np.empty(0, np.float32))

    def weighted_sum(self, rows: NDArray[np.int64], row_weights: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """The rows, weighted and added up; for one-off use, as it grows with the catalogue.

        Args:
            rows: (n,) int64, rows to add, repetition allowed.
            row_weights: (n,) float.

        Returns:
            (items,) float32, zero where no row reaches.
        """
        starts = self.indptr[rows]
        counts = self.indptr[rows + 1] - starts
        ends = np.cumsum(counts)
        entries = np.arange(counts.sum()) + np.repeat(starts - (ends - counts), counts)
        values = self.weights[entries] * np.repeat(row_weights, counts)
        return np.bincount(self.indices[entries], weights=values, minlength=len(self.indptr) - 1).astype(np.float32)

    def write(self, path: Path) -> None:
        """Writes the weights as an uncompressed `.npz`."""
        np.savez(path, indptr=self.indptr, indices=self.indices, weights=self.weights)

    @classmethod
    def read(cls, path: Path, *, items: int) -> Neighbours:
        """Reads the weights and checks that no index reaches beyond the catalogue.

        Raises:
            BundleError: the file is no such archive, or does not fit a catalogue of `items` items.
        """
        arrays: list[Any] = list(read_arrays(path, SparseRows._fields, what="neighbours"))
        if not SparseRows(*arrays).fits(rows=items, columns=items):
            raise BundleError(f"{path}: does not fit a catalogue of {items} items; export the bundle again")
        return cls(*arrays)
