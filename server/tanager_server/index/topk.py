"""The highest scores, in a stable order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def top(scores: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Indices of the highest scores, highest first; equals in the order of the catalogue."""
    if count < len(scores):
        # Everything that ties with the last place comes along, so that the cut among equals is the stable sort's.
        threshold = np.partition(scores, len(scores) - count)[len(scores) - count]
        contenders = np.flatnonzero(scores >= threshold)
    else:
        contenders = np.arange(len(scores))
    return contenders[np.argsort(-scores[contenders], kind="stable")][:count]


def best_first(scores: NDArray[np.float32]) -> NDArray[np.int64]:
    """Indices of all scores, highest first; equals in the order of the catalogue."""
    return np.argsort(-scores, kind="stable")
