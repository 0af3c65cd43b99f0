"""What calls are answered from, and how another bundle comes in its place or beside it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple, Protocol

from tanager_server.engine.request import NO_VARIANT, Variant
from tanager_server.errors import InvalidRequestError
from tanager_server.live.trials import CONTROL, TrialMode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tanager_server.engine.engine import Engine
    from tanager_server.engine.request import BatchQuery, RankQuery, Recommendation, RecommendQuery
    from tanager_server.live.trials import Trial, VariantCounts

_BATCH_USERS = 256
"""At a time: to choose the arms of ten thousand would hold up other calls."""


class Watcher(Protocol):
    """Keeps something for each engine that it makes answers of."""

    def prepare(self, engine: Engine) -> None:
        """An engine may be served soon; told on another thread than the event loop."""

    def swapped(self, engine: Engine) -> None:
        """From here on this engine is served; the one before still answers calls that began with it."""

    def retired(self, engine: Engine) -> None:
        """An engine that was prepared answers nothing any more, or never did."""


class Arm(NamedTuple):
    """What answers a user.

    Attributes:
        engine: which makes the lists.
        variant: of the trial that the user is part of.
        counted: counts of that variant; None where the user is part of none.
        shadow: the trial that compares the lists with others; None for none.
        served: the engine of the bundle that is served, where this one is of another.
    """

    engine: Engine
    variant: Variant = NO_VARIANT
    counted: VariantCounts | None = None
    shadow: Trial | None = None
    served: Engine | None = None

    async def recommend(self, query: RecommendQuery, *, limit_s: float) -> Recommendation:
        """See `Engine.recommend`.

        Args:
            query: what is asked.
            limit_s: time until the deadline.
        """
        began = time.monotonic()
        try:
            answer = await self.told(self.engine.recommend(query, deadline=self.engine.deadline(limit_s)))
        except InvalidRequestError:
            self._note_filter(query)
            raise
        if self.shadow is not None:
            self.shadow.shadow(query, answer, took_s=time.monotonic() - began, limit_s=limit_s)
        return answer

    async def rank(self, query: RankQuery, *, limit_s: float) -> Recommendation:
        """See `Engine.rank`; the arguments are those of `recommend`."""
        return await self.told(self.engine.rank(query, deadline=self.engine.deadline(limit_s)))

    async def told(self, answering: Awaitable[Recommendation]) -> Recommendation:
        """Counts what becomes of a list, and tells of which variant it is."""
        if self.counted is None:
            return await answering
        return (await self.counted.count(answering))._replace(variant=self.variant)

    def _note_filter(self, query: RecommendQuery) -> None:
        """A request was refused: it counts where the served bundle, which has other attributes, would not have."""
        if self.counted is not None and self.served is not None and self.served.accepts(query):
            self.counted.failed += 1


class Served:
    """One engine, which is all that belongs to one bundle, until another one takes its place between two calls.

    A call takes `engine` when it begins and stays with it. Users and trends are of no bundle: all engines share them.

    Args:
        engine: to begin with.

    Attributes:
        trial: of another bundle, while there is one.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.trial: Trial | None = None
        self._watchers: list[Watcher] = []
        self._calls_end: Callable[[], Awaitable[object]] | None = None

    def arm(self, user_id: str) -> Arm:
        """What answers a user; an empty id is nobody, whom no trial takes."""
        trial = self.trial
        if trial is None:
            return Arm(self.engine)
        if trial.plan.mode is TrialMode.SHADOW:
            return Arm(self.engine, shadow=trial)
        if not user_id or trial.engine.stuck:
            return Arm(self.engine)
        trial_id = trial.plan.trial_id
        if trial.plan.takes(user_id):
            return Arm(trial.engine, Variant(trial.plan.variant, trial_id), trial.candidate, served=self.engine)
        return Arm(self.engine, Variant(CONTROL, trial_id), trial.control)

    async def batch(self, query: BatchQuery, *, limit_s: float) -> AsyncIterator[tuple[str, Recommendation]]:
        """Lists for many users, each by what answers that user; see `Engine.batch`.

        Args:
            query: what is asked.
            limit_s: time until the deadline.
        """
        until = time.monotonic() + limit_s
        for start in range(0, len(query.user_ids), _BATCH_USERS):
            part = query.user_ids[start : start + _BATCH_USERS]
            arms = [self.arm(user_id) for user_id in part]
            users: dict[Engine, list[str]] = {}
            for user_id, arm in zip(part, arms, strict=True):
                users.setdefault(arm.engine, []).append(user_id)
            answers = {
                engine: engine.batch(query._replace(user_ids=of), deadline=engine.deadline(until - time.monotonic()))
                for engine, of in users.items()
            }
            for user_id, arm in zip(part, arms, strict=True):
                yield user_id, await arm.told(anext(answers[arm.engine]))

    def show(self, answer: Recommendation) -> None:
        """A list was logged, to which events can be attributed."""
        if self.trial is not None and (counts := self.trial.counts(answer.variant)) is not None:
            counts.shown += len(answer.page.positions)

    def take_up(self, variant: Variant, weight: float) -> None:
        """An event was attributed to a list of a variant."""
        if weight > 0 and self.trial is not None and (counts := self.trial.counts(variant)) is not None:
            counts.events += 1
            counts.weight += weight

    @property
    def engines(self) -> list[Engine]:
        """All that answer."""
        return [self.engine] if self.trial is None else [self.engine, self.trial.engine]

    def watch(self, watcher: Watcher) -> None:
        """Has a watcher told of every engine after the present one."""
        self._watchers.append(watcher)

    def end_calls_by(self, calls_end: Callable[[], Awaitable[object]]) -> None:
        """Names what gives an end of all calls that are in flight when it is called."""
        self._calls_end = calls_end

    def prepare(self, engine: Engine) -> None:
        """Does what takes time before an engine can be served; not on the event loop."""
        for watcher in self._watchers:
            watcher.prepare(engine)

    def swap(self, engine: Engine) -> Engine:
        """Serves an engine that was prepared. If it is the one of a trial, the trial has ended.

        Returns:
            The one before: to be given to `retire`.
        """
        before, self.engine = self.engine, engine
        if self.trial is not None and self.trial.engine is engine:
            self.trial = None
        for watcher in self._watchers:
            watcher.swapped(engine)
        return before

    def calls_end(self) -> Awaitable[object] | None:
        """The end of all calls that are in flight now; to be taken when an engine is served no more, for `retire`."""
        return None if self._calls_end is None else self._calls_end()

    async def retire(self, engine: Engine, calls_end: Awaitable[object] | None) -> None:
        """Waits until no call stays with an engine that is not served any more, and gives back what it holds."""
        if calls_end is not None:
            await calls_end
        await self.discard(engine)

    async def discard(self, engine: Engine) -> None:
        """The same for one that never was served."""
        for watcher in self._watchers:
            watcher.retired(engine)
        await engine.close()

    async def close(self) -> None:
        """Gives back what all engines hold; nothing is answered any more."""
        if self.trial is not None:
            await self.trial.end()
        for engine in self.engines:
            await engine.close()
