"""What the clients answer with: immutable, typed, free of protobuf."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tanager._rows import Rows

if TYPE_CHECKING:
    from tanager._enums import ReasonKind, Shortfall, Source, Strategy


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """A term of the sum that is a score.

    Attributes:
        kind: What it comes from.
        item_id: The item of the history; empty for other kinds.
        title: Its title; empty if the catalogue has none.
        attribute: The attribute as the bundle names it, for example "age=25-34"; empty for other kinds.
        contribution: What it adds to the score.
    """

    kind: ReasonKind
    item_id: str
    title: str
    attribute: str
    contribution: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One recommended item.

    Attributes:
        item_id: Id of the item.
        title: Its title; empty if the catalogue has none.
        domain: Its domain, for example "film"; empty if the catalogue has none.
        rank: Its place in the list, from 1.
        score: What the list is ordered by, higher is better. Comparable within one list only.
        sources: The ways by which it became a candidate.
        reasons: The largest terms of the score, largest first; empty unless asked for.
        other_contribution: The sum of the other terms: the score is this and what the reasons contribute. 0 unless
            asked for.
        propensity: Probability with which the item had this place or another one of the page: 1 unless the server
            explores.
    """

    item_id: str
    title: str
    domain: str
    rank: int
    score: float
    sources: tuple[Source, ...]
    reasons: tuple[Reason, ...] = ()
    other_contribution: float = 0.0
    propensity: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Where the server's time for a call went, in microseconds.

    Attributes:
        queue_us: From submission of the texts until their batch began.
        tokenize_us: Turning texts into tokens.
        encode_us: The encoder's run over the batch that held the texts.
        search_us: Finding candidates.
        rank_us: Scoring, ordering and filling the results.
        batch_size: Texts in that batch, other callers' texts included; 0 if nothing was encoded.
    """

    queue_us: int
    tokenize_us: int
    encode_us: int
    search_us: int
    rank_us: int
    batch_size: int

    @property
    def total_us(self) -> int:
        """The stages together, in microseconds."""
        return self.queue_us + self.tokenize_us + self.encode_us + self.search_us + self.rank_us


@dataclass(frozen=True, slots=True, kw_only=True)
class _Served:
    """What every answer tells of what answered."""

    bundle_id: str
    request_id: str
    generation: int = 0
    degraded: bool = False
    variant: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _ResultList(_Served, Rows[Result]):
    """What the kinds of ranked lists have in common."""

    results: tuple[Result, ...]
    strategy: Strategy

    def _rows(self) -> tuple[Result, ...]:
        return self.results


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendations(_ResultList):
    """The items recommended to a user, best first: a sequence of `Result`.

    Attributes:
        results: The results themselves.
        strategy: How the list came about.
        shortfall: Why there are fewer than asked for, if there are.
        unknown_item_count: Events and examples whose item the catalogue does not have.
        unknown_attribute_count: Values of the profile that say nothing: not known to the bundle, and no text.
        next_page_token: What `recommend` takes as `page_token` for the next page; empty if there is none.
        attribution_token: What to send with the events that come of this list; empty without a `user_id`, and from a
            server that keeps no state.
        bundle_id: The bundle that answered: the sha256 over its contents.
        generation: The catalogue as it was indexed; rises with each compaction and each activation.
        degraded: Whether something was left out because there was no time or no room for it.
        variant: While a trial splits the users: "control", or the variant that this one is answered from.
        timing: Where the server's time went.
        request_id: What to look for in the server's logs.
    """

    shortfall: Shortfall
    unknown_item_count: int
    unknown_attribute_count: int
    timing: Timing
    next_page_token: str = ""
    attribution_token: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimilarItems(_ResultList):
    """The items like a given item, most like first: a sequence of `Result`.

    Has the attributes of `Recommendations` but the two counts and the two tokens.
    """

    shortfall: Shortfall
    timing: Timing


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking(_ResultList):
    """Given items, best first for a user: a sequence of `Result`.

    Has the attributes of `Recommendations` but the shortfall, the count of attributes and the two tokens.
    `unknown_item_count` counts items and events.
    """

    unknown_item_count: int
    timing: Timing


@dataclass(frozen=True, slots=True, kw_only=True)
class TrendingItems(_ResultList):
    """What users take up lately, most first: a sequence of `Result`.

    Has the attributes of `Recommendations` but the counts, the tokens and the timing. A score is the number of users
    who took the item up, each by the weight and the age of the last time.
    """

    shortfall: Shortfall


@dataclass(frozen=True, slots=True, kw_only=True)
class UserRecommendations(Rows[Result]):
    """One user's part of a `BatchRecommendations`: a sequence of `Result`.

    Attributes:
        user_id: Id of the user.
        results: The results themselves, best first.
        strategy: How the list came about.
        shortfall: Why there are fewer than asked for, if there are.
        variant: As in `Recommendations`.
    """

    user_id: str
    results: tuple[Result, ...]
    strategy: Strategy
    shortfall: Shortfall
    variant: str = ""

    def _rows(self) -> tuple[Result, ...]:
        return self.results


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRecommendations(_Served, Rows[UserRecommendations]):
    """The items recommended to many users, in the order of the users: a sequence of `UserRecommendations`.

    Has the attributes of `Recommendations` that tell what answered, and:

    Attributes:
        users: One list for each user.
    """

    users: tuple[UserRecommendations, ...]

    def _rows(self) -> tuple[UserRecommendations, ...]:
        return self.users


@dataclass(frozen=True, slots=True, kw_only=True)
class AudienceMember:
    """A user who is likely to want an item.

    Attributes:
        user_id: Id of the user.
        rank: The user's place in the list, from 1.
        score: What the item scores for the user.
        reasons: The largest terms of the score, largest first; empty unless asked for.
    """

    user_id: str
    rank: int
    score: float
    reasons: tuple[Reason, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Audience(_Served, Rows[AudienceMember]):
    """The users who are most likely to want an item, best first: a sequence of `AudienceMember`.

    Has the attributes of `Recommendations` that tell what answered, and:

    Attributes:
        members: The users themselves.
        candidate_count: Number of users who came into question.
    """

    members: tuple[AudienceMember, ...]
    candidate_count: int

    def _rows(self) -> tuple[AudienceMember, ...]:
        return self.members
