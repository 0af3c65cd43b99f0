"""ItemKNN and EASE against naive versions of their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import sparse
from tests.export.evaluation.baselines.conftest import histories

from tanager_export import collaborative
from tanager_export.collaborative import ease_weights
from tanager_export.errors import ExportError
from tanager_export.evaluation.baselines import behaviour, itemknn
from tanager_export.evaluation.baselines.itemknn import nearest

some_likes = arrays.arrays(np.float32, (9, 6), elements=st.sampled_from([0.0, 1.0]))


@settings(deadline=None)
@given(likes=some_likes, dropout=st.sampled_from([0.0, 0.5]), exponent=st.sampled_from([0.0, 0.5]))
def test_ease_equals_the_papers(likes, dropout, exponent):
    found = ease_weights(sparse.csr_array(likes), l2=3.0, dropout=dropout, user_exponent=exponent)
    lengths = np.maximum(likes.sum(axis=1), 1).astype(np.float64)
    share = lengths**-exponent
    share *= lengths.sum() / (lengths * share).sum()
    gram = likes.T @ np.diag(share) @ likes
    gram += np.diag(3.0 + dropout / (1 - dropout) * np.diag(gram))
    inverse = np.linalg.inv(gram)
    wanted = -inverse / np.diag(inverse)
    np.fill_diagonal(wanted, 0)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_ease_is_the_same_in_blocks(monkeypatch):
    likes = sparse.csr_array((np.random.default_rng(0).random((30, 20)) < 0.3).astype(np.float32))
    whole = ease_weights(likes, l2=5.0)
    monkeypatch.setattr(collaborative, "_CHUNK", 7)
    np.testing.assert_array_equal(ease_weights(likes, l2=5.0), whole)


def test_ease_refuses_more_than_it_can_invert(monkeypatch):
    monkeypatch.setattr(collaborative, "MAX_ITEMS", 2)
    with pytest.raises(ExportError, match="3 items were taken up; EASE inverts a matrix for 2"):
        ease_weights(sparse.csr_array(np.ones((2, 3), np.float32)), l2=1.0)


@settings(deadline=None)
@given(likes=some_likes, shrinkage=st.sampled_from([0.0, 2.0]), neighbours=st.integers(1, 8))
def test_neighbours_are_those_of_the_largest_shrunk_cosine(likes, shrinkage, neighbours):
    matrix = sparse.csr_array(likes)
    found = nearest(matrix, matrix, neighbours=neighbours, shrinkage=shrinkage).toarray()
    together = likes.T @ likes
    norms = np.sqrt(np.maximum(np.diag(together), 1))
    wanted = together / norms / norms[:, None] * together / np.maximum(together + shrinkage, 1e-9)
    np.fill_diagonal(wanted, 0)
    for item in range(6):
        kept = np.flatnonzero(found[:, item])
        assert len(kept) == min(neighbours, int((wanted[:, item] > 0).sum()))
        np.testing.assert_allclose(found[kept, item], wanted[kept, item], rtol=1e-5)
        left_out = np.setdiff1d(np.arange(6), kept)
        assert wanted[left_out, item].max(initial=0) <= wanted[kept, item].min(initial=np.inf) + 1e-6


def test_neighbours_are_the_same_in_blocks(monkeypatch):
    matrix = sparse.csr_array((np.random.default_rng(0).random((30, 20)) < 0.3).astype(np.float32))
    whole = nearest(matrix, matrix, neighbours=20, shrinkage=1.0).toarray()
    monkeypatch.setattr(itemknn, "_CHUNK", 7)
    np.testing.assert_allclose(nearest(matrix, matrix, neighbours=20, shrinkage=1.0).toarray(), whole, rtol=1e-6)


def test_a_profile_fades_and_a_repeated_item_counts_as_of_its_last_time():
    rows = histories([[(0, 1.0), (1, 1.0), (0, 1.0)], [], [(2, 1.0)]])
    assert behaviour.profile_matrix(rows, 3, 0.5).toarray().tolist() == [[1, 0.5, 0], [0, 0, 0], [0, 0, 1]]
    assert behaviour.profile_matrix(rows, 3).toarray().tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 1]]


def test_likes_keep_the_rows():
    rows = histories([[(0, -1.0)], [(1, 1.0), (2, 0.0), (3, 2.0)], []]).uptakes()
    assert rows.indptr.tolist() == [0, 0, 2, 2]
    assert rows.item.tolist() == [1, 3]


def test_what_a_model_leaves_tied_popularity_orders(topics, cases_with):
    class Nothing(behaviour.FromHistory):
        def score_known(self, histories, profiles):
            return np.zeros((len(histories), 3), np.float32)

    popularity = np.array([1, 5, 3], np.float32)
    found = Nothing(popularity).score(cases_with([[(0, 1.0)]], [[1]]))
    assert np.argsort(-found[0]).tolist() == [1, 2, 0]
