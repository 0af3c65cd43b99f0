"""What the engine is asked and what it answers, as plain values.

What is made for every request is a named tuple: a frozen dataclass takes three times as long to make.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from tanager_server.bundle import ProfileValue
    from tanager_server.index import Generation


class Strategy(enum.Enum):
    """How a list came about."""

    PERSONAL = enum.auto()
    WISH = enum.auto()
    COLD_START = enum.auto()
    SIMILAR = enum.auto()
    PROFILE = enum.auto()
    TRENDING = enum.auto()
    RANK = enum.auto()


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
    TRANSITION = enum.auto()
    PROFILE = enum.auto()
    SEQUENCE = enum.auto()
    TRENDING = enum.auto()
    GIVEN = enum.auto()
    EXPLORATION = enum.auto()


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


class Diversity(NamedTuple):
    """How to choose a page that is not more of the same.

    Attributes:
        mmr_lambda: what relevance counts for beside difference, 0 to 1; None takes the best by score.
        max_per_category: items of one category at most, 0 for any number.
        interests: how many interests of the history to serve at most, 0 for one and all.
    """

    mmr_lambda: float | None = None
    max_per_category: int = 0
    interests: int = 0


class RecommendQuery(NamedTuple):
    """A valid request for recommendations.

    Attributes:
        page_size: how many items.
        text: the wish, empty for none.
        events: the history.
        exclude: items not to return.
        include_seen: whether items of the history may be returned.
        profile: attributes of the user, by name.
        context: where the user is, in words, by name.
        reasons: how many reasons to tell of each result at most.
        diversity: how to choose among the best; None takes the best.
        user_id: who the user is, if the server may know; empty for nobody.
        examples: what is wanted, and what is not, beside what was seen.
        source_domains: domains of the events that count; none for all.
        target_domains: domains of the items that may be returned; none for all.
        filter: which items may be returned, in the filter language; empty for all.
        shown: items of the pages before.
        request_id: of the call, if its caller gave it one: what is left to chance is the same if it comes again.
        explores: whether anything may be left to chance.
    """

    page_size: int
    text: str = ""
    events: Events = NO_EVENTS
    exclude: Sequence[str] = ()
    include_seen: bool = False
    profile: Mapping[str, ProfileValue] = MappingProxyType({})
    context: Mapping[str, str] = MappingProxyType({})
    reasons: int = 0
    diversity: Diversity | None = None
    user_id: str = ""
    examples: Events = NO_EVENTS
    source_domains: Collection[str] = frozenset()
    target_domains: Collection[str] = frozenset()
    filter: str = ""
    shown: Sequence[int] = ()
    request_id: str = ""
    explores: bool = True


class RankQuery(NamedTuple):
    """A valid request for an order of given items, for whom `subject` tells of."""

    item_ids: Sequence[str]
    subject: RecommendQuery


class BatchQuery(NamedTuple):
    """A valid request for recommendations for many users, each as `query` says."""

    user_ids: Sequence[str]
    query: RecommendQuery


class TrendingQuery(NamedTuple):
    """A valid request for what users take up lately.

    Attributes:
        page_size: how many items.
        half_life_h: of an event, in hours; None for the first that is counted.
        filter: as in `RecommendQuery`.
        target_domains: as in `RecommendQuery`.
        exclude: items not to return.
    """

    page_size: int
    half_life_h: float | None = None
    filter: str = ""
    target_domains: Collection[str] = frozenset()
    exclude: Sequence[str] = ()


class SimilarQuery(NamedTuple):
    """A valid request for items like `item_id`."""

    item_id: str
    page_size: int
    exclude: Sequence[str] = ()


class Page(NamedTuple):
    """Ranked items, column by column, best first.

    Attributes:
        positions: of the items in the catalogue.
        scores: of the items.
        sources: `Source` flags, as numbers.
        found_at: when the candidates had been found, on the monotonic clock.
        propensities: probability of each item to be on the page; none where nothing was left to chance.
    """

    positions: Sequence[int]
    scores: Sequence[float]
    sources: Sequence[int]
    found_at: float
    propensities: Sequence[float] = ()


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


class ReasonKind(enum.Enum):
    """What a term comes from."""

    COLLABORATIVE = enum.auto()
    TRANSITION = enum.auto()
    TEXT = enum.auto()
    SEQUENCE = enum.auto()
    WISH = enum.auto()
    PROFILE = enum.auto()
    PROFILE_TEXT = enum.auto()
    CONTEXT = enum.auto()
    POPULARITY = enum.auto()


class Reason(NamedTuple):
    """A term of a score.

    Attributes:
        kind: what it comes from.
        position: the item of the history, -1 where it is none.
        attribute: name of the attribute, empty where it is none.
        contribution: what it adds to the score.
    """

    kind: ReasonKind
    position: int
    attribute: str
    contribution: float


class Explanation(NamedTuple):
    """A score taken apart.

    Attributes:
        reasons: the largest positive terms, largest first.
        other: the sum of all other terms.
    """

    reasons: list[Reason]
    other: float


class Variant(NamedTuple):
    """Which bundle a trial has a user answered from.

    Attributes:
        name: of the variant.
        trial_id: of the trial.
    """

    name: str
    trial_id: str


NO_VARIANT = Variant("", "")


class Recommendation(NamedTuple):
    """A ranked list and how it came about.

    Attributes:
        generation: what was recommended from, and what the positions mean.
        page: the list.
        strategy: how it came about.
        shortfall: why it is shorter than asked for.
        unknown_items: events whose item the catalogue does not have.
        timing: where the time went.
        unknown_attributes: values of the profile that say nothing.
        explanations: one for each item of the list, or none at all.
        degraded: whether what was asked for in words was left out, as there was no time or no room for it.
        variant: of the trial that the user is part of.
    """

    generation: Generation
    page: Page
    strategy: Strategy
    shortfall: Shortfall
    unknown_items: int
    timing: Timing
    unknown_attributes: int = 0
    explanations: Sequence[Explanation] = ()
    degraded: bool = False
    variant: Variant = NO_VARIANT

    @property
    def items(self) -> list[ScoredItem]:
        """The list, one by one."""
        catalogue = self.generation.catalogue
        return [
            ScoredItem(catalogue.ids[item], catalogue.titles[item], catalogue.domains[item], score, Source(sources))
            for item, score, sources in zip(self.page.positions, self.page.scores, self.page.sources, strict=True)
        ]
