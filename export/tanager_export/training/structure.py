"""What of a hybrid is chosen rather than learned: how its parts are fitted and how fast they forget."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Structure:
    """The hyperparameters of a hybrid's parts.

    Half-lives of a history count events, since what somebody did last matters more than when; those of popularity
    count days.

    Attributes:
        l2: regularisation of B (EASE).
        dropout: share of a history hidden while B is learned (Steck, 2020): regularises an item by its popularity.
        half_life: of a history, for B.
        transitions_l2: regularisation of T.
        transitions_decay: events after which a pair of events counts 1/e, while T is learned.
        transitions_half_life: of a history, for T.
        text_half_life: of a history, for the text vectors.
        popularity_days: half-life of popularity.
        borrow: uptakes at which an item's own behaviour weighs as much as what its traits let one expect.
        traits_l2: regularisation of what traits let one expect.
        likeness: weight in B by which an item is taken to speak for itself, and so for what has its traits.
        confidence: of B and T expected from traits, how much counts: less keeps a new item from the very top.
        profile_shrinkage: uptakes that an attribute needs for its own figures to weigh as much as everybody's.
        known_events: events at which a user is half known.
    """

    l2: float = 200.0
    dropout: float = 0.0
    half_life: float = 10.0
    transitions_l2: float = 50.0
    transitions_decay: float = 2.0
    transitions_half_life: float = 2.0
    text_half_life: float = 10.0
    popularity_days: float = 365.0
    borrow: float = 1.0
    traits_l2: float = 10.0
    likeness: float = 0.1
    confidence: float = 1.0
    profile_shrinkage: float = 50.0
    known_events: float = 10.0


OPTIONS: dict[str, tuple[float, ...]] = {
    "popularity_days": (3, 7, 14, 30, 90, 180, 365, 730, 1460),
    "half_life": (2.5, 5, 10, 20, 40, 80, 1e6),
    "l2": (20, 50, 100, 200, 400, 800),
    "dropout": (0.0, 0.2, 0.4),
    "text_half_life": (1, 2.5, 5, 10, 20, 40),
    "transitions_half_life": (0.5, 1, 2, 4),
    "transitions_l2": (10, 50, 200),
    "borrow": (0.3, 1, 3, 10),
    "profile_shrinkage": (20, 100, 400),
}
"""What the search tries, one hyperparameter after the other in this order, by likelihood and then by lists."""
