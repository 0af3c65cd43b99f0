"""The most popular items, for whom nothing is known of."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tanager_server.engine.request import Page, Source

if TYPE_CHECKING:
    from collections.abc import Collection

    from tanager_server.bundle import Catalogue


class PopularItems:
    """Pages of the most popular items. They never change, so the list is made once, as far as it was needed.

    Args:
        catalogue: the items.
        weight: of popularity in the score.
    """

    def __init__(self, catalogue: Catalogue, *, weight: float) -> None:
        self._catalogue = catalogue
        self._weight = weight
        self._positions: list[int] = []
        self._scores: list[float] = []

    def page(self, *, page_size: int, excluded: Collection[int]) -> Page:
        """The `page_size` most popular items that are not excluded, or as many as there are, best first."""
        found_at = time.monotonic()
        reach = min(page_size + len(excluded), len(self._catalogue))
        if reach > len(self._positions):
            self._extend(reach)
        positions, scores = self._positions[:reach], self._scores[:reach]
        if excluded:
            left = [place for place, position in enumerate(positions) if position not in excluded][:page_size]
            positions, scores = [positions[place] for place in left], [scores[place] for place in left]
        return Page(positions, scores, [Source.POPULAR.value] * len(positions), found_at)

    def _extend(self, reach: int) -> None:
        catalogue = self._catalogue
        new = catalogue.by_popularity[len(self._positions) : reach]
        self._scores += (self._weight * catalogue.popularity[new]).tolist()
        self._positions += new.tolist()
