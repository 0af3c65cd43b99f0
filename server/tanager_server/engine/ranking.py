"""Candidates and their scores: the additive hybrid.

    score(i) = sum over history h of w_h * (a * B[h, i] + b * <e_h, e_i>) + c * <q, e_i> + d * pop_i

with the weights a, b, c, d of the bundle's `scoring.json`. A cold item has no column in B: its text carries it.

The sums over B are cheap; products with an item's vector are not, since the vector has to come from memory. So every
candidate gets its sum over B, the products that are known because it is a neighbour of an item of the history, and in
place of the others what they are on average; only those that may still reach the page are scored exactly. Where the
text alone may carry an item onto the page, the nearest items are searched for. No call takes time that grows with the
catalogue. The loops are in `_ranking.cpp`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tanager_server.engine import _ranking
from tanager_server.engine.request import Page, Source
from tanager_server.engine.text_space import TextSpace
from tanager_server.index import TextNeighbours

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

    from tanager_server.engine.subject import History
    from tanager_server.index import Generation, Neighbourhood

SPARE = 50
"""Candidates taken from a source beyond what the page and the exclusions need, for the other terms to reorder."""
# Latest liked items whose neighbours are candidates.
_INTERESTS = 8
# How far from the average the text of a candidate is taken to lie at most, and that of an item which is none, in
# multiples of the spread. More is slower, less misses items: see tests/bench/candidate_recall.py.
_CANDIDATE_SPREADS = 5.0
_OUTSIDE_SPREADS = 6.0
# Equal vectors may have averages that differ by rounding.
_ROUNDING = 1e-5


@dataclass(frozen=True, slots=True)
class Wish:
    """A wish as the encoder gave it.

    Attributes:
        vector: (dim,) float32, unit length.
        nearest: the items nearest to it; at least as many as the page and the exclusions need, or all.
    """

    vector: NDArray[np.float32]
    nearest: Neighbourhood


class Ranker:
    """Ranks items of one generation.

    Keeps arrays as long as the catalogue between calls, and touches of them only what a call needs: not thread-safe.
    """

    def __init__(self, generation: Generation) -> None:
        catalogue, scoring, neighbours = generation.catalogue, generation.scoring, generation.neighbours
        text = TextSpace(generation.vectors)
        text_neighbours = TextNeighbours(generation.index, generation.vectors)

        def search(query: NDArray[np.float32], count: int) -> NDArray[np.int64]:
            nearest: NDArray[np.int64] = generation.index.search(query, count).positions[0]
            return nearest

        self._native = _ranking.Ranking(
            generation.vectors,
            neighbours.indptr,
            neighbours.indices,
            neighbours.weights,
            np.float32(scoring.popularity) * catalogue.popularity,
            catalogue.by_popularity,
            text.average,
            text.mean,
            text_neighbours.rows,
            text_neighbours.similarities,
            text_neighbours.found,
            collaborative=scoring.collaborative,
            history_text=scoring.history_text,
            wish=scoring.wish,
            spread=text.spread,
            spare=SPARE,
            interests=_INTERESTS,
            candidate_spreads=_CANDIDATE_SPREADS,
            outside_spreads=_OUTSIDE_SPREADS,
            rounding=_ROUNDING,
            from_wish=Source.WISH.value,
            from_text=Source.TEXT.value,
            from_collaborative=Source.COLLABORATIVE.value,
            from_popular=Source.POPULAR.value,
            search=search,
            fill_neighbours=text_neighbours.fill,
        )

    def by_wish(self, wish: Wish, *, page_size: int, excluded: Collection[int]) -> Page:
        """What lies nearest to a wish; popularity only orders what is equally near."""
        near = wish.nearest
        return Page(*self._native.by_wish(wish.vector, near.positions, near.similarities, page_size, excluded))

    def by_history(
        self, history: History, *, page_size: int, excluded: Collection[int], popular: bool, wish: Wish | None = None
    ) -> Page:
        """What fits a history, and a wish if there is one.

        Args:
            history: with at least one scored event.
            page_size: how many items are wanted.
            excluded: distinct positions that must not be among them.
            popular: whether popularity counts, and the most popular items are candidates.
            wish: comes on top of the history.

        Returns:
            `page_size` items, or all that are not excluded if they are fewer.
        """
        asked = () if wish is None else (wish.vector, wish.nearest.positions, wish.nearest.similarities)
        return Page(*self._native.by_history(history.scored, history.weights, page_size, excluded, popular, *asked))
