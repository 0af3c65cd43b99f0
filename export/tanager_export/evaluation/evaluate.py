"""Evaluate a recommender on a split: the full catalogue, case by case, and slices of the same answers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from tanager_export.errors import ExportError
from tanager_export.evaluation import bootstrap
from tanager_export.evaluation.leaks import refuse_leaks
from tanager_export.evaluation.metrics import metric
from tanager_export.evaluation.ranking import TOP, Ranks, ranks, require_scores
from tanager_export.evaluation.slices import ALL, slices
from tanager_export.evaluation.splits import SplitError, with_history

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from tanager_export.evaluation.cases import Histories, Recommender, Split
    from tanager_export.evaluation.diversity import Yardstick

CHUNK = 256
HISTORY_COUNTS = (0, 1, 3, 5, 10)


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What a recommender answered to the cases of a split.

    Attributes:
        split: name of the split.
        user: `(cases,) int32`, whose case it is.
        target: `(targets,) int32`, the items asked for.
        ranks: where the targets come, and the lists.
        measures: `(cases,)` of each measure of a list, by name; NaN where a list says nothing of it.
        overall: each measure of all the lists together, by name.
        slices: `(targets,)` of each slice, by name.
    """

    split: str
    user: NDArray[np.int32]
    target: NDArray[np.int32]
    ranks: Ranks
    measures: Mapping[str, NDArray[np.float64]]
    overall: Mapping[str, float]
    slices: Mapping[str, NDArray[np.bool_]]

    def values(self, name: str, *, slice_name: str = ALL) -> NDArray[np.float64]:
        """`(cases of the slice,)`: a metric, as in "ndcg@10" or "auc", or a measure of lists, as in "novelty".

        Raises:
            ExportError: there is no such metric or measure, or no such slice.
        """
        chosen = self._slice(slice_name)
        if name in self.measures:
            return self.measures[name][chosen[1]]
        return metric(chosen[0], name)

    def mean(self, name: str, *, slice_name: str = ALL) -> float:
        """The mean of a metric or measure over the cases of the slice; lists that say nothing are left out."""
        values = self.values(name, slice_name=slice_name)
        known = values[~np.isnan(values)]
        return float(known.mean()) if len(known) else float("nan")

    def interval(self, name: str, *, slice_name: str = ALL, seed: int = 0) -> bootstrap.Interval:
        """The same, and where it may lie."""
        users = self.user[self._slice(slice_name)[1]]
        return bootstrap.mean_interval(self.values(name, slice_name=slice_name), user=users, seed=seed)

    def compare(self, other: Outcome, name: str, *, slice_name: str = ALL, seed: int = 0) -> bootstrap.Comparison:
        """This recommender against another one, user by user.

        Raises:
            ExportError: they did not answer the same cases.
        """
        same = np.array_equal(self.user, other.user) and np.array_equal(self.target, other.target)
        if not (same and np.array_equal(self.ranks.indptr, other.ranks.indptr)):
            raise ExportError(f"{self.split} and {other.split} are not the same cases: evaluate both on one split")
        ours, theirs = self.values(name, slice_name=slice_name), other.values(name, slice_name=slice_name)
        return bootstrap.compare(ours, theirs, user=self.user[self._slice(slice_name)[1]], seed=seed)

    def _slice(self, name: str) -> tuple[Ranks, NDArray[np.int64]]:
        if name not in self.slices:
            raise ExportError(f"no slice {name!r}: there are {', '.join(self.slices)}")
        return self.ranks.only(self.slices[name])


def evaluate(
    recommender: Recommender,
    split: Split,
    *,
    k: int = TOP,
    chunk: int = CHUNK,
    yardstick: Yardstick | None = None,
    seen: Histories | None = None,
    among: NDArray[np.bool_] | None = None,
    progress: bool = False,
) -> Outcome:
    """Has a recommender score the catalogue for each case, and ranks the targets in it.

    The recommender is not given the targets. Items of the history are masked; ties count against the recommender.

    Args:
        recommender: what to evaluate.
        split: what is asked.
        k: length of the lists.
        chunk: cases scored at a time.
        yardstick: what to measure the lists with; by default they are not.
        seen: a row for each case, what to mask; by default the histories.
        among: `(items,)`: which items are candidates, by default all. Every target has to be one.
        progress: whether to show a bar on stderr, if that is a terminal.

    Raises:
        LeakError: what is asked could have been learned.
        ScoreError: the recommender's scores rank nothing.
        ExportError: a target is no candidate.
    """
    refuse_leaks(split)
    cases = split.cases
    masked = cases.histories if seen is None else seen
    if seen is not None:
        refuse_leaks(replace(split, cases=replace(cases, histories=seen)))
    if among is not None and not among[cases.targets.item].all():
        raise ExportError(f"{split.name}: a target is not among the candidates")
    items, parts = split.items, []
    asked = cases.without_targets()
    with tqdm(total=len(cases), desc="ranking", unit="case", leave=False, disable=None if progress else True) as bar:
        for start in range(0, len(cases), chunk):
            part = slice(start, min(start + chunk, len(cases)))
            scores = recommender.score(asked.take(part))
            require_scores(scores, cases=part.stop - start, items=items)
            items = scores.shape[1]
            parts.append(ranks(scores, cases.targets.take(part), masked.take(part), k=k, among=among))
            bar.update(part.stop - start)
    ranked = Ranks.concatenate(parts)
    return Outcome(
        split=split.name,
        user=cases.user,
        target=cases.targets.item,
        ranks=ranked,
        measures={} if yardstick is None else yardstick.each(ranked.top, masked),
        overall={} if yardstick is None else yardstick.overall(ranked.top),
        slices=slices(split),
    )


def evaluate_cold_users(
    recommender: Recommender,
    split: Split,
    *,
    counts: Sequence[int] = HISTORY_COUNTS,
    k: int = TOP,
    chunk: int = CHUNK,
    yardstick: Yardstick | None = None,
    progress: bool = False,
) -> dict[str, Outcome]:
    """Evaluates the same users several times, each time with less known of them.

    The users are those with a history of as many events as the largest count. All of their history is masked every
    time, so that targets and candidates are the same throughout. A recommender that learned of these users by their ids
    knows more than it is shown: the split `cold_users` rules that out.

    Args:
        recommender: what to evaluate.
        split: what is asked.
        counts: events left of each history.
        k: length of the lists.
        chunk: cases scored at a time.
        yardstick: what to measure the lists with; by default they are not.
        progress: whether to show bars on stderr, if that is a terminal.

    Returns:
        "events_N" for each count, without profiles, and "profile_only" where all of these users have a profile.

    Raises:
        SplitError: no history is long enough.
    """
    cases = split.cases.take(np.flatnonzero(split.cases.histories.lengths >= max(counts)))
    if not len(cases):
        raise SplitError(f"{split.name}: no case has a history of {max(counts)} events: ask for fewer")
    shown = {f"events_{count}": with_history(cases, count, profiles=False) for count in counts}
    if all(cases.profiles):
        shown["profile_only"] = with_history(cases, 0)
    return {
        name: evaluate(
            recommender,
            replace(split, name=f"{split.name}, {name}", cases=less),
            k=k,
            chunk=chunk,
            yardstick=yardstick,
            seen=cases.histories,
            progress=progress,
        )
        for name, less in shown.items()
    }
