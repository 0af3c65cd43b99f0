"""What the engine is asked and what it answers, as plain values."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from datetime import datetime  # noqa: TC003  # dataclass fields are documented by it


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


@dataclass(frozen=True, slots=True)
class Event:
    """Something the user did: `weight` is finite, negative for dislike."""

    item_id: str
    weight: float = 1.0
    time: datetime | None = None


@dataclass(frozen=True, slots=True)
class RecommendQuery:
    """A valid request for recommendations.

    Attributes:
        page_size: how many items.
        text: the wish, empty for none.
        events: the history; ordered by time if every event has one, else as given, oldest first.
        exclude: items not to return.
        include_seen: whether items of the history may be returned.
    """

    page_size: int
    text: str = ""
    events: tuple[Event, ...] = ()
    exclude: tuple[str, ...] = ()
    include_seen: bool = False


@dataclass(frozen=True, slots=True)
class SimilarQuery:
    """A valid request for items like `item_id`."""

    item_id: str
    page_size: int
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ScoredItem:
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


@dataclass(frozen=True, slots=True)
class Recommendation:
    """A ranked list and how it came about."""

    items: tuple[ScoredItem, ...]
    strategy: Strategy
    shortfall: Shortfall
    bundle_id: str
    unknown_items: int = 0
    timing: Timing = field(default_factory=Timing)
