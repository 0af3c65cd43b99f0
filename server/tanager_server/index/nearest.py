"""What a search finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Nearest:
    """The items nearest to each of some queries, nearest first.

    Attributes:
        positions: (queries, k) int64.
        similarities: (queries, k) float32, inner products with the query.
    """

    positions: NDArray[np.int64]
    similarities: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """The items nearest to one query, nearest first.

    Attributes:
        positions: (k,) int64.
        similarities: (k,) float32, inner products with the query.
    """

    positions: NDArray[np.int64]
    similarities: NDArray[np.float32]
