"""What recommenders answered, over one seed or several, and answers that are lists instead of scores."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from tanager_export.errors import ExportError
from tanager_export.evaluation import bootstrap
from tanager_export.evaluation.ranking import MASKED, Ranks
from tanager_export.evaluation.slices import ALL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tanager_export.evaluation.cases import Histories
    from tanager_export.evaluation.diversity import Yardstick
    from tanager_export.evaluation.evaluate import Outcome


class Answers:
    """The outcomes of one method under several seeds, taken together; the cases of a user are drawn together.

    Args:
        outcomes: at least one.
    """

    def __init__(self, outcomes: Sequence[Outcome]) -> None:
        self.outcomes = tuple(outcomes)

    @property
    def slices(self) -> tuple[str, ...]:
        """Those that any seed has."""
        return tuple(dict.fromkeys(name for outcome in self.outcomes for name in outcome.slices))

    def count(self, slice_name: str = ALL) -> tuple[int, int]:
        """Cases and targets of a slice, of all seeds."""
        own = self._with(slice_name)
        targets = sum(int(outcome.slices[slice_name].sum()) for outcome in own)
        return sum(len(outcome.values("ndcg@1", slice_name=slice_name)) for outcome in own), targets

    def mean(self, name: str, slice_name: str = ALL) -> float:
        """Of a metric or measure of lists; NaN where there is none."""
        overall = [outcome.overall[name] for outcome in self.outcomes if name in outcome.overall]
        if overall:
            return float(np.mean(overall))
        if not self._has(name):
            return float("nan")
        values = self._values(name, slice_name)
        known = values[~np.isnan(values)]
        return float(known.mean()) if len(known) else float("nan")

    def interval(self, name: str, slice_name: str = ALL) -> bootstrap.Interval:
        """The mean, and where it may lie."""
        return bootstrap.mean_interval(self._values(name, slice_name), user=self._users(slice_name))

    def compare(self, other: Answers, name: str, slice_name: str = ALL) -> bootstrap.Comparison:
        """This method against another one, user by user.

        Raises:
            ExportError: they did not answer the same cases.
        """
        for ours, theirs in zip(self.outcomes, other.outcomes, strict=True):
            if not (np.array_equal(ours.user, theirs.user) and np.array_equal(ours.target, theirs.target)):
                raise ExportError("answers to different cases cannot be compared")
        users = self._users(slice_name)
        return bootstrap.compare(self._values(name, slice_name), other._values(name, slice_name), user=users)

    def _has(self, name: str) -> bool:
        return "@" in name or name == "auc" or all(name in outcome.measures for outcome in self.outcomes)

    def _with(self, slice_name: str) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if slice_name in outcome.slices]

    def _values(self, name: str, slice_name: str) -> NDArray[np.float64]:
        return np.concatenate([outcome.values(name, slice_name=slice_name) for outcome in self._with(slice_name)])

    def _users(self, slice_name: str) -> NDArray[np.int32]:
        parts = [(one, one.ranks.only(one.slices[slice_name])[1]) for one in self._with(slice_name)]
        return np.concatenate([outcome.user[cases] for outcome, cases in parts])


def with_lists(
    outcome: Outcome,
    top: NDArray[np.int32],
    *,
    histories: Histories,
    yardstick: Yardstick | None = None,
) -> Outcome:
    """The same cases answered with other lists, of which nothing is known beyond their last place.

    A target that is not on a list is a miss: metrics of more places than a list has, and AUC, say nothing.

    Args:
        outcome: of the cases.
        top: `(cases, k) int32` positions, best first, filled up with -1.
        histories: of the cases.
        yardstick: what to measure the lists with.

    Raises:
        ExportError: a list holds an item twice.
    """
    ranks = outcome.ranks
    if len(top) != len(ranks):
        raise ExportError(f"{len(top)} lists for {len(ranks)} cases")
    listed = np.sort(top, axis=1)
    if ((listed[:, 1:] == listed[:, :-1]) & (listed[:, 1:] >= 0)).any():
        raise ExportError("a list holds an item twice")
    found = top[ranks.case_of_target] == outcome.target[:, None]
    rank = np.where(found.any(axis=1), 1 + found.argmax(axis=1), MASKED)
    return replace(
        outcome,
        ranks=Ranks(ranks.indptr, rank, ranks.candidates, top),
        measures={} if yardstick is None else yardstick.each(top, histories),
        overall={} if yardstick is None else yardstick.overall(top),
    )
