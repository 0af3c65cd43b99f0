"""Several interests of one user: the history clustered by text, without training.

What somebody likes rarely has one direction: the mean of crime novels and gardening is neither. So the liked events are
clustered by spherical k-means (Dhillon & Modha, 2001) over the items' vectors, weighted by recency, each vector without
the direction that all items share. An interest is the events of a cluster; its share is that of their weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tanager_server.engine.subject import decayed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tanager_server.engine.subject import History

_ITERATIONS = 10
# Directions nearer than this are one.
_SAME = 1e-4


class Interests(NamedTuple):
    """The interests of a history.

    Attributes:
        groups: interest of each scored event, -1 for those that are no likes.
        shares: of the weights of liked events, by interest; they add up to 1.
        queries: (interests, dim) float32, unit length: where the items of an interest lie.
    """

    groups: list[int]
    shares: list[float]
    queries: NDArray[np.float32]


def find_interests(
    history: History, vectors: NDArray[np.float32], *, mean: NDArray[np.float32], half_life: float, count: int
) -> Interests | None:
    """Clusters the liked events of a history.

    Args:
        history: whom the list is for.
        vectors: (items, dim) float32, unit length.
        mean: (dim,) float32, the mean vector.
        half_life: of the recency in events.
        count: how many interests to find at most.

    Returns:
        Two interests or more, or None where there is only one to be found.
    """
    weights = decayed(history.weights, half_life)
    liked = np.flatnonzero(weights > 0)
    if count < 2 or len(liked) < 2:
        return None
    own = vectors[np.asarray(history.scored)[liked]]
    labels = cluster(own - mean, weights[liked], count)
    found = int(labels.max()) + 1
    if found < 2:
        return None
    groups = np.full(len(weights), -1, dtype=np.int64)
    groups[liked] = labels
    shares = np.bincount(labels, weights=weights[liked], minlength=found)
    queries = _unit(_sums(own, weights[liked], labels, found)).astype(np.float32)
    return Interests(groups.tolist(), (shares / shares.sum()).tolist(), queries)


def cluster(points: NDArray[np.floating[Any]], weights: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """(n,) int64: the cluster of each point by direction, numbered from 0 without gaps.

    Starts from the heaviest point, and then from whichever is the most weight away from those before: no chance in it.

    Args:
        points: (n, dim), of any length.
        weights: (n,), positive.
        count: clusters at most; fewer where there are fewer directions.
    """
    unit = _unit(points.astype(np.float64))
    centres = [unit[int(weights.argmax())]]
    nearest = unit @ centres[0]
    while len(centres) < count:
        away = np.where(1.0 - nearest > _SAME, weights * (1.0 - nearest), 0.0)
        if not away.any():
            break
        centres.append(unit[int(away.argmax())])
        nearest = np.maximum(nearest, unit @ centres[-1])
    middle = np.stack(centres)
    labels = (unit @ middle.T).argmax(axis=1)
    for _ in range(_ITERATIONS):
        sums = _sums(unit, weights, labels, len(middle))
        middle = np.where(np.linalg.norm(sums, axis=1, keepdims=True) > _SAME * weights.max(), _unit(sums), middle)
        moved = (unit @ middle.T).argmax(axis=1)
        if (moved == labels).all():
            break
        labels = moved
    return np.unique(labels, return_inverse=True)[1].astype(np.int64)


def _sums(
    points: NDArray[np.floating[Any]], weights: NDArray[np.float64], labels: NDArray[np.int64], count: int
) -> NDArray[np.float64]:
    """(count, dim) float64: the weighted sum of the points of each cluster."""
    member = labels == np.arange(count)[:, None]
    sums: NDArray[np.float64] = (member * weights) @ points
    return sums


def _unit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: NDArray[np.float64] = rows / np.maximum(lengths, 1e-12)
    return unit
