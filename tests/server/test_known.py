"""Users as a request sees them, while the items of their histories come and go."""

from __future__ import annotations

import pytest

from tanager_server.engine.known import NO_PAST, KnownUsers
from tanager_server.errors import InvalidRequestError


@pytest.fixture
def catalogue(make_generation):
    return make_generation(5).catalogue


@pytest.fixture
def known(catalogue):
    return KnownUsers(catalogue)


def happen(known, user, item_id, time_ns, weight=1.0):
    known.users.add_event(user, known.numbers.number(item_id), "click", weight, time_ns)


def test_of_nobody_nothing_is_known(known):
    assert known.past("ann") is NO_PAST
    assert known.profile("ann") == {}
    assert known.positions.tolist() == []


def test_a_past_is_in_the_order_in_which_it_happened(known):
    for number, time_ns in ((3, 30), (1, 10), (2, 20)):
        happen(known, "ann", f"item-{number}", time_ns, weight=number / 2)
    assert known.past("ann") == ([1, 2, 3], [0.5, 1.0, 1.5])


def test_profiles_have_so_many_names_of_attributes_together(known, monkeypatch):
    monkeypatch.setattr("tanager_server.engine.attribute_names.MOST", 3)
    known.users.put_profile("ann", {"age": 30.0, "city": "Ghent"})
    known.check_names([{"age": 1.0}, {"likes": ("war",)}])
    with pytest.raises(InvalidRequestError, match=r"users\[1\].profile: .* more than 3 names"):
        known.check_names([{"likes": ("war",)}, {"age": 1.0, "job": "smith"}])
    known.users.put_profile("bob", {"likes": ("war",), "job": "smith"})  # as a state that has more
    known.check_names([{"age": 1.0, "job": "smith"}])
    with pytest.raises(InvalidRequestError):
        known.check_names([{"new": 1.0}])
    known.users.purge("bob")
    known.check_names([{"new": 1.0}])


def test_an_item_that_comes_later_is_in_the_past_then_and_one_that_goes_is_not(known):
    happen(known, "ann", "item-1", 1)
    happen(known, "ann", "later", 2)
    assert known.past("ann").positions == [1]
    known.moved("later", 7)
    assert known.past("ann") == ([1, 7], [1.0, 1.0])
    known.moved("item-1", None)
    assert known.past("ann").positions == [7]
    known.moved("item-1", 1)
    known.moved("of nobody", 3)
    assert known.past("ann").positions == [1, 7]
    assert known.positions.tolist() == [1, 7]


def test_another_catalogue_has_other_positions(known, make_generation):
    happen(known, "ann", "item-4", 1)
    assert known.past("ann").positions == [4]
    other = KnownUsers(make_generation(3).catalogue, of=known)
    assert other.past("ann").positions == []
    happen(known, "ann", "item-2", 2)
    assert other.past("ann").positions == [2]
    assert known.past("ann").positions == [4, 2]


def test_a_profile_is_the_last_one_written(known):
    known.users.put_profile("ann", {"age": 30.0, "likes": ("war",)})
    assert known.profile("ann") == {"age": 30.0, "likes": ("war",)}
    known.users.put_profile("ann", {"age": 31.0})
    assert known.profile("ann") == {"age": 31.0}
