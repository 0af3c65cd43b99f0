"""Slices of what is asked."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from tests.export.evaluation.made import dataset_of, some_rows

from tanager_export.evaluation.slices import slices
from tanager_export.evaluation.splits import SplitError, global_time

PAST = [
    *((0, 0, time, 1.0) for time in range(8)),  # item 0: 8 of 10 uptakes
    (0, 1, 8, 1.0),
    (1, 2, 9, 1.0),
    (1, 3, 9, -1.0),  # disliked, so nobody took it up
]
FUTURE = [(0, 2, 20, 1.0), (0, 3, 20, 1.0), (1, 0, 20, 1.0), (2, 1, 20, 1.0), (3, 0, 20, 1.0)]


def asked(rows, **options) -> dict[str, set[tuple[int, int]]]:
    """User and item of the targets of each slice."""
    split = global_time(dataset_of(rows, **options), share=5 / 16)
    targets = list(
        zip(split.cases.user[split.cases.targets.row_of_event].tolist(), split.cases.targets.item.tolist(), strict=True)
    )
    return {
        name: {target for target, chosen in zip(targets, mask.tolist(), strict=True) if chosen}
        for name, mask in slices(split).items()
    }


def test_each_target_is_in_the_slices_it_belongs_to():
    assert asked([*PAST, *FUTURE], profiles={"user-2": {"age": "25"}, "user-0": {"age": "50"}}) == {
        "all": {(0, 2), (0, 3), (1, 0), (2, 1), (3, 0)},
        "warm": {(0, 2), (1, 0)},
        "cold_item": {(0, 3)},
        "tail_item": {(0, 2), (2, 1)},
        "history_0": {(2, 1), (3, 0)},
        "history_1_4": {(1, 0)},
        "history_5_9": {(0, 2), (0, 3)},
        "profile_only": {(2, 1)},
    }


def test_a_level_of_popularity_is_in_the_tail_as_a_whole_or_not_at_all():
    tail = asked([*PAST[:8], *((1, 4 + n % 2, 8, 1.0) for n in range(3)), *FUTURE]).get("tail_item", set())
    assert tail == set()  # items 4 and 5 make up 3 of 11 uptakes: 1 alone would be within a fifth
    more = [(0, 0, 7, 1.0)] * 8
    assert global_tail([*PAST, *more, *FUTURE]) == {1, 2}


def global_tail(rows) -> set[int]:
    split = global_time(dataset_of(rows), share=5 / len(rows))
    return set(split.cases.targets.item[slices(split)["tail_item"]].tolist())


@given(some_rows)
def test_histories_part_the_targets(rows):
    try:
        split = global_time(dataset_of(rows), share=0.3)
    except SplitError:
        return
    found = slices(split)
    parts = np.stack([mask for name, mask in found.items() if name.startswith("history")])
    assert (parts.sum(axis=0) == 1).all()
    assert found["all"].all()
