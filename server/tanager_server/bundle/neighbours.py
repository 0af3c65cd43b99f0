"""Sparse item-item weights of a bundle: `neighbours.npz`, in compressed-sparse-row form."""

from __future__ import annotations

from dataclasses import dataclass, field
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
    _table: _Table | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_table", _Table.of(self.indptr, self.indices, self.weights))

    def weighted_entries(
        self, rows: NDArray[np.int64], row_weights: NDArray[np.float32]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The entries of the rows, each times the weight of its row.

        Args:
            rows: (n,) int64, repetition allowed.
            row_weights: (n,) float32.

        Returns:
            (entries,) int64 columns, with repetition, and (entries,) float32 values; a value may be zero.
        """
        if self._table is not None:
            lines = self._table.lines[rows]
            values = self._table.weights.take(lines, axis=0)
            values *= row_weights[:, None]
            return self._table.indices.take(lines, axis=0).reshape(-1), values.reshape(-1)
        starts = self.indptr[rows]
        counts = self.indptr[rows + 1] - starts
        ends = np.cumsum(counts)
        entries = np.arange(counts.sum()) + np.repeat(starts - (ends - counts), counts)
        return self.indices[entries].astype(np.int64), self.weights[entries] * np.repeat(row_weights, counts)

    def weighted_sum(self, rows: NDArray[np.int64], row_weights: NDArray[np.float32]) -> NDArray[np.float32]:
        """The rows, weighted and added up; for one-off use, as it grows with the catalogue.

        Args:
            rows: (n,) int64, rows to add, repetition allowed.
            row_weights: (n,) float32.

        Returns:
            (items,) float32, zero where no row reaches.
        """
        columns, values = self.weighted_entries(rows, row_weights)
        return np.bincount(columns, weights=values, minlength=len(self.indptr) - 1).astype(np.float32)

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


@dataclass(frozen=True, slots=True)
class _Table:
    """Rows of equal length, which are gathered in a fifth of the time; a line of zeros stands for empty rows.

    Attributes:
        lines: (items,) int64, line of each row.
        indices: (lines, width) int64, as they are used.
        weights: (lines, width) float32.
    """

    lines: NDArray[np.int64]
    indices: NDArray[np.int64]
    weights: NDArray[np.float32]

    @classmethod
    def of(cls, indptr: NDArray[np.int64], indices: NDArray[np.int32], weights: NDArray[np.float32]) -> _Table | None:
        """The rows as a table; None if they differ in length, other than by being empty."""
        counts = np.diff(indptr)
        filled = counts > 0
        width = int(counts.max(initial=0))
        if width == 0 or not (counts[filled] == width).all():
            return None
        count = int(filled.sum())
        return cls(
            lines=np.where(filled, np.cumsum(filled) - 1, count),
            indices=np.vstack([indices.reshape(count, width), np.zeros((1, width), np.int64)]),
            weights=np.vstack([weights.reshape(count, width), np.zeros((1, width), np.float32)]),
        )
