"""Candidates and scores, against an independent and naive reading of the formula.

score(i) = sum over h of w_h * (a * B[h, i] + b * <e_h, e_i>) + c * <q, e_i> + d * pop_i
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tanager_server.engine import Source, ranking
from tanager_server.engine.subject import Subject
from tanager_server.index import top

ITEMS = 60
seeds = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="module")
def weights():
    random = np.random.default_rng(7)
    return random.normal(size=(ITEMS, ITEMS)) * (random.random((ITEMS, ITEMS)) < 0.2)


@pytest.fixture(scope="module")
def users():
    return np.random.default_rng(8).integers(0, 90, ITEMS).tolist()


@pytest.fixture(scope="module")
def generation(make_generation, weights, users):
    return make_generation(ITEMS, weights=weights, popularity=users)


def draw_subject(random, generation, *, wish=True):
    """Somebody with up to twelve events, liked and disliked, and perhaps a wish."""
    count = int(random.integers(0, 13))
    signed = random.normal(size=count).astype(np.float32)
    direction = random.normal(size=generation.vectors.shape[1]).astype(np.float32)
    return Subject(
        history=random.integers(0, len(generation.catalogue), count),
        weights=signed / max(float(np.abs(signed).sum()), 1.0),
        wish=direction / np.linalg.norm(direction) if wish and random.random() < 0.7 else None,
    )


def naive_score(generation, weights, users, subject, item, *, with_popularity):
    def product(a, b):
        return sum(float(x) * float(y) for x, y in zip(a, b, strict=True))

    scoring, vectors = generation.scoring, generation.vectors
    score = 0.0
    for h, w in zip(subject.history, subject.weights, strict=True):
        text = product(vectors[h], vectors[item])
        score += float(w) * (scoring.collaborative * float(weights[h][item]) + scoring.history_text * text)
    if subject.wish is not None:
        score += scoring.wish * product(subject.wish, vectors[item])
    if with_popularity:
        score += scoring.popularity * math.log(1 + users[item]) / math.log(1 + max(users))
    return score


# Scores


@settings(max_examples=60, deadline=None)
@given(seed=seeds, with_popularity=st.booleans())
def test_every_candidates_score_is_the_formulas(generation, weights, users, seed, with_popularity):
    subject = draw_subject(np.random.default_rng(seed), generation)
    candidates = ranking.find_candidates(
        generation, subject, page_size=ITEMS, excluded=np.array([], np.int64), popular=True
    )
    scores = ranking.score(generation, subject, candidates, with_popularity=with_popularity)
    expected = [
        naive_score(generation, weights, users, subject, item, with_popularity=with_popularity)
        for item in candidates.positions
    ]
    assert len(candidates.positions) == ITEMS
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(seed=seeds)
def test_a_dislike_lowers_what_a_like_of_the_same_item_raises(generation, seed):
    item = int(np.random.default_rng(seed).integers(ITEMS))
    nothing = np.array([], np.int64)

    def scores(weight):
        subject = Subject(np.array([item]), np.array([weight], np.float32))
        candidates = ranking.find_candidates(generation, subject, page_size=ITEMS, excluded=nothing, popular=True)
        return ranking.score(generation, subject, candidates, with_popularity=False)

    np.testing.assert_allclose(scores(-1), -scores(1), atol=1e-6)
    own_text = generation.scoring.history_text  # of an item with itself, the product is 1; and B's diagonal is drawn
    collaborative = generation.neighbours.weighted_sum(np.array([item]), np.ones(1, np.float32))[item]
    assert scores(1)[item] == pytest.approx(own_text + generation.scoring.collaborative * collaborative, abs=1e-5)


# Candidates


@settings(max_examples=60, deadline=None)
@given(seed=seeds, page_size=st.integers(1, 100), excluded=st.sets(st.integers(0, ITEMS - 1)), popular=st.booleans())
def test_there_are_enough_candidates_and_no_excluded_one(generation, seed, page_size, excluded, popular):
    subject = draw_subject(np.random.default_rng(seed), generation)
    popular |= subject.wish is None  # as the engine asks
    positions = np.array(sorted(excluded), dtype=np.int64)
    candidates = ranking.find_candidates(generation, subject, page_size=page_size, excluded=positions, popular=popular)
    found = candidates.positions.tolist()
    assert found == sorted(set(found) - excluded)
    assert len(found) >= min(page_size, ITEMS - len(excluded))
    assert candidates.sources.all()


@pytest.fixture(scope="module")
def large(make_generation):
    """More items than any source takes, and few enough for the index to compare with all of them."""
    return make_generation(500, seed=3)


@pytest.mark.parametrize("seed", range(8))
def test_sources_are_true(large, seed):
    random = np.random.default_rng(seed)
    excluded = np.unique(random.integers(0, 500, 20))
    subject = draw_subject(random, large)
    candidates = ranking.find_candidates(large, subject, page_size=10, excluded=excluded, popular=True)

    def marked(source):
        return candidates.positions[(candidates.sources & source.value) > 0].tolist()

    def ranks(scores):
        """Place of each item in the order of the scores, excluded items left out."""
        order = [item for item in np.argsort(-scores, kind="stable").tolist() if item not in excluded]
        return {item: place for place, item in enumerate(order)}

    def are_the_best(items, scores):
        place = ranks(scores)
        return 10 <= len(items) < 200 and sorted(place[item] for item in items) == list(range(len(items)))

    assert are_the_best(marked(Source.POPULAR), large.catalogue.popularity)
    if subject.wish is None:
        assert marked(Source.WISH) == []
    else:
        assert are_the_best(marked(Source.WISH), large.vectors @ subject.wish)
    sums = np.zeros(500)
    for h, w in zip(subject.history, subject.weights, strict=True):
        sums += w * large.neighbours.weighted_sum(np.array([h]), np.ones(1, np.float32))
    assert all(sums[item] > 0 for item in marked(Source.COLLABORATIVE))
    queries = [*large.vectors[subject.history[subject.weights > 0]], subject.weights @ large.vectors[subject.history]]
    near = set().union(*(set(list(ranks(large.vectors @ query))[:150]) for query in queries))
    assert set(marked(Source.TEXT)) <= near
    assert bool(marked(Source.TEXT)) == bool((subject.weights > 0).any())


def test_of_many_collaborative_neighbours_the_strongest_are_taken(make_generation):
    weights = np.zeros((700, 700))
    weights[0] = np.random.default_rng(0).permutation(700) + 1.0
    generation = make_generation(700, weights=weights)
    subject = Subject(np.array([0]), np.ones(1, np.float32))
    nothing = np.array([], np.int64)
    candidates = ranking.find_candidates(generation, subject, page_size=10, excluded=nothing, popular=False)
    marked = candidates.positions[(candidates.sources & Source.COLLABORATIVE.value) > 0]
    assert 10 <= len(marked) < 700
    assert set(marked.tolist()) == set(np.argsort(-weights[0])[: len(marked)].tolist())


def test_likes_that_cancel_out_have_no_common_direction_and_are_searched_one_by_one(make_generation, unit_vectors):
    vectors = unit_vectors(400)
    vectors[1] = -vectors[0]
    generation = make_generation(400, vectors=vectors)
    subject = Subject(np.array([0, 1]), np.array([0.5, 0.5], np.float32))
    nothing = np.array([], np.int64)
    candidates = ranking.find_candidates(generation, subject, page_size=5, excluded=nothing, popular=False)
    assert {0, 1} <= set(candidates.positions.tolist())
    assert np.isfinite(ranking.score(generation, subject, candidates, with_popularity=False)).all()


# The cut


@settings(max_examples=300, deadline=None)
@given(
    scores=st.lists(st.one_of(st.sampled_from([-1.0, 0.0, -0.0, 0.5]), st.floats(-5, 5, width=32)), max_size=40),
    count=st.integers(1, 50),
)
def test_top_is_the_head_of_a_full_stable_sort(scores, count):
    expected = sorted(range(len(scores)), key=lambda index: (-scores[index], index))[:count]
    assert top(np.array(scores, dtype=np.float32), count).tolist() == expected
