"""Splits, against a naive reading of their definitions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tests.export.evaluation.made import USERS, Row, dataset_of, events_of, rows_of, some_rows

from tanager_export.evaluation.leaks import refuse_leaks
from tanager_export.evaluation.splits import (
    SplitError,
    cold_items,
    cold_users,
    global_time,
    leave_one_out,
    with_history,
)


def of_user(rows: list[Row], user: int) -> list[tuple[int, int, float]]:
    return sorted([row[1:] for row in rows if row[0] == user], key=lambda event: event[1])


def first_uptakes(rows: list[Row], beside: list[Row]) -> dict[int, list[tuple[int, int, float]]]:
    """Of each user, in the order of time: what they took up and did not have before."""
    had = {(user, item) for user, item, _, _ in beside}
    found: dict[int, list[tuple[int, int, float]]] = {}
    for user, item, time, weight in sorted(rows, key=lambda row: row[2]):
        if weight > 0 and (user, item) not in had:
            had.add((user, item))
            found.setdefault(user, []).append((item, time, weight))
    return found


def asked(split) -> dict[int, list[tuple[int, int, float]]]:
    return {user: events_of(split.cases.targets, row) for row, user in enumerate(split.cases.user.tolist())}


def split_or_skip(function, *args, **kwargs):
    try:
        return function(*args, **kwargs)
    except SplitError:
        assume(False)


def sorted_events(events):
    """Events of one time may come in any order that the file gives; compared as a set of them."""
    return sorted(events, key=lambda event: (event[1], event[0], event[2]))


class TestGlobalTime:
    @given(rows=some_rows, share=st.sampled_from([0.1, 0.3, 0.5]))
    def test_the_cut_parts_past_and_future_and_new_uptakes_are_asked(self, rows, share):
        split = split_or_skip(global_time, dataset_of(rows), share=share)
        [cut] = set(split.cases.at.tolist())
        past, future = [row for row in rows if row[2] <= cut], [row for row in rows if row[2] > cut]
        assert rows_of(split.train) == past
        expected = first_uptakes(future, past)
        assert set(asked(split)) == set(expected)
        for row, user in enumerate(split.cases.user.tolist()):
            assert sorted_events(events_of(split.cases.targets, row)) == sorted_events(expected[user])
            assert events_of(split.cases.histories, row) == of_user(past, user)
        refuse_leaks(split)

    @given(rows=some_rows, share=st.sampled_from([0.1, 0.3, 0.5]))
    def test_no_other_cut_leaves_a_share_nearer_to_the_one_asked_for(self, rows, share):
        split = split_or_skip(global_time, dataset_of(rows), share=share)
        shares = [sum(row[2] > time for row in rows) / len(rows) for time in {row[2] for row in rows}]
        found = 1 - len(split.train) / len(rows)
        assert abs(found - share) <= min(abs(other - share) for other in shares if other > 0) + 1e-12

    def test_a_tenth_of_a_hundred_events_is_the_last_ten(self):
        split = global_time(dataset_of([(n % 6, n, n, 1.0) for n in range(100)], items=100), share=0.1)
        assert split.cases.at[0] == 89
        assert len(split.train) == 90

    def test_events_of_the_second_of_the_cut_all_belong_to_the_past(self):
        rows = [(0, 0, 1, 1.0), *((user, 1, 5, 1.0) for user in range(6)), (0, 2, 6, 1.0)]
        split = global_time(dataset_of(rows), share=0.4)
        assert split.cases.at.tolist() == [5]
        assert asked(split) == {0: [(2, 6, 1.0)]}

    def test_a_user_who_comes_after_the_cut_has_a_profile_and_no_history(self):
        rows = [*((0, item, item, 1.0) for item in range(7)), (1, 3, 9, 1.0)]
        split = global_time(dataset_of(rows, profiles={"user-1": {"sex": "F"}, "user-9": {"sex": "M"}}))
        assert split.cases.user.tolist() == [1]
        assert split.cases.histories.lengths.tolist() == [0]
        assert split.cases.profiles == [{"sex": "F"}]

    def test_a_dislike_is_no_target_and_hides_no_later_uptake(self):
        past = [(0, 0, time, 1.0) for time in range(9)]
        split = global_time(dataset_of([*past, (0, 1, 10, -1.0), (0, 2, 10, 1.0), (0, 1, 11, 2.0)]), share=0.25)
        assert asked(split) == {0: [(2, 10, 1.0), (1, 11, 2.0)]}

    @pytest.mark.parametrize(
        ("rows", "options", "message"),
        [
            pytest.param([], {}, "no interactions", id="empty"),
            pytest.param([(0, 0, 5, 1.0), (1, 1, 5, 1.0)], {}, "same time", id="one time"),
            pytest.param([(0, 0, 1, 1.0), (0, 0, 2, 1.0)], {}, "nobody to ask", id="only repetition after the cut"),
            pytest.param([(0, 0, 1, 1.0), (0, 1, 2, -1.0)], {}, "nobody to ask", id="only dislikes after the cut"),
            pytest.param([(0, 0, 1, 1.0), (0, 1, 2, 1.0)], {"share": 1.0}, "between 0 and 1", id="share"),
            pytest.param([(0, 0, 1, 1.0), (0, 1, 2, 1.0)], {"share": float("nan")}, "between 0 and 1", id="nan"),
        ],
    )
    def test_what_cannot_be_split_is_refused(self, rows, options, message):
        with pytest.raises(SplitError, match=message):
            global_time(dataset_of(rows), **options)


TIMED = dataset_of([(user, item, item, 1.0) for user in range(4) for item in range(5)])


@pytest.mark.parametrize("times", ["order", "none"])
@pytest.mark.parametrize("split", [global_time, cold_users])
def test_times_that_are_only_an_order_are_not_compared_between_users(times, split):
    with pytest.raises(SplitError, match="needs times"):
        split(replace(TIMED, times=times))


def test_leave_one_out_needs_an_order_only():
    assert len(leave_one_out(replace(TIMED, times="order")).cases) == 4
    with pytest.raises(SplitError, match="no order"):
        leave_one_out(replace(TIMED, times="none"))


class TestLeaveOneOut:
    @given(rows=some_rows, repeats=st.sampled_from(["count", "drop"]))
    def test_the_last_uptake_is_asked_and_nothing_after_it_is_known(self, rows, repeats):
        split = split_or_skip(leave_one_out, dataset_of(rows), repeats=repeats)
        train, expected, repeated = [], {}, 0
        for user in range(USERS):
            events = of_user(rows, user)
            uptakes = [position for position, event in enumerate(events) if event[2] > 0]
            if len(uptakes) >= 3:
                target = uptakes[-1]
                known = events[:target]
                again = events[target][0] in [event[0] for event in known]
                repeated += again
                if not (again and repeats == "drop"):
                    expected[user] = (known, events[target])
            else:
                known = events
            train += [(user, *event) for event in known]
        assert sorted(rows_of(split.train)) == sorted(train)
        assert split.repeated == repeated
        assert set(asked(split)) == set(expected)
        for row, user in enumerate(split.cases.user.tolist()):
            history, last = expected[user]
            assert events_of(split.cases.histories, row) == history
            assert events_of(split.cases.targets, row) == [last]
            assert split.cases.at[row] == last[1]
        refuse_leaks(split)

    def test_users_of_two_events_are_learned_from(self):
        rows = [(0, 0, 1, 1.0), (0, 1, 2, 1.0), *((1, item, item, 1.0) for item in range(3))]
        split = leave_one_out(dataset_of(rows))
        assert asked(split) == {1: [(2, 2, 1.0)]}
        assert rows_of(split.train) == rows[:4]

    def test_nothing_to_ask_is_refused(self):
        with pytest.raises(SplitError, match="no interactions"):
            leave_one_out(dataset_of([]))
        with pytest.raises(SplitError, match="same time"):
            leave_one_out(dataset_of([(0, item, 7, 1.0) for item in range(5)]))
        with pytest.raises(SplitError, match="nobody to ask"):
            leave_one_out(dataset_of([(0, 0, 1, 1.0), (0, 1, 2, 1.0)]))
        with pytest.raises(SplitError, match="'count' or 'drop'"):
            leave_one_out(dataset_of([(0, 0, 1, 1.0)]), repeats="keep")  # type: ignore[arg-type]


class TestColdItems:
    @given(rows=some_rows, seed=st.integers(0, 5))
    def test_hidden_items_leave_train_and_are_all_that_is_asked(self, rows, seed):
        split = split_or_skip(cold_items, dataset_of(rows), share=0.3, seed=seed)
        hidden = set(split.cases.targets.item.tolist())
        train = rows_of(split.train)
        assert hidden.isdisjoint(row[1] for row in train)
        assert set(train) <= set(rows)
        for row, user in enumerate(split.cases.user.tolist()):
            assert events_of(split.cases.histories, row) == of_user(train, user) != []
        left = [row for row in rows if row not in train]
        with_history = {row[0] for row in train}
        expected = {user: rest for user, rest in first_uptakes(left, []).items() if user in with_history}
        assert {user: sorted_events(events) for user, events in asked(split).items()} == {
            user: sorted_events(events) for user, events in expected.items()
        }
        refuse_leaks(split)

    def test_the_share_is_of_the_items_with_interactions_and_the_seed_draws_them(self):
        dataset = dataset_of([(user, item, item, 1.0) for user in range(2) for item in range(20)], items=50)
        hidden = [set(cold_items(dataset, share=0.2, seed=seed).cases.targets.item.tolist()) for seed in (0, 0, 1)]
        assert hidden[0] == hidden[1] != hidden[2]
        assert len(hidden[0]) == 4

    @pytest.mark.parametrize("items", [1, 2])
    def test_too_few_items_are_refused(self, items):
        with pytest.raises(SplitError, match="hides 0"):
            cold_items(dataset_of([(0, item, 0, 1.0) for item in range(items)]), seed=0)


class TestColdUsers:
    def test_new_users_are_asked_after_their_first_events_and_train_knows_nothing_of_them(self):
        old = [(0, item, item, 1.0) for item in range(8)] * 3
        new = [(1, item, 20 + item, 1.0) for item in range(6)]
        short = [(2, 0, 20, 1.0), (2, 1, 21, 1.0)]
        back = [(0, item, item, 1.0) for item in range(40, 46)]
        split = cold_users(dataset_of([*old, *new, *short, *back], items=50), share=14 / 38, known=2)
        assert asked(split) == {1: [(2, 22, 1.0), (3, 23, 1.0), (4, 24, 1.0), (5, 25, 1.0)]}
        assert events_of(split.cases.histories, 0) == [(0, 20, 1.0), (1, 21, 1.0)]
        assert split.cases.at.tolist() == [21]
        assert set(split.train.user.tolist()) == {0}
        refuse_leaks(split)

    def test_events_of_the_second_of_the_last_known_one_are_known_too(self):
        old = [(0, item, item, 1.0) for item in range(8)] * 3
        new = [(1, 0, 20, 1.0), (1, 1, 21, 1.0), (1, 2, 21, 1.0), (1, 3, 22, 1.0)]
        split = cold_users(dataset_of([*old, *new]), share=4 / 28, known=2)
        assert split.cases.histories.lengths.tolist() == [3]
        assert asked(split) == {1: [(3, 22, 1.0)]}

    @given(rows=some_rows, known=st.integers(1, 3))
    def test_what_is_asked_comes_after_what_is_known(self, rows, known):
        late = [(user, item, 100 + time, weight) for user, item, time, weight in rows if user > 1]
        share = min(0.9, max(0.1, len(late) / len(rows)))
        dataset = dataset_of([row for row in rows if row[0] <= 1] + late)
        split = split_or_skip(cold_users, dataset, share=share, known=known)
        assert not set(split.cases.user.tolist()) & set(split.train.user.tolist())
        assert (split.cases.histories.lengths >= known).all()
        assert (split.cases.targets.timestamp > split.cases.at[split.cases.targets.row_of_event]).all()
        refuse_leaks(split)

    def test_without_new_users_it_is_refused(self):
        with pytest.raises(SplitError, match="nobody to ask"):
            cold_users(dataset_of([(0, item % 8, item, 1.0) for item in range(20)]))
        with pytest.raises(SplitError, match="at least one event"):
            cold_users(dataset_of([(0, 0, 0, 1.0)]), known=0)


@given(rows=some_rows, count=st.integers(0, 4))
def test_less_history_keeps_the_cases_and_the_latest_events(rows, count):
    cases = split_or_skip(leave_one_out, dataset_of(rows)).cases
    less = with_history(cases, count)
    assert less.targets is cases.targets
    np.testing.assert_array_equal(less.user, cases.user)
    for row in range(len(cases)):
        whole = events_of(cases.histories, row)
        assert events_of(less.histories, row) == whole[max(0, len(whole) - count) :]
    with pytest.raises(SplitError, match="0 or more"):
        with_history(cases, -1)
