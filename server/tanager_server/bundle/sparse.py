"""Sparse matrices of a bundle, row by row (compressed-sparse-row form), read from `.npz` archives."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tanager_server.errors import BundleError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

# Sums of scores of such weights are finite in float32.
MAX_ABS_WEIGHT = 1e6


class SparseRows(NamedTuple):
    """A sparse matrix.

    Attributes:
        indptr: (rows + 1,) int64; row h lies at indptr[h] : indptr[h + 1].
        indices: (entries,) int32, columns.
        weights: (entries,) float32.
    """

    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    weights: NDArray[np.float32]

    def fits(self, *, rows: int, columns: int) -> bool:
        """Whether the arrays are of the right kind and no index reaches beyond rows and columns."""
        indptr, indices, weights = self
        return (
            indptr.dtype == np.int64
            and indices.dtype == np.int32
            and weights.dtype == np.float32
            and indptr.shape == (rows + 1,)
            and indices.shape == weights.shape == (indptr[-1],)
            and indptr[0] == 0
            and bool(((indptr >= 0) & (indptr <= indptr[-1])).all())  # or the differences could wrap around
            and bool((np.diff(indptr) >= 0).all())
            and bool(((indices >= 0) & (indices < columns)).all())
            and bool((np.abs(weights) <= MAX_ABS_WEIGHT).all())  # nor is NaN
        )


def read_arrays(path: Path, names: Sequence[str], *, what: str) -> list[NDArray[np.generic]]:
    """Arrays of an archive, none of them pickled.

    Raises:
        BundleError: the file is no such archive.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return [archive[name] for name in names]
    except Exception as error:  # whatever NumPy, zipfile and zlib raise over a file that is none
        raise BundleError(f"{path}: not a {what} file: {error}") from error
