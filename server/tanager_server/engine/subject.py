"""Whom a list is for: the history, resolved against a catalogue."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tanager_server.engine.known import NO_PAST, Past
from tanager_server.engine.request import NO_EVENTS, Events

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray

    from tanager_server.bundle import Catalogue, Scoring


class History(NamedTuple):
    """Events as far as the catalogue knows them.

    Attributes:
        seen: catalogue positions of all known items, oldest first.
        weights: signed weights of the scored events, as they were given.
        unknown: number of events whose item the catalogue does not have.
        expected: (dim,) float32, the vector of what the sequence head says comes next, times its weight in the score;
            None where it says nothing.
        chosen: positions of the scored events, where they are not the last of `seen`.
    """

    seen: list[int]
    weights: list[float]
    unknown: int
    expected: NDArray[np.float32] | None = None
    chosen: list[int] | None = None

    @property
    def scored(self) -> list[int]:
        """Catalogue positions of the scored events, oldest first."""
        return self.seen[len(self.seen) - len(self.weights) :] if self.chosen is None else self.chosen


NO_HISTORY = History([], [], 0)


def resolve_history(
    events: Events,
    *,
    catalogue: Catalogue,
    scoring: Scoring,
    past: Past = NO_PAST,
    examples: Events = NO_EVENTS,
    source_domains: Collection[str] = (),
) -> History:
    """Turns events into positions, and picks the latest `history_limit` to be scored.

    Args:
        events: what the request tells of the user.
        catalogue: what has the items.
        scoring: how many events are scored.
        past: what the server knows of the user, which comes before it.
        examples: come after it and are not seen.
        source_domains: domains of the events that are scored; none for all.
    """
    recent, weights, unknown = _known(events, catalogue)
    if past is NO_PAST and examples is NO_EVENTS and not source_domains:
        return History(recent, weights[-scoring.history_limit :], unknown) if recent or unknown else NO_HISTORY
    seen, weights = past.positions + recent, past.weights + weights
    chosen = seen
    if source_domains:
        kept = [place for place, position in enumerate(seen) if catalogue.domains[position] in source_domains]
        chosen, weights = [seen[place] for place in kept], [weights[place] for place in kept]
    wanted, strengths, missing = _known(examples, catalogue)
    limit = scoring.history_limit
    return History(seen, (weights + strengths)[-limit:], unknown + missing, chosen=(chosen + wanted)[-limit:])


def _known(events: Events, catalogue: Catalogue) -> tuple[list[int], list[float], int]:
    """Positions and weights of events, oldest first, and how many there are of items that the catalogue lacks."""
    item_ids, weights, times_ns = events
    if not item_ids:
        return [], [], 0
    if times_ns is not None:
        order = sorted(range(len(item_ids)), key=times_ns.__getitem__)
        item_ids, weights = [item_ids[i] for i in order], [weights[i] for i in order]
    found = catalogue.positions(item_ids)
    if unknown := found.count(None):
        weights = [weight for position, weight in zip(found, weights, strict=True) if position is not None]
    return [position for position in found if position is not None], list(weights), unknown


def decayed(weights: Sequence[float] | NDArray[np.float64], half_life: float) -> NDArray[np.float64]:
    """(events,) float64: weights by recency, oldest first: an event counts half after `half_life` later events.

    What the compiled loops compute by themselves; for those who score without them.
    """
    ages = np.arange(len(weights) - 1, -1, -1)
    return np.asarray(weights, dtype=np.float64) * np.exp2(-ages / half_life)
