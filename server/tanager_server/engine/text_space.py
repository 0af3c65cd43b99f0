"""What the products of an item's vector with other vectors are without computing them: the average, and the spread."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Items whose products with each other tell the spread.
_SAMPLE = 256


class TextSpace:
    """The vectors of a catalogue seen from afar.

    Vectors of a text encoder share much of their direction, so products with them scatter around an average that is
    known of each item in advance. They scatter less the less is left of a vector without the shared direction.

    Args:
        vectors: (items, dim) float32, unit length.

    Attributes:
        average: (items,) float32, the mean product of each item with all items.
    """

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        items = len(vectors)
        self._mean: NDArray[np.float32] = np.full(items, 1.0 / items, dtype=np.float32) @ vectors
        self._mean_square = float(self._mean @ self._mean)
        self.average: NDArray[np.float32] = vectors @ self._mean
        sample = vectors[np.unique(np.linspace(0, items - 1, _SAMPLE, dtype=np.int64))] - self._mean
        lengths = np.linalg.norm(sample, axis=1, keepdims=True)
        cosines = sample @ (sample / np.maximum(lengths, 1e-12)).T
        others = ~np.eye(len(sample), dtype=bool)
        # A single item has no others; its catalogue is scored exactly anyway.
        self._spread = float(np.sqrt(np.square(cosines[others]).mean())) if len(sample) > 1 else 1.0

    def project(self, direction: NDArray[np.float32], lift: float) -> tuple[float, float]:
        """Where products with a vector lie.

        Args:
            direction: (dim,) float32.
            lift: how much of `average` is in the estimate whose error is asked for.

        Returns:
            The mean of `vectors @ direction`, and the standard deviation of `vectors @ direction - lift * average`.
        """
        mean = float(direction @ self._mean)
        rest = float(direction @ direction) - 2.0 * lift * mean + lift * lift * self._mean_square
        return mean, self._spread * math.sqrt(max(rest, 0.0))
