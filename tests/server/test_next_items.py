"""The sequence head in the score: what it says comes next, searched for, added up, and told by leaving items out."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tanager_server.engine import Events, ReasonKind, RecommendQuery, Source
from tanager_server.engine.audience import Audience, Users
from tanager_server.engine.next_items import NextItems
from tanager_server.engine.ranking import Ranker
from tanager_server.engine.reasons import Explainer
from tanager_server.engine.subject import History, decayed
from tanager_server.errors import OverloadedError

ITEMS = 60
DIM = 6
seeds = st.integers(0, 2**32 - 1)


class _Reader:
    """Stands in for the model: no sum over events, and what came last says most."""

    max_events = 5

    def __init__(self, vectors):
        self._vectors = vectors
        self.read: list[list[int]] = []

    def over(self, vectors):
        assert vectors is self._vectors
        return self

    def expect(self, histories):
        self.read += [list(history) for history in histories]
        found = np.zeros((len(histories), self._vectors.shape[1]), np.float32)
        for row, history in enumerate(histories):
            latest = list(history)[-self.max_events :]
            if latest:
                weights = decayed([1.0] * len(latest), 1.0)
                found[row] = np.tanh(2 * np.roll(weights @ self._vectors[latest], 1))
        return found


Reader: Any = _Reader


@pytest.fixture(scope="module")
def space():
    vectors = np.random.default_rng(4).normal(size=(ITEMS, DIM)).astype(np.float32)
    return np.ascontiguousarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


@pytest.fixture(scope="module")
def generation(make_generation, space):
    return make_generation(ITEMS, sequence=space)


def answer(engine, query):
    waits = engine.recommend(query, deadline=0)
    with pytest.raises(StopIteration) as done:  # nothing in it waits
        waits.send(None)
    return done.value.value


def draw(random):
    count = int(random.integers(1, 12))
    return random.integers(0, ITEMS, count).tolist(), random.choice([-1.0, 0.0, 0.5, 1.0], count).tolist()


@settings(max_examples=40, deadline=None)
@given(seed=seeds)
def test_the_score_is_the_sum_with_it_and_dislikes_are_not_read(generation, space, seed):
    numbers, weights = draw(np.random.default_rng(seed))
    head, ranker = Reader(space), Ranker(generation)
    plain = History(numbers, weights, 0)
    history = NextItems(head, weight=1.1).expected(plain)
    liked = [number for number, weight in zip(numbers, weights, strict=True) if weight > 0]
    assert head.read == ([liked] if liked else [])
    scores = {
        each: dict(zip(page.positions, page.scores, strict=True))
        for each, page in (
            (name, ranker.by_history(one, page_size=ITEMS, excluded=()))
            for name, one in (("with", history), ("without", plain))
        )
    }
    added = 1.1 * space @ head.expect([liked])[0] if liked else np.zeros(ITEMS)
    for item in range(ITEMS):
        assert scores["with"][item] - scores["without"][item] == pytest.approx(added[item], abs=2e-5)


def test_what_comes_next_is_found_where_nothing_else_finds_it(make_generation, make_engine):
    random = np.random.default_rng(1)
    vectors = random.normal(size=(3000, DIM)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    nothing = np.zeros((3000, 3000))
    generation = make_generation(
        3000, sequence=vectors, weights=nothing, follows=nothing, priors=np.zeros((2, 3000)), history_text=0.0
    )
    engine, _ = make_engine(generation, head=Reader(vectors))
    found = answer(engine, RecommendQuery(10, events=Events(["item-5", "item-17"], [1.0, 1.0])))
    scores = 1.1 * vectors @ Reader(vectors).expect([[5, 17]])[0]
    scores[[5, 17]] = -np.inf
    np.testing.assert_array_equal(found.page.positions, np.argsort(-scores)[:10])
    assert all(Source.SEQUENCE in item.sources for item in found.items)


@settings(max_examples=40, deadline=None)
@given(seed=seeds)
def test_without_the_cited_item_the_score_falls_by_its_term(generation, make_generation, space, seed):
    """Of the sequence head alone: terms of the others are those of test_reasons.py."""
    nothing = np.zeros((ITEMS, ITEMS))
    bare = make_generation(ITEMS, sequence=space, weights=nothing, follows=nothing, history_text=0.0)
    random = np.random.default_rng(seed)
    numbers, weights = draw(random)
    next_items, ranker = NextItems(Reader(space), weight=1.1), Ranker(bare)
    history = next_items.expected(History(numbers, weights, 0))
    if history.expected is None:
        return
    every = list(range(ITEMS))
    told = Explainer(bare).explain(every, history=history, left_out=next_items.leave_out(history), count=1000)
    before, _ = ranker.score(every, history=history)
    for item, explanation in zip(every, told, strict=True):
        assert sum(reason.contribution for reason in explanation.reasons) + explanation.other == pytest.approx(
            before[item], abs=2e-5
        )
    latest = [number for number, weight in zip(numbers, weights, strict=True) if weight > 0][-Reader.max_events :]
    removed = latest[int(random.integers(len(latest)))]
    left = [0.0 if number == removed else weight for number, weight in zip(numbers, weights, strict=True)]
    after, _ = ranker.score(every, history=next_items.expected(History(numbers, left, 0)))
    for item, explanation in zip(every, told, strict=True):
        own = [reason for reason in explanation.reasons if reason.position == removed]
        assert {reason.kind for reason in own} <= {ReasonKind.SEQUENCE}
        fall = before[item] - after[item]
        assert fall == pytest.approx(sum(reason.contribution for reason in own), abs=2e-5) if own else fall < 2e-5


def test_of_a_long_history_the_latest_items_are_left_out(space):
    head = Reader(space)
    head.max_events = 40
    numbers = [*range(30), 29, 7]
    found = NextItems(head, weight=2.0).leave_out(History(numbers, [1.0] * len(numbers), 0))
    assert list(found.items) == [7, 29, *range(28, 22, -1)]
    assert found.without.shape == (8, DIM)
    assert head.read[0] == [number for number in numbers if number != 7]
    np.testing.assert_allclose(found.without[1], 2 * head.expect([[n for n in numbers if n != 29]])[0])


def test_the_engine_tells_of_it(generation, make_engine, space):
    engine, _ = make_engine(generation, head=Reader(space))
    query = RecommendQuery(ITEMS, events=Events(["item-3", "item-4"], [1.0, 1.0]), reasons=1000)
    found = asyncio.run(engine.recommend(query, deadline=0))
    kinds = {reason.kind for explanation in found.explanations for reason in explanation.reasons}
    assert ReasonKind.SEQUENCE in kinds
    for item, explanation in zip(found.items, found.explanations, strict=True):
        told = sum(reason.contribution for reason in explanation.reasons)
        assert told + explanation.other == pytest.approx(item.score, abs=2e-5)


@settings(max_examples=20, deadline=None)
@given(seed=seeds)
def test_an_audience_is_scored_alike(generation, space, seed):
    random = np.random.default_rng(seed)
    histories = [draw(random) for _ in range(9)] + [([], [])]
    positions = random.permutation(ITEMS)[:5].tolist()
    scores = Audience(generation, Reader(space)).score(positions, Users.of(histories))
    ranker, next_items = Ranker(generation), NextItems(Reader(space), weight=1.1)
    for user, (items, weights) in enumerate(histories):
        own, _ = ranker.score(positions, history=next_items.expected(History(items, weights, 0)))
        np.testing.assert_allclose(scores[:, user], own, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("expected", [np.zeros(DIM + 1, np.float32), np.zeros((1, DIM), np.float32)])
def test_a_vector_of_another_space_is_refused(generation, expected):
    history = History([1], [1.0], 0, expected)
    with pytest.raises(ValueError, match="what is expected next"):
        Ranker(generation).by_history(history, page_size=3, excluded=())
    with pytest.raises(ValueError, match="vectors of what comes next"):
        Explainer(generation).explain([1], history=history, count=3)


def test_with_reasons_and_nothing_left_to_recommend_there_are_none(generation, make_engine, space):
    engine, _ = make_engine(generation, head=Reader(space))
    everything = [f"item-{number}" for number in range(ITEMS)]
    for profile in ({}, {"color": "red"}):
        query = RecommendQuery(5, events=Events(["item-3"], [1.0]), exclude=everything, profile=profile, reasons=3)
        found = asyncio.run(engine.recommend(query, deadline=0))
        assert (list(found.page.positions), list(found.explanations)) == ([], [])


def test_too_many_that_want_reasons_are_told_so(generation, make_engine, space):
    engine, _ = make_engine(generation, head=Reader(space))
    query = RecommendQuery(5, events=Events(["item-3", "item-4"], [1.0, 1.0]), reasons=3)

    async def ask_at_once():
        return await asyncio.gather(*(engine.recommend(query, deadline=0) for _ in range(100)), return_exceptions=True)

    found = asyncio.run(ask_at_once())
    refused = [one for one in found if isinstance(one, OverloadedError)]
    assert len(refused) == 36
    assert all(one.retry_after_s > 0 for one in refused)
    assert all(one.explanations for one in found if not isinstance(one, OverloadedError))
    assert asyncio.run(engine.recommend(query, deadline=0)).explanations
