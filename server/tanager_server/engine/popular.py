"""The most popular items, for whom nothing is known of."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from tanager_server.engine.request import Page, Source
from tanager_server.index import EVERYTHING, View, best_first

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray


class PopularItems:
    """Pages of the items with the highest priors. They never change, so the list is made once, as far as it was needed.

    Args:
        priors: (rows,) float32, an item's score for somebody of whom nothing is known.
        indexed: how many of them are of items in the index; others may be in a view, and may change.
    """

    def __init__(self, priors: NDArray[np.float32], indexed: int) -> None:
        self._priors = priors
        self._order = best_first(priors[:indexed])
        self._positions: list[int] = []
        self._scores: list[float] = []

    def page(self, *, page_size: int, excluded: Collection[int], view: View = EVERYTHING) -> Page:
        """The `page_size` best items that are not excluded, or as many as there are, best first."""
        found_at = time.monotonic()
        if view is not EVERYTHING and (view.allowed is not None or len(view.exact) or view.share == 0.0):
            return self._seen(page_size, excluded, view, found_at)
        reach = min(page_size + len(excluded), len(self._order))
        if reach > len(self._positions):
            self._extend(reach)
        positions, scores = self._positions[:reach], self._scores[:reach]
        if excluded:
            left = [place for place, position in enumerate(positions) if position not in excluded][:page_size]
            positions, scores = [positions[place] for place in left], [scores[place] for place in left]
        return Page(positions, scores, [Source.POPULAR.value] * len(positions), found_at)

    def _seen(self, page_size: int, excluded: Collection[int], view: View, found_at: float) -> Page:
        out = np.fromiter(excluded, np.int64, len(excluded))
        found = view.exact
        reach = len(found) + page_size + len(excluded)
        until, start = reach, len(self._order) if view.share == 0.0 else 0
        while start < len(self._order) and len(found) < reach:
            some = self._order[start:until]
            found = np.concatenate((found, some if view.allowed is None else some[view.allowed[some] != 0]))
            start, until = until, 4 * until
        found = found[~np.isin(found, out)]
        scores = self._priors[found]
        best = np.lexsort((found, -scores))[:page_size]
        positions = found[best].tolist()
        return Page(positions, scores[best].tolist(), [Source.POPULAR.value] * len(positions), found_at)

    def _extend(self, reach: int) -> None:
        new = self._order[len(self._positions) : reach]
        self._scores += self._priors[new].tolist()
        self._positions += new.tolist()
