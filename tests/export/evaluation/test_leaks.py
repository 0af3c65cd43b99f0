"""Leaks planted in good splits, and refused."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.export.evaluation.made import ITEMS, dataset_of, interactions_of, rows_of

from tanager_export.evaluation.cases import Cases, Histories, Split
from tanager_export.evaluation.leaks import LeakError, refuse_leaks
from tanager_export.evaluation.splits import SplitError, cold_items, global_time, leave_one_out

if TYPE_CHECKING:
    from tanager_export.dataset import Interactions

ROWS = [(user, (user + step) % ITEMS, 10 * step + user, 1.0) for user in range(4) for step in range(6)]


@pytest.fixture(params=["global-time", "leave-one-out", "cold-items"])
def split(request) -> Split:
    dataset = dataset_of(ROWS)
    made = {
        "global-time": lambda: global_time(dataset, share=0.3),
        "leave-one-out": lambda: leave_one_out(dataset),
        "cold-items": lambda: cold_items(dataset, share=0.3, seed=1),
    }[request.param]()
    refuse_leaks(made)
    return made


def with_event(train: Interactions, user: int, item: int, time: int) -> Interactions:
    return interactions_of([*rows_of(train), (user, item, time, 1.0)])


def changed(cases: Cases, column: str, **columns) -> Cases:
    return replace(cases, **{column: replace(getattr(cases, column), **columns)})


def test_a_future_event_in_train_is_refused(split):
    user, at = int(split.cases.user[0]), int(split.cases.at[0])
    [spare, *_] = set(range(ITEMS)).difference(split.cases.targets.item[: split.cases.targets.indptr[1]].tolist())
    leaky = replace(split, train=with_event(split.train, user, spare, at + 1))
    with pytest.raises(LeakError, match="event of train lies after"):
        refuse_leaks(leaky)


def test_a_future_event_of_another_user_is_refused_unless_the_split_says_so():
    split = global_time(dataset_of(ROWS), share=0.3)
    leaky = replace(split, train=with_event(split.train, 5, 0, int(split.cases.at[0]) + 1))
    with pytest.raises(LeakError, match=r"lies after a case \(1 such\)"):
        refuse_leaks(leaky)
    refuse_leaks(replace(leaky, later_events=True))


def test_a_target_in_train_is_refused(split):
    targets = split.cases.targets
    user, item = int(split.cases.user[-1]), int(targets.item[-1])
    leaky = replace(split, train=with_event(split.train, user, item, int(split.train.timestamp.min())))
    with pytest.raises(LeakError, match="target is in train"):
        refuse_leaks(leaky)


def test_a_target_in_the_history_is_refused(split):
    histories = split.cases.histories
    row = int(np.flatnonzero(histories.lengths)[0])
    item = histories.item.copy()
    item[histories.indptr[row]] = split.cases.targets.item[split.cases.targets.indptr[row]]
    with pytest.raises(LeakError, match="target is in the history"):
        refuse_leaks(replace(split, cases=changed(split.cases, "histories", item=item)))


def test_a_future_event_in_a_history_is_refused(split):
    histories = split.cases.histories
    timestamp = histories.timestamp.copy()
    timestamp[-1] = split.cases.at[histories.row_of_event[-1]] + 1
    with pytest.raises(LeakError, match="event of a history lies after its case"):
        refuse_leaks(replace(split, cases=changed(split.cases, "histories", timestamp=timestamp)))


def test_a_target_that_counts_twice_is_refused(split):
    targets = split.cases.targets
    doubled = Histories(
        np.concatenate((targets.indptr[:-1], targets.indptr[-1:] + 1)),
        *(np.append(column, column[-1]) for column in (targets.item, targets.timestamp, targets.weight)),
    )
    with pytest.raises(LeakError, match="twice"):
        refuse_leaks(replace(split, cases=replace(split.cases, targets=doubled)))


def test_a_repeated_target_is_let_through_where_repetition_counts():
    dataset = dataset_of([(0, item, time, 1.0) for time, item in enumerate([0, 1, 2, 0])])
    split = leave_one_out(dataset, repeats="count")
    refuse_leaks(split)
    with pytest.raises(LeakError, match="target is in the history"):
        refuse_leaks(replace(split, repeats="drop"))


def test_what_is_no_question_is_refused(split):
    cases, targets = split.cases, split.cases.targets
    empty = cases.take(slice(0, 0))
    untargeted = targets.latest(0)
    disliked = np.where(np.arange(len(targets.weight)) == 0, -1, targets.weight).astype(np.float32)
    for wrong, message in [
        (empty, "no cases"),
        (replace(cases, targets=untargeted), "has no target"),
        (replace(cases, at=cases.at[:-1]), "differ in length"),
        (changed(cases, "targets", weight=disliked), "disliked"),
    ]:
        with pytest.raises(SplitError, match=message):
            refuse_leaks(replace(split, cases=wrong))
    with pytest.raises(SplitError, match="of a catalogue of 2"):
        refuse_leaks(replace(split, items=2))
