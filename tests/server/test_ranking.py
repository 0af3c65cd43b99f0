"""Ranking, against an independent and naive reading of the formula.

score(i) = sum over h of w_h * (a * B[h, i] + b * <e_h, e_i>) + c * <q, e_i> + d * pop_i
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tanager_server.engine import Source
from tanager_server.engine.ranking import Ranker, Wish
from tanager_server.engine.subject import History
from tanager_server.index import Neighbourhood, top

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


@pytest.fixture(scope="module")
def ranker(generation):
    """One for all tests: what a call leaves behind must not show in the next."""
    return Ranker(generation)


def draw_history(random, items=ITEMS):
    """Up to twelve events, liked and disliked."""
    count = int(random.integers(1, 13))
    signed = random.normal(size=count)
    return History(random.integers(0, items, count).tolist(), (signed / np.abs(signed).sum()).tolist(), 0)


def draw_wish(random, generation, reach):
    direction = random.normal(size=generation.vectors.shape[1]).astype(np.float32)
    direction /= np.linalg.norm(direction)
    found = generation.index.search(direction[None], reach)
    return Wish(direction, Neighbourhood(found.positions[0], found.similarities[0]))


def naive_score(generation, weights, users, item, *, history=None, wish=None, popular=True):
    def product(a, b):
        return sum(float(x) * float(y) for x, y in zip(a, b, strict=True))

    scoring, vectors = generation.scoring, generation.vectors
    score = 0.0
    for h, w in zip(history.scored, history.weights, strict=True) if history else ():
        text = product(vectors[h], vectors[item])
        score += w * (scoring.collaborative * float(weights[h][item]) + scoring.history_text * text)
    if wish is not None:
        score += scoring.wish * product(wish.vector, vectors[item])
    if popular:
        score += scoring.popularity * math.log(1 + users[item]) / math.log(1 + max(users))
    return score


# Scores


@settings(max_examples=60, deadline=None)
@given(seed=seeds, popular=st.booleans(), with_wish=st.booleans())
def test_every_score_is_the_formulas(ranker, generation, weights, users, seed, popular, with_wish):
    random = np.random.default_rng(seed)
    history = draw_history(random)
    wish = draw_wish(random, generation, ITEMS) if with_wish and popular else None
    ranked = ranker.by_history(history, page_size=ITEMS, excluded=(), popular=popular, wish=wish)
    expected = [
        naive_score(generation, weights, users, item, history=history, wish=wish, popular=popular)
        for item in ranked.positions
    ]
    assert len(set(ranked.positions)) == len(ranked.positions)
    assert len(ranked.positions) == ITEMS or not popular
    np.testing.assert_allclose(ranked.scores, expected, rtol=1e-4, atol=1e-5)
    assert ranked.scores == sorted(ranked.scores, reverse=True)


@settings(max_examples=30, deadline=None)
@given(seed=seeds, page_size=st.integers(1, ITEMS))
def test_the_score_of_a_wish_is_the_formulas(ranker, generation, weights, users, seed, page_size):
    wish = draw_wish(np.random.default_rng(seed), generation, ITEMS)
    ranked = ranker.by_wish(wish, page_size=page_size, excluded=())
    scores = [naive_score(generation, weights, users, item, wish=wish) for item in range(ITEMS)]
    assert ranked.positions == sorted(range(ITEMS), key=lambda item: -scores[item])[:page_size]
    np.testing.assert_allclose(ranked.scores, [scores[item] for item in ranked.positions], rtol=1e-4, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(seed=seeds, page_size=st.integers(1, 20), with_wish=st.booleans())
def test_in_a_small_catalogue_the_page_is_the_best_of_all_items(
    ranker, generation, weights, users, seed, page_size, with_wish
):
    random = np.random.default_rng(seed)
    history, excluded = draw_history(random), set(random.integers(0, ITEMS, 5).tolist())
    wish = draw_wish(random, generation, ITEMS) if with_wish else None
    ranked = ranker.by_history(history, page_size=page_size, excluded=excluded, popular=True, wish=wish)
    scores = [naive_score(generation, weights, users, item, history=history, wish=wish) for item in range(ITEMS)]
    best = sorted((score for item, score in enumerate(scores) if item not in excluded), reverse=True)
    np.testing.assert_allclose(ranked.scores, best[:page_size], rtol=1e-4, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(seed=seeds)
def test_a_dislike_lowers_what_a_like_of_the_same_item_raises(ranker, generation, seed):
    item = int(np.random.default_rng(seed).integers(ITEMS))

    def scores(weight):
        history = History([item], [weight], 0)
        ranked = ranker.by_history(history, page_size=ITEMS, excluded=(), popular=True)
        popularity = generation.scoring.popularity * generation.catalogue.popularity
        return {item: score - popularity[item] for item, score in zip(ranked.positions, ranked.scores, strict=True)}

    liked, disliked = scores(1.0), scores(-1.0)
    assert liked == {other: pytest.approx(-score, abs=1e-6) for other, score in disliked.items()}
    own_text = generation.scoring.history_text  # of an item with itself, the product is 1; and B's diagonal is drawn
    together = generation.neighbours.weighted_sum(np.array([item]), np.ones(1, np.float32))[item]
    assert liked[item] == pytest.approx(own_text + generation.scoring.collaborative * together, abs=1e-5)


@pytest.mark.parametrize("collaborative", [0.0, -0.7])
def test_weights_of_any_sign_do(make_generation, weights, users, collaborative):
    generation = make_generation(ITEMS, weights=weights, popularity=users, collaborative=collaborative)
    history = History([3, 5], [0.5, 0.5], 0)
    ranked = Ranker(generation).by_history(history, page_size=10, excluded={3, 5}, popular=True)
    scores = [naive_score(generation, weights, users, item, history=history) for item in range(ITEMS)]
    best = sorted((score for item, score in enumerate(scores) if item not in (3, 5)), reverse=True)
    np.testing.assert_allclose(ranked.scores, best[:10], rtol=1e-4, atol=1e-5)


# Candidates


@settings(max_examples=60, deadline=None)
@given(seed=seeds, page_size=st.integers(1, 100), excluded=st.sets(st.integers(0, ITEMS - 1)), with_wish=st.booleans())
def test_the_page_is_full_and_holds_no_excluded_item(ranker, generation, seed, page_size, excluded, with_wish):
    random = np.random.default_rng(seed)
    history = draw_history(random)
    wish = draw_wish(random, generation, min(ITEMS, page_size + len(excluded) + 50)) if with_wish else None
    pages = [ranker.by_history(history, page_size=page_size, excluded=excluded, popular=True, wish=wish)]
    if wish is not None:
        pages.append(ranker.by_wish(wish, page_size=page_size, excluded=excluded))
    for page in pages:
        assert len(set(page.positions)) == min(page_size, ITEMS - len(excluded))
        assert not excluded & set(page.positions)
        assert all(page.sources)


def test_a_call_leaves_nothing_behind(ranker, generation):
    random = np.random.default_rng(5)
    histories = [draw_history(random) for _ in range(30)]

    def page(of, history):
        ranked = of.by_history(history, page_size=10, excluded=set(history.seen), popular=True)
        return ranked.positions, ranked.scores, ranked.sources

    assert [page(ranker, history) for history in histories] == [
        page(Ranker(generation), history) for history in histories
    ]
    assert ranker._native.clean()


@pytest.fixture(scope="module")
def large(make_generation):
    """More items than any source takes, and few enough for the index to compare with all of them."""
    return make_generation(500, seed=3)


@pytest.mark.parametrize("seed", range(8))
def test_sources_are_true(large, seed):
    random = np.random.default_rng(seed)
    history, excluded = draw_history(random, 500), set(random.integers(0, 500, 20).tolist())
    wish = draw_wish(random, large, 80) if seed % 2 else None
    ranked = Ranker(large).by_history(history, page_size=20, excluded=excluded, popular=True, wish=wish)

    def marked(source):
        pairs = zip(ranked.positions, ranked.sources, strict=True)
        return {item for item, sources in pairs if sources & source.value}

    def best(scores, count):
        return set(np.argsort(-scores, kind="stable")[:count].tolist())

    page = set(ranked.positions)
    assert marked(Source.POPULAR) == page & set(large.catalogue.by_popularity[: 20 + len(excluded) + 50].tolist())
    assert marked(Source.WISH) == (page & best(large.vectors @ wish.vector, 80) if wish else set())
    sums = large.neighbours.weighted_sum(np.array(history.scored), np.array(history.weights, np.float32))
    assert marked(Source.COLLABORATIVE) == {item for item in page if sums[item] > 0}
    liked = [h for h, w in zip(history.scored, history.weights, strict=True) if w > 0]
    queries = [*large.vectors[liked], np.array(history.weights, np.float32) @ large.vectors[history.scored]]
    assert marked(Source.TEXT) <= set().union(*(best(large.vectors @ query, 150) for query in queries))
    if not liked:
        assert not marked(Source.TEXT)


def test_neighbours_of_the_latest_likes_are_found_by_text(large):
    ranked = Ranker(large).by_history(History([7], [1.0], 0), page_size=10, excluded={7}, popular=False)
    nearest = set(large.index.search_exact(large.vectors[[7]], 64).positions[0].tolist())
    for item, sources in zip(ranked.positions, ranked.sources, strict=True):
        assert bool(sources & Source.TEXT.value) == (item in nearest)


def test_of_many_collaborative_neighbours_the_strongest_come_first(make_generation):
    weights = np.zeros((700, 700))
    weights[0] = np.random.default_rng(0).permutation(700) + 1.0
    ranker = Ranker(make_generation(700, weights=weights))
    ranked = ranker.by_history(History([0], [1.0], 0), page_size=10, excluded={0}, popular=True)
    assert ranked.positions == [item for item in np.argsort(-weights[0]).tolist() if item != 0][:10]


def test_equal_scores_keep_the_order_of_the_catalogue_wherever_they_were_found(make_generation, unit_vectors):
    weights = np.zeros((300, 300))
    weights[0, [150, 290]] = weights[1, [120, 200]] = 1.0
    vectors = np.repeat(unit_vectors(1), 300, axis=0)
    ranker = Ranker(make_generation(300, vectors=vectors, weights=weights, popularity=[1] * 300))
    ranked = ranker.by_history(History([0, 1], [0.5, 0.5], 0), page_size=4, excluded={0, 1}, popular=True)
    assert ranked.positions == [120, 150, 200, 290]


def test_items_equally_near_a_wish_keep_the_order_of_the_catalogue(make_generation, unit_vectors):
    generation = make_generation(10, popularity=[1] * 10)
    nearest = Neighbourhood(np.array([7, 5, 2, 9, 1]), np.array([0.9, 0.5, 0.5, 0.5, 0.1], np.float32))
    ranked = Ranker(generation).by_wish(Wish(unit_vectors(1)[0], nearest), page_size=4, excluded={9})
    assert ranked.positions == [7, 2, 5, 1]


def test_where_behaviour_says_little_the_text_of_the_whole_history_is_searched(make_generation, unit_vectors):
    """The best item lies between the liked ones, and is no neighbour of any of them."""
    random = np.random.default_rng(0)
    vectors = unit_vectors(4000, 32)
    liked = [0, 1000, 2000, 3000]
    between = vectors[liked].sum(axis=0)
    vectors[77] = between / np.linalg.norm(between)
    for item in liked:  # each has neighbours of its own that are nearer
        crowd = vectors[item] + 0.1 * random.normal(size=(64, 32))
        vectors[item + 1 : item + 65] = crowd / np.linalg.norm(crowd, axis=1, keepdims=True)
    weights = np.zeros((4000, 4000), dtype=np.float32)
    ranker = Ranker(make_generation(4000, dim=32, vectors=vectors, weights=weights, popularity=[1] * 4000))
    ranked = ranker.by_history(History(liked, [0.25] * 4, 0), page_size=5, excluded=set(liked), popular=True)
    assert ranked.positions[0] == int(np.argmax(vectors @ between)) == 77
    assert ranked.sources[0] & Source.TEXT.value


def test_likes_that_cancel_out_have_no_common_direction_and_are_searched_one_by_one(make_generation, unit_vectors):
    vectors = unit_vectors(400)
    vectors[1] = -vectors[0]
    ranker = Ranker(make_generation(400, vectors=vectors))
    ranked = ranker.by_history(History([0, 1], [0.5, 0.5], 0), page_size=400, excluded=(), popular=False)
    assert {0, 1} <= set(ranked.positions)
    assert np.isfinite(ranked.scores).all()


def test_the_neighbours_of_an_item_are_searched_for_once(make_generation, monkeypatch):
    generation = make_generation(500, seed=3)
    search, queries = generation.index.search, []

    def noted(vectors, k):
        queries.append(len(vectors))
        return search(vectors, k)

    monkeypatch.setattr(generation.index, "search", noted)
    ranker = Ranker(generation)
    pages = [
        ranker.by_history(History([item], [1.0], 0), page_size=10, excluded={item}, popular=False).positions
        for item in (7, 9, 7)
    ]
    assert queries == [1, 1]
    assert pages[0] == pages[2] != pages[1]


# What does not fit is refused before memory is read that is none


@pytest.mark.parametrize("item", [-1, ITEMS, 2**40])
def test_no_position_beyond_the_catalogue_is_read(ranker, generation, item):
    good = History([1], [1.0], 0)
    wish = draw_wish(np.random.default_rng(0), generation, 10)
    astray = Wish(wish.vector, Neighbourhood(np.array([item]), np.ones(1, np.float32)))
    calls = (
        lambda: ranker.by_history(History([item], [1.0], 0), page_size=5, excluded=(), popular=True),
        lambda: ranker.by_history(good, page_size=5, excluded={item}, popular=True),
        lambda: ranker.by_history(good, page_size=5, excluded=(), popular=True, wish=astray),
        lambda: ranker.by_wish(astray, page_size=5, excluded=()),
        lambda: ranker.by_wish(wish, page_size=5, excluded={item}),
    )
    for call in calls:
        with pytest.raises(IndexError, match="no such item"):
            call()
    assert ranker._native.clean()


@pytest.mark.parametrize("page_size", [ITEMS + 1, 2**62])
def test_a_page_larger_than_the_catalogue_holds_all_of_it(ranker, page_size):
    page = ranker.by_history(History([1], [1.0], 0), page_size=page_size, excluded=(), popular=True)
    assert sorted(page.positions) == list(range(ITEMS))


def test_an_empty_page_is_refused(ranker):
    with pytest.raises(ValueError, match="an item at least"):
        ranker.by_history(History([1], [1.0], 0), page_size=0, excluded=(), popular=True)
    assert ranker._native.clean()


def test_a_search_that_fails_leaves_nothing_behind(make_generation, monkeypatch):
    generation = make_generation(500, seed=3)
    ranker = Ranker(generation)

    def fail(vectors, k):
        raise RuntimeError("no index")

    with monkeypatch.context() as patch:
        patch.setattr(generation.index, "search", fail)
        with pytest.raises(RuntimeError, match="no index"):
            ranker.by_history(History([7], [1.0], 0), page_size=10, excluded=(), popular=False)
    assert ranker._native.clean()
    pages = [
        each.by_history(History([7], [1.0], 0), page_size=10, excluded=(), popular=False).positions
        for each in (ranker, Ranker(generation))
    ]
    assert pages[0] == pages[1]


# The cut


@settings(max_examples=300, deadline=None)
@given(
    scores=st.lists(st.one_of(st.sampled_from([-1.0, 0.0, -0.0, 0.5]), st.floats(-5, 5, width=32)), max_size=40),
    count=st.integers(1, 50),
)
def test_top_is_the_head_of_a_full_stable_sort(scores, count):
    expected = sorted(range(len(scores)), key=lambda index: (-scores[index], index))[:count]
    assert top(np.array(scores, dtype=np.float32), count).tolist() == expected
