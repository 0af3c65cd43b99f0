"""A few places of a page are left to chance, so that more is learned of what users like than of what is shown anyway.

Each place below the first few is opened with a small probability, independently of the others. What is opened is
filled with items drawn without repetition, all equally likely, from a pool: what comes next by score, and the latest
of the new items that few users have taken up. So the probabilities to be on the page are exact: 1 for the first
places; 1 - share for what else would be on it; share * places / pool for each of the pool, where no more places can be
opened than the pool has items, the last ones. They hold given the pages before: what was passed over comes on the next.
"""

from __future__ import annotations

import hashlib
import random
from typing import TYPE_CHECKING, NamedTuple

from tanager_server.engine.request import Page, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from tanager_server.engine.items import LiveItems, Mask
    from tanager_server.engine.known import KnownUsers
    from tanager_server.engine.request import RecommendQuery
    from tanager_server.state.trends import Trends

    Score = Callable[[Sequence[int]], tuple[list[float], list[int]]]
    """Scores and `Source` flags of items."""

_LITTLE_KNOWN = 20
"""Users who took a new item up, from which on it makes its own way."""
_MOST_LOOKED_AT = 1_000


class ExplorationPolicy(NamedTuple):
    """How much is left to chance.

    Attributes:
        share: probability of a place to be opened; 0 for never.
        keep: places of a list that never are, its first.
        candidates: items that come next by score, in the pool.
        new_items: new items in the pool, at most.
    """

    share: float = 0.0
    keep: int = 3
    candidates: int = 30
    new_items: int = 10


OFF = ExplorationPolicy()


class Explorer:
    """Explores.

    Args:
        policy: how much.
        known: numbers of the items.
        trends: how many users took them up.
    """

    def __init__(self, policy: ExplorationPolicy, known: KnownUsers, trends: Trends) -> None:
        self._policy, self._known, self._trends = policy, known, trends

    @property
    def on(self) -> bool:
        """Whether anything is left to chance at all."""
        return self._policy.share > 0.0

    def candidates(self, query: RecommendQuery) -> int:
        """How many items beyond the page are wanted to explore with; 0 where a list is not left to chance.

        It is for users alone, as of nobody else is logged what was shown; and not where categories are limited, which
        a draw does not heed.
        """
        policy, diversity = self._policy, query.diversity
        limited = diversity is not None and diversity.max_per_category > 0
        by_lot = policy.share > 0.0 and query.explores and bool(query.user_id) and not limited
        return policy.candidates if by_lot else 0

    def page(
        self,
        query: RecommendQuery,
        page: Page,
        ranked: Page,
        *,
        items: LiveItems,
        excluded: Collection[int],
        mask: Mask | None,
        score: Score | None,
    ) -> Page:
        """Leaves some places of a page to chance.

        Args:
            query: what it answers.
            page: what would be shown, with or without what comes next behind it.
            ranked: the best by score, of the page and beyond.
            items: what can be recommended.
            excluded: what must not be shown.
            mask: of the items that a filter allows; None for no filter.
            score: scores new items as the page's were; None to do without them.
        """
        size = query.page_size
        shown = page._replace(positions=page.positions[:size], scores=page.scores[:size], sources=page.sources[:size])
        there = set(shown.positions)
        rest = [place for place, position in enumerate(ranked.positions) if position not in there]
        rest = rest[: self._policy.candidates]
        pool = Page(
            [ranked.positions[place] for place in rest],
            [ranked.scores[place] for place in rest],
            [ranked.sources[place] for place in rest],
            ranked.found_at,
        )
        if score is not None and len(shown.positions) == size:
            new = self._new_items(items, {*there, *pool.positions, *excluded}, mask)
            scores, sources = score(new) if new else ([], [])
            pool = Page([*pool.positions, *new], [*pool.scores, *scores], [*pool.sources, *sources], pool.found_at)
        draw = _chance(query)
        return explore(shown, pool, policy=self._policy, before=len(query.shown), draw=draw)

    def _new_items(self, items: LiveItems, known: Collection[int], mask: Mask | None) -> list[int]:
        """Positions of the latest items of those written since the bundle was made that few users took up."""
        found: list[int] = []
        live, allowed = items.live, None if mask is None else mask()
        ids, first = items.generation.catalogue.ids, items.first_written
        for position in range(len(live) - 1, max(len(live) - _MOST_LOOKED_AT, first) - 1, -1):
            if len(found) == self._policy.new_items:
                break
            if not live[position] or position in known or (allowed is not None and not allowed[position]):
                continue
            number = self._known.numbers.find(ids[position])
            if number is None or self._trends.takers(number) < _LITTLE_KNOWN:
                found.append(position)
        return found


def explore(page: Page, pool: Page, *, policy: ExplorationPolicy, before: int, draw: random.Random) -> Page:
    """Fills some places of a page with items of a pool.

    Args:
        page: what would be shown.
        pool: items that are not on it, none twice.
        policy: how much is left to chance.
        before: places on the pages before.
        draw: decides.
    """
    count, available = len(page.positions), len(pool.positions)
    places = range(max(policy.keep - before, count - available, 0), count)
    if not places:
        return page
    opened = [place for place in places if draw.random() < policy.share]
    drawn = draw.sample(range(available), len(opened))
    positions, scores, sources = list(page.positions), list(page.scores), list(page.sources)
    propensities = [1.0] * places.start + [1.0 - policy.share] * len(places)
    for place, chosen in zip(opened, drawn, strict=True):
        positions[place], scores[place] = pool.positions[chosen], pool.scores[chosen]
        sources[place] = pool.sources[chosen] | Source.EXPLORATION.value
        propensities[place] = policy.share * len(places) / available
    return Page(positions, scores, sources, page.found_at, propensities)


def _chance(query: RecommendQuery) -> random.Random:
    """What places and items are drawn by: the same for a call that is made again under its request id."""
    if not query.request_id:
        return random.Random()  # noqa: S311  # nothing to guard
    parts = (query.request_id, query.user_id, str(len(query.shown)))
    seed = hashlib.blake2b("".join(f"{len(part)}:{part}" for part in parts).encode(), digest_size=16)
    return random.Random(seed.digest())  # noqa: S311
