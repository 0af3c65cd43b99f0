"""Whom a list is for: events in order, weighted by recency, resolved against a catalogue."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tanager_server.engine import Event
from tanager_server.engine.subject import resolve_history

MORNING = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def resolve(make_generation):
    def run(*events, **scoring):
        generation = make_generation(30, **({"history_half_life": 2.0, "history_limit": 8} | scoring))
        return resolve_history(events, catalogue=generation.catalogue, scoring=generation.scoring)

    return run


def event(number, weight=1.0, minutes=None):
    return Event(f"item-{number}", weight, None if minutes is None else MORNING + timedelta(minutes=minutes))


def test_an_event_counts_half_after_a_half_life_of_later_events(resolve):
    weights = resolve(*(event(number) for number in range(5))).subject.weights
    assert weights.dtype == np.float32
    np.testing.assert_allclose(weights / weights[-1], [0.25, 0.5**1.5, 0.5, 0.5**0.5, 1], rtol=1e-6)


@settings(deadline=None, max_examples=50)
@given(given_weights=st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=30))
def test_absolute_weights_add_up_to_one_whatever_the_history(resolve, given_weights):
    history = resolve(*(event(number, weight) for number, weight in enumerate(given_weights)), history_limit=30)
    total = np.abs(history.subject.weights).sum()
    assert total == pytest.approx(1, abs=1e-5) or not np.any(history.subject.weights)
    assert np.isfinite(history.subject.weights).all()
    assert not np.any(history.subject.weights * np.array(given_weights, np.float32) < 0)  # likes stay likes


def test_events_are_ordered_by_time_if_every_one_has_one(resolve):
    history = resolve(event(1, minutes=30), event(2, minutes=10), event(3, minutes=20))
    assert history.subject.history.tolist() == [2, 3, 1]


def test_events_of_the_same_time_keep_the_order_of_the_list(resolve):
    history = resolve(event(5, minutes=1), event(4, minutes=1), event(3, minutes=0), event(2, minutes=1))
    assert history.subject.history.tolist() == [3, 5, 4, 2]


def test_the_order_of_the_list_counts_if_one_event_has_no_time(resolve):
    history = resolve(event(1, minutes=30), event(2), event(3, minutes=20))
    assert history.subject.history.tolist() == [1, 2, 3]


def test_weights_follow_their_events_when_these_are_ordered(resolve):
    history = resolve(event(1, -1, minutes=30), event(2, 1, minutes=10))
    assert history.subject.history.tolist() == [2, 1]
    assert (np.sign(history.subject.weights) == [1, -1]).all()


def test_unknown_items_are_counted_and_do_not_age_the_others(resolve):
    with_unknown = resolve(event(1), Event("nothing"), event(2), Event("nothing"), Event(""))
    without = resolve(event(1), event(2))
    assert with_unknown.unknown == 3
    np.testing.assert_array_equal(with_unknown.subject.weights, without.subject.weights)
    assert with_unknown.seen.tolist() == [1, 2]


def test_the_latest_events_are_scored_and_all_are_seen(resolve):
    history = resolve(*(event(number) for number in range(20)), history_limit=8)
    assert history.subject.history.tolist() == list(range(12, 20))
    assert history.seen.tolist() == list(range(20))
    assert len(history.subject.weights) == 8


@pytest.mark.parametrize("events", [(), (Event("nothing"),)])
def test_no_known_event_is_an_empty_history(resolve, events):
    history = resolve(*events)
    assert (len(history.seen), len(history.subject.history), len(history.subject.weights)) == (0, 0, 0)
    assert history.unknown == len(events)


def test_events_of_no_weight_say_nothing_and_are_seen(resolve):
    history = resolve(event(1, 0.0), event(2, 0.0))
    assert history.subject.weights.tolist() == [0, 0]
    assert history.seen.tolist() == [1, 2]


def test_an_item_may_come_more_than_once(resolve):
    history = resolve(event(1), event(1, -1), event(1))
    assert history.subject.history.tolist() == [1, 1, 1]


def test_a_long_history_forgets_its_beginning_without_a_warning(resolve):
    weights = resolve(*(event(1) for _ in range(5000)), history_limit=5000, history_half_life=0.5).subject.weights
    assert weights[0] == 0
    assert weights.sum() == pytest.approx(1)
