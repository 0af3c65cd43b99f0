"""What the engine is asked and what it answers, as plain values.

What is made for every request is a named tuple: a frozen dataclass takes three times as long to make.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence


class Strategy(enum.Enum):
    """How a list came about."""

    PERSONAL = enum.auto()
    WISH = enum.auto()
    COLD_START = enum.auto()
    SIMILAR = enum.auto()


class Shortfall(enum.Enum):
    """Why a list is shorter than asked for."""

    NONE = enum.auto()
    FILTER = enum.auto()
    CATALOGUE = enum.auto()


class Source(enum.IntFlag):
    """Ways by which an item became a candidate."""

    WISH = enum.auto()
    TEXT = enum.auto()
    COLLABORATIVE = enum.auto()
    POPULAR = enum.auto()


class Events(NamedTuple):
    """What the user did, column by column: ten thousand events are no more objects than ten.

    Attributes:
        item_ids: the item of each event.
        weights: of each event; finite, negative for dislike.
        times_ns: nanoseconds since the epoch, by which the events are ordered; None where an event has no time, and
            the order given counts, oldest first.
    """

    item_ids: Sequence[str] = ()
    weights: Sequence[float] = ()
    times_ns: Sequence[int] | None = None


NO_EVENTS = Events()


class RecommendQuery(NamedTuple):
    """A valid request for recommendations.

    Attributes:
        page_size: how many items.
        text: the wish, empty for none.
        events: the history.
        exclude: items not to return.
        include_seen: whether items of the history may be returned.
    """

    page_size: int
    text: str = ""
    events: Events = NO_EVENTS
    exclude: Sequence[str] = ()
    include_seen: bool = False


class SimilarQuery(NamedTuple):
    """A valid request for items like `item_id`."""

    item_id: str
    page_size: int
    exclude: Sequence[str] = ()


class ScoredItem(NamedTuple):
    """One result."""

    item_id: str
    title: str
    domain: str
    score: float
    sources: Source


@dataclass(slots=True)
class Timing:
    """Where the time went, in seconds; `batch_size` is 0 when nothing was encoded."""

    tokenize_s: float = 0.0
    queue_s: float = 0.0
    encode_s: float = 0.0
    search_s: float = 0.0
    rank_s: float = 0.0
    batch_size: int = 0


class Recommendation(NamedTuple):
    """A ranked list and how it came about."""

    items: Sequence[ScoredItem]
    strategy: Strategy
    shortfall: Shortfall
    bundle_id: str
    unknown_items: int
    timing: Timing
