"""Ranking, against an independent and naive reading of the formula of `Scoring`."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tanager_server.bundle import Neighbours
from tanager_server.engine import Source
from tanager_server.engine.ranking import Asked, Ranker
from tanager_server.engine.subject import NO_HISTORY, History, decayed
from tanager_server.index import top

ITEMS = 60
seeds = st.integers(0, 2**32 - 1)


def draw_sparse(seed, rows=ITEMS):
    random = np.random.default_rng(seed)
    return random.normal(size=(rows, ITEMS)) * (random.random((rows, ITEMS)) < 0.2)


@pytest.fixture(scope="module")
def parts():
    """B, T, A and the priors, dense."""
    priors = np.random.default_rng(10).normal(size=(2, ITEMS)) * 0.3
    return {
        "weights": draw_sparse(7),
        "follows": draw_sparse(8),
        "attributes": draw_sparse(9, 3),
        "priors": priors.astype(np.float32),
    }


@pytest.fixture(scope="module")
def generation(make_generation, parts):
    return make_generation(ITEMS, **parts)


@pytest.fixture(scope="module")
def ranker(generation):
    """One for all tests: what a call leaves behind must not show in the next."""
    return Ranker(generation)


def draw_history(random, items=ITEMS):
    """Up to twelve events, liked and disliked."""
    count = int(random.integers(1, 13))
    return History(random.integers(0, items, count).tolist(), random.normal(size=count).tolist(), 0)


def draw_wish(random, generation, reach):
    direction = random.normal(size=generation.vectors.shape[1]).astype(np.float32)
    direction /= np.linalg.norm(direction)
    found = generation.index.search(direction[None], reach)
    return Asked(direction, found.positions[0], found.similarities[0], generation.scoring.wish, Source.WISH.value)


def draw_attributes(random):
    return random.permutation(3)[: random.integers(0, 4)].tolist()


def likes(*items):
    return History(list(items), [1.0] * len(items), 0)


def product(a, b):
    return sum(float(x) * float(y) for x, y in zip(a, b, strict=True))


def naive_score(generation, parts, item, *, history=NO_HISTORY, wish=None, attributes=()):
    scoring, vectors = generation.scoring, generation.vectors
    events = list(zip(history.scored, history.weights, reversed(range(len(history.weights))), strict=True))
    together = follows = text = total = 0.0
    for h, weight, age in events:
        together += weight * 0.5 ** (age / scoring.collaborative_half_life) * float(parts["weights"][h][item])
        follows += weight * 0.5 ** (age / scoring.transitions_half_life) * float(parts["follows"][h][item])
        faded = weight * 0.5 ** (age / scoring.history_text_half_life)
        text += faded * product(vectors[h], vectors[item])
        total += abs(faded)
    known = len(events) / (len(events) + scoring.known_events)
    prior = float(parts["priors"][0][item]) + known * float(parts["priors"][1][item])
    prior += (1 - known) * scoring.profile * sum(float(parts["attributes"][row][item]) for row in attributes)
    score = scoring.collaborative * together + scoring.transitions * follows
    score += scoring.history_text * text / total if total else 0.0
    if wish is None:
        return score + prior
    score += scoring.wish * product(wish.vector, vectors[item])
    return score + (prior if events else scoring.wish_prior * prior)


# Scores


@settings(max_examples=60, deadline=None)
@given(seed=seeds, with_history=st.booleans(), with_wish=st.booleans())
def test_every_score_is_the_formulas(ranker, generation, parts, seed, with_history, with_wish):
    random = np.random.default_rng(seed)
    history, attributes = draw_history(random) if with_history else NO_HISTORY, draw_attributes(random)
    wish = draw_wish(random, generation, ITEMS) if with_wish and with_history else None
    ranked = ranker.by_history(history, page_size=ITEMS, excluded=(), attributes=attributes, asked=wish)
    expected = [
        naive_score(generation, parts, item, history=history, wish=wish, attributes=attributes)
        for item in ranked.positions
    ]
    assert sorted(ranked.positions) == list(range(ITEMS))
    np.testing.assert_allclose(ranked.scores, expected, rtol=1e-4, atol=1e-5)
    assert ranked.scores == sorted(ranked.scores, reverse=True)


@settings(max_examples=30, deadline=None)
@given(seed=seeds, with_wish=st.booleans())
def test_items_that_are_given_have_the_scores_that_they_are_found_with(ranker, generation, seed, with_wish):
    random = np.random.default_rng(seed)
    asked = {"history": draw_history(random), "attributes": draw_attributes(random)}
    wish = draw_wish(random, generation, ITEMS) if with_wish else None
    page = ranker.by_history(page_size=ITEMS, excluded=(), asked=wish, **asked)
    scores, sources = ranker.score(page.positions, asked=wish, **asked)
    np.testing.assert_allclose(scores, page.scores, rtol=1e-6, atol=1e-6)
    beside_text = (Source.COLLABORATIVE | Source.TRANSITION | Source.PROFILE).value
    assert sources == [flags & beside_text for flags in page.sources]
    assert ranker._native.clean()
    assert ranker.score([], asked=wish, **asked) == ([], [])


@settings(max_examples=30, deadline=None)
@given(seed=seeds, page_size=st.integers(1, ITEMS))
def test_the_score_of_a_wish_is_the_formulas(ranker, generation, parts, seed, page_size):
    random = np.random.default_rng(seed)
    wish, attributes = draw_wish(random, generation, ITEMS), draw_attributes(random)
    ranked = ranker.by_wish(wish, page_size=page_size, excluded=(), attributes=attributes)
    scores = [naive_score(generation, parts, item, wish=wish, attributes=attributes) for item in range(ITEMS)]
    assert ranked.positions == sorted(range(ITEMS), key=lambda item: -scores[item])[:page_size]
    np.testing.assert_allclose(ranked.scores, [scores[item] for item in ranked.positions], rtol=1e-4, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(seed=seeds, page_size=st.integers(1, 20), with_wish=st.booleans())
def test_in_a_small_catalogue_the_page_is_the_best_of_all_items(ranker, generation, parts, seed, page_size, with_wish):
    random = np.random.default_rng(seed)
    history, excluded = draw_history(random), set(random.integers(0, ITEMS, 5).tolist())
    wish, attributes = draw_wish(random, generation, ITEMS) if with_wish else None, draw_attributes(random)
    ranked = ranker.by_history(history, page_size=page_size, excluded=excluded, attributes=attributes, asked=wish)
    scores = [
        naive_score(generation, parts, item, history=history, wish=wish, attributes=attributes) for item in range(ITEMS)
    ]
    best = sorted((score for item, score in enumerate(scores) if item not in excluded), reverse=True)
    np.testing.assert_allclose(ranked.scores, best[:page_size], rtol=1e-4, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(seed=seeds)
def test_a_dislike_lowers_what_a_like_of_the_same_item_raises(ranker, generation, parts, seed):
    item = int(np.random.default_rng(seed).integers(ITEMS))

    def scores(weight):
        ranked = ranker.by_history(History([item], [weight], 0), page_size=ITEMS, excluded=())
        known = generation.scoring.known(1)
        priors = generation.priors[0] + known * generation.priors[1]
        return {item: score - priors[item] for item, score in zip(ranked.positions, ranked.scores, strict=True)}

    liked, disliked = scores(1.0), scores(-1.0)
    assert liked == {other: pytest.approx(-score, abs=1e-6) for other, score in disliked.items()}
    own = generation.scoring.history_text  # of an item with itself, the product is 1; and the diagonals are drawn
    own += generation.scoring.collaborative * parts["weights"][item, item]
    own += generation.scoring.transitions * parts["follows"][item, item]
    assert liked[item] == pytest.approx(own, abs=1e-5)


@pytest.mark.parametrize("changes", [{"collaborative": 0.0}, {"collaborative": -0.7, "transitions": -0.5}], ids=str)
def test_weights_of_any_sign_do(make_generation, parts, changes):
    generation = make_generation(ITEMS, **parts, **changes)
    ranked = Ranker(generation).by_history(likes(3, 5), page_size=10, excluded={3, 5})
    scores = [naive_score(generation, parts, item, history=likes(3, 5)) for item in range(ITEMS)]
    best = sorted((score for item, score in enumerate(scores) if item not in (3, 5)), reverse=True)
    np.testing.assert_allclose(ranked.scores, best[:10], rtol=1e-4, atol=1e-5)


def test_the_more_happened_the_more_it_says_and_the_less_priors(make_generation, parts):
    """The sums over B and T grow with every event, what is added for anybody does not, and the text is a mean."""
    still = {"priors": np.zeros((2, ITEMS)), "follows": np.zeros((ITEMS, ITEMS))}
    ranker = Ranker(make_generation(ITEMS, **(parts | still), collaborative_half_life=1e9, history_text=0.0))

    def scores(events):
        ranked = ranker.by_history(likes(*[3] * events), page_size=ITEMS, excluded=())
        return np.array(ranked.scores)[np.argsort(ranked.positions)]

    assert np.abs(scores(1)).max() > 0.1
    np.testing.assert_allclose(scores(10), 10 * scores(1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("events", [0, 1, 4, 100])
def test_how_far_a_user_is_known(make_generation, events):
    scoring = make_generation(5).scoring
    assert scoring.known(events) == pytest.approx(events / (events + 4))
    assert make_generation(5, known_events=0.0).scoring.known(events) == (1.0 if events else 0.0)


def test_what_is_like_an_item_knows_neither_priors_nor_what_follows(ranker, generation, parts):
    ranked = ranker.by_item(7, page_size=ITEMS, excluded={7})
    scores = {
        item: generation.scoring.collaborative * parts["weights"][7, item]
        + generation.scoring.history_text * product(generation.vectors[7], generation.vectors[item])
        for item in ranked.positions
    }
    np.testing.assert_allclose(ranked.scores, [scores[item] for item in ranked.positions], rtol=1e-4, atol=1e-5)


# Candidates


@settings(max_examples=60, deadline=None)
@given(seed=seeds, page_size=st.integers(1, 100), excluded=st.sets(st.integers(0, ITEMS - 1)), with_wish=st.booleans())
def test_the_page_is_full_and_holds_no_excluded_item(ranker, generation, seed, page_size, excluded, with_wish):
    random = np.random.default_rng(seed)
    history, attributes = draw_history(random), draw_attributes(random)
    wish = draw_wish(random, generation, min(ITEMS, page_size + len(excluded) + 50)) if with_wish else None
    asked = {"page_size": page_size, "excluded": excluded, "attributes": attributes, "asked": wish}
    pages = [ranker.by_history(history, **asked), ranker.by_history(NO_HISTORY, **asked)]
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
        ranked = of.by_history(history, page_size=10, excluded=set(history.seen), attributes=[0, 2])
        return ranked.positions, ranked.scores, ranked.sources

    assert [page(ranker, history) for history in histories] == [
        page(Ranker(generation), history) for history in histories
    ]
    assert ranker._native.clean()


@pytest.fixture(scope="module")
def large(make_generation):
    """More items than any source takes, and few enough for the index to compare with all of them."""
    return make_generation(500, seed=3)


def dense(rows, columns):
    matrix = np.zeros((len(rows.indptr) - 1, columns), np.float32)
    for row in range(len(matrix)):
        part = slice(rows.indptr[row], rows.indptr[row + 1])
        matrix[row, rows.indices[part]] = rows.weights[part]
    return matrix


@pytest.mark.parametrize("seed", range(8))
def test_sources_are_true(large, seed):
    random = np.random.default_rng(seed)
    history, excluded = draw_history(random, 500), set(random.integers(0, 500, 20).tolist())
    wish = draw_wish(random, large, 80) if seed % 2 else None
    attributes = draw_attributes(random)
    ranked = Ranker(large).by_history(history, page_size=20, excluded=excluded, attributes=attributes, asked=wish)

    def marked(source):
        pairs = zip(ranked.positions, ranked.sources, strict=True)
        return {item for item, sources in pairs if sources & source.value}

    def best(scores, count):
        return set(np.argsort(-scores, kind="stable")[:count].tolist())

    page = set(ranked.positions)
    reach = 20 + len(excluded) + 50  # and further on where that may help
    orders = large.priors[0], large.priors[0] + large.priors[1]
    assert page & (best(orders[0], reach) | best(orders[1], reach)) <= marked(Source.POPULAR)
    worst = {item for item in page if all((order > order[item]).sum() > 4 * reach for order in orders)}
    assert not worst & marked(Source.POPULAR)
    assert marked(Source.WISH) == (page & best(large.vectors @ wish.vector, 80) if wish else set())
    rows, scoring = np.array(history.scored), large.scoring
    sums = large.neighbours.weighted_sum(rows, decayed(history.weights, scoring.collaborative_half_life))
    assert marked(Source.COLLABORATIVE) == {item for item in page if sums[item] > 0}
    sums = large.transitions.weighted_sum(rows, decayed(history.weights, scoring.transitions_half_life))
    assert marked(Source.TRANSITION) == {item for item in page if sums[item] > 0}
    of_attributes = dense(large.profile, 500)[attributes].sum(axis=0)
    assert marked(Source.PROFILE) == {item for item in page if of_attributes[item] > 0}
    liked = [h for h, w in zip(history.scored, history.weights, strict=True) if w > 0]
    text = decayed(history.weights, scoring.history_text_half_life).astype(np.float32)
    queries = [*large.vectors[liked], text @ large.vectors[rows]]
    assert marked(Source.TEXT) <= set().union(*(best(large.vectors @ query, 150) for query in queries))
    if not liked:
        assert not marked(Source.TEXT)


def test_neighbours_of_the_latest_likes_are_found_by_text(large):
    ranked = Ranker(large).by_item(7, page_size=10, excluded={7})
    nearest = set(large.index.search_exact(large.vectors[[7]], 64).positions[0].tolist())
    for item, sources in zip(ranked.positions, ranked.sources, strict=True):
        assert bool(sources & Source.TEXT.value) == (item in nearest)


def test_of_many_collaborative_neighbours_the_strongest_come_first(make_generation):
    weights = np.zeros((700, 700))
    weights[0] = np.random.default_rng(0).permutation(700) + 1.0
    ranker = Ranker(make_generation(700, weights=weights, collaborative=10.0))
    ranked = ranker.by_history(likes(0), page_size=10, excluded={0})
    assert ranked.positions == [item for item in np.argsort(-weights[0]).tolist() if item != 0][:10]


def test_equal_scores_keep_the_order_of_the_catalogue_wherever_they_were_found(make_generation, unit_vectors):
    weights = np.zeros((300, 300))
    weights[0, [150, 290]] = weights[1, [120, 200]] = 1.0
    vectors = np.repeat(unit_vectors(1), 300, axis=0)
    nothing = {"follows": np.zeros((300, 300)), "priors": np.ones((2, 300))}
    equal = {"collaborative_half_life": 1e12, "history_text_half_life": 1e12}
    ranker = Ranker(make_generation(300, vectors=vectors, weights=weights, **nothing, **equal))
    ranked = ranker.by_history(likes(0, 1), page_size=4, excluded={0, 1})
    assert ranked.positions == [120, 150, 200, 290]


def test_items_equally_near_a_wish_keep_the_order_of_the_catalogue(make_generation, unit_vectors):
    generation = make_generation(10, priors=np.ones((2, 10)))
    nearest = np.array([7, 5, 2, 9, 1]), np.array([0.9, 0.5, 0.5, 0.5, 0.1], np.float32)
    ranked = Ranker(generation).by_wish(Asked(unit_vectors(1)[0], *nearest, 1.0, 1), page_size=4, excluded={9})
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
    nothing = np.zeros((4000, 4000), dtype=np.float32)
    generation = make_generation(
        4000,
        dim=32,
        vectors=vectors,
        weights=nothing,
        follows=nothing,
        priors=np.ones((2, 4000)),
        history_text_half_life=1e12,
    )
    ranked = Ranker(generation).by_history(likes(*liked), page_size=5, excluded=set(liked))
    assert ranked.positions[0] == int(np.argmax(vectors @ between)) == 77
    assert ranked.sources[0] & Source.TEXT.value


def test_likes_that_cancel_out_have_no_common_direction_and_are_searched_one_by_one(make_generation, unit_vectors):
    vectors = unit_vectors(400)
    vectors[1] = -vectors[0]
    ranker = Ranker(make_generation(400, vectors=vectors, history_text_half_life=1e12))
    ranked = ranker.by_history(likes(0, 1), page_size=400, excluded=())
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
    pages = [ranker.by_item(item, page_size=10, excluded={item}).positions for item in (7, 9, 7)]
    assert queries == [1, 1]
    assert pages[0] == pages[2] != pages[1]


@settings(max_examples=60, deadline=None)
@given(seed=seeds, page_size=st.integers(1, 30), known_events=st.sampled_from([0.0, 4.0, 1e6]))
def test_without_text_the_page_is_the_best_of_all_items_however_many_there_are(
    make_generation, seed, page_size, known_events
):
    """The lists by priors are read on until nothing beyond them can come before the page, dislikes or not."""
    random = np.random.default_rng(seed)
    attributes = random.normal(size=(3, 400)) * (random.random((3, 400)) < 0.9) - 1.0
    generation = make_generation(
        400, seed=seed % 7, attributes=attributes, history_text=0.0, known_events=known_events, collaborative=3.0
    )
    chosen, excluded = draw_attributes(random), set(random.integers(0, 400, 9).tolist())
    dislikes = History(random.integers(0, 400, 30).tolist(), [-1.0] * 30, 0)
    for history in (NO_HISTORY, dislikes):
        rows, scoring = np.array(history.scored, dtype=np.int64), generation.scoring
        known = scoring.known(len(rows))
        scores = (
            scoring.collaborative
            * generation.neighbours.weighted_sum(rows, decayed(history.weights, scoring.collaborative_half_life))
            + scoring.transitions
            * generation.transitions.weighted_sum(rows, decayed(history.weights, scoring.transitions_half_life))
            + generation.priors[0]
            + known * generation.priors[1]
            + (1 - known) * scoring.profile * dense(generation.profile, 400)[chosen].sum(axis=0)
        )
        scores[list(excluded)] = -np.inf
        ranked = Ranker(generation).by_history(history, page_size=page_size, excluded=excluded, attributes=chosen)
        np.testing.assert_allclose(ranked.scores, np.sort(scores)[::-1][:page_size], rtol=1e-4, atol=1e-5)


# What does not fit is refused before memory is read that is none


@pytest.mark.parametrize("item", [-1, ITEMS, 2**40])
def test_no_position_beyond_the_catalogue_is_read(ranker, generation, item):
    wish = draw_wish(np.random.default_rng(0), generation, 10)
    astray = wish._replace(positions=np.array([item]), similarities=np.ones(1, np.float32))
    calls = (
        lambda: ranker.by_history(likes(item), page_size=5, excluded=()),
        lambda: ranker.by_history(likes(1), page_size=5, excluded={item}),
        lambda: ranker.by_history(likes(1), page_size=5, excluded=(), asked=astray),
        lambda: ranker.by_wish(astray, page_size=5, excluded=()),
        lambda: ranker.by_wish(wish, page_size=5, excluded={item}),
        lambda: ranker.by_item(item, page_size=5, excluded=()),
        lambda: ranker.score([item], history=likes(1)),
        lambda: ranker.score([1], history=likes(item)),
    )
    for call in calls:
        with pytest.raises(IndexError, match="no such item"):
            call()
    assert ranker._native.clean()


@pytest.mark.parametrize("row", [-1, 3])
def test_no_attribute_beyond_those_known_is_read(ranker, generation, row):
    wish = draw_wish(np.random.default_rng(0), generation, 10)
    with pytest.raises(IndexError, match="no such attribute"):
        ranker.by_history(likes(1), page_size=5, excluded=(), attributes=[0, row])
    with pytest.raises(IndexError, match="no such attribute"):
        ranker.by_wish(wish, page_size=5, excluded=(), attributes=[0, row])
    assert ranker._native.clean()


@pytest.mark.parametrize(
    "change",
    [
        {"priors": np.zeros((2, ITEMS - 1), np.float32)},
        {"vectors": np.zeros((ITEMS - 1, 16), np.float32)},
        {"neighbours": Neighbours(np.zeros(ITEMS + 2, np.int64), np.empty(0, np.int32), np.empty(0, np.float32))},
        {"transitions": Neighbours(np.ones(ITEMS + 1, np.int64), np.array([ITEMS], np.int32), np.ones(1, np.float32))},
        {"transitions": Neighbours(np.ones(ITEMS + 1, np.int64), np.empty(0, np.int32), np.empty(0, np.float32))},
    ],
    ids=lambda change: next(iter(change)),
)
def test_tables_that_do_not_fit_are_refused(generation, change):
    with pytest.raises((ValueError, IndexError)):
        Ranker(dataclasses.replace(generation, **change))


@pytest.mark.parametrize("page_size", [ITEMS + 1, 2**62])
def test_a_page_larger_than_the_catalogue_holds_all_of_it(ranker, page_size):
    page = ranker.by_history(likes(1), page_size=page_size, excluded=())
    assert sorted(page.positions) == list(range(ITEMS))


def test_an_empty_page_is_refused(ranker):
    with pytest.raises(ValueError, match="an item at least"):
        ranker.by_history(likes(1), page_size=0, excluded=())
    assert ranker._native.clean()


def test_a_search_that_fails_leaves_nothing_behind(make_generation, monkeypatch):
    generation = make_generation(500, seed=3)
    ranker = Ranker(generation)

    def fail(vectors, k):
        raise RuntimeError("no index")

    with monkeypatch.context() as patch:
        patch.setattr(generation.index, "search", fail)
        with pytest.raises(RuntimeError, match="no index"):
            ranker.by_item(7, page_size=10, excluded=())
    assert ranker._native.clean()
    pages = [each.by_item(7, page_size=10, excluded=()).positions for each in (ranker, Ranker(generation))]
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
