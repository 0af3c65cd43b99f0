"""Several interests: clusters of the history by direction, their shares and where they lie."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tanager_server.engine.interests import cluster, find_interests
from tanager_server.engine.subject import History


def around(*directions, each=10, spread=0.1, seed=0, dim=12):
    """Points around some of the axes."""
    random = np.random.default_rng(seed)
    points = np.repeat(np.eye(dim)[list(directions)], each, axis=0)
    return points + spread * random.normal(size=points.shape)


@pytest.mark.parametrize("count", [2, 3, 4])
def test_directions_that_lie_apart_are_told_apart(count):
    points = around(*range(count))
    labels = cluster(points, np.ones(len(points)), count)
    assert sorted(set(labels.tolist())) == list(range(count))
    for start in range(0, len(points), 10):
        assert len(set(labels[start : start + 10].tolist())) == 1


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 8), points=st.integers(1, 30))
def test_clusters_are_numbered_without_gaps_and_every_point_is_with_the_nearest(seed, count, points):
    random = np.random.default_rng(seed)
    places, weights = random.normal(size=(points, 5)), random.uniform(0.01, 1, points)
    labels = cluster(places, weights, count)
    assert set(labels.tolist()) == set(range(int(labels.max()) + 1))
    assert labels.max() < count
    np.testing.assert_array_equal(labels, cluster(places, weights, count), "no chance in it")
    np.testing.assert_array_equal(labels, cluster(3 * places, weights, count), "direction alone counts")


def test_equal_points_are_one_cluster_and_a_point_without_direction_is_no_error():
    assert cluster(np.ones((5, 3)), np.ones(5), 4).tolist() == [0] * 5
    assert len(cluster(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), np.ones(3), 2)) == 3


def test_where_there_are_fewer_clusters_than_directions_weight_decides():
    points = np.eye(3)
    labels = cluster(points, np.array([1.0, 0.9, 0.001]), 2)
    assert labels[0] != labels[1]


@pytest.fixture
def vectors():
    """Items 0 to 9 around one axis, 10 to 19 around another."""
    vectors = around(0, 1).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def find(vectors, history, *, count=4, half_life=1e12):
    return find_interests(history, vectors, mean=np.zeros(12, np.float32), half_life=half_life, count=count)


def test_interests_have_the_share_of_their_events(vectors):
    found = find(vectors, History([1, 2, 3, 15, 4], [1.0, 1.0, 1.0, 1.0, -9.0], 0), count=2)
    assert found.groups[4] == -1, "a dislike is no interest"
    first, second = found.groups[0], found.groups[3]
    assert found.groups[:4] == [first, first, first, second]
    assert found.shares[first] == pytest.approx(0.75)
    assert found.shares[second] == pytest.approx(0.25)
    for group, rows in ((first, [1, 2, 3]), (second, [15])):
        middle = vectors[rows].sum(axis=0)
        np.testing.assert_allclose(found.queries[group], middle / np.linalg.norm(middle), atol=1e-6)


def test_recent_events_have_the_larger_share(vectors):
    found = find(vectors, History([1, 15], [1.0, 1.0], 0), half_life=1.0, count=2)
    assert found.shares[found.groups[1]] == pytest.approx(2 / 3)


def test_events_that_are_not_scored_are_no_interest(vectors):
    assert len(find(vectors, History([3, 4, 1, 15], [1.0, 1.0], 0), count=2).groups) == 2


@pytest.mark.parametrize(
    ("history", "count"),
    [
        (History([], [], 0), 4),
        (History([1], [1.0], 0), 4),
        (History([1, 15], [1.0, 0.0], 0), 4),
        (History([1, 15], [1.0, -1.0], 0), 4),
        (History([1, 1, 1], [1.0, 1.0, 1.0], 0), 4),
        (History([1, 15], [1.0, 1.0], 0), 1),
        (History([1, 15], [1.0, 1.0], 0), 0),
    ],
    ids=str,
)
def test_one_interest_is_none(vectors, history, count):
    assert find(vectors, history, count=count) is None
