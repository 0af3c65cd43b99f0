"""Search under a mask: exactly what is allowed is found, in whichever way, and complete at every selectivity."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tanager_server.index import HnswIndex
from tanager_server.index._search import Searcher, Strategy
from tanager_server.index.graph import read_graph

ITEMS, DIM = 3000, 24
WAYS = [Strategy.SCAN, Strategy.AROUND, Strategy.THROUGH]


@pytest.fixture(scope="module")
def vectors(unit_vectors):
    """Clusters, so that a mask can lie far from a query; the first of each repeat one another."""
    centres = unit_vectors(30, DIM, seed=5)
    drawn = centres[np.arange(ITEMS) % 30] + 0.5 * unit_vectors(ITEMS, DIM, seed=6)
    drawn[:90] = drawn[0]
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def index(vectors, index_info):
    return HnswIndex.build(vectors, info=index_info).prepare()


def masked(share, seed=0):
    return (np.random.default_rng(seed).random(ITEMS) < share).astype(np.uint8)


def exact(vectors, queries, mask, k):
    allowed = np.flatnonzero(mask)
    products = (queries @ vectors[allowed].T).astype(np.float32)
    return -np.sort(-products, axis=1)[:, :k]


def test_the_links_are_those_of_the_index(vectors, index_info):
    index = HnswIndex.build(vectors, info=index_info)
    graph = read_graph(index._native)
    assert graph.links.shape == (ITEMS, 2 * index_info.m)
    assert graph.links.min() == -1
    assert graph.links.max() == ITEMS - 1
    for item in range(0, ITEMS, 97):
        linked = graph.links[item][graph.links[item] >= 0]
        assert len(set(linked.tolist())) == len(linked) > 0
        assert item not in linked
        if item >= 90:  # its links are near: were elements taken for positions, they would be anywhere
            assert (vectors[linked] @ vectors[item]).mean() > 0.3
    assert 0 <= graph.entry < ITEMS
    assert len(graph.upper) > 0


def test_a_scan_finds_what_a_full_comparison_finds(index, vectors, unit_vectors):
    queries = np.concatenate([unit_vectors(20, DIM, seed=1), vectors[:5]])
    for share in (0.002, 0.02, 0.3, 1.0):
        mask = masked(share) if share < 1 else np.ones(ITEMS, np.uint8)
        for k in (1, 10, 200):
            found = index.search(queries, k, mask, strategy=Strategy.SCAN)
            expected = exact(vectors, queries, mask, k)
            np.testing.assert_allclose(found.similarities, expected, atol=2e-6)
            products = np.einsum("qd,qkd->qk", queries, vectors[found.positions])
            np.testing.assert_allclose(found.similarities, products, atol=2e-6)
            assert mask[found.positions].all()
            assert all(len(set(row)) == len(row) for row in found.positions.tolist())
            assert index.taken == (len(queries), 0, 0)


def test_equals_are_in_the_order_of_the_catalogue(index, vectors):
    found = index.search(vectors[:1], 90, np.ones(ITEMS, np.uint8), strategy=Strategy.SCAN)
    assert found.positions[0].tolist() == list(range(90))


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_walks_find_nearly_all(index, vectors, way):
    queries, mask = vectors[100:200], masked(0.3)
    found = index.search(queries, 10, mask, ef=60, strategy=way)
    least = exact(vectors, queries, mask, 10)[:, -1:] - 1e-6
    assert (found.similarities >= least).mean() > 0.95
    assert index.taken[way.value - 1] > 0.8 * len(queries)  # a walk that is longer than a scan is given up


def test_a_filter_against_the_query(index, vectors):
    """Only one cluster is allowed, and not the query's: a walk towards the query would never come there."""
    queries = vectors[[item for item in range(100, 400) if item % 30 == 7]]
    mask = (np.arange(ITEMS) % 30 == 20).astype(np.uint8)
    for way in [Strategy.BEST, *WAYS]:
        found = index.search(queries, 10, mask, ef=30, strategy=way)
        assert mask[found.positions].all()
    np.testing.assert_allclose(
        index.search(queries, 10, mask).similarities, exact(vectors, queries, mask, 10), atol=2e-6
    )


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_the_answer_is_complete_and_allowed(index, vectors, data):
    kind = data.draw(st.sampled_from(["random", "clusters", "all", "none", "one"]))
    seed = data.draw(st.integers(0, 1000))
    mask = {
        "random": masked(data.draw(st.floats(0.0005, 1)), seed),
        "clusters": np.isin(np.arange(ITEMS) % 30, np.arange(seed % 30 + 1)).astype(np.uint8),
        "all": np.ones(ITEMS, np.uint8),
        "none": np.zeros(ITEMS, np.uint8),
        "one": (np.arange(ITEMS) == seed).astype(np.uint8),
    }[kind]
    k = data.draw(st.sampled_from([0, 1, 10, 100, 1000, ITEMS, ITEMS + 5]))
    longer = np.concatenate([mask, np.ones(data.draw(st.integers(0, 9)), np.uint8)])
    positions = np.flatnonzero(mask).astype(np.int32) if data.draw(st.booleans()) else None
    way = data.draw(st.sampled_from([Strategy.BEST, *WAYS]))
    found = index.search(vectors[seed : seed + 2], k, longer, positions=positions, strategy=way)
    assert found.positions.shape == found.similarities.shape == (2, min(k, int(mask.sum())))
    assert mask[found.positions].all()
    assert all(len(set(row)) == len(row) for row in found.positions.tolist())
    assert (np.diff(found.similarities, axis=1) <= 0).all()
    if k >= mask.sum():
        np.testing.assert_allclose(found.similarities, exact(vectors, vectors[seed : seed + 2], mask, k), atol=2e-6)


