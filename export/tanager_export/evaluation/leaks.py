"""The refusal of splits that leak, however they were made."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tanager_export.errors import ExportError
from tanager_export.evaluation.splits import SplitError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tanager_export.dataset import Dataset
    from tanager_export.evaluation.cases import Split


BY_TIME = ("global-time", "cold-users")
"""Names of splits that are cut by time for all users."""


class LeakError(ExportError):
    """A split in which what is asked could have been learned."""


def refuse_leaks(split: Split) -> None:
    """Looks a split over, however it was made, before anything is measured on it.

    Args:
        split: what is to be evaluated.

    Raises:
        LeakError: an event of `train` or of a history lies after what is asked, or a target could have been learned or
            is masked.
        SplitError: there is nothing to ask, or a target is none.
    """
    train, cases = split.train, split.cases
    histories, targets = cases.histories, cases.targets
    if not len(cases) == len(histories) == len(targets) == len(cases.profiles) == len(cases.at):
        raise SplitError(f"{split.name}: the columns of its cases differ in length")
    if not len(cases):
        raise SplitError(f"{split.name}: no cases")
    if (targets.lengths == 0).any():
        raise SplitError(f"{split.name}: case {int(np.argmin(targets.lengths))} has no target")
    size = 1 + max(int(column.max(initial=-1)) for column in (train.item, histories.item, targets.item))
    if split.items is not None and size > split.items:
        raise SplitError(f"{split.name}: item {size - 1} of a catalogue of {split.items}")
    if (targets.weight <= 0).any():
        raise SplitError(f"{split.name}: a target that the user disliked")

    _refuse(split, histories.timestamp > cases.at[histories.row_of_event], "an event of a history lies after its case")
    if split.later_events:
        last = np.full(len(train.user_ids), np.iinfo(np.int64).max)
        np.minimum.at(last, cases.user, cases.at)
        _refuse(split, train.timestamp > last[train.user], "an event of train lies after the case of the same user")
    else:
        _refuse(split, train.timestamp > cases.at.min(), "an event of train lies after a case")
    asked = targets.row_of_event * size + targets.item
    _refuse(split, np.bincount(np.unique(asked, return_inverse=True)[1]) > 1, "a target is there twice")
    if split.repeats == "drop":
        _refuse(split, np.isin(asked, histories.row_of_event * size + histories.item), "a target is in the history")
        pairs = cases.user[targets.row_of_event].astype(np.int64) * size + targets.item
        learned = train.user.astype(np.int64) * size + train.item
        _refuse(split, np.isin(pairs, learned), "a target is in train")


def refuse_texts(dataset: Dataset, split: Split) -> None:
    """Refuses texts that hold behaviour, such as tags, of after the time from which a split asks.

    Args:
        dataset: says until when its texts hold any.
        split: of it; one that is not cut by time asks what came before others' events anyway, and is let pass.

    Raises:
        LeakError: they do.
    """
    last = int(split.train.timestamp.max(initial=0))
    if split.name in BY_TIME and dataset.texts_until is not None and dataset.texts_until > last:
        raise LeakError(
            f"{dataset.name}: its texts hold behaviour, such as tags, up to {dataset.texts_until}, and train of "
            f"{split.name} ends at {last}: import it with --tags-before {last} or --no-tags"
        )


def _refuse(split: Split, wrong: NDArray[np.bool_], what: str) -> None:
    if count := int(wrong.sum()):
        raise LeakError(f"{split.name}: {what} ({count:,} such): nothing measured on this split would be true")
