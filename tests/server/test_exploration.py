"""What is left to chance on a page, and how likely it was to be there."""

from __future__ import annotations

import collections
import math
import random
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tanager_server.bundle import Item
from tanager_server.engine import Diversity, Engine, Events, ExplorationPolicy, Page, RecommendQuery, Source
from tanager_server.engine.exploration import explore
from tanager_server.engine.items import Written
from tanager_server.errors import DeadlineExpiredError
from tanager_server.live.indexing import rows_for

ITEMS = 60
TRIALS = 3_000
HISTORY = Events(["item-1", "item-4"], [1.0, 1.0])
KNOWN: dict[str, dict[str, Any]] = {
    "wish": {"text": "near-7"},
    "history": {"events": HISTORY},
    "profile": {"profile": {"color": "red"}},
    "no": {},
}


def made(first, count):
    """Items by falling score."""
    positions = list(range(first, first + count))
    return Page(positions, [-float(position) for position in positions], [Source.TEXT.value] * count, 0.0)


shapes = st.fixed_dictionaries(
    {
        "size": st.integers(0, 12),
        "pool": st.integers(0, 15),
        "share": st.floats(0.02, 0.5),
        "keep": st.integers(0, 5),
        "before": st.integers(0, 8),
        "seed": st.integers(0, 1 << 32),
    }
)


def explored(size, pool, share, keep, before, seed, trials=1):
    draw, policy = random.Random(seed), ExplorationPolicy(share, keep)
    page, beyond = made(0, size), made(size, pool)
    return [explore(page, beyond, policy=policy, before=before, draw=draw) for _ in range(trials)]


@settings(max_examples=30, deadline=None)
@given(shape=shapes)
def test_items_are_on_the_page_as_often_as_their_propensity_says(shape):
    counts: collections.Counter[int] = collections.Counter()
    told: dict[int, float] = {}
    for page in explored(**shape, trials=TRIALS):
        counts.update(page.positions)
        for position, propensity in zip(page.positions, page.propensities or [1.0] * shape["size"], strict=True):
            assert told.setdefault(position, propensity) == propensity, "it is of the item, not of the draw"
    for position, propensity in told.items():
        # Six standard deviations, and one for what is rare: no example in a million is further off by chance.
        spread = math.sqrt(TRIALS * propensity * (1.0 - propensity))
        assert abs(counts[position] - TRIALS * propensity) <= 6.0 * spread + 1.0
    if shape["size"]:
        assert sum(counts.values()) == TRIALS * shape["size"]


@given(shape=shapes)
def test_a_page_stays_whole_and_its_first_places_as_they_are(shape):
    (page,) = explored(**shape)
    size, kept = shape["size"], min(shape["size"], max(0, shape["keep"] - shape["before"]))
    assert len(page.positions) == len(page.scores) == len(page.sources) == size
    assert len(set(page.positions)) == size
    assert page.positions[:kept] == list(range(kept))
    assert page.scores == [-float(position) for position in page.positions]
    for place, (position, sources) in enumerate(zip(page.positions, page.sources, strict=True)):
        assert position == place or position >= size, "who stays keeps the place"
        assert bool(sources & Source.EXPLORATION) == (position >= size)
    assert all(0.0 < propensity <= 1.0 for propensity in page.propensities)
    assert len(page.propensities) in (0, size)


# In the engine


@pytest.fixture
def generation(make_generation):
    return make_generation(ITEMS).with_room(rows_for(ITEMS))


@pytest.fixture
def make(generation, make_engine):
    """An engine that explores; `near-7` is its only wish."""

    def engine(**policy):
        _, texts = make_engine(generation, **{"near-7": generation.vectors[7]})
        return Engine(generation, texts, exploration=ExplorationPolicy(**({"share": 0.5} | policy)))

    return engine


async def ask(engine, page_size=8, **query):
    return await engine.recommend(RecommendQuery(page_size, **({"user_id": "ann"} | query)), deadline=0)


@pytest.mark.parametrize("known", KNOWN.values(), ids=KNOWN)
@pytest.mark.parametrize("diversity", [None, Diversity(mmr_lambda=0.7)])
async def test_what_is_drawn_comes_next_by_score(make, known, diversity):
    plain = await ask(make(share=0.0), page_size=8, diversity=diversity, **known)
    best = await ask(make(share=0.0), page_size=14, **known)
    seen = set()
    for number in range(40):
        answer = await ask(make(candidates=6), diversity=diversity, request_id=str(number), **known)
        page = answer.page
        drawn = [position for position in page.positions if position not in plain.page.positions]
        seen.update(drawn)
        assert set(drawn) <= set(best.page.positions) - set(plain.page.positions)
        assert page.positions[:3] == plain.page.positions[:3]
        assert answer.strategy is plain.strategy
        scores = dict(zip(best.page.positions, best.page.scores, strict=True))
        for position, score in zip(page.positions, page.scores, strict=True):
            if position in drawn:
                assert score == pytest.approx(scores[position], abs=1e-5)
    assert len(seen) == 6
    assert plain.page.propensities == ()


async def test_the_same_call_is_answered_the_same_and_another_one_is_not(make):
    engine = make()
    again = [(await ask(engine, request_id="a")).page.positions for _ in range(5)]
    assert again == again[:1] * 5
    users = [(await ask(engine, request_id="a", user_id=f"user-{number}")).page.positions for number in range(20)]
    others = [(await ask(engine, request_id=f"id-{number}")).page.positions for number in range(20)]
    unnamed = [(await ask(engine)).page.positions for _ in range(20)]
    for lists in (users, others, unnamed):
        assert len(set(map(tuple, lists))) > 10