@pytest.mark.parametrize("way", [Strategy.BEST, *WAYS], ids=lambda way: way.name)
def test_threads_find_what_one_finds(index, vectors, way):
    mask = masked(0.3)
    alone = index.search(vectors[:150], 10, mask, strategy=way)
    taken = index.taken
    for threads in (2, 7):
        found = index.search(vectors[:150], 10, mask, strategy=way, threads=threads)
        np.testing.assert_array_equal(found.positions, alone.positions)
        np.testing.assert_array_equal(found.similarities, alone.similarities)
        assert index.taken == taken


def test_what_fails_in_a_thread_is_raised(index, vectors):
    wrong = np.array([0, ITEMS], np.int32)
    with pytest.raises(IndexError, match="no such position"):
        index.search(vectors[:50], 1, np.ones(ITEMS, np.uint8), positions=wrong, strategy=Strategy.SCAN, threads=4)
    assert index.search(vectors[:50], 1, np.ones(ITEMS, np.uint8), threads=4).positions.shape == (50, 1)


def test_no_queries(index):
    assert index.search(np.empty((0, DIM), np.float32), 5, np.ones(ITEMS, np.uint8)).positions.shape == (0, 5)


@pytest.mark.parametrize("dim", [1, 7, 64, 65])
def test_any_dimension(unit_vectors, index_info, dim):
    vectors = unit_vectors(40, dim)
    index = HnswIndex.build(vectors, info=index_info).prepare()
    mask = (np.arange(40) % 2).astype(np.uint8)
    found = index.search(vectors[:4], 6, mask)
    np.testing.assert_allclose(found.similarities, exact(vectors, vectors[:4], mask, 6), atol=2e-6)


def test_one_item(unit_vectors, index_info):
    index = HnswIndex.build(unit_vectors(1), info=index_info).prepare()
    assert index.search(unit_vectors(2, seed=1), 10, np.ones(1, np.uint8)).positions.tolist() == [[0], [0]]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"mask": np.ones(ITEMS - 1, np.uint8)}, "fit"),
        ({"count": 5}, "count"),
        ({"queries": np.ones((1, DIM + 1), np.float32)}, "fit"),
        ({"positions": np.array([0, 1], np.int32), "count": 3, "k": 1}, "count"),
        ({"mask": np.ones(ITEMS, bool)}, "another type"),
        ({"positions": np.array([0, ITEMS], np.int32), "k": 1}, "no such position"),
        ({"positions": np.array([0, -1], np.int32), "k": 1}, "no such position"),
    ],
)
def test_what_does_not_fit_is_refused(index, vectors, wrong, message):
    given = {"queries": vectors[:1], "k": 2, "mask": np.ones(ITEMS, np.uint8), "strategy": Strategy.SCAN} | wrong
    with pytest.raises((ValueError, TypeError, IndexError), match=message):
        index.search(given.pop("queries"), given.pop("k"), given.pop("mask"), **given)


def test_links_of_another_index_are_refused(vectors, index_info):
    graph = read_graph(HnswIndex.build(vectors, info=index_info)._native)
    for wrong in (graph.links + 1, graph.links[:-1], graph.links - 1):
        with pytest.raises(ValueError, match=r"fit one another|another index"):
            Searcher(vectors, wrong, graph.upper, graph.upper_starts, graph.entry, graph.levels)
