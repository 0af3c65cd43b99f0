"""Neighbourhoods of items: those of the index, kept once they are known."""

from __future__ import annotations

import numpy as np
import pytest

from tanager_server.index import HnswIndex, TextNeighbours

ITEMS = 400


@pytest.fixture
def make(unit_vectors, index_info):
    def neighbours_of(items):
        vectors = unit_vectors(items)
        index = HnswIndex.build(vectors, info=index_info)
        return TextNeighbours(index, vectors), index, vectors

    return neighbours_of


def test_they_are_the_nearest_of_the_index_the_item_itself_first(make):
    neighbours, index, vectors = make(ITEMS)
    neighbours.fill([5, 17, 3])
    expected = index.search_exact(vectors[[5, 17, 3]], 64).positions
    np.testing.assert_array_equal(neighbours.rows[[5, 17, 3]], expected)
    assert expected[:, 0].tolist() == [5, 17, 3]
    assert neighbours.found.nonzero()[0].tolist() == [3, 5, 17]


@pytest.mark.parametrize("items", [1, 2, 63, 64, 65])
def test_small_catalogues_have_as_many_as_there_are(make, items):
    neighbours, _, _ = make(items)
    neighbours.fill([items - 1])
    assert neighbours.rows.shape == (items, min(64, items))
    assert len(set(neighbours.rows[items - 1].tolist())) == min(64, items)
