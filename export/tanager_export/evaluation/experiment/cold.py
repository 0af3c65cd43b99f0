"""Items that nobody took up yet, and users of whom little is known."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from tanager_export.evaluation.baselines import baselines
from tanager_export.evaluation.bootstrap import Interval, compare
from tanager_export.evaluation.evaluate import evaluate, evaluate_cold_users
from tanager_export.evaluation.experiment.answers import Answers
from tanager_export.evaluation.experiment.methods import Among, Backed, Masked, Popular, contestant, tanager
from tanager_export.evaluation.experiment.result import METRIC, TANAGER, ColdItems, ColdUsers
from tanager_export.evaluation.hiding import hide
from tanager_export.evaluation.splits import cold_users
from tanager_export.training.windows import validation_windows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tanager_export.dataset import Dataset
    from tanager_export.evaluation.cases import Recommender, Split
    from tanager_export.evaluation.evaluate import Outcome
    from tanager_export.evaluation.hiding import Hidden

_log = logging.getLogger(__name__)

RECALL = "recall@20"
COLD_USER_BASELINES = ("popularity", "recent-popularity", "ease")
COLD_ITEM_BASELINES = ("hybrid-mf", "frozen-encoder", "ridge-text-to-ease")
"""Those that can tell one item that nobody took up from another."""


def evaluate_cold_items(
    dataset: Dataset,
    vectors: Sequence[NDArray[np.float32]],
    frozen: NDArray[np.float32],
    names: Sequence[str],
    *,
    trials: int,
    seeds: Sequence[int],
) -> ColdItems:
    """Ranks hidden items among themselves and among all.

    Each seed hides other items, so baselines are tuned for each, as the blend is learned for each.

    Args:
        dataset: the catalogue.
        vectors: `(items, dim)`, of the encoder under test, for each seed.
        frozen: `(items, dim)`, for the baselines.
        names: of baselines, some of `COLD_ITEM_BASELINES`.
        trials: for each baseline.
        seeds: of the draws; each hides other items.
    """
    parts = [hide(dataset, seed=seed) for seed in seeds]
    inner = [
        hide(replace(dataset, interactions=part.both.train), seed=seed + 1)
        for part, seed in zip(parts, seeds, strict=True)
    ]
    ours: list[Recommender] = []
    for part, window, own, seed in zip(parts, inner, vectors, seeds, strict=True):
        _log.info("cold items, seed %d: %s hidden; learning the blend", seed, f"{int(part.is_cold.sum()):,}")
        ours.append(tanager(dataset, part.both.train, [window.warm], own, seed=seed, hidden=window))
    among_cold = {TANAGER: _among_cold(ours, parts)}
    allowed = {id(part.cold.train): part.is_cold for part in (*parts, *inner)}
    parameters, missing = {}, {}
    for name in names:
        method = Among(baselines(frozen)[name], allowed)
        found = [
            contestant(method, dataset, [window.cold], [part.cold], trials=trials, seeds=[seed], metric=RECALL)
            for part, window, seed in zip(parts, inner, seeds, strict=True)
        ]
        why = "; ".join(dict.fromkeys(one.missing for one in found if one.missing))
        if why:
            missing[name] = why
            continue
        among_cold[name] = _among_cold([one.recommenders[0] for one in found], parts)
        parameters[name] = found[0].tuned.parameters if found[0].tuned else {}
    both = [evaluate(one, part.both, progress=True) for one, part in zip(ours, parts, strict=True)]
    answers = Answers(both)
    # Where a cold target is neither right nor wrong, and where the cold items are no candidates at all.
    without = Answers(
        [evaluate(Masked(one, ~part.is_cold), part.both, progress=True) for one, part in zip(ours, parts, strict=True)]
    )
    kept = answers.compare(without, METRIC, "warm").ratio
    beside = {name: found for name, found in among_cold.items() if name != TANAGER}
    return ColdItems(
        hidden=int(parts[0].is_cold.sum()),
        cases=among_cold[TANAGER].count()[0],
        among_cold={name: found.interval(RECALL) for name, found in among_cold.items()},
        ratios={name: among_cold[TANAGER].compare(found, RECALL).ratio for name, found in beside.items()},
        among_all=answers.interval(RECALL, "cold_item"),
        warm=answers.interval(RECALL, "warm"),
        share=_share(both),
        warm_loss=Interval(1 - kept.value, 1 - kept.high, 1 - kept.low),
        together=answers.compare(without, METRIC).ratio,
        parameters=parameters,
        ratios_by_seed={name: _ratios(among_cold[TANAGER], found) for name, found in beside.items()},
        share_by_seed=tuple(_share_of(one) for one in both),
        missing=missing,
    )


def evaluate_cold_user_counts(
    dataset: Dataset,
    recommenders: Sequence[Recommender],
    names: Sequence[str],
    *,
    trials: int,
    seeds: Sequence[int],
) -> ColdUsers:
    """Asks for the same new users with 0, 1, 3, 5 and 10 events of each known.

    Args:
        dataset: the catalogue.
        recommenders: Tanager of each seed, fitted to `train` of `global_time`, which is that of `cold_users`.
        names: of baselines, some of `COLD_USER_BASELINES`.
        trials: for each baseline.
        seeds: of the baselines.
    """
    split = cold_users(dataset)
    windows = validation_windows(dataset, split.train, protocol="cold-users")
    popular = Popular.tune(dataset, windows, everybody=True)
    answers = {TANAGER: _by_count(recommenders, split)}
    parameters, missing = {}, {}
    for name in names:
        method = Backed(baselines()[name], popular)
        found = contestant(method, dataset, windows, [split] * len(seeds), trials=trials, seeds=seeds)
        if found.tuned is None or not found.recommenders:
            missing[name] = found.missing
            continue
        answers[name] = _by_count(found.recommenders, split)
        parameters[name] = found.tuned.parameters
    ours = answers[TANAGER]
    # Baselines read no profiles: with the profile alone they know nothing, and are asked all the same.
    return ColdUsers(
        users=next(iter(ours.values())).count()[0] // len(seeds),
        ndcg={shown: {name: found[shown].interval(METRIC) for name, found in answers.items()} for shown in ours},
        ratios={
            shown: {
                name: ours[shown].compare(found[shown], METRIC).ratio
                for name, found in answers.items()
                if name != TANAGER
            }
            for shown in ours
        },
        parameters=parameters,
        popular=str(popular),
        missing=missing,
    )


def _by_count(recommenders: Sequence[Recommender], split: Split) -> dict[str, Answers]:
    outcomes = [evaluate_cold_users(recommender, split, progress=True) for recommender in recommenders]
    return {name: Answers([outcome[name] for outcome in outcomes]) for name in outcomes[0]}


def _among_cold(recommenders: Sequence[Recommender], parts: Sequence[Hidden]) -> Answers:
    return Answers(
        [
            evaluate(recommender, part.cold, among=part.is_cold, progress=True)
            for recommender, part in zip(recommenders, parts, strict=True)
        ]
    )


def _ratios(ours: Answers, theirs: Answers) -> tuple[float, ...]:
    """Of each seed."""
    pairs = zip(ours.outcomes, theirs.outcomes, strict=True)
    return tuple(_ratio(mine.mean(RECALL), other.mean(RECALL)) for mine, other in pairs)


def _ratio(value: float, base: float) -> float:
    """NaN where there is nothing to compare with."""
    return float(value / base) if base > 0 else float("nan")


def _share(outcomes: Sequence[Outcome]) -> Interval:
    """Recall of cold items over that of warm ones, over the cases that have both."""
    cold, warm = (np.concatenate(parts) for parts in zip(*map(_kinds, outcomes), strict=True))
    return compare(cold, warm, user=np.concatenate([outcome.user for outcome in outcomes])).ratio


def _share_of(outcome: Outcome) -> float:
    cold, warm = _kinds(outcome)
    return _ratio(float(np.nansum(cold)), float(np.nansum(warm)))


def _kinds(outcome: Outcome) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(cases,) recall of cold items and of warm ones; NaN in both where a case lacks one of them."""
    found = []
    for name in ("cold_item", "warm"):
        values = np.full(len(outcome.user), np.nan)
        values[outcome.ranks.only(outcome.slices[name])[1]] = outcome.values(RECALL, slice_name=name)
        found.append(values)
    neither = np.isnan(found[0]) | np.isnan(found[1])
    return np.where(neither, np.nan, found[0]), np.where(neither, np.nan, found[1])
