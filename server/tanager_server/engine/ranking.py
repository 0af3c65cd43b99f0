"""Candidates and their scores: the additive hybrid.

    score(i) = sum over history h of w_h * (a * B[h, i] + b * <e_h, e_i>) + c * <q, e_i> + d * pop_i

with the weights a, b, c, d of the bundle's `scoring.json`. A cold item has no column in B: its text carries it.

The sums over B are cheap; products with an item's vector are not, since the vector has to come from memory. So every
candidate gets its sum over B and, in place of the products, what they are on average; only those that may still reach
the page are scored exactly. Where the text alone may carry an item onto the page, the nearest items are searched for.
No call takes time that grows with the catalogue.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tanager_server.engine.request import Source
from tanager_server.engine.text_space import TextSpace
from tanager_server.index import TextNeighbours

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray

    from tanager_server.engine.subject import History
    from tanager_server.index import Generation, Neighbourhood

SPARE = 50
"""Candidates taken from a source beyond what the page and the exclusions need, for the other terms to reorder."""
# Latest liked items whose neighbours are candidates, and how many neighbours they have together, so that several
# interests all find candidates.
_INTERESTS = 8
_INTEREST_ITEMS = 128
_MIN_INTEREST_ITEMS = 16
# How far from the average the text of a candidate is taken to lie at most, and that of an item which is none, in
# multiples of the spread. More is slower, less misses items: see tests/bench/candidate_recall.py.
_CANDIDATE_SPREADS = 5.0
_OUTSIDE_SPREADS = 6.0
# Equal vectors may have averages that differ by rounding.
_ROUNDING = 1e-5

_WISH, _TEXT, _COLLABORATIVE, _POPULAR = (
    source.value for source in (Source.WISH, Source.TEXT, Source.COLLABORATIVE, Source.POPULAR)
)
_LOWEST = float(np.finfo(np.float32).min)
# A shorter profile has no direction.
_LEAST_LENGTH = 1e-6


@dataclass(slots=True)
class Ranked:
    """A page, best first, column by column.

    Attributes:
        positions: of the items in the catalogue.
        scores: of the items.
        sources: `Source` flags.
        found_at: when the candidates had been found, on the monotonic clock.
    """

    positions: list[int]
    scores: list[float]
    sources: list[int]
    found_at: float


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
        catalogue, scoring = generation.catalogue, generation.scoring
        self._catalogue = catalogue
        self._vectors = generation.vectors
        self._neighbours = generation.neighbours
        self._index = generation.index
        self._scoring = scoring
        self._text = TextSpace(generation.vectors)
        self._text_neighbours = TextNeighbours(generation.index, generation.vectors)
        self._collaborative = np.float32(scoring.collaborative)
        self._history_text = np.float32(scoring.history_text)
        self._wish = np.float32(scoring.wish)
        self._popularity = np.float32(scoring.popularity) * catalogue.popularity
        self._mean_popularity = float(self._popularity.mean())
        self._usual = self._popularity + self._history_text * self._text.average
        self._sums = np.zeros(len(catalogue), dtype=np.float32)
        self._places = np.empty(len(catalogue), dtype=np.int64)
        self._counting = np.arange(1 << 12)

    def by_wish(self, wish: Wish, *, page_size: int, excluded: Collection[int]) -> Ranked:
        """What lies nearest to a wish; popularity only orders what is equally near."""
        found_at = time.monotonic()
        positions, similarities = wish.nearest.positions, wish.nearest.similarities
        if excluded:
            left = [i for i, position in enumerate(positions.tolist()) if position not in excluded]
            positions, similarities = positions[left], similarities[left]
        scores = self._wish * similarities
        scores += self._popularity[positions]
        best: NDArray[np.int64] = np.lexsort((positions, -scores))[:page_size]
        return Ranked(positions[best].tolist(), scores[best].tolist(), [_WISH] * len(best), found_at)

    def by_history(
        self, history: History, *, page_size: int, excluded: Collection[int], popular: bool, wish: Wish | None = None
    ) -> Ranked:
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
        rows = np.array(history.scored)
        weights: NDArray[np.float32] = np.array(history.weights, dtype=np.float32)
        out = np.fromiter(excluded, dtype=np.int64, count=len(excluded))
        reach = min(len(self._catalogue), page_size + len(out) + SPARE)
        profile: NDArray[np.float32] = weights @ self._vectors.take(rows, axis=0)
        profile *= self._history_text
        columns, values = self._neighbours.weighted_entries(rows, weights)
        try:
            np.add.at(self._sums, columns, values)
            found, before_text = self._shortlist(history, profile, columns, out, page_size, reach, popular, wish)
            collaborative = self._sums[found]
        finally:
            self._sums[columns] = 0.0
        found_at = time.monotonic()

        direction = profile if wish is None else profile + self._wish * wish.vector
        scores = np.vecdot(self._vectors.take(found, axis=0), direction)
        scores += self._collaborative * collaborative
        if popular:
            scores += self._popularity[found]
        best = (-scores).argsort(kind="stable")[:page_size]
        positions = found[best]
        page, places = positions.tolist(), self._places[positions].tolist()
        ranks, popular_reach = self._catalogue.popularity_ranks, reach if popular else 0
        sources = [
            (_TEXT if place >= before_text else 0)
            | (_COLLABORATIVE if together > 0.0 else 0)
            | (_POPULAR if ranks[position] < popular_reach else 0)
            for position, place, together in zip(page, places, collaborative[best].tolist(), strict=True)
        ]
        if wish is not None:
            near_wish = set(wish.nearest.positions.tolist())
            sources = [flags | _WISH * (item in near_wish) for flags, item in zip(sources, page, strict=True)]
        return Ranked(page, scores[best].tolist(), sources, found_at)

    def _shortlist(
        self,
        history: History,
        profile: NDArray[np.float32],
        columns: NDArray[np.int64],
        out: NDArray[np.int64],
        page_size: int,
        reach: int,
        popular: bool,
        wish: Wish | None,
    ) -> tuple[NDArray[np.int64], int]:
        """Items that may reach the page, ascending, with the least of those `_places` that mean found by text."""
        liked = _latest_liked(history.scored, history.weights)
        others: list[NDArray[np.integer[Any]]] = []
        if popular:
            others.append(self._catalogue.by_popularity[:reach])
        if wish is not None:
            others.append(wish.nearest.positions)
        if liked:
            each = max(_MIN_INTEREST_ITEMS, _INTEREST_ITEMS // len(liked))
            others.append(self._text_neighbours.of(liked, each).reshape(-1))
        like = columns[(self._sums[columns] > 0.0).nonzero()[0]]
        pool = np.concatenate([like, *others])
        before_text = len(pool) - (len(others[-1]) if liked else 0)
        found = self._distinct(pool, out)

        lift = self._scoring.history_text * sum(history.weights)
        mean, deviation = self._text.project(profile, lift)
        estimates = self._estimate(found, lift, popular=popular)
        if wish is None:
            floor, most_of_wish = _nth_best(estimates, page_size), 0.0
        else:
            near = wish.nearest.positions
            in_reach = self._places[near] >= 0
            known = self._estimate(near, lift, popular=popular) + self._wish * wish.nearest.similarities
            floor, most_of_wish = _nth_best(known[in_reach], page_size), self._most_of_wish(wish)
        likely = floor - most_of_wish - _CANDIDATE_SPREADS * deviation - _ROUNDING
        found = found[(estimates >= max(likely, _LOWEST)).nonzero()[0]]
        if wish is not None:
            found = np.union1d(found, near[in_reach])
        outside = mean + _OUTSIDE_SPREADS * deviation + (self._unpopular(reach) if popular else 0.0) + most_of_wish
        # Of a single like the neighbourhood is the profile's; dislikes would turn the profile away from it.
        alone = len(liked) == len(history.scored) == 1 and reach <= self._text_neighbours.width
        if liked and not alone and floor < outside:
            nearest = self._nearest(profile, reach)
            self._places[nearest] = before_text  # which is what found them, whatever else did
            found = np.setdiff1d(np.concatenate([found, nearest]), out)
        found.sort()
        return found, before_text

    def _distinct(self, pool: NDArray[np.int64], out: NDArray[np.int64]) -> NDArray[np.int64]:
        """Each item of the pool once, in no order, without those that are out.

        Leaves in `_places` the last place of each in the pool.
        """
        if len(pool) > len(self._counting):
            self._counting = np.arange(2 * len(pool))
        places, counting = self._places, self._counting[: len(pool)]
        places[pool] = counting
        places[out] = -1
        distinct: NDArray[np.int64] = pool[(places[pool] == counting).nonzero()[0]]
        return distinct

    def _estimate(self, positions: NDArray[np.int64], lift: float, *, popular: bool) -> NDArray[np.float32]:
        """Scores with the average in place of the product with the profile, and without the wish."""
        estimates: NDArray[np.float32] = self._collaborative * self._sums[positions]
        if popular and math.isclose(lift, self._scoring.history_text):  # unless there are dislikes
            estimates += self._usual[positions]
            return estimates
        estimates += np.float32(lift) * self._text.average[positions]
        if popular:
            estimates += self._popularity[positions]
        return estimates

    def _most_of_wish(self, wish: Wish) -> float:
        """The most that a wish adds to the score of an item which is not among the nearest to it."""
        weight = self._scoring.wish
        return max(weight * float(wish.nearest.similarities[-1]), -weight)

    def _unpopular(self, reach: int) -> float:
        """What popularity adds to the score of an item not among the `reach` most popular, half-way to the most."""
        last = int(self._catalogue.by_popularity[reach - 1])
        return (self._mean_popularity + float(self._popularity[last])) / 2.0

    def _nearest(self, profile: NDArray[np.float32], reach: int) -> NDArray[np.int64]:
        """The items whose text is most like that of the whole history."""
        length = math.sqrt(float(profile @ profile))
        if length < _LEAST_LENGTH:
            return np.empty(0, dtype=np.int64)
        nearest: NDArray[np.int64] = self._index.search(profile[None] / np.float32(length), reach).positions[0]
        return nearest


def _latest_liked(positions: Sequence[int], weights: Sequence[float]) -> list[int]:
    """Up to `_INTERESTS` distinct items."""
    liked: list[int] = []
    for position, weight in zip(reversed(positions), reversed(weights), strict=True):
        if weight > 0 and position not in liked:
            liked.append(position)
            if len(liked) == _INTERESTS:
                break
    return liked


def _nth_best(values: NDArray[np.float32], n: int) -> float:
    """The n-th highest value; minus infinity if there are fewer."""
    place = len(values) - n
    return float(np.partition(values, place)[place]) if place >= 0 else -math.inf
