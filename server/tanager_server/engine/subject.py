"""Whom a list is for: the history and the wish, resolved against a generation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tanager_server.bundle import Catalogue, Scoring
    from tanager_server.engine.request import Event


@dataclass(frozen=True, slots=True)
class Subject:
    """What is known, as numbers.

    Attributes:
        history: (n,) int64, catalogue positions of the scored events, oldest first.
        weights: (n,) float32, signed weights of these events, absolute values adding up to 1.
        wish: (dim,) float32, unit length, or None.
    """

    history: NDArray[np.int64]
    weights: NDArray[np.float32]
    wish: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class History:
    """Events as far as the catalogue knows them.

    Attributes:
        seen: (m,) int64, positions of all known items, the latest `history_limit` of which are scored.
        subject: the scored part.
        unknown: number of events whose item the catalogue does not have.
    """

    seen: NDArray[np.int64]
    subject: Subject
    unknown: int


def resolve_history(events: Sequence[Event], *, catalogue: Catalogue, scoring: Scoring) -> History:
    """Turns events into positions and weights.

    An event counts half for every `history_half_life` later events; the weights are then scaled so that a long
    history speaks no louder than a short one.
    """
    if all(event.time is not None for event in events):
        events = sorted(events, key=lambda event: event.time.timestamp() if event.time else 0.0)
    known = [(p, event.weight) for event in events if (p := catalogue.position(event.item_id)) is not None]
    seen = np.fromiter((position for position, _ in known), dtype=np.int64, count=len(known))
    latest = known[-scoring.history_limit :]
    weights = np.fromiter((weight for _, weight in latest), dtype=np.float32, count=len(latest))
    age = np.arange(len(latest) - 1, -1, -1, dtype=np.float32)
    weights *= np.exp2(-age / np.float32(scoring.history_half_life))
    total = float(np.abs(weights).sum())
    if total > 0:
        weights /= total
    return History(
        seen=seen, subject=Subject(history=seen[-len(latest) :], weights=weights), unknown=len(events) - len(known)
    )
