"""Splits of a dataset into what may be learned from and what is asked."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from tanager_export.dataset import Interactions
from tanager_export.errors import ExportError
from tanager_export.evaluation.cases import Cases, Histories, Split

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tanager_export.dataset import Dataset

MIN_EVENTS = 3
"""Uptakes a user needs to be asked by leave-one-out: so that one is left for validation, or two to learn from."""
KNOWN_EVENTS = 10

_MEND_TIMES = "give the real times"


class SplitError(ExportError):
    """A dataset that cannot be split in the way asked for."""


def global_time(dataset: Dataset, *, share: float = 0.1) -> Split:
    """Everything up to a time is learned from; everything after it is asked. The primary split.

    The cut is the time that leaves as near to `share` of the interactions after it as can be; what happened in that
    very second belongs to the past. Cases are the users who take up items after the cut that they had nothing to do
    with before it. Those who were not there before have empty histories.

    Args:
        dataset: what to split.
        share: of the interactions, after the cut.

    Raises:
        SplitError: the times cannot be compared between users, or are all the same, or nothing is left to ask.
    """
    _require_share(share)
    _require_seconds(dataset, "a split by global time")
    interactions = dataset.interactions
    cut = _cut(interactions.timestamp, share=share)
    past, future = (rows_of(interactions, side) for side in _sides(interactions.timestamp, cut))
    targets = _first_uptakes(future, items=len(dataset.items), beside=past)
    return split_of("global-time", dataset, past, past, targets, cut)


def leave_one_out(dataset: Dataset, *, repeats: Literal["count", "drop"] = "drop") -> Split:
    """Each user's last uptake is asked, given all before it: the split of most papers, for comparison with them.

    What other users did later is in `train`: figures are higher than anybody could reach in earnest. Users with fewer
    than `MIN_EVENTS` uptakes are learned from and not asked. Dislikes are no uptakes; those after the target are left
    out.

    Args:
        dataset: what to split.
        repeats: what to do with a target that the history holds already: "drop" the case, or "count" it, as published
            figures do; as seen items are masked it is then a miss, whoever recommends.

    Raises:
        SplitError: the dataset knows no order of events, or no user has enough of them.
    """
    if repeats not in ("count", "drop"):
        raise SplitError(f"repeats is {repeats!r}: give 'count' or 'drop'")
    if dataset.times == "none":
        raise SplitError(f"{dataset.name}: its interactions have no order, so none is the last: split it by cold items")
    interactions = dataset.interactions
    _require_interactions(interactions)
    if len(interactions) > 1 and interactions.timestamp.min() == interactions.timestamp.max():
        raise SplitError(f"{dataset.name}: all interactions bear the same time, so none is the last: {_MEND_TIMES}")
    order = np.lexsort((interactions.timestamp, interactions.user))  # stable: of one time, the order of the file
    user, liked = interactions.user[order], interactions.weight[order] > 0
    uptakes = np.bincount(user[liked], minlength=len(interactions.user_ids))
    # Uptakes of the same user from each event on, itself included: the target has no other after it.
    before = np.concatenate(([0], np.cumsum(liked)))[:-1]
    from_here = np.cumsum(uptakes)[user] - before
    asked = uptakes[user] >= MIN_EVENTS
    is_target = asked & liked & (from_here == 1)
    known = np.ones(len(interactions), np.bool_)
    known[order[is_target | (asked & (from_here == 0))]] = False
    train = rows_of(interactions, known)
    targets = rows_of(interactions, order[is_target])
    repeated = _pairs(targets, items=len(dataset.items), among=train)
    if repeats == "drop":
        targets = rows_of(targets, ~repeated)
    at = np.zeros(len(interactions.user_ids), np.int64)
    at[targets.user] = targets.timestamp
    split = split_of("leave-one-out", dataset, train, train, targets, at)
    return replace(split, later_events=True, repeats=repeats, repeated=int(repeated.sum()))


def cold_items(dataset: Dataset, *, share: float = 0.2, seed: int) -> Split:
    """Items drawn at random lose all their interactions; who took them up is asked, given the rest of what they did.

    Every case is asked at the time of the dataset's last event: what is measured is the item that nobody knows.

    Args:
        dataset: what to split.
        share: of the items with interactions, to hide.
        seed: of the draw.

    Raises:
        SplitError: nothing is hidden, or nothing is left, or nobody is left to ask.
    """
    _require_share(share)
    interactions = dataset.interactions
    _require_interactions(interactions)
    present = np.unique(interactions.item)
    count = round(share * len(present))
    if not 0 < count < len(present):
        raise SplitError(f"{dataset.name}: a share of {share:g} hides {count} of {len(present)} items: give another")
    hidden = np.zeros(len(dataset.items), np.bool_)
    hidden[np.random.default_rng([seed, 0]).choice(present, count, replace=False)] = True
    cold = hidden[interactions.item]
    asked, interactions = rows_of(interactions, cold), rows_of(interactions, ~cold)
    targets = _first_uptakes(asked, items=len(dataset.items))
    with_history = np.bincount(interactions.user, minlength=len(interactions.user_ids)) > 0
    targets = rows_of(targets, with_history[targets.user])
    return split_of(
        "cold-items", dataset, interactions, interactions, targets, int(dataset.interactions.timestamp.max())
    )


def cold_users(dataset: Dataset, *, share: float = 0.1, known: int = KNOWN_EVENTS) -> Split:
    """Users who come after the cut of `global_time`, asked once they did a few things; `train` holds nothing of them.

    The history is their first `known` events (more where several bear the time of the last of them) and the targets
    what they take up later. `with_history` shows less of the same histories.

    Args:
        dataset: what to split.
        share: of the interactions, after the cut.
        known: events in the history.

    Raises:
        SplitError: as `global_time`, or no user comes after the cut and does more than `known` things.
    """
    if known < 1:
        raise SplitError(f"known is {known}: a history of at least one event is needed")
    _require_share(share)
    _require_seconds(dataset, "a split by global time")
    interactions = dataset.interactions
    cut = _cut(interactions.timestamp, share=share)
    past, future = (rows_of(interactions, side) for side in _sides(interactions.timestamp, cut))
    new = np.bincount(past.user, minlength=len(past.user_ids)) == 0
    future = rows_of(future, new[future.user])
    users = np.unique(future.user).astype(np.int64)
    rows = Histories.of_users(future, users)
    many = rows.lengths > known
    at = np.full(len(past.user_ids), np.iinfo(np.int64).max)
    at[users[many]] = rows.timestamp[rows.indptr[:-1][many] + known - 1]
    early, late = _sides(future.timestamp, at[future.user])
    history = rows_of(future, early)
    targets = _first_uptakes(rows_of(future, late), items=len(dataset.items), beside=history)
    return split_of("cold-users", dataset, past, history, targets, at)


def with_history(cases: Cases, count: int, *, profiles: bool = True) -> Cases:
    """The same cases with no more than the last `count` events of each history: users of whom less is known.

    The targets stay, so that figures compare; evaluate them with the whole histories as what is seen, so that the
    candidates stay too.

    Args:
        cases: what is asked.
        count: events left of each history.
        profiles: whether the profiles stay.
    """
    if count < 0:
        raise SplitError(f"a history of {count} events: give 0 or more")
    left = cases.profiles if profiles else [{}] * len(cases)
    return replace(cases, histories=cases.histories.latest(count), profiles=left)


def split_of(
    name: str,
    dataset: Dataset,
    train: Interactions,
    known: Interactions,
    targets: Interactions,
    at: int | NDArray[np.int64],
) -> Split:
    """A split whose cases are the users of the targets.

    Args:
        name: of the split.
        dataset: that is split.
        train: what may be learned from.
        known: what histories are made of.
        targets: what is asked for.
        at: one time for all cases, or one for each user.

    Raises:
        SplitError: nobody is left to ask.
    """
    users = np.unique(targets.user).astype(np.int64)
    if not len(users):
        raise SplitError(f"{dataset.name}: {name} leaves nobody to ask: the dataset is too small for it")
    attributes = {user.id: user.attributes for user in dataset.users}
    cases = Cases(
        user=users.astype(np.int32),
        histories=Histories.of_users(known, users),
        targets=Histories.of_users(targets, users),
        profiles=[attributes.get(train.user_ids[user], {}) for user in users.tolist()],
        at=np.full(len(users), at, np.int64) if isinstance(at, int) else at[users],
    )
    return Split(name, train, cases, items=len(dataset.items))


def _cut(timestamp: NDArray[np.int64], *, share: float) -> int:
    """The last second of the past: no time lies on both sides."""
    times, counts = np.unique(timestamp, return_counts=True)
    if len(times) < 2:
        raise SplitError(f"all interactions bear the same time, so none comes before another: {_MEND_TIMES}")
    after = 1 - np.cumsum(counts)[:-1] / len(timestamp)
    return int(times[np.argmin(np.abs(after - share))])


def _sides(timestamp: NDArray[np.int64], cut: int | NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    past: NDArray[np.bool_] = timestamp <= cut
    return past, ~past


def _first_uptakes(events: Interactions, *, items: int, beside: Interactions | None = None) -> Interactions:
    """The first event of positive weight of each user and item; of those that occur in `beside`, none."""
    liked = events.weight > 0
    if beside is not None:
        liked &= ~_pairs(events, items=items, among=beside)
    chosen = np.flatnonzero(liked)
    chosen = chosen[np.argsort(events.timestamp[chosen], kind="stable")]
    pairs = events.user[chosen].astype(np.int64) * items + events.item[chosen]
    return rows_of(events, np.sort(chosen[np.unique(pairs, return_index=True)[1]]))


def _pairs(events: Interactions, *, items: int, among: Interactions) -> NDArray[np.bool_]:
    """Which events are of a user with an item that occurs in other events as well."""
    return np.isin(events.user.astype(np.int64) * items + events.item, among.user.astype(np.int64) * items + among.item)


def rows_of(interactions: Interactions, rows: NDArray[np.bool_] | NDArray[np.int64]) -> Interactions:
    """Some of the interactions, by a mask or in an order."""
    return Interactions(
        interactions.user[rows],
        interactions.item[rows],
        interactions.timestamp[rows],
        interactions.weight[rows],
        interactions.user_ids,  # all of them: the users of cases are positions here
    )


def _require_interactions(interactions: Interactions) -> None:
    if not len(interactions):
        raise SplitError("the dataset has no interactions: there is nothing to ask")


def _require_seconds(dataset: Dataset, what: str) -> None:
    _require_interactions(dataset.interactions)
    if dataset.times != "seconds":
        mend = "split it by leave-one-out" if dataset.times == "order" else "split it by cold items"
        raise SplitError(f"{dataset.name}: {what} needs times, and its interactions have none: {mend}")


def _require_share(share: float) -> None:
    if not (math.isfinite(share) and 0 < share < 1):
        raise SplitError(f"share is {share}: give one between 0 and 1")
