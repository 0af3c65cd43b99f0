"""Another bundle tried beside the one that is served: for a share of the users, or unseen by all of them."""

from __future__ import annotations

import asyncio
import enum
import hashlib
import logging
import random
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from tanager_server.engine.request import Shortfall, Variant
from tanager_server.errors import InvalidRequestError, ServerError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping

    from tanager_server.engine.engine import Engine
    from tanager_server.engine.request import Recommendation, RecommendQuery

_log = logging.getLogger(__name__)

CONTROL = "control"
"""Variant of those who are answered from the bundle that is served, while others are not."""

_HASH_BYTES = 8
_ID_BYTES = 6
_MOST_AT_A_TIME = 8
"""Shadowed calls; of more, the other bundle's answers are not looked at, so that they cost calls no more than that."""
_BUNDLE, _VARIANT, _MODE, _SHARE, _ID = "trial_bundle", "trial_variant", "trial_mode", "trial_share", "trial_id"


class TrialMode(enum.Enum):
    """Who sees what the other bundle answers."""

    SPLIT = enum.auto()
    """A share of the users, always the same ones."""
    SHADOW = enum.auto()
    """Nobody: it is compared with what they were given."""


class TrialPlan(NamedTuple):
    """What is tried, and on whom.

    Attributes:
        bundle: name of its directory.
        variant: what those users' answers are told to be of.
        mode: whether they see them.
        share: of the users, 0 to 1. Whoever belongs to a share belongs to every larger one of the same variant.
        trial_id: of this trial and no other.
    """

    bundle: str
    variant: str
    mode: TrialMode
    share: float
    trial_id: str

    @classmethod
    def new(cls, bundle: str, *, variant: str, mode: TrialMode, share: float) -> TrialPlan:
        """One that has not been before."""
        return cls(bundle, variant, mode, share, secrets.token_hex(_ID_BYTES))

    @classmethod
    def of_meta(cls, meta: Mapping[str, str]) -> TrialPlan | None:
        """As a state has it; None if nothing was tried."""
        if _BUNDLE not in meta:
            return None
        return cls(meta[_BUNDLE], meta[_VARIANT], TrialMode[meta[_MODE]], float(meta[_SHARE]), meta[_ID])

    def renewed(self) -> TrialPlan:
        """The same, to be counted anew."""
        return self._replace(trial_id=secrets.token_hex(_ID_BYTES))

    def meta(self) -> dict[str, str | None]:
        """For a state to keep."""
        return {
            _BUNDLE: self.bundle,
            _VARIANT: self.variant,
            _MODE: self.mode.name,
            _SHARE: repr(self.share),
            _ID: self.trial_id,
        }

    def takes(self, user_id: str) -> bool:
        """Whether a user belongs to the share."""
        key = hashlib.blake2b(f"{self.variant}\0{user_id}".encode(), digest_size=_HASH_BYTES).digest()
        return int.from_bytes(key) / 2.0 ** (8 * _HASH_BYTES) < self.share


NO_TRIAL: dict[str, str | None] = dict.fromkeys((_BUNDLE, _VARIANT, _MODE, _SHARE, _ID))
"""For a state to keep when nothing is tried."""


@dataclass(slots=True)
class VariantCounts:
    """What came of one variant's answers.

    Attributes:
        answers: lists that were made.
        failed: lists that could not be, in the time that their callers had, but for what these did wrong.
        degraded: of the lists, those without what they were asked for in words.
        short: of the lists, those with fewer items than asked for.
        seconds: that all lists took together.
        shown: items of the lists that events can be attributed to.
        events: that were attributed to them, with a positive weight.
        weight: of those events together.
    """

    answers: int = 0
    failed: int = 0
    degraded: int = 0
    short: int = 0
    seconds: float = 0.0
    shown: int = 0
    events: int = 0
    weight: float = 0.0

    def answered(self, answer: Recommendation, took_s: float) -> None:
        """A list was made."""
        self.answers += 1
        self.degraded += answer.degraded
        self.short += answer.shortfall is not Shortfall.NONE
        self.seconds += took_s

    async def count(self, answering: Awaitable[Recommendation]) -> Recommendation:
        """Counts what becomes of a list."""
        began = time.monotonic()
        try:
            answer = await answering
        except InvalidRequestError:
            raise
        except BaseException:  # also where the caller's time was over
            self.failed += 1
            raise
        self.answered(answer, time.monotonic() - began)
        return answer


