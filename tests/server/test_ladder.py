"""Lists for which what was asked for in words could not be read: what takes its place, and what stays an error."""

from __future__ import annotations

import asyncio
import time

import pytest

from tanager_server.engine import Events, RankQuery, RecommendQuery, Source, Strategy, TrendingQuery
from tanager_server.errors import (
    DeadlineExpiredError,
    EncodeError,
    EncoderStuckError,
    HungTextError,
    OverloadedError,
)

NO_TIME = DeadlineExpiredError("late")
NO_ROOM = [
    OverloadedError("full", retry_after_s=1),
    EncoderStuckError("stuck"),
    HungTextError("hung"),
    EncodeError("no vector"),
]
HISTORY = Events(["item-1", "item-4"], [1.0, 1.0])


@pytest.fixture(scope="module")
def generation(make_generation):
    return make_generation(60)


@pytest.fixture
def engine(generation, make_engine):
    """Its only wish, `near-7`, has the vector of item 7."""
    return make_engine(generation, **{"near-7": generation.vectors[7]})[0]


@pytest.fixture
def failing(engine, monkeypatch):
    """The same, whose encoder raises what it is given."""

    def having(error):
        async def fail(*_, **__):
            raise error

        monkeypatch.setattr(engine._texts, "encode_wish", fail)
        monkeypatch.setattr(engine._texts, "encode_texts", fail)
        return engine

    return having


def take_up(engine, *numbers):
    """One user more for each item than for the next."""
    now = time.time_ns()
    for place, number in enumerate(numbers):
        for user in range(len(numbers) - place):
            item = engine.known.numbers.number(f"item-{number}")
            engine.known.users.add_event(f"user-{user}", item, "click", 1.0, now)
            engine.trends.add(item, 1.0, now, None)


def ids(answer):
    return [item.item_id for item in answer.items]


@pytest.mark.parametrize("error", [NO_TIME, *NO_ROOM], ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(
    ("known", "strategy"),
    [
        ({"events": HISTORY}, Strategy.PERSONAL),
        ({"profile": {"color": "red"}}, Strategy.PROFILE),
        ({"examples": HISTORY}, Strategy.PERSONAL),
    ],
)
async def test_a_user_is_answered_by_all_but_the_words(failing, error, known, strategy):
    engine = failing(error)
    answer = await engine.recommend(RecommendQuery(5, text="near-7", reasons=3, **known), deadline=0)
    plain = await engine.recommend(RecommendQuery(5, reasons=3, **known), deadline=0)
    assert answer.page.positions == plain.page.positions
    assert answer.explanations == plain.explanations
    assert (answer.strategy, answer.degraded, plain.degraded) == (strategy, True, False)


async def test_a_user_that_the_server_knows_is_answered_by_what_it_knows(failing):
    engine = failing(NO_ROOM[0])
    take_up(engine, 3, 9)
    answer = await engine.recommend(RecommendQuery(5, text="near-7", user_id="user-0"), deadline=0)
    plain = await engine.recommend(RecommendQuery(5, user_id="user-0"), deadline=0)
    assert (ids(answer), answer.strategy, answer.degraded) == (ids(plain), Strategy.PERSONAL, True)


@pytest.mark.parametrize("error", NO_ROOM, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("query", [{}, {"user_id": "nobody knows"}, {"profile": {"unheard": "of"}}])
async def test_a_wish_alone_for_which_there_is_no_room_is_refused(failing, error, query):
    engine = failing(error)
    take_up(engine, 3)
    with pytest.raises(type(error)):
        await engine.recommend(RecommendQuery(5, text="near-7", **query), deadline=0)


async def test_what_the_encoder_fails_at_is_an_error_where_it_is_all_that_is_asked(failing):
    with pytest.raises(EncodeError):
        await failing(EncodeError("no vector")).recommend(RecommendQuery(5, text="near-7"), deadline=0)


async def test_a_wish_alone_for_which_there_is_no_time_becomes_what_is_trending(failing):
    engine = failing(NO_TIME)
    take_up(engine, 9, 3, 30)
    answer = await engine.recommend(RecommendQuery(5, text="near-7", exclude=["item-3"], reasons=2), deadline=0)
    popular = ids(await engine.recommend(RecommendQuery(60), deadline=0))
    rest = [item for item in popular if item not in ("item-9", "item-3", "item-30")][:3]
    assert ids(answer) == ["item-9", "item-30", *rest]
    assert (answer.strategy, answer.degraded) == (Strategy.TRENDING, True)
    assert [item.sources for item in answer.items] == [Source.TRENDING] * 2 + [Source.POPULAR] * 3
    assert [(told.reasons, told.other) for told in answer.explanations] == [([], item.score) for item in answer.items]
    trending = engine.trending(TrendingQuery(5, exclude=["item-3"]))
    assert (ids(trending), trending.degraded) == (ids(answer), False)


async def test_where_nothing_was_taken_up_it_becomes_what_is_popular(failing):
    engine = failing(NO_TIME)
    answer = await engine.recommend(RecommendQuery(5, text="near-7"), deadline=0)
    popular = await engine.recommend(RecommendQuery(5), deadline=0)
    assert (ids(answer), answer.strategy, answer.degraded) == (ids(popular), Strategy.COLD_START, True)
    assert answer.page.scores == popular.page.scores


async def test_an_unknown_user_gets_what_is_popular_and_not_what_is_trending(engine):
    take_up(engine, 9)
    answer = await engine.recommend(RecommendQuery(5, user_id="new"), deadline=0)
    assert (answer.strategy, answer.degraded) == (Strategy.COLD_START, False)
    assert {item.sources for item in answer.items} == {Source.POPULAR}


async def test_given_items_are_ordered_without_the_words(failing):
    engine = failing(NO_TIME)
    given = ("item-5", "item-6", "item-7")
    answer = await engine.rank(RankQuery(given, RecommendQuery(3, text="near-7", events=HISTORY)), deadline=0)
    plain = await engine.rank(RankQuery(given, RecommendQuery(3, events=HISTORY)), deadline=0)
    assert (ids(answer), answer.strategy, answer.degraded) == (ids(plain), Strategy.RANK, True)


async def test_what_does_not_come_back_is_left_out_before_the_deadline(engine, monkeypatch):
    dropped = asyncio.Event()
    asked = []

    async def hang(text, *, reach, deadline):
        asked.append(deadline)
        try:
            await asyncio.Event().wait()
        finally:
            dropped.set()

    monkeypatch.setattr(engine._texts, "encode_wish", hang)
    answer = await engine.recommend(RecommendQuery(5, text="near-7"), deadline=engine.deadline(0.02))
    assert (answer.strategy, answer.degraded, dropped.is_set()) == (Strategy.COLD_START, True, True)
    assert asked == [pytest.approx(100.018)], "a tenth of the time is kept"


async def test_of_a_long_time_little_is_kept(engine):
    await engine.recommend(RecommendQuery(5, text="near-7"), deadline=engine.deadline(10.0))
    assert [deadline for _, _, deadline in engine._texts.asked] == [pytest.approx(109.95)]


async def test_a_caller_that_goes_is_not_answered(engine, monkeypatch):
    async def hang(text, *, reach, deadline):
        await asyncio.Event().wait()

    monkeypatch.setattr(engine._texts, "encode_wish", hang)
    call = asyncio.ensure_future(engine.recommend(RecommendQuery(5, text="near-7"), deadline=engine.deadline(60)))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
