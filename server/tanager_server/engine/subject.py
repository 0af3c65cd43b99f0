"""Whom a list is for: the history, resolved against a catalogue."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tanager_server.bundle import Catalogue, Scoring
    from tanager_server.engine.request import Events


class History(NamedTuple):
    """Events as far as the catalogue knows them.

    Attributes:
        seen: catalogue positions of all known items, oldest first; the last `len(weights)` of them are scored.
        weights: signed weights of the scored events, as they were given.
        unknown: number of events whose item the catalogue does not have.
        expected: (dim,) float32, the vector of what the sequence head says comes next, times its weight in the score;
            None where it says nothing.
    """

    seen: list[int]
    weights: list[float]
    unknown: int
    expected: NDArray[np.float32] | None = None

    @property
    def scored(self) -> list[int]:
        """Catalogue positions of the scored events, oldest first."""
        return self.seen[len(self.seen) - len(self.weights) :]


NO_HISTORY = History([], [], 0)


def resolve_history(events: Events, *, catalogue: Catalogue, scoring: Scoring) -> History:
    """Turns events into positions, and picks the latest `history_limit` to be scored."""
    item_ids, weights, times_ns = events
    if not item_ids:
        return NO_HISTORY
    if times_ns is not None:
        order = sorted(range(len(item_ids)), key=times_ns.__getitem__)
        item_ids, weights = [item_ids[i] for i in order], [weights[i] for i in order]
    seen = catalogue.positions(item_ids)
    if unknown := seen.count(None):
        weights = [weight for position, weight in zip(seen, weights, strict=True) if position is not None]
    known = [position for position in seen if position is not None]
    return History(known, list(weights[-scoring.history_limit :]), unknown)


def decayed(weights: Sequence[float] | NDArray[np.float64], half_life: float) -> NDArray[np.float64]:
    """(events,) float64: weights by recency, oldest first: an event counts half after `half_life` later events.

    What the compiled loops compute by themselves; for those who score without them.
    """
    ages = np.arange(len(weights) - 1, -1, -1)
    return np.asarray(weights, dtype=np.float64) * np.exp2(-ages / half_life)
