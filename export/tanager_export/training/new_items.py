"""Learns how to rank items that nobody took up yet, among themselves and beside the others.

How traits tell of behaviour is chosen where it ranks hidden items best among themselves. What is left to choose is how
high new items come beside the others, and there is no right answer to that: a list that shows them shows less of what
is known to be liked. So it has a price. New items are raised together, by as much as costs the others `PRICE` of their
NDCG@10 and no more, both in the lists of users who are known and in those of users of whom nothing is. Where the latter
can bear less (nothing but priors holds an item in its place there), new items are raised further as far as a user is
known. What it costs grows with how many new items there are: there are as many to pay for as there will be once nothing
is hidden any more, but at least those that were hidden.

A sequence head, where the blend has one, is trained once more for this, on what is not hidden.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tanager_export.evaluation.hiding import hide
from tanager_export.evaluation.metrics import metric
from tanager_export.evaluation.ranking import ranks
from tanager_export.evaluation.splits import SplitError, with_history
from tanager_export.training.hybrid import fit_head
from tanager_export.training.parts import PRIORS, Behaviour, Parts
from tanager_export.training.terms import TERMS, known, total

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
_PLACES = 33  # that are looked at, before it is gone into the last of them that is not too dear
_HALVINGS = 6


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
    found = replace(blend, weights={**blend.weights, "new": 0.0, "new, known": 0.0})

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
    left_out = random.permutation(others)[: len(np.unique(hidden.cold.cases.targets.item))]
    chosen, best = found, (False, -np.inf)
    for confidence in CONFIDENCES:
        candidate = replace(found, structure=replace(found.structure, confidence=confidence))
        offer = _offer(behaviour, candidate, both, head, is_cold=hidden.is_cold, left_out=left_out, price=price)
        # Of those for the price the one that shows most of them; where none is, the cheapest.
        worth = (True, offer.recall) if offer.cost <= price else (False, -offer.cost)
        if worth > best:
            best = worth
            chosen = replace(
                candidate, weights={**found.weights, "new": offer.offset, "new, known": offer.offset_known}
            )
    if not best[0]:
        _log.warning("new items: as low as they may be, they cost the others %.1f %% of %s", -100 * best[1], _NDCG)
    _log.info(
        "new items: %s %.4f among themselves, %s among all; raised by %.3g, and by %.3g as far as users are known; %s",
        _RECALL,
        first.mean(),
        f"{best[1]:.4f}" if best[0] else "too dear",
        chosen.weights["new"],
        chosen.weights["new, known"],
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


@dataclass(frozen=True, slots=True)
class _Offer:
    """How new items would be raised.

    Attributes:
        offset: for anybody.
        offset_known: and as far as the user is known.
        cost: what it costs the others, as a share: in the lists of users known or unknown, whichever is more.
        recall: of new items in the lists of users who are known.
    """

    offset: float
    offset_known: float
    cost: float
    recall: float


def _offer(
    behaviour: Behaviour,
    blend: Blend,
    cases: Cases,
    head: SequenceHead | None,
    *,
    is_cold: NDArray[np.bool_],
    left_out: NDArray[np.int64],
    price: float,
) -> _Offer:
    """The highest that new items can come for the price."""
    scores, new = _scores(behaviour, blend, cases, head)
    scores[:, left_out] = -np.inf
    raised = _Raised(scores, new, cases, is_cold)
    offset, cost = raised.highest(price)
    scores_of_unknown, _ = _scores(behaviour, blend, with_history(cases, 0), head)
    scores_of_unknown[:, left_out] = -np.inf
    unknown = _Raised(scores_of_unknown, new, cases, is_cold)
    of_unknown, cost_of_unknown = unknown.highest(price)
    if offset <= of_unknown and unknown.cost(offset) <= price:  # lowering costs something too
        return _Offer(offset, 0.0, max(cost, unknown.cost(offset)), raised.recall(offset))
    raised = _Raised(scores, new, cases, is_cold, first=of_unknown, share=known(cases.histories, blend.structure))
    offset, cost = raised.highest(price)
    return _Offer(of_unknown, offset, max(cost, cost_of_unknown), raised.recall(offset))


class _Raised:
    """Lists with new items raised by more or less, those too that nobody took up and nothing was hidden of.

    Args:
        scores: (cases, items), as they are without.
        new: (items,) how new each item is.
        cases: what is asked; histories are masked.
        is_cold: (items,) which are hidden.
        first: by how much new items are raised at least.
        share: (cases, 1) of an offset beyond that which a case gets; by default all of it.
    """

    def __init__(
        self,
        scores: NDArray[np.float32],
        new: NDArray[np.float32],
        cases: Cases,
        is_cold: NDArray[np.bool_],
        *,
        first: float = 0.0,
        share: NDArray[np.float32] | None = None,
    ) -> None:
        self._scores, self._new, self._cases = scores, new, cases
        self._first, self._share = first, np.ones((len(cases), 1), np.float32) if share is None else share
        self._cold_target = is_cold[cases.targets.item]
        self._warm = self._mean(np.where(new >= 1, np.float32(-np.inf), scores), _NDCG, ~self._cold_target)
        finite = scores[np.isfinite(scores)]
        self._span = float(finite.max() - finite.min())

    def highest(self, price: float) -> tuple[float, float]:
        """By how much they can be raised for this price; less than 0 where they are too high as they are.

        Items of little behaviour are raised and lowered in part, so lowering costs something too. Where the price
        cannot be had it is what costs least; where the lists hit nothing, and there is no telling what it costs, 0.

        Returns:
            The offset, and what it costs as a share.
        """
        if not self._warm:
            return 0.0, 0.0
        places = np.linspace(-1, 1, _PLACES)
        offsets = (self._span * places * np.abs(places)).tolist()  # closer to one another about 0
        costs = [self.cost(offset) for offset in offsets]
        within = [at for at, cost in enumerate(costs) if cost <= price]
        if not within:
            return min(zip(offsets, costs, strict=True), key=lambda found: found[1])
        low, cost = offsets[within[-1]], costs[within[-1]]
        high = offsets[min(within[-1] + 1, _PLACES - 1)]
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            if (found := self.cost(middle)) <= price:
                low, cost = middle, found
            else:
                high = middle
        return low, cost

    def cost(self, offset: float) -> float:
        """What an offset costs, as a share; 0 where the lists hit nothing."""
        if not self._warm:
            return 0.0
        return 1 - self._mean(self._lists(offset), _NDCG, ~self._cold_target) / self._warm

    def recall(self, offset: float) -> float:
        """Recall of new items among all."""
        return self._mean(self._lists(offset), _RECALL, self._cold_target)

    def _lists(self, offset: float) -> NDArray[np.float32]:
        return self._scores + np.float32(self._first + np.float32(offset) * self._share) * self._new

    def _mean(self, scores: NDArray[np.float32], name: str, asked: NDArray[np.bool_]) -> float:
        found, _ = ranks(scores, self._cases.targets, self._cases.histories).only(asked)
        return float(metric(found, name).mean()) if len(found) else 0.0


def _some(cases: Cases, random: np.random.Generator) -> Cases:
    return cases.take(np.sort(random.permutation(len(cases))[:_CASES]))
