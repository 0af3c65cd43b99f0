"""The index: finds what an exact comparison finds, and never raises over the number of items."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tanager_server.errors import BundleError
from tanager_server.index import HnswIndex

ITEMS = 1500


@pytest.fixture(scope="module")
def index(unit_vectors, index_info):
    return HnswIndex.build(unit_vectors(ITEMS), info=index_info)


def test_exact_search_is_a_full_stable_sort(index, unit_vectors):
    queries = unit_vectors(5, seed=1)
    expected = np.argsort(-(queries @ unit_vectors(ITEMS).T), axis=1, kind="stable")
    np.testing.assert_array_equal(index.search_exact(queries, 40).positions, expected[:, :40])
    np.testing.assert_array_equal(index.search_exact(queries, ITEMS + 1).positions, expected)


@pytest.mark.parametrize("k", [1, 10, ITEMS // 4])
def test_similarities_are_the_inner_products_whichever_way_they_are_found(index, unit_vectors, k):
    queries, vectors = unit_vectors(7, seed=8), unit_vectors(ITEMS)
    found = index.search(queries, k)
    assert (found.similarities.dtype, found.similarities.shape) == (np.float32, (7, k))
    products = [[query @ vectors[item] for item in row] for query, row in zip(queries, found.positions, strict=True)]
    np.testing.assert_allclose(found.similarities, products, atol=1e-6)
    assert (np.diff(found.similarities, axis=1) <= 0).all()


def test_the_graph_finds_what_the_exact_search_finds(index, unit_vectors):
    queries = unit_vectors(50, seed=2)
    found, exact = index.search(queries, 10).positions, index.search_exact(queries, 10).positions
    assert (found.dtype, found.shape) == (np.int64, (50, 10))
    hits = [len(set(a) & set(b)) for a, b in zip(found.tolist(), exact.tolist(), strict=True)]
    assert np.mean(hits) > 9.5
    assert [len(set(row)) for row in found.tolist()] == [10] * 50


def test_an_item_is_nearest_to_itself(index, unit_vectors):
    assert index.search(unit_vectors(ITEMS)[:100], 1).positions.ravel().tolist() == list(range(100))


@settings(max_examples=30, deadline=None)
@given(k=st.integers(1, ITEMS * 2))
def test_any_number_may_be_asked_for(index, unit_vectors, k):
    found = index.search(unit_vectors(2, seed=3), k).positions
    assert found.shape == (2, min(k, ITEMS))
    assert all(len(set(row)) == len(row) for row in found.tolist())


def test_where_much_is_wanted_the_answer_is_exact(index, unit_vectors):
    queries = unit_vectors(3, seed=4)
    found, exact = index.search(queries, ITEMS // 4), index.search_exact(queries, ITEMS // 4)
    np.testing.assert_array_equal(found.positions, exact.positions)


@pytest.mark.parametrize("groups", [1, 2, 40])
def test_equal_vectors_which_cut_the_graph_apart_are_no_error(unit_vectors, index_info, groups):
    vectors = np.repeat(unit_vectors(groups), ITEMS // groups, axis=0)
    index = HnswIndex.build(vectors, info=index_info)
    for k in (1, 50, len(vectors) // 9, len(vectors)):
        found = index.search(vectors[:3], k).positions
        assert found.shape == (3, k)
        assert len(set(found[0].tolist())) == k


def test_a_catalogue_of_one_item(unit_vectors, index_info):
    index = HnswIndex.build(unit_vectors(1), info=index_info)
    assert index.search(unit_vectors(2, seed=1), 10).positions.tolist() == [[0], [0]]


def test_building_is_deterministic_up_to_the_order_of_threads(index, unit_vectors, index_info):
    again = HnswIndex.build(unit_vectors(ITEMS), info=index_info)
    queries = unit_vectors(20, seed=5)
    assert np.mean(index.search(queries, 10).positions == again.search(queries, 10).positions) > 0.9


def test_a_saved_index_answers_the_same_and_with_its_own_search_width(index, unit_vectors, index_info, tmp_path):
    path = tmp_path / "index.hnsw"
    index.save(path)
    vectors, queries = unit_vectors(ITEMS), unit_vectors(50, seed=6)
    loaded = HnswIndex.load(path, vectors, info=index_info)
    np.testing.assert_array_equal(loaded.search(queries, 10).positions, index.search(queries, 10).positions)
    assert loaded._native.ef == index_info.ef_search  # hnswlib would take 10
    assert len(loaded) == ITEMS
    assert HnswIndex.load(path, vectors, info=index_info.model_copy(update={"ef_search": 11}))._native.ef == 11


def test_an_index_over_another_number_of_vectors_is_refused(index, unit_vectors, index_info, tmp_path):
    path = tmp_path / "index.hnsw"
    index.save(path)
    with pytest.raises(BundleError, match=rf"index\.hnsw: holds {ITEMS} vectors where the catalogue has 7"):
        HnswIndex.load(path, unit_vectors(7), info=index_info)


def test_a_missing_file_is_refused(unit_vectors, index_info, tmp_path):
    with pytest.raises(BundleError, match=r"index\.hnsw: not an HNSW index"):
        HnswIndex.load(tmp_path / "index.hnsw", unit_vectors(7), info=index_info)
