"""Who takes part in a trial, and what is counted of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tanager_server.engine import Page, Recommendation, RecommendQuery, Shortfall, Strategy, Timing, Variant
from tanager_server.errors import FieldViolation, InvalidRequestError, OverloadedError
from tanager_server.live import CONTROL, NO_TRIAL, Served, Trial, TrialMode, TrialPlan

if TYPE_CHECKING:
    from collections.abc import Sequence

USERS = [f"user-{number}" for number in range(4_000)]
QUERY = RecommendQuery(page_size=4, user_id="user-1")


def plan(share=0.3, variant="second", mode=TrialMode.SPLIT):
    return TrialPlan.new("second", variant=variant, mode=mode, share=share)


def taken(of):
    return {user_id for user_id in USERS if of.takes(user_id)}


class Engine:
    """Answers with given items, or fails."""

    def __init__(self, ids: Sequence[str], error: Exception | None = None, *, stuck: bool = False) -> None:
        self.ids, self.error, self.stuck = ids, error, stuck
        self.asked: list[RecommendQuery] = []
        self.released = asyncio.Event()
        self.released.set()

    def accepts(self, query):
        return not isinstance(self.error, InvalidRequestError)

    def deadline(self, remaining_s):
        return remaining_s

    async def recommend(self, query, *, deadline):
        self.asked.append(query)
        await self.released.wait()
        if self.error is not None:
            raise self.error
        return answer(self.ids)


def answer(ids):
    class Generation:
        class catalogue:  # noqa: N801  # an attribute of that name
            pass

    generation: Any = Generation()
    generation.catalogue.ids = ids
    page = Page(range(len(ids)), [1.0] * len(ids), [0] * len(ids), 0.0)
    return Recommendation(generation, page, Strategy.PERSONAL, Shortfall.NONE, 0, Timing())


def begin(engine: Any, **more):
    return Trial(plan(**more), engine)


def test_a_share_of_the_users_takes_part_and_larger_shares_have_them_too():
    for share in (0.01, 0.3, 0.9):
        found = len(taken(plan(share))) / len(USERS)
        assert abs(found - share) < 5 * np.sqrt(share * (1 - share) / len(USERS))
    assert taken(plan(0.1)) < taken(plan(0.2)) < taken(plan(1.0)) == set(USERS)
    assert taken(plan(0.3)) == taken(plan(0.3))


def test_trials_of_other_variants_take_other_users():
    first, second = taken(plan(0.3)), taken(plan(0.3, "third"))
    assert abs(len(first & second) / len(USERS) - 0.09) < 5 * np.sqrt(0.09 * 0.91 / len(USERS))


def test_a_state_keeps_a_trial_and_forgets_it():
    kept = plan(1 / 3, "a variant", TrialMode.SHADOW)
    meta = {name: value for name, value in kept.meta().items() if value is not None}
    assert TrialPlan.of_meta(meta) == kept
    assert TrialPlan.of_meta({}) is None
    assert kept.meta().keys() == NO_TRIAL.keys()


async def test_a_split_counts_whom_it_could_have_taken():
    control: Any = Engine(["a", "b"])
    candidate: Any = Engine(["c"], OverloadedError("full", retry_after_s=1.0))
    served = Served(control)
    served.trial = trial = begin(candidate)
    inside, outside = min(taken(trial.plan)), min(set(USERS) - taken(trial.plan))
    got = await served.arm(outside).recommend(QUERY, limit_s=1.0)
    assert got.variant == Variant(CONTROL, trial.plan.trial_id)
    served.show(got)
    served.take_up(got.variant, 2.0)
    served.take_up(got.variant, -1.0)
    with pytest.raises(OverloadedError):
        await served.arm(inside).recommend(QUERY, limit_s=1.0)
    # A request that is wrong for all is nobody's failure; one that the served bundle understands is the other one's.
    control.error = candidate.error = InvalidRequestError(FieldViolation("filter", "no"))
    with pytest.raises(InvalidRequestError):
        await served.arm(inside).recommend(QUERY, limit_s=1.0)
    assert trial.candidate.failed == 1
    control.error = None
    with pytest.raises(InvalidRequestError):
        await served.arm(inside).recommend(QUERY, limit_s=1.0)
    assert (await served.arm("").recommend(QUERY, limit_s=1.0)).variant.name == ""
    assert (trial.control.answers, trial.control.failed, trial.candidate.answers) == (1, 0, 0)
    assert trial.candidate.failed == 2
    # So is a list that its caller has no time to wait for.
    candidate.error = None
    candidate.released.clear()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001):
            await served.arm(inside).recommend(QUERY, limit_s=1.0)
    assert (trial.candidate.answers, trial.candidate.failed) == (0, 3)
    assert (trial.control.shown, trial.control.events, trial.control.weight) == (2, 1, 2.0)
    # Events of lists of another trial are none of this one.
    served.take_up(Variant(CONTROL, "before"), 1.0)
    assert trial.control.events == 1


async def test_while_what_is_tried_is_stuck_all_are_answered():
    control: Any = Engine(["a"])
    candidate: Any = Engine(["b"], stuck=True)
    served = Served(control)
    served.trial = begin(candidate, share=1.0)
    assert (await served.arm("user-1").recommend(QUERY, limit_s=1.0)).variant.name == ""
    assert candidate.asked == []


async def test_a_shadow_is_asked_the_same_and_its_lists_are_compared():
    control: Any = Engine(["a", "b", "c", "d"])
    candidate: Any = Engine(["d", "x", "a"])
    served = Served(control)
    served.trial = trial = begin(candidate, share=1.0, mode=TrialMode.SHADOW)
    got = await served.arm("user-1").recommend(QUERY, limit_s=1.0)
    assert got.variant.name == ""
    await trial.end()
    assert candidate.asked == [QUERY._replace(explores=False)]
    assert (trial.comparison.compared, trial.comparison.overlap) == (1, 0.5)
    assert (trial.control.answers, trial.candidate.answers) == (1, 1)
    # A later page would begin with what the other one had.
    await served.arm("user-1").recommend(QUERY._replace(shown=[1]), limit_s=1.0)
    await trial.end()
    assert len(candidate.asked) == 1


async def test_a_shadow_that_fails_or_lags_harms_nobody():
    control: Any = Engine(["a"])
    candidate: Any = Engine(["a"])
    served = Served(control)
    served.trial = trial = begin(candidate, share=1.0, mode=TrialMode.SHADOW)
    candidate.released.clear()
    for _ in range(20):
        await served.arm("").recommend(QUERY._replace(user_id=""), limit_s=1.0)
    assert trial.comparison.skipped == 12
    candidate.error = RuntimeError("broken")
    candidate.released.set()
    await trial.end()
    assert (trial.candidate.failed, trial.comparison.compared) == (8, 0)
