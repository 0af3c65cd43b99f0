"""Which items an answer may be made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class View(NamedTuple):
    """The items that an answer may be made of.

    Attributes:
        allowed: (rows,) uint8, other than 0 for items of the index that it may; None for all of them.
        exact: positions, none twice, that are looked at one by one, beside those: what the index does not have.
        share: the part of the index that is allowed, 0 to 1; with 0 nothing but `exact` is looked at.
    """

    allowed: NDArray[np.uint8] | None
    exact: NDArray[np.int64]
    share: float

    def allows(self, position: int) -> bool:
        """Whether the index may be answered from with an item of it."""
        return self.share > 0.0 and (self.allowed is None or bool(self.allowed[position]))


EVERYTHING = View(None, np.empty(0, np.int64), 1.0)
