"""The terms of a hybrid's score, each (cases, items): what the blend weighs and adds up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
from scipy import sparse

from tanager_export.training.parts import PRIORS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tanager_export.evaluation.cases import Cases, Histories
    from tanager_export.training.profiles import Profiles
    from tanager_export.training.sequence import SequenceHead
    from tanager_export.training.structure import Structure

HISTORY_LIMIT = 200
"""Events of a history that count, the latest."""

TERMS = (
    "collaborative",
    "transitions",
    "text",
    "profile",
    "sequence",
    *PRIORS,
    *(f"{prior}, known" for prior in PRIORS),
)
"""The terms in order; `known` are those that count as far as the user is known."""

FROM_ZERO = frozenset(("collaborative", "transitions", "text", "profile", "sequence"))
"""Terms that cannot speak against themselves: their weights are not negative."""


def history_weights(
    histories: Histories, *, items: int, half_life: float, normalized: bool = False
) -> sparse.csr_array:
    """(rows, items) float32: 0.5 ** (events since / half_life) of what a row took up; dislikes are left out.

    Args:
        histories: rows in the order of time.
        items: size of the catalogue.
        half_life: in events.
        normalized: whether the weights of a row are to have the sum 1.
    """
    latest = histories.latest(HISTORY_LIMIT)
    liked = latest.weight > 0
    weight = np.where(liked, 0.5 ** (latest.age_of_event / half_life), 0.0).astype(np.float32)
    row = latest.row_of_event
    if normalized:
        total = np.bincount(row, weights=weight, minlength=len(latest))
        weight = np.asarray(weight / np.maximum(total, 1e-12)[row], np.float32)
    matrix = sparse.coo_array((weight, (row, latest.item)), shape=(len(latest), items))
    return matrix.tocsr().astype(np.float32)


def known(histories: Histories, structure: Structure) -> NDArray[np.float32]:
    """(rows, 1) float32: how well each user is known, from 0 to 1."""
    events = histories.latest(HISTORY_LIMIT).lengths.astype(np.float32)
    return np.asarray(events / (events + structure.known_events), np.float32)[:, None]


class Fitted(Protocol):
    """Parts of a hybrid; see `training.parts.Parts`."""

    @property
    def collaborative(self) -> NDArray[np.float32]:
        """(items, items) float32."""
        ...

    @property
    def transitions(self) -> NDArray[np.float32]:
        """(items, items) float32."""
        ...

    @property
    def vectors(self) -> NDArray[np.float32]:
        """(items, dim) float32."""
        ...

    @property
    def priors(self) -> NDArray[np.float32]:
        """(len(PRIORS), items) float32."""
        ...

    @property
    def profiles(self) -> Profiles:
        """What attributes of users say."""
        ...

    @property
    def sequence(self) -> SequenceHead | None:
        """What comes next, where order was learned from."""
        ...


def term(name: str, parts: Fitted, cases: Cases, structure: Structure) -> NDArray[np.float32]:
    """One of `TERMS`, (cases, items) float32."""
    items = parts.vectors.shape[0]
    match name:
        case "collaborative":
            weights = history_weights(cases.histories, items=items, half_life=structure.half_life)
            return np.asarray(weights @ parts.collaborative, np.float32)
        case "transitions":
            weights = history_weights(cases.histories, items=items, half_life=structure.transitions_half_life)
            return np.asarray(weights @ parts.transitions, np.float32)
        case "text":
            weights = history_weights(cases.histories, items=items, half_life=structure.text_half_life, normalized=True)
            return np.asarray((weights @ parts.vectors) @ parts.vectors.T, np.float32)
        case "profile":
            found = parts.profiles.matrix(cases.profiles) @ parts.profiles.weights
            return np.asarray((1 - known(cases.histories, structure)) * found, np.float32)
        case "sequence":
            if parts.sequence is None:
                return np.zeros((len(cases), items), np.float32)
            return parts.sequence.score(cases.histories.latest(HISTORY_LIMIT))
    prior, _, as_known = name.partition(", ")
    figure = np.broadcast_to(parts.priors[PRIORS.index(prior)], (len(cases), items))
    return np.asarray(figure * known(cases.histories, structure) if as_known else figure, np.float32)


def total(
    weights: Sequence[float], parts: Fitted, cases: Cases, structure: Structure, *, names: Sequence[str] = TERMS
) -> NDArray[np.float32]:
    """(cases, items) float32: the weighted sum of terms."""
    scores = np.zeros((len(cases), parts.vectors.shape[0]), np.float32)
    for name, weight in zip(names, weights, strict=True):
        if weight:
            scores += np.float32(weight) * term(name, parts, cases, structure)
    return scores
