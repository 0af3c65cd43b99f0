"""The most popular items, for whom nothing is known of."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tanager_server.engine.request import Page, Source
from tanager_server.index import best_first

if TYPE_CHECKING:
    from collections.abc import Collection

    import numpy as np
    from numpy.typing import NDArray


class PopularItems:
    """Pages of the items with the highest priors. They never change, so the list is made once, as far as it was needed.

    Args:
        priors: (items,) float32, an item's score for somebody of whom nothing is known.
    """

    def __init__(self, priors: NDArray[np.float32]) -> None:
        self._priors = priors
        self._order = best_first(priors)
        self._positions: list[int] = []
        self._scores: list[float] = []

    def page(self, *, page_size: int, excluded: Collection[int]) -> Page:
        """The `page_size` best items that are not excluded, or as many as there are, best first."""
        found_at = time.monotonic()
        reach = min(page_size + len(excluded), len(self._priors))
        if reach > len(self._positions):
            self._extend(reach)
        positions, scores = self._positions[:reach], self._scores[:reach]
        if excluded:
            left = [place for place, position in enumerate(positions) if position not in excluded][:page_size]
            positions, scores = [positions[place] for place in left], [scores[place] for place in left]
        return Page(positions, scores, [Source.POPULAR.value] * len(positions), found_at)

    def _extend(self, reach: int) -> None:
        new = self._order[len(self._positions) : reach]
        self._scores += self._priors[new].tolist()
        self._positions += new.tolist()
