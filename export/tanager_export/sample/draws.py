"""Random numbers that are the same on every machine and with every version of NumPy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtri

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Draws:
    """Draws from a seeded PCG64.

    Made from the generator's raw integers, the only stream that NumPy promises never to change (NEP 19), by inverse
    transforms in float64: what may still differ between machines is the last digit of a logarithm.
    """

    def __init__(self, seed: int) -> None:
        self._bits = np.random.PCG64(seed)

    def uniform(self, *shape: int) -> NDArray[np.float64]:
        """Uniform in the open interval (0, 1)."""
        raw: NDArray[np.uint64] = self._bits.random_raw(int(np.prod(shape)))
        return ((raw >> np.uint64(11)).astype(np.float64) + 0.5).reshape(shape) * 2.0**-53

    def normal(self, *shape: int) -> NDArray[np.float64]:
        """Standard normal."""
        values: NDArray[np.float64] = ndtri(self.uniform(*shape))
        return values

    def gumbel(self, *shape: int) -> NDArray[np.float64]:
        """Standard Gumbel: the argmax of utilities plus these is a draw from their softmax."""
        return -np.log(-np.log(self.uniform(*shape)))

    def choice(self, logits: NDArray[np.float64]) -> NDArray[np.intp]:
        """An index along the last axis, drawn from the softmax of the logits."""
        chosen: NDArray[np.intp] = np.argmax(logits + self.gumbel(*logits.shape), axis=-1)
        return chosen
