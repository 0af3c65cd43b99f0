"""Fading counts are those of counting all users anew."""

from __future__ import annotations

import collections

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tanager_server.state.trends import Trends
from tanager_server.state.users import Users

HOUR = 3600 * 10**9
START = 1_700_000_000 * 10**9
HALF_LIVES = (1.0, 24.0)
EARLIEST, LATEST = -(1 << 63), (1 << 63) - 1
NAMES = st.sampled_from(["ada", "bob", "cyd"])
EVENT = st.tuples(
    NAMES,
    st.integers(0, 3),
    st.sampled_from([-2.0, 0.0, 0.5, 1.0, 7.0]),
    st.one_of(
        st.integers(0, 40 * HOUR),
        st.integers(0, 3).map(lambda hours: hours * HOUR),
        st.sampled_from([EARLIEST, EARLIEST + 1, -8_520_336_000 * 10**9, -(1 << 62), 0]).map(lambda time: time - START),
    ),
)


def counted(events, now, half_life):
    """By the contract: users who took an item up, each by the weight and the age of the last time."""
    last: dict[tuple[str, int], tuple[float, int]] = {}
    for name, number, weight, time in events:
        if weight > 0 and (last.get((name, number)) is None or last[name, number][1] <= time):
            last[name, number] = (weight, time)
    scores: dict[int, float] = {}
    for (_, number), (weight, time) in last.items():
        scores[number] = scores.get(number, 0.0) + weight * 2.0 ** (-(now - time) / (half_life * HOUR))
    return scores


def check(trends, events):
    now = START + 50 * HOUR
    takers = {(name, number) for name, number, weight, _ in events if weight > 0}
    by_number = collections.Counter(number for _, number in takers)
    for number in {event[1] for event in events} | {10_000}:
        assert trends.takers(number) == by_number[number]
    for half_life in HALF_LIVES:
        numbers, scores = trends.scores(now, half_life)
        expected = counted(events, now, half_life)
        assert numbers.tolist() == sorted(expected)
        np.testing.assert_allclose(scores, [expected[number] for number in sorted(expected)], rtol=1e-5, atol=1e-12)


@settings(max_examples=200, deadline=None)
@given(steps=st.lists(st.one_of(EVENT, EVENT, EVENT, NAMES), max_size=40))
def test_counts_are_those_of_counting_anew(steps):
    users, trends = Users(), Trends(HALF_LIVES)
    events: list[tuple[str, int, float, int]] = []
    for step in steps:
        if isinstance(step, str):
            purged = users.purge(step)
            if purged:
                trends.remove(purged.taken)
            events = [event for event in events if event[0] != step]
        else:
            name, number, weight, time = step
            trends.add(number, weight, START + time, users.last_take_up(name, number))
            users.add_event(name, number, "click", weight, START + time)
            events.append((name, number, weight, START + time))
    check(trends, events)
    trends.load(users.take_ups())
    check(trends, events)
    again = Trends(HALF_LIVES)
    again.load(users.take_ups())
    check(again, events)


def test_more_items_than_there_was_room_for():
    trends = Trends([1.0])
    for number in range(5000):
        trends.add(number, 1.0 + number, START, None)
    numbers, scores = trends.scores(START + HOUR, 1.0)
    np.testing.assert_array_equal(numbers, np.arange(5000))
    np.testing.assert_allclose(scores, (1.0 + np.arange(5000)) / 2)


def test_decades_apart_nothing_overflows():
    trends = Trends([0.01])
    for years in (0, 40, 20, 80):
        trends.add(0, 3.0, START + years * 8766 * HOUR, None)
    assert trends.scores(START + 80 * 8766 * HOUR, 0.01)[1].tolist() == [3.0]
    assert trends.scores(START + 200 * 8766 * HOUR, 0.01)[1].tolist() == [0.0]


def test_centuries_apart_nothing_overflows():
    """From one end of what 64 bits can say to the other."""
    users, trends = Users(), Trends([1.0])
    for name, time_ns in (("ada", EARLIEST), ("bob", LATEST), ("cyd", START)):
        trends.add(0, 3.0, time_ns, None)
        users.add_event(name, 0, "click", 3.0, time_ns)
    assert trends.scores(LATEST, 1.0)[1].tolist() == [3.0]
    trends.load(users.take_ups())
    assert trends.scores(LATEST, 1.0)[1].tolist() == [3.0]
    assert trends.scores(START, 1.0)[1].tolist() == [3.0]


def test_the_future_counts_as_now():
    trends = Trends([1.0])
    trends.add(0, 3.0, START + 80 * HOUR, None)
    assert trends.scores(START, 1.0)[1].tolist() == [3.0]


def test_nothing_is_counted_of_nothing():
    trends = Trends([1.0])
    trends.load(Users().take_ups())
    numbers, scores = trends.scores(START, 1.0)
    assert (numbers.tolist(), scores.tolist()) == ([], [])


@pytest.mark.parametrize("half_lives", [[], [0.0], [-1.0], [float("inf")], [float("nan")], [1.0, 1.0]], ids=str)
def test_half_lives_are_sound(half_lives):
    with pytest.raises(ValueError, match="half_lives_h"):
        Trends(half_lives)


def test_only_half_lives_that_are_kept_are_told():
    with pytest.raises(ValueError, match="counts are kept for 1, 24"):
        Trends([1.0, 24.0]).scores(START, 2.0)
