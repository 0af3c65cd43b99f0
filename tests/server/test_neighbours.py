"""Sparse item-item weights: sums like a dense product, and files that cannot reach beyond the catalogue."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from tanager_server.bundle import Neighbours
from tanager_server.errors import BundleError

ITEMS = 7
finite = st.floats(-10, 10, width=16)
mostly_zero = st.one_of(st.just(0.0), st.just(0.0), finite)


@settings(deadline=None)
@given(
    dense=st_numpy.arrays(np.float64, (ITEMS, ITEMS), elements=mostly_zero),
    history=st.lists(st.tuples(st.integers(0, ITEMS - 1), finite), max_size=20),
)
def test_a_weighted_sum_is_the_dense_product(sparse, dense, history):
    rows = np.array([row for row, _ in history], dtype=np.int64)
    weights = np.array([weight for _, weight in history], dtype=np.float32)
    sums = sparse(dense).weighted_sum(rows, weights)
    assert (sums.dtype, sums.shape) == (np.float32, (ITEMS,))
    np.testing.assert_allclose(sums, weights @ dense[rows], rtol=1e-5, atol=1e-4)


def test_repeated_rows_count_as_often_as_they_come(sparse):
    neighbours = sparse(np.array([[0, 2], [3, 0]]))
    assert neighbours.weighted_sum(np.array([0, 1, 0]), np.array([1, 1, 0.5], np.float32)).tolist() == [3, 3]


@pytest.mark.parametrize("rows", [[], [1], [1, 1]])
def test_no_rows_or_empty_ones_add_up_to_nothing(sparse, rows):
    neighbours = sparse(np.array([[0, 2], [0, 0]]))
    history = np.array(rows, dtype=np.int64)
    assert neighbours.weighted_sum(history, np.ones(len(rows), np.float32)).tolist() == [0, 0]


def test_a_catalogue_without_weights(file):
    Neighbours.none(5).write(file)
    read = Neighbours.read(file, items=5)
    assert (read.indptr.tolist(), len(read.indices), len(read.weights)) == ([0] * 6, 0, 0)


def test_without_any_weights_there_is_nothing_to_add(sparse):
    assert sparse(np.zeros((3, 3))).weighted_sum(np.array([2]), np.ones(1, np.float32)).tolist() == [0, 0, 0]


# Files


@pytest.fixture
def file(tmp_path):
    return tmp_path / "neighbours.npz"


def test_what_is_written_is_read_again(sparse, file):
    written = sparse(np.arange(9.0).reshape(3, 3))
    written.write(file)
    read = Neighbours.read(file, items=3)
    for name in ("indptr", "indices", "weights"):
        np.testing.assert_array_equal(getattr(read, name), getattr(written, name), strict=True)


@pytest.mark.parametrize("items", [2, 4])
def test_another_number_of_items_is_refused(sparse, file, items):
    sparse(np.eye(3)).write(file)
    with pytest.raises(BundleError, match=rf"neighbours\.npz: does not fit a catalogue of {items} items"):
        Neighbours.read(file, items=items)


SOUND = {
    "indptr": np.array([0, 1, 1, 2]),
    "indices": np.array([2, 0], np.int32),
    "weights": np.array([1, 2], np.float32),
}


@pytest.mark.parametrize(
    "changes",
    [
        {"indices": np.array([2, 3], np.int32)},
        {"indices": np.array([-1, 0], np.int32)},
        {"indices": np.array([2], np.int32)},
        {"indices": np.array([2, 0], np.int64)},
        {"indices": np.array([[2], [0]], np.int32)},
        {"weights": np.array([1, np.nan], np.float32)},
        {"weights": np.array([1, np.inf], np.float32)},
        {"weights": np.array([1, -2e6], np.float32)},
        {"weights": np.array([1, 2], np.float64)},
        {"indptr": np.array([0, 2, 1, 2])},
        {"indptr": np.array([1, 1, 1, 2])},
        {"indptr": np.array([0, 1, 1, 3])},
        {"indptr": np.array([0, 1, 2])},
        {"indptr": np.array([0.0, 1.0, 1.0, 2.0])},
        {"indptr": np.array(0)},
        {"indptr": np.array([], np.int64)},
        {"indptr": np.array([0, 2**62, -(2**62) - 2**61, 2])},  # its differences wrap around to positive numbers
    ],
    ids=str,
)
def test_indices_that_reach_beyond_the_arrays_are_refused(file, changes):
    np.savez(file, allow_pickle=False, **SOUND)
    Neighbours.read(file, items=3)
    np.savez(file, allow_pickle=False, **(SOUND | changes))
    with pytest.raises(BundleError, match=r"neighbours\.npz: does not fit a catalogue of 3 items"):
        Neighbours.read(file, items=3)


def test_pickled_objects_are_never_loaded(file):
    np.savez(
        file,
        indptr=SOUND["indptr"],
        indices=SOUND["indices"],
        weights=np.array([{}, {}], dtype=object),
        allow_pickle=True,
    )
    with pytest.raises(BundleError, match=r"neighbours\.npz: not a neighbours file"):
        Neighbours.read(file, items=3)


def test_an_archive_without_one_of_the_arrays_is_refused(file):
    np.savez(file, indptr=SOUND["indptr"], indices=SOUND["indices"])
    with pytest.raises(BundleError, match=r"not a neighbours file: .*weights"):
        Neighbours.read(file, items=3)


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04", b"\x80\x04K\x01."])
def test_what_is_no_archive_is_refused(file, content):
    file.write_bytes(content)
    with pytest.raises(BundleError, match=r"neighbours\.npz: not a neighbours file"):
        Neighbours.read(file, items=3)


def test_a_plain_array_in_place_of_the_archive_is_refused(file):
    with file.open("wb") as content:
        np.save(content, np.zeros(3))
    with pytest.raises(BundleError, match=r"neighbours\.npz: not a neighbours file"):
        Neighbours.read(file, items=3)


@pytest.mark.parametrize("keep", [0.3, 0.7, 0.99])
def test_a_truncated_archive_is_refused(sparse, file, keep):
    sparse(np.ones((20, 20))).write(file)
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(BundleError, match=r"neighbours\.npz: not a neighbours file"):
        Neighbours.read(file, items=20)
