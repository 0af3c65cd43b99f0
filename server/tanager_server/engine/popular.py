"""The most popular items, for whom nothing is known of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tanager_server.engine.request import ScoredItem, Source

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from tanager_server.bundle import Catalogue


class PopularItems:
    """Pages of the most popular items. They never change, so their results are made once, as far as they were needed.

    Args:
        catalogue: the items.
        weight: of popularity in the score.
    """

    def __init__(self, catalogue: Catalogue, *, weight: float) -> None:
        self._catalogue = catalogue
        self._weight = weight
        self._positions: list[int] = []
        self._items: list[ScoredItem] = []

    def page(self, *, page_size: int, excluded: Collection[int]) -> Sequence[ScoredItem]:
        """The `page_size` most popular items that are not excluded, or as many as there are, best first."""
        reach = min(page_size + len(excluded), len(self._catalogue))
        if reach > len(self._items):
            self._extend(reach)
        if not excluded:
            return self._items[:page_size]
        left = zip(self._positions[:reach], self._items[:reach], strict=True)
        return [item for position, item in left if position not in excluded][:page_size]

    def _extend(self, reach: int) -> None:
        catalogue = self._catalogue
        new = catalogue.by_popularity[len(self._items) : reach]
        scores = (self._weight * catalogue.popularity[new]).tolist()
        self._positions += new.tolist()
        self._items += [
            ScoredItem(catalogue.ids[p], catalogue.titles[p], catalogue.domains[p], score, Source.POPULAR)
            for p, score in zip(new.tolist(), scores, strict=True)
        ]
