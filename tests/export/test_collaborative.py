"""Collaborative weights: EASE, as a reader of the paper would write it down."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tanager_export import collaborative
from tanager_export.collaborative import ease_neighbours, item_users
from tanager_export.dataset import Interactions
from tanager_server.bundle import Neighbours

ITEMS = 7
L2 = 2.0


def interactions(*rows: tuple[int, int, float]) -> Interactions:
    """Rows of user, item, weight."""
    return Interactions(
        user=np.array([row[0] for row in rows], np.int32),
        item=np.array([row[1] for row in rows], np.int32),
        timestamp=np.zeros(len(rows), np.int64),
        weight=np.array([row[2] for row in rows], np.float32),
        user_ids=tuple(f"user-{user}" for user in range(1 + max((row[0] for row in rows), default=-1))),
    )


def dense(neighbours: Neighbours) -> np.ndarray:
    items = len(neighbours.indptr) - 1
    matrix = np.zeros((items, items), np.float32)
    for row in range(items):
        part = slice(neighbours.indptr[row], neighbours.indptr[row + 1])
        matrix[row, neighbours.indices[part]] = neighbours.weights[part]
    return matrix


def naive_ease(rows, items: int = ITEMS, l2: float = L2) -> np.ndarray:
    """Steck (2019), algorithm 1, over the items that anybody took up."""
    taken = np.zeros((1 + max((user for user, _, _ in rows), default=0), items))
    for user, item, weight in rows:
        if weight > 0:
            taken[user, item] = 1
    inverse = np.linalg.inv(taken.T @ taken + l2 * np.eye(items))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0)
    return weights


some_rows = st.lists(
    st.tuples(st.integers(0, 9), st.integers(0, ITEMS - 1), st.sampled_from([1.0, 0.5, 3.0, 0.0, -1.0])), max_size=40
)


@settings(deadline=None)
@given(rows=some_rows)
def test_it_equals_the_inverse_of_the_paper(rows):
    found = dense(ease_neighbours(interactions(*rows), items=ITEMS, l2=L2))
    np.testing.assert_allclose(found, naive_ease(rows), atol=1e-6)
    assert (np.diag(found) == 0).all()


@settings(deadline=None)
@given(rows=some_rows, top=st.integers(1, 4))
def test_the_largest_weights_of_a_row_are_kept_whatever_their_sign(rows, top):
    found = ease_neighbours(interactions(*rows), items=ITEMS, l2=L2, top=top)
    exact = naive_ease(rows)
    rows_present = np.flatnonzero(np.diff(found.indptr))
    for row in rows_present:
        part = slice(found.indptr[row], found.indptr[row + 1])
        columns = found.indices[part]
        assert len(columns) == min(top, len(rows_present) - 1)
        assert (np.diff(columns) > 0).all()  # ascending, none twice
        np.testing.assert_allclose(found.weights[part], exact[row, columns], atol=1e-6)
        left_out = np.setdiff1d(np.arange(ITEMS), [*columns, row])
        assert np.abs(exact[row, left_out]).max(initial=0) <= np.abs(found.weights[part]).min() + 1e-6


def test_it_is_the_same_in_blocks(monkeypatch):
    random = np.random.default_rng(0)
    rows = [
        (int(u), int(i), 1.0) for u, i in zip(random.integers(0, 30, 200), random.integers(0, 20, 200), strict=True)
    ]
    monkeypatch.setattr(collaborative, "_CHUNK", 3)
    found = dense(ease_neighbours(interactions(*rows), items=20, l2=L2))
    np.testing.assert_allclose(found, naive_ease(rows, items=20), atol=1e-6)


def test_a_repeated_or_a_disliked_item_counts_as_the_paper_has_it():
    once = [(0, 0, 1.0), (0, 1, 1.0), (1, 1, 1.0), (1, 2, 1.0)]
    repeated_and_disliked = [*once, (0, 1, 5.0), (0, 1, 1.0), (0, 2, -1.0), (1, 0, 0.0)]
    np.testing.assert_array_equal(
        dense(ease_neighbours(interactions(*once), items=3)),
        dense(ease_neighbours(interactions(*repeated_and_disliked), items=3)),
    )


def test_only_the_most_taken_up_items_get_a_row():
    rows = [(user, item, 1.0) for item, users in enumerate([1, 5, 3, 0, 4]) for user in range(users)]
    found = ease_neighbours(interactions(*rows), items=5, max_items=3)
    assert np.flatnonzero(np.diff(found.indptr)).tolist() == [1, 2, 4]
    assert set(found.indices.tolist()) == {1, 2, 4}


def test_of_equally_popular_items_the_first_get_a_row():
    found = ease_neighbours(interactions(*((0, item, 1.0) for item in range(5))), items=5, max_items=2)
    assert set(found.indices.tolist()) == {0, 1}


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param([], id="no interactions"),
        pytest.param([(0, 1, -1.0), (1, 1, 0.0)], id="only dislikes"),
        pytest.param([(0, 1, 1.0), (1, 1, 1.0)], id="one item taken up"),
    ],
)
def test_without_pairs_of_items_every_row_is_empty(rows):
    found = ease_neighbours(interactions(*rows), items=3)
    assert found.indptr.tolist() == [0, 0, 0, 0]
    assert len(found.indices) == len(found.weights) == 0


def test_a_catalogue_of_one_item():
    found = ease_neighbours(interactions((0, 0, 1.0)), items=1)
    assert found.indptr.tolist() == [0, 0]


def test_what_it_makes_is_what_the_server_reads(tmp_path):
    neighbours = ease_neighbours(interactions((0, 0, 1.0), (0, 2, 1.0), (1, 2, 1.0)), items=4)
    neighbours.write(tmp_path / "neighbours.npz")
    np.testing.assert_array_equal(dense(Neighbours.read(tmp_path / "neighbours.npz", items=4)), dense(neighbours))


@given(rows=some_rows)
def test_an_items_users_are_counted_once_each(rows):
    counted = item_users(interactions(*rows), items=ITEMS)
    assert counted.dtype == np.int64
    assert counted.tolist() == [
        len({user for user, item, weight in rows if item == wanted and weight > 0}) for wanted in range(ITEMS)
    ]