@dataclass(slots=True)
class Comparison:
    """What a shadow's lists were like.

    Attributes:
        compared: pairs of lists.
        skipped: lists whose pair was not made, as too many were under way.
        overlap: share of each list's items that its pair has too, all added up.
    """

    compared: int = 0
    skipped: int = 0
    overlap: float = 0.0


@dataclass(slots=True, eq=False)
class Trial:
    """A trial under way, and what came of it since it began or the server was started.

    Attributes:
        plan: what is tried; share and mode may change.
        engine: of the bundle that is tried.
        began_ns: since when there are counts.
        control: of the bundle that is served: answers to users of whom the trial could have taken some; in a shadow,
            those that have a pair.
        candidate: of the bundle that is tried.
        comparison: in a shadow.
    """

    plan: TrialPlan
    engine: Engine
    began_ns: int = field(default_factory=time.time_ns)
    control: VariantCounts = field(default_factory=VariantCounts)
    candidate: VariantCounts = field(default_factory=VariantCounts)
    comparison: Comparison = field(default_factory=Comparison)
    _pairs: set[asyncio.Task[None]] = field(default_factory=set)

    def counts(self, variant: Variant) -> VariantCounts | None:
        """Those of a variant; None if it is none of this trial."""
        if variant.trial_id != self.plan.trial_id:
            return None
        return self.control if variant.name == CONTROL else self.candidate

    def shadow(self, query: RecommendQuery, answer: Recommendation, *, took_s: float, limit_s: float) -> None:
        """Has the other bundle answer what was answered, later and for the comparison alone.

        Args:
            query: what was asked.
            answer: what was answered.
            took_s: the time that it took.
            limit_s: time that the other one has.
        """
        # The pages before a later one were the other bundle's: it would begin with what they had.
        if self.plan.mode is not TrialMode.SHADOW or query.shown or not self._shadows(query.user_id):
            return
        if len(self._pairs) >= _MOST_AT_A_TIME:
            self.comparison.skipped += 1
            return
        pair = asyncio.create_task(self._pair(query, answer, took_s, limit_s), name="shadow")
        self._pairs.add(pair)
        pair.add_done_callback(self._pairs.discard)

    def _shadows(self, user_id: str) -> bool:
        return self.plan.takes(user_id) if user_id else random.random() < self.plan.share  # noqa: S311  # no secret

    async def _pair(self, query: RecommendQuery, answer: Recommendation, took_s: float, limit_s: float) -> None:
        self.control.answered(answer, took_s)
        query = query._replace(explores=False)
        try:
            other = await self.candidate.count(self.engine.recommend(query, deadline=self.engine.deadline(limit_s)))
        except InvalidRequestError:  # of a filter: the other catalogue has not that attribute
            self.candidate.failed += 1
            return
        except ServerError as error:
            _log.debug("the shadow has no answer: %s", error)
            return
        except Exception:
            _log.exception("the shadow has no answer")
            return
        ids, others = answer.generation.catalogue.ids, other.generation.catalogue.ids
        given = {ids[position] for position in answer.page.positions}
        same = sum(others[position] in given for position in other.page.positions)
        most = max(len(given), len(other.page.positions))
        self.comparison.compared += 1
        self.comparison.overlap += same / most if most else 1.0

    async def end(self) -> None:
        """Waits for the pairs under way."""
        await asyncio.gather(*self._pairs, return_exceptions=True)
