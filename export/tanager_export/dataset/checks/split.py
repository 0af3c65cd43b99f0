"""Whether a split that a dataset brings along, in the column `split`, leaks from one part into another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tanager_export.dataset.checks.finding import Finding, Severity, interaction_places
from tanager_export.dataset.interactions import PARTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from tanager_export.dataset.format import Interactions
    from tanager_export.dataset.reader import LocatedDataset

_TRAIN = PARTS.index("train")


def check_split(located: LocatedDataset) -> Iterator[Finding]:
    """What leaks between the parts of the split that the dataset brings along, if it does."""
    part, columns = located.part, located.dataset.interactions
    if part is None or not len(columns):
        return
    sizes = {name: int((part == number).sum()) for number, name in enumerate(PARTS)}
    message = ", ".join(f"{name} {size:,}" for name, size in sizes.items())
    if none := int((part < 0).sum()):
        message += f", in no part {none:,}"
    yield Finding(Severity.INFO, "split", f"the dataset brings a split along: {message}", len(part) - none)
    for number, name in enumerate(PARTS):
        if number != _TRAIN and sizes["train"] and sizes[name]:
            yield from _check_part(located, part, number, name)


def _check_part(located: LocatedDataset, part: NDArray[np.int8], number: int, name: str) -> Iterator[Finding]:
    columns, lines = located.dataset.interactions, located.interaction_lines
    train, asked = part == _TRAIN, part == number

    pair = columns.user.astype(np.int64) * len(located.dataset.items) + columns.item
    trained_on = asked & np.isin(pair, pair[train])
    exact = trained_on & _also_in(columns, trained_on, train)
    if count := int(exact.sum()):
        message = f"{count:,} of {int(asked.sum()):,} interactions of {name} are in train too, with the same time"
        mend = f"drop them from train or from {name}: what is asked was told"
        yield Finding(Severity.ERROR, f"{name}-in-train", message, count, interaction_places(lines, exact), mend)
    if count := int(trained_on.sum()) - int(exact.sum()):
        message = f"{count:,} interactions of {name} are of a user with an item that they have in train"
        mend = "ask for what is new only, unless repeats are to be recommended"
        places = interaction_places(lines, trained_on & ~exact)
        yield Finding(Severity.WARNING, f"{name}-repeats-train", message, count, places, mend)

    if located.dataset.times != "none":
        first = np.full(len(columns.user_ids), np.iinfo(np.int64).max)
        np.minimum.at(first, columns.user[asked], columns.timestamp[asked])
        late = train & (columns.timestamp > first[columns.user])
        if count := int(late.sum()):
            users = len(np.unique(columns.user[late]))
            message = (
                f"{count:,} interactions of train, of {users:,} users, are later than what {name} asks of their user"
            )
            mend = "split each user's interactions by time: the future tells of the past"
            places = interaction_places(lines, late)
            yield Finding(Severity.WARNING, f"train-after-{name}", message, count, places, mend)
    if located.dataset.times == "seconds":
        begin = int(columns.timestamp[asked].min())
        if count := int((train & (columns.timestamp > begin)).sum()):
            share = count / int(train.sum())
            message = (
                f"{count:,} interactions of train ({share:.0%}) are later than the first of {name}, of whatever user"
            )
            mend = "compare with papers by it; for what to expect in use, split all by one time"
            yield Finding(Severity.INFO, f"train-overlaps-{name}", message, count, (), mend)

    for kind, ids, noun in (("users", columns.user, "users"), ("items", columns.item, "items")):
        new = np.setdiff1d(ids[asked], ids[train])
        if len(new):
            message = f"{len(new):,} of {len(np.unique(ids[asked])):,} {noun} of {name} are not in train"
            yield Finding(Severity.INFO, f"cold-{kind}-in-{name}", message, len(new))


def _also_in(columns: Interactions, mask: NDArray[np.bool_], other: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which of the masked interactions another mask has too, with the same user, item and time."""
    had = set(zip(*(column[other].tolist() for column in (columns.user, columns.item, columns.timestamp)), strict=True))
    found = np.zeros(len(mask), np.bool_)
    rows = zip(*(column[mask].tolist() for column in (columns.user, columns.item, columns.timestamp)), strict=True)
    found[np.flatnonzero(mask)] = [row in had for row in rows]
    return found
