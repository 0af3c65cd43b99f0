"""Learns how to rank items that nobody took up yet, among themselves and beside the others.

How traits tell of behaviour is chosen where it ranks hidden items best among themselves. What is left to choose is how
high new items come beside the others, and there is no right answer to that: a list that shows them shows less of what
is known to be liked. So it has a price. New items are raised together, by as much as costs the others `PRICE` of their
NDCG@10 and no more.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from tanager_export.evaluation.hiding import hide
from tanager_export.evaluation.metrics import metric
from tanager_export.evaluation.ranking import ranks
from tanager_export.evaluation.splits import SplitError
from tanager_export.training.parts import PRIORS, Behaviour, Parts
from tanager_export.training.terms import TERMS, total

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tanager_export.dataset import Dataset, Interactions
    from tanager_export.evaluation.cases import Cases
    from tanager_export.evaluation.hiding import Hidden
    from tanager_export.training.blend import Blend
    from tanager_export.training.structure import Structure

_log = logging.getLogger(__name__)

PRICE = 0.02
"""Share of their NDCG@10 that items with behaviour may lose to new ones."""
NEW_OPTIONS: dict[str, tuple[float, ...]] = {"traits_l2": (3, 10, 30), "likeness": (0.0, 0.03, 0.1, 0.3)}
"""What is tried of the hyperparameters that matter among new items."""
CONFIDENCES = (0.5, 0.7, 0.85, 1.0)

_CASES = 1_000
_RECALL, _NDCG = "recall@20", "ndcg@10"
_HALVINGS = 12


def hidden_within(dataset: Dataset, train: Interactions, *, seed: int) -> Hidden | None:
    """Items hidden within what may be learned from, to learn from; None where there is too little to hide any."""
    try:
        return hide(replace(dataset, interactions=train), seed=seed + 1)
    except SplitError as error:
        _log.warning("new items are left as they are: %s", error)
        return None


def learn_new_items(
    dataset: Dataset, hidden: Hidden, vectors: NDArray[np.float32], blend: Blend, *, seed: int, price: float = PRICE
) -> Blend:
    """The same blend for items with behaviour, and the best one for new items that is worth its price.

    Args:
        dataset: the catalogue and its users.
        hidden: items hidden within what may be learned from.
        vectors: (items, dim) float32 of unit length; where the encoder has seen what is hidden, its new items look
            better known than they will be.
        blend: as learned.
        seed: of the draw of cases, where there are more than are needed.
        price: see `PRICE`.
    """
    behaviour = Behaviour(dataset, hidden.both.train, vectors)
    random = np.random.default_rng(seed)
    cold, both = (_some(cases, random) for cases in (hidden.cold.cases, hidden.both.cases))
    weights = dict(blend.weights) | {"new": 0.0}

    def scores(structure: Structure, cases: Cases) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        parts = Parts.fit(behaviour, structure)
        return total([weights[name] for name in TERMS], parts, cases, structure), parts.priors[PRIORS.index("new")]

    def among_new(structure: Structure) -> float:
        found = ranks(scores(structure, cold)[0], cold.targets, cold.histories, among=hidden.is_cold)
        return float(metric(found, _RECALL).mean())

    structure = blend.structure
    first = among_new(structure)
    for name, values in NEW_OPTIONS.items():
        for value in values:
            candidate = replace(structure, **{name: value})
            figure = among_new(candidate)
            if figure > first:
                structure, first = candidate, figure
    chosen, best = (structure, 0.0), -1.0
    for confidence in CONFIDENCES:
        candidate = replace(structure, confidence=confidence)
        raised = _Raised(*scores(candidate, both), both, hidden.is_cold, known=behaviour.popularity > 0)
        offset = raised.highest(price)
        figure = raised.recall(offset)
        if figure > best:
            chosen, best = (candidate, offset), figure
    structure, weights["new"] = chosen
    _log.info(
        "new items: %s %.4f among themselves, %.4f among all, raised by %.3g; traits_l2 %g, likeness %g, confidence %g",
        _RECALL,
        first,
        best,
        weights["new"],
        structure.traits_l2,
        structure.likeness,
        structure.confidence,
    )
    return replace(blend, structure=structure, weights=weights)


class _Raised:
    """Lists with new items raised by more or less.

    What nobody took up and is not hidden is no candidate: it could only be wrong, and new items would look worse.
    """

    def __init__(
        self,
        scores: NDArray[np.float32],
        new: NDArray[np.float32],
        cases: Cases,
        is_cold: NDArray[np.bool_],
        *,
        known: NDArray[np.bool_],
    ) -> None:
        self._scores, self._new, self._cases = scores, new, cases
        self._candidates = known | is_cold
        self._cold_target = is_cold[cases.targets.item]
        self._warm = self._mean(np.where(is_cold, np.float32(-np.inf), scores), _NDCG, ~self._cold_target)
        self._span = float(scores.max() - scores.min())

    def highest(self, price: float) -> float:
        """By how much they can be raised for this price; less than 0 where they are too high as they are."""
        low, high = -self._span, self._span
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            warm = self._mean(self._scores + middle * self._new, _NDCG, ~self._cold_target)
            low, high = (middle, high) if warm >= (1 - price) * self._warm else (low, middle)
        return low

    def recall(self, offset: float) -> float:
        """Recall of new items among all."""
        return self._mean(self._scores + offset * self._new, _RECALL, self._cold_target)

    def _mean(self, scores: NDArray[np.float32], name: str, asked: NDArray[np.bool_]) -> float:
        found, _ = ranks(scores, self._cases.targets, self._cases.histories, among=self._candidates).only(asked)
        return float(metric(found, name).mean()) if len(found) else 0.0


def _some(cases: Cases, random: np.random.Generator) -> Cases:
    return cases.take(np.sort(random.permutation(len(cases))[:_CASES]))
