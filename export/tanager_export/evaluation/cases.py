"""What an evaluation asks: for whom, with what known of them, and what they took up afterwards."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from tanager_export.dataset import AttributeValue, Dataset, Interactions

Parameter = float | int | str | bool


@dataclass(frozen=True, slots=True, eq=False)
class Histories:
    """What each of some users did, in the order of time: row `r` is `item[indptr[r]:indptr[r + 1]]`.

    Attributes:
        indptr: `(rows + 1,) int64`, ascending from 0.
        item: `(events,) int32`, positions in the catalogue, oldest first within a row.
        timestamp: `(events,) int64`, Unix seconds.
        weight: `(events,) float32`.
    """

    indptr: NDArray[np.int64]
    item: NDArray[np.int32]
    timestamp: NDArray[np.int64]
    weight: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.indptr) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """`(rows,) int64`: events in each row."""
        return np.diff(self.indptr)

    @property
    def row_of_event(self) -> NDArray[np.int64]:
        """`(events,) int64`: the row of each event."""
        return np.repeat(np.arange(len(self)), self.lengths)

    @property
    def age_of_event(self) -> NDArray[np.int64]:
        """`(events,) int64`: how many events of the same row come after each: 0 for a row's last."""
        return self.indptr[1:][self.row_of_event] - 1 - np.arange(len(self.item))

    def take(self, rows: NDArray[np.int64] | slice) -> Histories:
        """Some of the rows, in the order given."""
        chosen = np.arange(len(self))[rows]
        lengths = self.lengths[chosen]
        indptr = np.concatenate(([0], np.cumsum(lengths)))
        events = np.arange(indptr[-1]) + np.repeat(self.indptr[chosen] - indptr[:-1], lengths)
        return Histories(indptr, self.item[events], self.timestamp[events], self.weight[events])

    def uptakes(self) -> Histories:
        """The same without events of weight 0 or less."""
        keep = self.weight > 0
        indptr = np.concatenate(([0], np.cumsum(keep)))[self.indptr].astype(np.int64)
        return Histories(indptr, self.item[keep], self.timestamp[keep], self.weight[keep])

    def latest(self, count: int) -> Histories:
        """The last `count` events of each row."""
        keep = self.age_of_event < count
        indptr = np.concatenate(([0], np.cumsum(np.minimum(self.lengths, count))))
        return Histories(indptr, self.item[keep], self.timestamp[keep], self.weight[keep])

    @classmethod
    def of_users(cls, interactions: Interactions, users: NDArray[np.int64]) -> Histories:
        """The events of some users, distinct; events of one time stay in the order of the file."""
        row_of = np.full(len(interactions.user_ids), -1, np.int64)
        row_of[users] = np.arange(len(users))
        row = row_of[interactions.user]
        events = np.flatnonzero(row >= 0)
        events = events[np.lexsort((interactions.timestamp[events], row[events]))]
        indptr = np.concatenate(([0], np.cumsum(np.bincount(row[events], minlength=len(users)))))
        return cls(
            indptr.astype(np.int64),
            interactions.item[events],
            interactions.timestamp[events],
            interactions.weight[events],
        )


@dataclass(frozen=True, slots=True, eq=False)
class Cases:
    """Requests of an evaluation and what is right for each.

    Attributes:
        user: `(cases,) int32`, index into the `user_ids` of the interactions.
        histories: what is known of each user; may be empty.
        targets: what each took up afterwards, never empty, none twice, none that is in the history.
        profiles: what is known of each user beside what they did; empty where there is nothing.
        at: `(cases,) int64`, when each is asked for, Unix seconds: nothing later may be used.
    """

    user: NDArray[np.int32]
    histories: Histories
    targets: Histories
    profiles: Sequence[Mapping[str, AttributeValue]]
    at: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.user)

    def without_targets(self) -> Cases:
        """The cases as a recommender gets them: rows of targets without any."""
        return replace(self, targets=self.targets.latest(0))

    def take(self, rows: NDArray[np.int64] | slice) -> Cases:
        """Some of the cases, in the order given."""
        chosen = np.arange(len(self))[rows]
        return Cases(
            self.user[chosen],
            self.histories.take(chosen),
            self.targets.take(chosen),
            [self.profiles[row] for row in chosen],
            self.at[chosen],
        )


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """A dataset split into what may be learned from and what is asked.

    Attributes:
        name: which split, for instance "global-time".
        train: all that may be learned from.
        cases: what is asked.
        later_events: whether `train` may hold events of other users later than a case, as it does under leave-one-out.
        repeats: whether targets that the history holds already are counted, and missed as they are masked, or dropped.
        repeated: how many such targets there were.
        items: size of the catalogue that is ranked, where known.
    """

    name: str
    train: Interactions
    cases: Cases
    later_events: bool = False
    repeats: Literal["count", "drop"] = "drop"
    repeated: int = 0
    items: int | None = None


class Recommender(Protocol):
    """Whatever can be evaluated."""

    def score(self, cases: Cases) -> NDArray[np.float32]:
        """`(cases, items) float32`: the higher the better. Reads neither the targets nor anything after `at`.

        The evaluator hands over cases without their targets.
        """
        ...


class Method(Protocol):
    """A way of recommending, before it has learned.

    Attributes:
        name: short, as it stands in tables.
        space: each hyperparameter and the values that tuning may choose.
    """

    name: str
    space: Mapping[str, Sequence[Parameter]]

    def fit(
        self, dataset: Dataset, train: Interactions, parameters: Mapping[str, Parameter], *, seed: int
    ) -> Recommender:
        """Learns from `train`, whose items are positions in `dataset.items`; nothing else of its interactions."""
        ...
