"""The parts of a hybrid against what a reader of the papers would write down."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.export.training.made import DAY_S, dataset, interactions, unit

from tanager_export.dataset import User
from tanager_export.training.parts import PRIORS, Behaviour
from tanager_export.training.structure import Structure

ITEMS = 7
NO_LOAN = 1e-9


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(1)


def events(random: np.random.Generator, users: int = 12, count: int = 5, items: int = ITEMS):
    rows = [
        (user, int(item), int(10 * user + day))
        for user in range(users)
        for day, item in enumerate(random.permutation(items)[:count])
    ]
    return interactions(*rows)


def behaviour(train, random, items: int = ITEMS, **more) -> Behaviour:
    return Behaviour(dataset(train, items=items, **more), train, unit(random, items))


def test_b_is_ease(random):
    train = events(random)
    taken = np.zeros((12, ITEMS))
    taken[train.user, train.item] = 1
    inverse = np.linalg.inv(taken.T @ taken + 3.0 * np.eye(ITEMS))
    expected = -inverse / np.diag(inverse)
    np.fill_diagonal(expected, 0)
    found = behaviour(train, random).collaborative(Structure(l2=3.0, borrow=NO_LOAN))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_t_is_the_ridge_of_what_follows_on_what_went_before(random):
    train = events(random, users=6)
    before, after = [], []
    for user in range(6):
        row = train.item[train.user == user]
        for moment in range(len(row)):
            past, future = np.zeros(ITEMS), np.zeros(ITEMS)
            for distance, item in enumerate(row[:moment][::-1]):
                past[item] += np.exp(-distance / 2.0)
            for distance, item in enumerate(row[moment:]):
                future[item] += np.exp(-distance / 2.0)
            before.append(past)
            after.append(future)
    past, future = np.array(before), np.array(after)
    expected = np.linalg.solve(past.T @ past + 4.0 * np.eye(ITEMS), past.T @ future)
    np.fill_diagonal(expected, 0)
    structure = Structure(transitions_l2=4.0, transitions_decay=2.0, borrow=NO_LOAN)
    np.testing.assert_allclose(behaviour(train, random).transitions(structure), expected, atol=1e-6)


def test_t_knows_direction():
    train = interactions(*((user, item, user * 10 + item) for user in range(20) for item in range(3)))
    found = Behaviour(dataset(train, items=3), train, unit(np.random.default_rng(0), 3)).transitions(
        Structure(transitions_l2=1.0, borrow=NO_LOAN)
    )
    assert found[0, 1] > 0.3 > abs(found[1, 0])


def test_an_item_that_nobody_took_up_borrows_what_its_text_lets_one_expect():
    rows = [(user, item, user) for user in range(10) for item in (0, 1)]
    rows += [(user, item, user) for user in range(10, 20) for item in (2, 3)]
    train = interactions(*rows)
    vectors = np.eye(4, dtype=np.float32)[[0, 1, 2, 3, 1]]
    vectors[4] = [0.1, 0.99, 0, 0.1]
    vectors[4] /= np.linalg.norm(vectors[4])  # item 4 is like item 1, and new
    structure = Structure(l2=1.0, borrow=1.0, traits_l2=0.1, likeness=0.0)
    found = Behaviour(dataset(train, items=5), train, vectors).collaborative(structure)
    assert found[0, 4] > 0.5 * found[0, 1] > 0  # on the scale of the item it is like
    assert found[0, 4] > 10 * abs(found[2, 4])
    assert not found[4].any()  # nobody's history holds it yet
    alike = Behaviour(dataset(train, items=5), train, vectors).collaborative(replace(structure, likeness=0.5))
    assert alike[1, 4] > found[1, 4] + 0.2  # what is like it speaks for it
    less = Behaviour(dataset(train, items=5), train, vectors).collaborative(replace(structure, confidence=0.5))
    np.testing.assert_allclose(less[:, 4], found[:, 4] / 2, atol=1e-6)


def test_an_item_is_new_as_far_as_it_has_no_behaviour_of_its_own(random):
    train = interactions((0, 0, 1), (1, 0, 2), (2, 0, 3), (0, 1, 4))
    priors = Behaviour(dataset(train, items=3), train, unit(random, 3)).priors(Structure(borrow=1.0))
    np.testing.assert_allclose(priors[PRIORS.index("new")], [1 / 4, 1 / 2, 1.0])


def test_popularity_fades_and_what_came_late_is_not_buried():
    old = [(user, 0, 0) for user in range(8)]
    steady = [(user, 1, day) for user, day in zip(range(8, 14), (0, 20, 40, 60, 80, 100), strict=True)]
    late = [(user, 2, 100) for user in range(14, 17)]
    train = interactions(*old, *steady, *late)
    priors = Behaviour(dataset(train, items=3), train, unit(np.random.default_rng(0), 3)).priors(
        Structure(popularity_days=20.0, borrow=NO_LOAN)
    )
    recent = np.array([8 / 32, 1 + 1 / 2 + 1 / 4 + 1 / 8 + 1 / 16 + 1 / 32, 3.0])
    np.testing.assert_allclose(priors[1], recent / recent.max(), atol=1e-5)
    np.testing.assert_allclose(priors[0], np.log(recent / recent.max() + 1e-3), atol=1e-4)
    assert priors[2, 2] == priors[2].max()  # all of what happened since it came out


def test_times_that_are_an_order_make_nothing_recent():
    train = interactions((0, 0, 0), (1, 0, 0), (2, 1, 900))
    made = dataset(train, items=2, times="order")
    priors = Behaviour(made, train, unit(np.random.default_rng(0), 2)).priors(
        Structure(popularity_days=1.0, borrow=NO_LOAN)
    )
    np.testing.assert_allclose(priors[1], [1.0, 0.5], atol=1e-6)


def test_profiles_are_log_ratios_of_shares_shrunk():
    people = tuple(User(f"u{user}", {"sex": "f" if user < 10 else "m", "age": user}) for user in range(20))
    train = interactions(*((user, 0 if user < 10 else 1, 1) for user in range(20)), *((u, 2, 2) for u in range(20)))
    made = dataset(train, items=3, users=people)
    profiles = Behaviour(made, train, unit(np.random.default_rng(0), 3)).profiles(Structure(profile_shrinkage=5.0))
    row = profiles.known.attributes.index("sex=f")
    # 20 uptakes of f: 10 of item 0, none of 1, 10 of 2; expected of anybody: 5, 5, 10.
    np.testing.assert_allclose(profiles.weights[row], np.log([15 / 10, 5 / 10, 1.0]), atol=1e-5)
    assert not any(name.startswith("age=") for name in profiles.known.attributes)  # no range has ten users
    assert profiles.matrix([{"sex": "F"}, {"sex": "other"}, {}]).toarray()[:, row].tolist() == [1.0, 0.0, 0.0]


def test_users_without_events_teach_no_attribute():
    people = tuple(User(f"u{user}", {"sex": "f"}) for user in range(20))
    train = interactions((19, 0, 1))
    made = dataset(train, items=1, users=people)
    assert Behaviour(made, train, unit(np.random.default_rng(0), 1)).profiles(Structure()).known.attributes == ()


def test_nothing_later_than_train_is_read(random):
    """The dataset's own interactions are those of the future too."""
    train = events(random)
    later = interactions(*((0, item, 10_000 * DAY_S) for item in range(ITEMS)))
    vectors = unit(random, ITEMS)
    one = Behaviour(dataset(train, items=ITEMS), train, vectors)
    other = Behaviour(dataset(later, items=ITEMS), train, vectors)
    for part in ("collaborative", "transitions", "priors"):
        np.testing.assert_array_equal(getattr(one, part)(Structure()), getattr(other, part)(Structure()))
