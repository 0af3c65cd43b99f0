"""Whom a list is for: the history, resolved against a catalogue."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from tanager_server.bundle import Catalogue, Scoring
    from tanager_server.engine.request import Events


class History(NamedTuple):
    """Events as far as the catalogue knows them.

    Attributes:
        seen: catalogue positions of all known items, oldest first; the last `len(weights)` of them are scored.
        weights: signed weights of the scored events, absolute values adding up to 1.
        unknown: number of events whose item the catalogue does not have.
    """

    seen: list[int]
    weights: list[float]
    unknown: int

    @property
    def scored(self) -> list[int]:
        """Catalogue positions of the scored events, oldest first."""
        return self.seen[len(self.seen) - len(self.weights) :]


NO_HISTORY = History([], [], 0)


def resolve_history(events: Events, *, catalogue: Catalogue, scoring: Scoring) -> History:
    """Turns events into positions and weights.

    An event counts half for every `history_half_life` later events; the weights are then scaled so that a long
    history speaks no louder than a short one.
    """
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
    decay = 0.5 ** (1.0 / scoring.history_half_life)
    recency, total = 1.0, 0.0
    decayed: list[float] = []
    for weight in reversed(weights[-scoring.history_limit :]):
        decayed.append(weight * recency)
        total += abs(weight) * recency
        recency *= decay
    decayed.reverse()
    if total > 0.0:
        decayed = [weight / total for weight in decayed]
    return History(known, decayed, unknown)
