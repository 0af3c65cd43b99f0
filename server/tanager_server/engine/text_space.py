"""What the products of an item's vector with other vectors are without computing them: the average, and the spread."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tanager_server.engine import _ranking

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
        mean: (dim,) float32, the mean vector.
        average: (items,) float32, the mean product of each item with all items.
        spread: how far products of what is left of two vectors scatter, relative to their lengths.
    """

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        items = len(vectors)
        self.mean: NDArray[np.float32] = np.full(items, 1.0 / items, dtype=np.float32) @ vectors
        self.average: NDArray[np.float32] = vectors @ self.mean
        sample = vectors[np.unique(np.linspace(0, items - 1, _SAMPLE, dtype=np.int64))] - self.mean
        lengths = np.linalg.norm(sample, axis=1, keepdims=True)
        cosines = sample @ (sample / np.maximum(lengths, 1e-12)).T
        others = ~np.eye(len(sample), dtype=bool)
        # A single item has no others; its catalogue is scored exactly anyway.
        self.spread = float(np.sqrt(np.square(cosines[others]).mean())) if len(sample) > 1 else 1.0

    def project(self, direction: NDArray[np.float32], lift: float) -> tuple[float, float]:
        """Where products with a vector lie.

        Args:
            direction: (dim,) float32.
            lift: how much of `average` is in the estimate whose error is asked for.

        Returns:
            The mean of `vectors @ direction`, and the standard deviation of `vectors @ direction - lift * average`.
        """
        return _ranking.project(direction, self.mean, self.spread, lift)
