"""Sparse item-item weights of a bundle: `neighbours.npz`, in compressed-sparse-row form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tanager_server.errors import BundleError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Neighbours:
    """B of the blend: B[h, i] is how much having taken up item h speaks for item i.

    Attributes:
        indptr: (items + 1,) int64; row h lies at indptr[h] : indptr[h + 1].
        indices: (entries,) int32, columns.
        weights: (entries,) float32.
    """

    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    weights: NDArray[np.float32]

    def weighted_sum(self, rows: NDArray[np.int64], row_weights: NDArray[np.float32]) -> NDArray[np.float32]:
        """The rows, weighted and added up; for one-off use, as it grows with the catalogue.

        Args:
            rows: (n,) int64, rows to add, repetition allowed.
            row_weights: (n,) float32.

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
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                indptr, indices, weights = (archive[name] for name in ("indptr", "indices", "weights"))
        except Exception as error:  # whatever NumPy, zipfile and zlib raise over a file that is none
            raise BundleError(f"{path}: not a neighbours file: {error}") from error
        fits = (
            (indptr.dtype, indices.dtype, weights.dtype) == (np.int64, np.int32, np.float32)
            and indptr.shape == (items + 1,)
            and indices.shape == weights.shape == (indptr[-1],)
            and indptr[0] == 0
            and bool(((indptr >= 0) & (indptr <= indptr[-1])).all())  # or the differences could wrap around
            and bool((np.diff(indptr) >= 0).all())
            and bool(((indices >= 0) & (indices < items)).all())
            and bool(np.isfinite(weights).all())
        )
        if not fits:
            raise BundleError(f"{path}: does not fit a catalogue of {items} items; export the bundle again")
        return cls(indptr, indices, weights)
