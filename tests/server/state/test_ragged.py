"""Rows that grow in shared blocks hold what lists would."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tanager_server.state.ragged import Ragged

ROWS = 4
VALUES = st.integers(-1000, 1000)
STEPS = st.one_of(
    st.tuples(st.just("append"), st.integers(0, ROWS - 1), VALUES),
    st.tuples(st.just("insert"), st.integers(0, ROWS - 1), VALUES),
    st.tuples(st.just("replace"), st.integers(0, ROWS - 1), st.lists(VALUES, max_size=20)),
    st.tuples(st.just("clear"), st.integers(0, ROWS - 1), st.just(0)),
    st.tuples(st.just("load"), st.just(0), st.lists(st.lists(VALUES, max_size=20), min_size=ROWS, max_size=ROWS)),
)


def check(ragged, model):
    rooms = []
    for row, values in enumerate(model):
        assert ragged.latest(row, 0).tolist() == values
        assert ragged.latest(row, 1).tolist() == [value / 2 for value in values]
        assert ragged.latest(row, 0, 3).tolist() == values[-3:]
        assert ragged.length(row) == len(values)
        assert [ragged.value(row, 0, place) for place in range(len(values))] == values
        rooms += [(int(ragged.starts[row]), int(ragged._sizes[row]))] * bool(ragged._sizes[row])
    rooms += [(start, size) for size, starts in ragged._rooms.items() for start in starts]
    spans = sorted(rooms)
    for (start, size), (following, _) in itertools.pairwise(spans):
        assert start + size <= following, "two rooms overlap"


@settings(max_examples=200, deadline=None)
@given(st.lists(STEPS, max_size=60))
def test_rows_are_those_of_lists(steps):
    ragged = Ragged(np.int32, np.float32, block_entries=16)
    model: list[list[int]] = [[] for _ in range(ROWS)]
    ragged.extend(ROWS)
    for what, row, value in steps:
        if what == "append":
            ragged.append(row, (value, value / 2))
            model[row].append(value)
        elif what == "insert":
            place = abs(value) % (len(model[row]) + 1)
            ragged.insert(row, place, (value, value / 2))
            model[row].insert(place, value)
        elif what == "replace":
            ragged.replace(row, np.array(value, np.int32), np.array(value) / 2)
            model[row] = list(value)
        elif what == "clear":
            ragged.clear(row)
            model[row] = []
        else:
            fresh = [values if not model[at] else [] for at, values in enumerate(value)]
            rows = np.repeat(np.arange(ROWS), [len(values) for values in fresh])
            flat = np.array([entry for values in fresh for entry in values], np.int32)
            ragged.load(rows, flat, flat / 2)
            model = [values or list(own) for values, own in zip(fresh, model, strict=True)]
        check(ragged, model)


def test_what_is_cleared_is_wiped():
    ragged = Ragged(np.int64, block_entries=16)
    ragged.extend(2)
    for value in range(1, 10):
        ragged.append(0, (value,))
        ragged.append(1, (-1,))
    ragged.clear(0)
    assert set(np.concatenate(ragged.blocks[0]).tolist()) == {0, -1}


def test_rooms_are_used_again():
    ragged = Ragged(np.int64, block_entries=1024)
    ragged.extend(1)
    held = set()
    for _ in range(50):
        for value in range(600):
            ragged.append(0, (value,))
        held.add(ragged.nbytes)
        ragged.clear(0)
    assert len(held) == 1


def test_rows_are_loaded_once_and_in_order():
    ragged = Ragged(np.int64)
    ragged.extend(3)
    with pytest.raises(ValueError, match="ascending"):
        ragged.load(np.array([1, 0]), np.array([1, 2]))
    ragged.load(np.array([1]), np.array([1]))
    with pytest.raises(ValueError, match="empty"):
        ragged.load(np.array([1]), np.array([1]))


def test_an_entry_goes_to_a_place_that_there_is():
    ragged = Ragged(np.int64)
    ragged.extend(1)
    with pytest.raises(IndexError, match="no such place: 1"):
        ragged.insert(0, 1, (1,))


@pytest.mark.parametrize("entries", [0, 3, 24])
def test_a_block_is_a_power_of_two(entries):
    with pytest.raises(ValueError, match="no power of two"):
        Ragged(np.int64, block_entries=entries)
