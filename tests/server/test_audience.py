"""Users scored for an item have the scores that the item has for them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tanager_server.engine.audience import Audience, Users
from tanager_server.engine.ranking import Ranker
from tanager_server.engine.subject import History

ITEMS = 60
LIMIT = 8


@pytest.fixture(scope="module")
def generation(make_generation):
    return make_generation(ITEMS, history_limit=LIMIT)


def draw_users(random, count):
    histories = []
    for _ in range(count):
        events = int(random.integers(0, 15))
        weights = random.normal(size=events) * (random.random(events) < 0.9)
        histories.append((random.integers(0, ITEMS, events).tolist(), weights.tolist()))
    return histories, [random.permutation(3)[: random.integers(0, 4)].tolist() for _ in range(count)]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), known_events=st.sampled_from([0.0, 4.0]))
def test_the_scores_are_those_of_by_history(make_generation, seed, known_events):
    generation = make_generation(ITEMS, history_limit=LIMIT, known_events=known_events)
    random = np.random.default_rng(seed)
    histories, attributes = draw_users(random, 12)
    positions = random.permutation(ITEMS)[:7].tolist()
    scores = Audience(generation).score(positions, Users.of(histories, attributes))
    assert scores.shape == (7, 12)
    assert scores.dtype == np.float32
    ranker = Ranker(generation)
    for user, ((items, weights), rows) in enumerate(zip(histories, attributes, strict=True)):
        history = History(items, weights[-LIMIT:], 0)
        page = ranker.by_history(history, page_size=ITEMS, excluded=(), attributes=rows)
        own = dict(zip(page.positions, page.scores, strict=True))
        np.testing.assert_allclose(scores[:, user], [own[item] for item in positions], rtol=1e-4, atol=2e-5)


def test_without_attributes_nobody_has_any(generation):
    histories, _ = draw_users(np.random.default_rng(0), 5)
    audience = Audience(generation)
    np.testing.assert_array_equal(
        audience.score([3], Users.of(histories)), audience.score([3], Users.of(histories, [[]] * 5))
    )


def test_somebody_of_whom_nothing_is_known_gets_the_prior(generation):
    scores = Audience(generation).score([3, 4], Users.of([([], [])]))
    np.testing.assert_allclose(scores[:, 0], generation.priors[0, [3, 4]], atol=1e-7)


def test_nobody_and_nothing(generation):
    audience = Audience(generation)
    assert audience.score([1, 2], Users.of([])).shape == (2, 0)
    assert audience.score([], Users.of([([1], [1.0])])).shape == (0, 1)


def test_an_item_that_comes_twice_in_a_row_of_b_counts_twice(make_generation):
    generation = make_generation(ITEMS)
    neighbours = generation.neighbours
    doubled = type(neighbours)(
        neighbours.indptr * 2, np.repeat(neighbours.indices, 2), np.repeat(neighbours.weights, 2)
    )
    twice = type(generation)(
        **{name: getattr(generation, name) for name in generation.__dataclass_fields__} | {"neighbours": doubled}
    )
    users = Users.of([([5], [1.0])])
    page = Ranker(twice).by_history(History([5], [1.0], 0), page_size=ITEMS, excluded=())
    np.testing.assert_allclose(Audience(twice).score(page.positions, users)[:, 0], page.scores, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"items": np.array([ITEMS])}, IndexError),
        ({"items": np.array([-1])}, IndexError),
        ({"attributes": np.array([3])}, IndexError),
        ({"starts": np.array([0, 2])}, ValueError),
        ({"starts": np.array([1, 1])}, ValueError),
        ({"starts": np.array([0, 2, 1])}, ValueError),
        ({"starts": np.array([], np.int64)}, ValueError),
        ({"starts": np.array([0, 1, 1])}, ValueError),
        ({"weights": np.ones(2)}, ValueError),
    ],
    ids=str,
)
def test_arrays_that_do_not_fit_are_refused(generation, changes, error):
    users = Users(np.array([0, 1]), np.array([1]), np.ones(1), np.array([0, 1]), np.array([0]))
    audience = Audience(generation)
    assert audience.score([0], users).shape == (1, 1)
    with pytest.raises(error):
        audience.score([0], users._replace(**changes))


@pytest.mark.parametrize("position", [-1, ITEMS])
def test_no_item_beyond_the_catalogue_is_scored(generation, position):
    with pytest.raises(IndexError, match="no such item"):
        Audience(generation).score([position], Users.of([]))


def test_attributes_of_other_users_are_refused():
    with pytest.raises(ValueError, match="attributes of 1 users for histories of 2"):
        Users.of([([], []), ([], [])], [[1]])
