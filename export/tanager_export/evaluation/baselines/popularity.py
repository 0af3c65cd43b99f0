"""What most people take up, ever or lately: the same list for everyone."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from tanager_export.evaluation.baselines.behaviour import item_popularity

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from tanager_export.dataset import Dataset, Interactions
    from tanager_export.evaluation.cases import Cases, Parameter

_logger = logging.getLogger(__name__)

_DAY_S = 86_400


class Popularity:
    """Items by how many users took them up."""

    name = "popularity"
    space: Mapping[str, Sequence[Parameter]] = {}

    def fit(
        self, dataset: Dataset, train: Interactions, parameters: Mapping[str, Parameter], *, seed: int
    ) -> ItemScores:
        """Counts; there is nothing to tune and nothing random."""
        del parameters, seed
        return ItemScores(item_popularity(train, len(dataset.items)))


class ItemScores:
    """The same scores for everyone."""

    def __init__(self, scores: NDArray[np.float32]) -> None:
        self._scores = scores

    def score(self, cases: Cases) -> NDArray[np.float32]:
        """`(cases, items) float32`."""
        return np.tile(self._scores, (len(cases), 1))


class RecentPopularity:
    """Items by how much they were taken up of late: an event fades by half in some days, or counts for as many.

    Each case is asked for at its own time, and only what happened up to then counts. Where the times of a dataset are
    no clock (an order only, or none) nothing is recent for everyone: this is then plain popularity, and says so.
    """

    name = "recent-popularity"
    space: Mapping[str, Sequence[Parameter]] = {
        "kind": ("decay", "window"),
        "days": (1.0, 3.0, 7.0, 14.0, 30.0, 60.0, 120.0, 240.0, 480.0, 960.0, 1920.0),
    }

    def __init__(self) -> None:
        self._said: set[str] = set()

    def fit(
        self, dataset: Dataset, train: Interactions, parameters: Mapping[str, Parameter], *, seed: int
    ) -> RecentScores | ItemScores:
        """Sorts the likes by time.

        Args:
            dataset: The catalogue.
            train: What happened.
            parameters: `kind`: "decay" or "window"; `days`: the half-life, or the length of the window.
            seed: Nothing is random.
        """
        del seed
        if dataset.times != "seconds":
            if dataset.name not in self._said:
                self._said.add(dataset.name)
                _logger.warning(
                    "%s: the times of %r are no clock (times: %s), so nothing is recent for everyone; "
                    "this is plain popularity",
                    self.name,
                    dataset.name,
                    dataset.times,
                )
            return Popularity().fit(dataset, train, {}, seed=0)
        return RecentScores(
            train,
            len(dataset.items),
            seconds=float(parameters["days"]) * _DAY_S,
            window=parameters["kind"] == "window",
        )


class RecentScores:
    """Counts that fade by half in some seconds, or of a window of time, as they stood when each case is asked for.

    Popularity at large orders what is tied: an item nobody took up lately is not worth the same as one nobody ever did.
    """

    def __init__(self, train: Interactions, items: int, *, seconds: float, window: bool) -> None:
        events = np.flatnonzero(train.weight > 0)
        # A user who takes up an item again counts once, as of the first time: taking up is what is counted.
        order = events[np.lexsort((train.timestamp[events], train.item[events], train.user[events]))]
        pair = train.user[order].astype(np.int64) * items + train.item[order]
        first = order[np.concatenate(([True], pair[1:] != pair[:-1]))] if len(order) else order
        first = first[np.argsort(train.timestamp[first], kind="stable")]
        self._item, self._time = train.item[first], train.timestamp[first]
        self._items, self._seconds, self._window = items, seconds, window
        # Counts of a window are often equal; faded ones are never, until they underflow.
        self._tie = 1e-6 if window else 1e-30

    def score(self, cases: Cases) -> NDArray[np.float32]:
        """`(cases, items) float32`."""
        moments, moment_of_case = np.unique(cases.at, return_inverse=True)
        scores = np.empty((len(moments), self._items), np.float32)
        counts = np.zeros(self._items)
        recent = np.zeros(self._items)
        ends = np.searchsorted(self._time, moments, side="right")
        begins = np.searchsorted(self._time, moments - self._seconds, side="right")
        end = begin = 0
        for row, (moment, next_end, next_begin) in enumerate(zip(moments, ends, begins, strict=True)):
            fresh = slice(end, next_end)
            np.add.at(counts, self._item[fresh], 1)
            if self._window:
                np.add.at(recent, self._item[fresh], 1)
                np.subtract.at(recent, self._item[begin:next_begin], 1)
            else:
                if row:
                    recent *= 0.5 ** ((moment - moments[row - 1]) / self._seconds)
                np.add.at(recent, self._item[fresh], 0.5 ** ((moment - self._time[fresh]) / self._seconds))
            end, begin = next_end, next_begin
            # Float32 keeps the order of faded counts only when the largest is near 1.
            scores[row] = recent / max(recent.max(), 1e-300) + self._tie * counts / max(counts.max(), 1)
        return scores[moment_of_case]
