"""A catalogue that grew, shrank or is looked at through a filter is ranked as one that was made so."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tanager_server.bundle import Neighbours, ProfileWeights
from tanager_server.engine import Source
from tanager_server.engine.ranking import Asked, Ranker
from tanager_server.engine.reasons import Explainer
from tanager_server.engine.subject import NO_HISTORY, History
from tanager_server.index import Generation, Growth, HnswIndex, View

ITEMS, INDEXED = 60, 44
seeds = st.integers(0, 2**32 - 1)


class Twins:
    """The same items: all of them in the generation, and some of them added to it later."""

    def __init__(self, whole: Generation, grown: Generation) -> None:
        self.whole, self.grown = whole, grown


@pytest.fixture(scope="module")
def twins(make_generation, sparse, index_info, unit_vectors):
    random = np.random.default_rng(3)

    def draw(rows):
        return random.normal(size=(rows, ITEMS)) * (random.random((rows, ITEMS)) < 0.2)

    weights, follows, attributes = draw(ITEMS), draw(ITEMS), draw(3)
    weights[INDEXED:], follows[INDEXED:] = 0.0, 0.0  # what nobody took up has no rows of its own
    priors = (random.normal(size=(2, ITEMS)) * 0.3).astype(np.float32)
    whole = make_generation(
        ITEMS,
        weights=weights,
        follows=follows,
        attributes=attributes,
        priors=priors,
        sequence=unit_vectors(ITEMS, 8, 5),
    )
    first = whole.vectors[:INDEXED]
    base = dataclasses.replace(
        whole,
        vectors=first,
        index=HnswIndex.build(first, info=index_info),
        neighbours=sparse(weights[:INDEXED, :INDEXED]),
        transitions=sparse(follows[:INDEXED, :INDEXED]),
        priors=np.ascontiguousarray(priors[:, :INDEXED]),
        profile=profile(whole.profile, sparse(attributes[:, :INDEXED])),
        sequence=dataclasses.replace(
            whole.sequence,
            vectors=whole.sequence.vectors[:INDEXED],
            index=HnswIndex.build(whole.sequence.vectors[:INDEXED], info=index_info),
        ),
        growth=Growth(),
    )
    grown = base.with_room(ITEMS + 7)
    for item in range(INDEXED, ITEMS):
        grown.vectors[item], grown.priors[:, item] = whole.vectors[item], priors[:, item]
        grown.sequence.vectors[item] = whole.sequence.vectors[item]
    growth = grown.growth
    for put, put_many, matrix in (
        (growth.set_neighbours, growth.set_neighbours_of, weights),
        (growth.set_transitions, growth.set_transitions_of, follows),
        (growth.set_attributes, growth.set_attributes_of, attributes),
    ):
        together, again = np.arange(INDEXED, ITEMS - 5), [INDEXED + 3, INDEXED + 1]
        put_many(together, *entries(sparse(matrix[:, together].T)))
        # What is written again is replaced, in whatever order.
        put_many(again, *entries(sparse(random.normal(size=(2, len(matrix))))))
        put_many(again[::-1], *entries(sparse(matrix[:, again[::-1]].T)))
        for item in range(ITEMS - 5, ITEMS):
            rows = np.flatnonzero(matrix[:, item])
            put(item, np.arange(2) + random.integers(2), np.full(2, 9.0))
            put(item, rows, matrix[rows, item])
    return Twins(whole, grown)


def entries(matrix: Neighbours) -> tuple[Any, Any, Any]:
    return matrix.indptr, matrix.indices, matrix.weights


@pytest.mark.parametrize(
    ("items", "starts", "rows"),
    [
        ([1], [0, 2], [1, 0]),
        ([1], [0, 2], [1, 1]),
        ([1], [0, 1], [-1]),
        ([-1], [0, 1], [1]),
        ([1], [0, 1], [0, 1]),
        ([1], [1, 1], [0]),
        ([1, 2], [0, 2, 1], [0]),
        ([1], [0], []),
        ([1], [0, 1], [2**31 - 1]),
        ([2**31 - 1], [0, 1], [1]),
    ],
)
def test_what_is_no_column_is_refused(items, starts, rows):
    with pytest.raises(ValueError, match="rows that ascend"):
        Growth().set_neighbours_of(
            np.array(items), np.array(starts), np.array(rows, np.int32), np.ones(len(rows), np.float32)
        )
    with pytest.raises(ValueError, match="rows that ascend"):
        Growth().set_neighbours(1, np.array([0, 1], np.int32), np.ones(1, np.float32))


def profile(known: ProfileWeights, matrix: Neighbours) -> ProfileWeights:
    return ProfileWeights(known.attributes, known.ranges, matrix.indptr, matrix.indices, matrix.weights)


@pytest.fixture(scope="module")
def rankers(twins):
    return Ranker(twins.whole), Ranker(twins.grown)


def draw_view(random, share):
    """A byte for each item of the index, and those that are looked at one by one: some indexed ones too."""
    keep = random.random(ITEMS) < share
    exact = random.random(ITEMS) < 0.1
    exact[INDEXED:] = True
    allowed = np.zeros(ITEMS + 7, np.uint8)
    allowed[:INDEXED] = (keep & ~exact)[:INDEXED]
    positions = np.flatnonzero(exact & keep)
    random.shuffle(positions)
    return View(allowed, positions, float(allowed.mean() * len(allowed) / INDEXED)), set(np.flatnonzero(keep).tolist())


def draw_request(random):
    count = int(random.integers(0, 10))
    history = History(random.integers(0, ITEMS, count).tolist(), random.normal(size=count).tolist(), 0)
    if random.random() < 0.5:
        history = history._replace(expected=random.normal(size=8).astype(np.float32))
    return {
        "history": history if count else NO_HISTORY,
        "attributes": random.permutation(3)[: random.integers(0, 4)].tolist(),
    }


def draw_wish(random, generation, view):
    direction = random.normal(size=16).astype(np.float32)
    direction /= np.linalg.norm(direction)
    found = generation.index.search_allowed(direction, ITEMS, view.allowed)
    return Asked(direction, found.positions, found.similarities, generation.scoring.wish, Source.WISH.value)


@settings(max_examples=150, deadline=None)
@given(seed=seeds, page_size=st.integers(1, ITEMS), share=st.sampled_from([0.0, 0.05, 0.5, 1.0]), asked=st.booleans())
def test_through_any_view_the_page_is_the_best_of_what_it_allows(twins, rankers, seed, page_size, share, asked):
    random = np.random.default_rng(seed)
    view, seen = draw_view(random, share)
    request = draw_request(random)
    excluded = set(random.integers(0, ITEMS, 3).tolist())
    wish = draw_wish(random, twins.grown, view) if asked else None
    everything = list(range(ITEMS))
    scores, _ = rankers[0].score(everything, asked=wish, **request)
    expected = sorted((score for item, score in enumerate(scores) if item in seen - excluded), reverse=True)

    page = rankers[1].by_history(page_size=page_size, excluded=excluded, asked=wish, view=view, **request)
    np.testing.assert_allclose(page.scores, expected[:page_size], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(page.scores, [scores[item] for item in page.positions], rtol=1e-4, atol=1e-4)
    assert set(page.positions) <= seen - excluded
    assert all(page.sources)
    assert rankers[1]._native.clean()


@settings(max_examples=80, deadline=None)
@given(seed=seeds, page_size=st.integers(1, ITEMS), share=st.sampled_from([0.0, 0.3, 1.0]))
def test_a_wish_alone_finds_what_was_added_too(twins, rankers, seed, page_size, share):
    random = np.random.default_rng(seed)
    view, seen = draw_view(random, share)
    attributes = draw_request(random)["attributes"]
    everything = View(None, np.empty(0, np.int64), 1.0)
    whole = draw_wish(np.random.default_rng(seed), twins.whole, everything)
    wish = draw_wish(np.random.default_rng(seed), twins.grown, view)
    best = rankers[0].by_wish(whole, page_size=ITEMS, excluded=set(range(ITEMS)) - seen, attributes=attributes)
    page = rankers[1].by_wish(wish, page_size=page_size, excluded=(), attributes=attributes, view=view)
    np.testing.assert_allclose(page.scores, best.scores[:page_size], rtol=1e-4, atol=1e-4)
    assert set(page.positions) <= seen


@settings(max_examples=40, deadline=None)
@given(seed=seeds, item=st.integers(0, ITEMS - 1), share=st.sampled_from([0.1, 1.0]))
def test_what_is_like_an_added_item_and_what_added_items_are_like(twins, rankers, seed, item, share):
    view, seen = draw_view(np.random.default_rng(seed), share)
    best = rankers[0].by_item(item, page_size=ITEMS, excluded=set(range(ITEMS)) - seen)
    page = rankers[1].by_item(item, page_size=10, excluded=(), view=view)
    np.testing.assert_allclose(page.scores, best.scores[:10], rtol=1e-4, atol=1e-4)


def test_reasons_of_added_items_are_the_terms_of_their_scores(twins):
    history = History([1, 5, ITEMS - 1, 7], [1.0, 0.5, 1.0, -1.0], 0)
    explained = [
        Explainer(generation).explain(range(ITEMS), history=history, attributes=[0, 2], count=20)
        for generation in (twins.whole, twins.grown)
    ]
    for one, other in zip(*explained, strict=True):
        assert [reason[:3] for reason in one.reasons] == [reason[:3] for reason in other.reasons]
        np.testing.assert_allclose(
            [reason.contribution for reason in one.reasons],
            [reason.contribution for reason in other.reasons],
            rtol=1e-5,
        )
        assert one.other == pytest.approx(other.other, abs=1e-5)


@pytest.mark.parametrize(
    "view",
    [
        View(np.ones(ITEMS, np.uint8), np.empty(0, np.int64), 1.0),
        View(None, np.array([ITEMS + 7]), 1.0),
        View(None, np.array([-1]), 1.0),
        View(None, np.array([0.5]), 1.0),
        View(None, np.empty(0, np.int64), 1.5),
        View(None, np.empty(0, np.int64), float("nan")),
    ],
)
def test_a_view_that_does_not_fit_is_refused(rankers, view):
    with pytest.raises((ValueError, IndexError, TypeError)):
        rankers[1].by_history(NO_HISTORY, page_size=5, excluded=(), view=view)
    assert rankers[1]._native.clean()


def test_room_is_made_once_and_never_taken_back(twins):
    assert twins.grown.with_room(ITEMS + 7) is twins.grown
    with pytest.raises(ValueError, match="rows"):
        twins.grown.with_room(ITEMS)