@pytest.mark.parametrize(
    "query",
    [{"user_id": ""}, {"diversity": Diversity(max_per_category=3)}],
)
async def test_nothing_is_left_to_chance_where_nobody_learns_or_it_would_break_a_limit(make, query):
    engine, plain = make(), make(share=0.0)
    assert (await ask(engine, **query)).page.positions == (await ask(plain, **query)).page.positions
    assert (await ask(engine, **query)).page.propensities == ()


async def test_what_has_no_time_for_the_wish_has_none_to_explore(make, monkeypatch):
    async def fail(text, *, reach, deadline):
        raise DeadlineExpiredError("late")

    engine = make()
    monkeypatch.setattr(engine._texts, "encode_wish", fail)
    answer = await ask(engine, text="near-7")
    assert (answer.degraded, answer.page.propensities) == (True, ())


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1 << 16), sizes=st.lists(st.integers(1, 9), min_size=1, max_size=30))
async def test_pages_have_every_item_once_however_they_are_explored(make_generation, make_engine, seed, sizes):
    generation = make_generation(30)
    engine = Engine(generation, make_engine(generation)[1], exploration=ExplorationPolicy(0.5))
    shown: list[int] = []
    for number, size in enumerate(sizes):
        answer = await ask(engine, size, shown=tuple(shown), request_id=f"{seed}-{number}")
        new = answer.page.positions
        assert not set(new) & set(shown)
        assert len(new) == min(size, 30 - len(shown))
        shown += new
    rest = await ask(engine, 30, shown=tuple(shown))
    assert sorted([*shown, *rest.page.positions]) == list(range(30))


async def test_on_later_pages_no_place_is_kept(make):
    engine, shown = make(keep=3, candidates=40), tuple(range(10))
    first = [(await ask(engine, shown=shown, request_id=str(number))).page for number in range(30)]
    assert any(page.sources[0] & Source.EXPLORATION for page in first)
    assert all(page.propensities[0] == pytest.approx(0.5) for page in first if not page.sources[0] & Source.EXPLORATION)


# New items


def write(engine, generation, name, vector=3):
    figures = generation.new_items.figures(generation.vectors[vector], domain="odd", categories=(), attributes={})
    figures = figures._replace(priors=np.array([-5.0, -5.0], np.float32))  # nobody's first choice
    item = Item(id=name, title=name, text=name, domain="odd", categories=(), attributes={}, popularity=0.0)
    return engine.items.put(Written(item, 0, generation.vectors[vector], figures))


async def drawn_over(engine, count=80, **query):
    found: set[str] = set()
    for number in range(count):
        answer = await ask(engine, request_id=str(number), **query)
        found.update(item.item_id for item in answer.items if item.sources & Source.EXPLORATION)
    return found


@pytest.mark.parametrize("known", ["history", "profile", "no"])
async def test_new_items_are_drawn_until_they_are_known(make, generation, known):
    engine = make(candidates=4, new_items=2)
    for name in ("oldest", "known by now", "removed", "newer", "newest"):
        write(engine, generation, name)
    engine.items.remove("removed")
    number = engine.known.numbers.number("known by now")
    for _ in range(20):
        engine.trends.add(number, 1.0, time.time_ns(), None)
    found = await drawn_over(engine, **KNOWN[known])
    assert {name for name in found if not name.startswith("item-")} == {"newer", "newest"}
    assert {"oldest"} == {
        name
        for name in await drawn_over(engine, exclude=["newer", "newest"], **KNOWN[known])
        if not name.startswith("item-")
    }


async def test_a_new_item_is_scored_as_it_would_be_anyway(make, generation):
    engine = make(candidates=1, new_items=1)
    position = write(engine, generation, "new")
    for known in ("history", "no"):
        whole = await ask(engine, ITEMS + 1, user_id="", **KNOWN[known])
        scores = dict(zip(whole.page.positions, whole.page.scores, strict=True))
        pages = [(await ask(engine, request_id=str(number), **KNOWN[known])).page for number in range(40)]
        found = {page.scores[page.positions.index(position)] for page in pages if position in page.positions}
        assert len(found) == 1
        assert found.pop() == pytest.approx(scores[position], abs=1e-5)


@pytest.mark.parametrize("known", KNOWN.values(), ids=KNOWN)
async def test_reasons_of_what_was_drawn_add_up_to_its_score(make, generation, known):
    engine = make(candidates=4, new_items=2)
    write(engine, generation, "new")
    drawn = 0
    for number in range(20):
        answer = await ask(engine, request_id=str(number), reasons=20, **known)
        for item, told in zip(answer.items, answer.explanations, strict=True):
            drawn += bool(item.sources & Source.EXPLORATION)
            total = told.other + sum(reason.contribution for reason in told.reasons)
            assert total == pytest.approx(item.score, abs=1e-4)
    assert drawn


async def test_a_wish_is_not_answered_with_what_is_merely_new(make, generation):
    engine = make(candidates=4)
    write(engine, generation, "new", vector=30)
    assert "new" not in await drawn_over(engine, text="near-7")


async def test_a_filter_holds_for_what_is_new_too(make, generation, monkeypatch):
    engine = make(candidates=4)
    write(engine, generation, "inside")
    outside = write(engine, generation, "outside")
    mask = np.ones(len(generation.vectors), np.uint8)
    mask[outside] = 0
    monkeypatch.setattr(engine.items, "mask", lambda text, domains=(): lambda: mask)
    found = await drawn_over(engine)
    assert "inside" in found
    assert "outside" not in found
