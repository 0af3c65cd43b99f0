"""Whom a list is for: events in order, resolved against a catalogue; weights by recency."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tanager_server.engine import Events
from tanager_server.engine.subject import decayed, resolve_history


@pytest.fixture(scope="module")
def resolve(make_generation):
    def run(*numbers, weights=None, times_ns=None, **scoring):
        """Events of the items of these numbers; None is an item that the catalogue does not have."""
        generation = make_generation(30, **({"history_limit": 8} | scoring))
        item_ids = ["nothing" if number is None else f"item-{number}" for number in numbers]
        events = Events(item_ids, weights or [1.0] * len(numbers), times_ns)
        return resolve_history(events, catalogue=generation.catalogue, scoring=generation.scoring)

    return run


def test_an_event_counts_half_after_a_half_life_of_later_events():
    np.testing.assert_allclose(decayed([1.0] * 5, 2.0), [0.25, 0.5**1.5, 0.5, 0.5**0.5, 1], rtol=1e-12)


def test_signs_and_sizes_of_weights_stay_behind_their_recency():
    np.testing.assert_allclose(decayed([-4.0, 0.0, 3.0], 1.0), [-1, 0, 3], rtol=1e-12)
    assert decayed([], 1.0).shape == (0,)


def test_a_long_history_forgets_its_beginning_without_a_warning():
    weights = decayed([1.0] * 5000, 0.5)
    assert weights[0] == 0
    assert weights.sum() == pytest.approx(1 / (1 - 0.25))


@settings(deadline=None, max_examples=50)
@given(given_weights=st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=30))
def test_weights_are_those_of_the_events(resolve, given_weights):
    assert resolve(*range(len(given_weights)), weights=given_weights, history_limit=30).weights == given_weights


def test_events_are_ordered_by_time_if_they_have_one(resolve):
    assert resolve(1, 2, 3, times_ns=[30, 10, 20]).scored == [2, 3, 1]


def test_times_a_nanosecond_apart_are_told_apart(resolve):
    now = 1_700_000_000 * 10**9
    assert resolve(1, 2, 3, times_ns=[now + 2, now, now + 1]).scored == [2, 3, 1]


def test_events_of_the_same_time_keep_the_order_of_the_list(resolve):
    assert resolve(5, 4, 3, 2, times_ns=[1, 1, 0, 1]).scored == [3, 5, 4, 2]


def test_the_order_of_the_list_counts_without_times(resolve):
    assert resolve(1, 2, 3).scored == [1, 2, 3]


def test_weights_follow_their_events_when_these_are_ordered(resolve):
    history = resolve(1, 2, weights=[-1, 1], times_ns=[30, 10])
    assert history.scored == [2, 1]
    assert np.sign(history.weights).tolist() == [1, -1]


def test_weights_follow_their_events_when_others_are_unknown(resolve):
    history = resolve(None, 1, None, 2, weights=[5, -1, 7, 1])
    assert history.scored == [1, 2]
    assert np.sign(history.weights).tolist() == [-1, 1]


def test_unknown_items_are_counted_and_do_not_age_the_others(resolve):
    with_unknown = resolve(1, None, 2, None, None)
    without = resolve(1, 2)
    assert with_unknown.unknown == 3
    assert with_unknown.weights == without.weights
    assert with_unknown.seen == [1, 2]


def test_the_latest_events_are_scored_and_all_are_seen(resolve):
    history = resolve(*range(20), history_limit=8)
    assert history.scored == list(range(12, 20))
    assert history.seen == list(range(20))
    assert len(history.weights) == 8


@pytest.mark.parametrize("events", [(), (None,), (None, None)])
def test_no_known_event_is_an_empty_history(resolve, events):
    history = resolve(*events)
    assert (history.seen, history.scored, history.weights) == ([], [], [])
    assert history.unknown == len(events)


def test_events_of_no_weight_say_nothing_and_are_seen(resolve):
    history = resolve(1, 2, weights=[0.0, 0.0])
    assert history.weights == [0, 0]
    assert history.seen == [1, 2]


def test_an_item_may_come_more_than_once(resolve):
    assert resolve(1, 1, 1, weights=[1, -1, 1]).scored == [1, 1, 1]
