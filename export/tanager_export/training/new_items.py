"""Learns how to rank items that nobody took up yet, among themselves and beside the others.

How traits tell of behaviour is chosen where it ranks hidden items best among themselves. What is left to choose is how
high new items come beside the others, and there is no right answer to that: a list that shows them shows less of what
is known to be liked. So it has a price. New items are raised together, by as much as costs the others `PRICE` of their
NDCG@10 and no more. What it costs grows with how many new items there are: there are as many to pay for as there will
be once nothing is hidden any more, but at least those that were hidden.

A sequence head, where the blend has one, is trained once more for this, on what is not hidden.
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
from tanager_export.training.hybrid import fit_head
from tanager_export.training.parts import PRIORS, Behaviour, Parts
from tanager_export.training.terms import TERMS, total

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tanager_export.dataset import Dataset, Interactions
    from tanager_export.evaluation.cases import Cases
    from tanager_export.evaluation.hiding import Hidden
    from tanager_export.training.blend import Blend
    from tanager_export.training.sequence import SequenceHead

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
    dataset: Dataset,
    hidden: Hidden,
    vectors: NDArray[np.float32],
    blend: Blend,
    *,
    seed: int,
    price: float = PRICE,
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
    head = fit_head(hidden.both.train, vectors, blend, seed=seed)
    random = np.random.default_rng(seed)
    cold, both = (_some(cases, random) for cases in (hidden.cold.cases, hidden.both.cases))
    found = replace(blend, weights={**blend.weights, "new": 0.0})

    def among_new(candidate: Blend) -> NDArray[np.float64]:
        scores, _ = _scores(behaviour, candidate, cold, head)
        return metric(ranks(scores, cold.targets, cold.histories, among=hidden.is_cold), _RECALL)

    first = among_new(found)
    for name, values in NEW_OPTIONS.items():
        for value in values:
            candidate = replace(found, structure=replace(found.structure, **{name: value}))
            figures = among_new(candidate)
            if _surely_better(figures, first):
                found, first = candidate, figures
    # Of items that nobody took up anyway, as many are left out as were hidden: there will not be more new ones.
    others = np.flatnonzero((behaviour.popularity == 0) & ~hidden.is_cold)
    left_out = random.permutation(others)[: np.count_nonzero(hidden.is_cold)]
    chosen, best = found, -1.0
    for confidence in CONFIDENCES:
        candidate = replace(found, structure=replace(found.structure, confidence=confidence))
        scores, new = _scores(behaviour, candidate, both, head)
        scores[:, left_out] = -np.inf
        raised = _Raised(scores, new, both, hidden.is_cold)
        offset = raised.highest(price)
        figure = raised.recall(offset)
        if figure > best:
            chosen, best = replace(candidate, weights={**found.weights, "new": offset}), figure
    _log.info(
        "new items: %s %.4f among themselves, %.4f among all; raised by %.3g; %s",
        _RECALL,
        first.mean(),
        best,
        chosen.weights["new"],
        chosen.structure,
    )
    return chosen


def _surely_better(figures: NDArray[np.float64], than: NDArray[np.float64]) -> bool:
    """Whether figures of the same cases are better by more than the standard error of the difference."""
    gain = figures - than
    return len(gain) > 1 and bool(gain.mean() > gain.std(ddof=1) / np.sqrt(len(gain)))


def _scores(
    behaviour: Behaviour, blend: Blend, cases: Cases, head: SequenceHead | None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(cases, items), and (items,) how new each item is."""
    parts = Parts.fit(behaviour, blend.structure, head)
    scores = total([blend.weights[name] for name in TERMS], parts, cases, blend.structure)
    return scores, parts.priors[PRIORS.index("new")]


class _Raised:
    """Lists with new items raised by more or less, those too that nobody took up and nothing was hidden of."""

    def __init__(
        self,
        scores: NDArray[np.float32],
        new: NDArray[np.float32],
        cases: Cases,
        is_cold: NDArray[np.bool_],
    ) -> None:
        self._scores, self._new, self._cases = scores, new, cases
        self._cold_target = is_cold[cases.targets.item]
        self._warm = self._mean(np.where(new >= 1, np.float32(-np.inf), scores), _NDCG, ~self._cold_target)
        finite = scores[np.isfinite(scores)]
        self._span = float(finite.max() - finite.min())

    def highest(self, price: float) -> float:
        """By how much they can be raised for this price; less than 0 where they are too high as they are.

        Not at all where the lists hit nothing: then there is no telling what it costs. Items of little behaviour are
        raised and lowered in part, so lowering costs something too, and the price may not be had: then whatever of
        what was looked at costs least.
        """
        if not self._warm:
            return 0.0
        low, high = -self._span, self._span
        looked_at: list[tuple[float, float]] = []
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            warm = self._mean(self._scores + middle * self._new, _NDCG, ~self._cold_target)
            looked_at.append((warm, middle))
            low, high = (middle, high) if warm >= (1 - price) * self._warm else (low, middle)
        least = max(looked_at)
        return low if least[0] >= (1 - price) * self._warm else least[1]

    def recall(self, offset: float) -> float:
        """Recall of new items among all."""
        return self._mean(self._scores + offset * self._new, _RECALL, self._cold_target)

    def _mean(self, scores: NDArray[np.float32], name: str, asked: NDArray[np.bool_]) -> float:
        found, _ = ranks(scores, self._cases.targets, self._cases.histories).only(asked)
        return float(metric(found, name).mean()) if len(found) else 0.0


def _some(cases: Cases, random: np.random.Generator) -> Cases:
    return cases.take(np.sort(random.permutation(len(cases))[:_CASES]))
