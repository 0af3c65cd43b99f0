"""Candidates of several interests, by the code of the server and the exact terms of a hybrid."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tanager_export.training.terms import HISTORY_LIMIT
from tanager_server.engine.interests import find_interests
from tanager_server.engine.ranking import SPARE
from tanager_server.engine.subject import History, decayed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tanager_export.evaluation.cases import Histories
    from tanager_export.training.hybrid import Hybrid


class Pool(NamedTuple):
    """What a list is chosen from.

    Attributes:
        positions: `(candidates,) int32`.
        scores: `(candidates,) float32`.
        groups: `(candidates,) int32`, the interest of each; empty where there is one and all.
        shares: what part of the list each interest is due.
        spread: from the best score to the last, without what joined for an interest.
    """

    positions: NDArray[np.int32]
    scores: NDArray[np.float32]
    groups: NDArray[np.int32]
    shares: Sequence[float]
    spread: float


def of_interests(
    hybrid: Hybrid,
    best: Pool,
    scores: NDArray[np.float32],
    history: Histories,
    *,
    mean: NDArray[np.float32],
    count: int,
    page_size: int,
) -> Pool:
    """A pool with what lies nearest to each interest, and the interest of each candidate: see `engine.diversity`.

    Args:
        hybrid: whose scores they are.
        best: the best by score, unseen.
        scores: `(items,)` of the catalogue, -inf where seen.
        history: of one case.
        mean: `(dim,)` of the item vectors.
        count: interests at most.
        page_size: length of the list.
    """
    vectors = hybrid.parts.vectors
    latest = history.latest(HISTORY_LIMIT)
    weights = (latest.weight > 0).astype(np.float64)
    found = find_interests(
        History(latest.item.tolist(), weights.tolist(), 0),
        vectors,
        mean=mean,
        half_life=hybrid.blend.structure.text_half_life,
        count=count,
    )
    if found is None:
        return best
    reach = min(page_size + len(np.unique(history.item)) + SPARE, len(vectors))
    products = found.queries @ vectors.T
    nearest = np.unique(np.argpartition(-products, reach - 1, axis=1)[:, :reach])
    new = np.setdiff1d(nearest[scores[nearest] > -np.inf], best.positions).astype(np.int32)
    positions = np.concatenate((best.positions, new))
    parts = shares(hybrid, latest.item, weights, np.array(found.groups), len(found.shares), positions)
    own = np.concatenate((best.scores, scores[new]))
    return Pool(positions, own, parts.argmax(axis=1).astype(np.int32), found.shares, best.spread)


def shares(
    hybrid: Hybrid,
    items: NDArray[np.int32],
    weights: NDArray[np.float64],
    groups: NDArray[np.int64],
    count: int,
    positions: NDArray[np.int32],
) -> NDArray[np.float64]:
    """`(positions, count) float64`: what each group of events adds by B, T and text, as `engine.reasons` has it.

    Args:
        hybrid: whose terms they are.
        items: `(events,)` of a history, oldest first.
        weights: `(events,)`, 1 for what was liked.
        groups: `(events,)`, negative where an event is in none.
        count: how many groups there are.
        positions: `(positions,)` what is scored.
    """
    parts, structure, blend = hybrid.parts, hybrid.blend.structure, hybrid.blend.weights
    text = decayed(weights, structure.text_half_life)
    cells = np.ix_(items, positions)
    added = blend["collaborative"] * decayed(weights, structure.half_life)[:, None] * parts.collaborative[cells]
    added += (
        blend["transitions"] * decayed(weights, structure.transitions_half_life)[:, None] * parts.transitions[cells]
    )
    products = parts.vectors[items] @ parts.vectors[positions].T
    added += blend["text"] * (text / max(text.sum(), 1e-12))[:, None] * products
    return np.stack([added[groups == group].sum(axis=0) for group in range(count)], axis=1)
