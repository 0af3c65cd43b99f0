"""Lists of what users take up lately."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tanager_server.engine.request import Page, Source

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

    from tanager_server.engine.known import KnownUsers
    from tanager_server.engine.popular import PopularItems
    from tanager_server.index import View
    from tanager_server.state.trends import Trends


class TakenUp(NamedTuple):
    """Items that users took up lately, most of all first.

    Attributes:
        positions: (items,) int32.
        counts: (items,) float32, more than 0.
    """

    positions: NDArray[np.int32]
    counts: NDArray[np.float32]


def taken_up(
    trends: Trends, known: KnownUsers, allowed: NDArray[np.bool_], *, half_life_h: float | None = None
) -> TakenUp:
    """What of some items was taken up lately.

    Args:
        trends: the counts.
        known: where the counted items are.
        allowed: (positions,) bool.
        half_life_h: one of those that are counted; None for the first.
    """
    numbers, counts = trends.scores(time.time_ns(), half_life_h or trends.half_lives_h[0])
    positions = known.positions[numbers]
    kept = (positions >= 0) & (counts > 0)
    kept[kept] = allowed[positions[kept]]
    positions, counts = positions[kept], counts[kept]
    order = np.lexsort((positions, -counts))
    return TakenUp(positions[order], counts[order])


def trending_page(
    taken: TakenUp, *, page_size: int, excluded: Collection[int], popular: PopularItems, view: View
) -> Page:
    """What was taken up lately; behind it, with the score 0, what is popular otherwise."""
    found_at = time.monotonic()
    positions, scores = taken.positions[:page_size].tolist(), taken.counts[:page_size].tolist()
    sources = [Source.TRENDING.value] * len(positions)
    if (missing := page_size - len(positions)) > 0:
        rest = popular.page(page_size=missing, excluded={*excluded, *positions}, view=view)
        positions += rest.positions
        scores += [0.0] * len(rest.positions)
        sources += rest.sources
    return Page(positions, scores, sources, found_at)
