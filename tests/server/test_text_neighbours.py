"""Neighbourhoods of items: those of the index, each searched for once."""

from __future__ import annotations

import numpy as np
import pytest

from tanager_server.index import HnswIndex, TextNeighbours

ITEMS = 400


@pytest.fixture
def searches():
    return []


@pytest.fixture
def make(unit_vectors, index_info, searches, monkeypatch):
    def neighbours_of(items):
        vectors = unit_vectors(items)
        index = HnswIndex.build(vectors, info=index_info)
        search = index.search

        def noted(queries, k):
            searches.append(len(queries))
            return search(queries, k)

        monkeypatch.setattr(index, "search", noted)
        return TextNeighbours(index, vectors), index, vectors

    return neighbours_of


def test_they_are_the_nearest_of_the_index_the_item_itself_first(make):
    neighbours, index, vectors = make(ITEMS)
    expected = index.search_exact(vectors[[5, 17, 3]], 64).positions
    np.testing.assert_array_equal(neighbours.of([5, 17, 3], 64), expected)
    np.testing.assert_array_equal(neighbours.of([3, 5], 10), expected[[2, 0], :10])
    assert expected[:, 0].tolist() == [5, 17, 3]


def test_an_item_is_searched_for_once(make, searches):
    neighbours, _, _ = make(ITEMS)
    first = neighbours.of([5, 17], 64)
    again = neighbours.of([17, 5], 3)
    more = neighbours.of([5, 40, 17], 64)
    assert searches == [2, 1]
    np.testing.assert_array_equal(again, first[::-1, :3])
    np.testing.assert_array_equal(more[[0, 2]], first)


@pytest.mark.parametrize("items", [1, 2, 63, 64, 65])
def test_small_catalogues_have_as_many_as_there_are(make, items):
    neighbours, _, _ = make(items)
    assert neighbours.width == min(64, items)
    row = neighbours.of([items - 1], 1000)
    assert row.shape == (1, min(64, items))
    assert len(set(row[0].tolist())) == min(64, items)
