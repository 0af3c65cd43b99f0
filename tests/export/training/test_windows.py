"""Windows of validation lie within what may be learned from."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.export.evaluation.made import dataset_of, rows_of

from tanager_export.evaluation.hiding import hide
from tanager_export.evaluation.splits import SplitError, cold_users, global_time, leave_one_out
from tanager_export.training.windows import held_out, validation_windows

# Every user comes, does 30 things and goes, so that each window has users who are new in it.
DATASET = dataset_of(
    [(user, item, 30 * user + item, 1.0) for user in range(12) for item in range(30)], items=30, users=12
)


@pytest.mark.parametrize(("protocol", "split"), [("global-time", global_time), ("cold-users", cold_users)])
def test_each_window_is_the_rule_of_the_test_within_what_the_next_one_learned_from(protocol, split):
    train = split(DATASET).train
    windows = validation_windows(DATASET, train, protocol=protocol)
    assert len(windows) == 3
    for window in reversed(windows):
        expected = split(replace(DATASET, interactions=train))
        assert rows_of(window.train) == rows_of(expected.train)
        assert window.cases.at.tolist() == expected.cases.at.tolist()
        train = window.train


def test_by_leave_one_out_there_is_one():
    train = leave_one_out(DATASET).train
    [window] = validation_windows(DATASET, train, protocol="leave-one-out")
    assert len(window.train) == len(train) - 12


def test_windows_without_a_new_user_are_left_out_but_not_all_of_them():
    first = [(0, item, item, 1.0) for item in range(100)]
    second = [(1, item, 100 + item, 1.0) for item in range(11)]
    dataset = dataset_of([*first, *second], items=100)
    [window] = validation_windows(dataset, dataset.interactions, protocol="cold-users", windows=3)
    assert set(window.cases.user.tolist()) == {1}
    with pytest.raises(SplitError, match="nobody to ask"):
        validation_windows(dataset, dataset_of(first).interactions, protocol="cold-users")


def test_by_cold_items_the_warm_uptakes_that_are_asked_are_held_out_too():
    hidden = hide(DATASET, seed=3)
    learned_from = {row[:2] for row in rows_of(held_out(DATASET, protocol="cold-items", seed=3).train)}
    asked = {
        (int(split.cases.user[row]), int(item))
        for split in (hidden.cold, hidden.warm)
        for row, item in zip(split.cases.targets.row_of_event, split.cases.targets.item, strict=True)
    }
    assert len(asked) > len(hidden.cold.cases.targets.item)
    assert not learned_from & asked
    # Nor may the encoder see what the blend is learned on.
    [window] = validation_windows(DATASET, hidden.both.train, protocol="cold-items", seed=3)
    assert len(window.train) < len(hidden.both.train)
    assert not {row[:2] for row in rows_of(window.train)} & asked
