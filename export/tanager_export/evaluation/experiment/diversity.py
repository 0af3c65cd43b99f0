"""What diversity costs: lists chosen from the exact scores, by the very code that the server chooses with."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tanager_export.evaluation.diversity import category_matrix
from tanager_export.evaluation.evaluate import evaluate
from tanager_export.evaluation.experiment.answers import Answers, with_lists
from tanager_export.evaluation.experiment.interests import Pool, of_interests
from tanager_export.evaluation.experiment.result import METRIC, METRICS, DiversityPoint
from tanager_export.evaluation.ranking import TOP

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from tanager_export.dataset import Dataset
    from tanager_export.evaluation.cases import Split
    from tanager_export.evaluation.diversity import Yardstick
    from tanager_export.evaluation.evaluate import Outcome
    from tanager_export.training.hybrid import Hybrid

LAMBDAS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.25, 0.2, 0.1)
CAPS = (8, 5, 4, 3, 2, 1)
INTERESTS = (2, 3, 4)
ALLOWED_LOSS = 0.01
"""Of `METRIC` on validation, for a setting to be the one to choose."""
_OF_ALL = 3  # interests, at each lambda
_MEASURES = ("category_diversity", "ease_diversity")
_CHUNK = 256


class Rule(NamedTuple):
    """One way to choose a list."""

    kind: str
    value: float
    mmr_lambda: float = 1.0
    cap: int = 0
    interests: int = 0


PLAIN = Rule("mmr", 1.0)


def _rules(*, categories: bool) -> list[Rule]:
    """What is tried, of each kind the mildest first; caps where items have categories."""
    found = [Rule("mmr", value, mmr_lambda=value) for value in LAMBDAS]
    if categories:
        found += [Rule("category cap", value, cap=value) for value in CAPS]
    found += [Rule("interests", value, interests=value) for value in INTERESTS]
    kind = f"mmr, {_OF_ALL} interests"
    return found + [Rule(kind, value, mmr_lambda=value, interests=_OF_ALL) for value in LAMBDAS]


def diversity_curve(
    dataset: Dataset,
    hybrids: Sequence[Hybrid],
    splits: Sequence[Split],
    outcomes: Sequence[Outcome],
    yardsticks: Sequence[Yardstick],
    chosen: Mapping[str, float] = MappingProxyType({}),
) -> tuple[DiversityPoint, ...]:
    """Lists of ten by maximal marginal relevance, under caps of a category, for several interests, and for both.

    Args:
        dataset: the catalogue.
        hybrids: of each seed.
        splits: of each seed.
        outcomes: of these hybrids on these splits.
        yardsticks: of each split.
        chosen: by `choose`.
    """
    lists = Lists(dataset, hybrids, splits, outcomes, yardsticks)
    plain = lists.answers(PLAIN)
    return tuple(
        _point(rule, lists.answers(rule), plain, chosen=chosen.get(rule.kind) == rule.value) for rule in lists.rules
    )


def choose(dataset: Dataset, hybrids: Sequence[Hybrid], windows: Sequence[Split]) -> Mapping[str, float]:
    """What validation would choose of each kind: the strongest that loses no more than `ALLOWED_LOSS`, if any.

    Args:
        dataset: the catalogue.
        hybrids: fitted to the train of each window.
        windows: of validation.
    """
    outcomes = [evaluate(hybrid, window) for hybrid, window in zip(hybrids, windows, strict=True)]
    lists = Lists(dataset, hybrids, windows, outcomes, [None] * len(windows))

    least = (1 - ALLOWED_LOSS) * lists.answers(PLAIN).mean(METRIC)
    within = [rule for rule in lists.rules if lists.answers(rule).mean(METRIC) >= least]
    return {rule.kind: rule.value for rule in within}  # the last one of a kind is the one that stays


class Lists:
    """Lists chosen by one rule after the other from the same candidates."""

    def __init__(
        self,
        dataset: Dataset,
        hybrids: Sequence[Hybrid],
        splits: Sequence[Split],
        outcomes: Sequence[Outcome],
        yardsticks: Sequence[Yardstick | None],
    ) -> None:
        from tanager_server.engine._diversity import Chooser

        categories = category_matrix(dataset.items)
        rows = categories.indptr.astype(np.int64), categories.indices.astype(np.int32), categories.data
        self.rules = _rules(categories=bool(categories.shape[1]))
        self._choosers = [
            Chooser(np.ascontiguousarray(hybrid.parts.vectors, np.float32), rows, categories.shape[1])
            for hybrid in hybrids
        ]
        self._splits, self._outcomes, self._yardsticks = splits, outcomes, yardsticks
        self._pools = [_pools(hybrid, split) for hybrid, split in zip(hybrids, splits, strict=True)]

    def answers(self, rule: Rule) -> Answers:
        """Of all splits."""
        found = []
        for chooser, pools, split, outcome, yardstick in zip(
            self._choosers, self._pools, self._splits, self._outcomes, self._yardsticks, strict=True
        ):
            top = np.full((len(split.cases), TOP), -1, np.int32)
            for case, (positions, scores, groups, shares, spread) in enumerate(pools[rule.interests]):
                columns = positions.tolist(), scores.tolist(), groups.tolist(), shares
                places = chooser.choose(*columns, spread, rule.mmr_lambda, rule.cap, TOP)
                top[case, : len(places)] = positions[places]
            found.append(with_lists(outcome, top, histories=split.cases.histories, yardstick=yardstick))
        return Answers(found)


def _pools(hybrid: Hybrid, split: Split) -> Mapping[int, list[Pool]]:
    """What each list is chosen from, by the number of interests; 0 for the best unseen items alone."""
    from tanager_server.engine.diversity import candidates

    pools: dict[int, list[Pool]] = {count: [] for count in (0, *INTERESTS)}
    asked = split.cases.without_targets()
    mean = hybrid.parts.vectors.mean(axis=0)
    for start in range(0, len(asked), _CHUNK):
        part = asked.take(slice(start, start + _CHUNK))
        scores = hybrid.score(part).copy()
        scores[part.histories.row_of_event, part.histories.item] = -np.inf
        for row, own in enumerate(scores):
            best = _best(own, candidates(TOP))
            pools[0].append(best)
            history = part.histories.take(slice(row, row + 1))
            for count in INTERESTS:
                pools[count].append(of_interests(hybrid, best, own, history, mean=mean, count=count, page_size=TOP))
    return pools


def _best(scores: NDArray[np.float32], count: int) -> Pool:
    """The unseen items of the highest scores, best first."""
    count = min(count, int((scores > -np.inf).sum()))
    top = np.argpartition(-scores, count - 1)[:count] if count else np.zeros(0, np.int64)
    order = top[np.lexsort((top, -scores[top]))].astype(np.int32)
    spread = float(np.ptp(scores[order])) if count else 0.0
    return Pool(order, scores[order], np.zeros(0, np.int32), (), spread)


def _point(rule: Rule, found: Answers, plain: Answers, *, chosen: bool) -> DiversityPoint:
    named = {name: found.mean(name) for name in METRICS if name != "auc"}
    known = [name for name in _MEASURES if np.isfinite(plain.mean(name))]
    return DiversityPoint(
        rule.kind,
        rule.value,
        named,
        found.compare(plain, METRIC).ratio,
        {name: found.compare(plain, name).ratio for name in known},
        found.mean("coverage") / plain.mean("coverage"),
        chosen,
    )
