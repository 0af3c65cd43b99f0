"""Parts of what is asked that tables show by themselves. A slice is a mask of the targets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tanager_export.evaluation.cases import Split

ALL = "all"
TAIL_SHARE = 0.2
_HISTORY = {"history_0": (0, 0), "history_1_4": (1, 4), "history_5_9": (5, 9), "history_10": (10, None)}


def slices(split: Split) -> dict[str, NDArray[np.bool_]]:
    """`(targets,)` of each slice that has any, by name.

    - "all";
    - "warm": the item was taken up in `train` and the user has a history;
    - "cold_item": nobody took up the item in `train`;
    - "tail_item": the item is one of the least popular ones that make up `TAIL_SHARE` of the uptakes in `train`;
    - "history_0", "history_1_4", "history_5_9", "history_10": by the events in the user's history, from and to;
    - "profile_only": the user has a profile and no history.

    Where a case has targets inside and outside a slice, those outside are neither right nor wrong there.
    """
    cases = split.cases
    case = cases.targets.row_of_event
    length = cases.histories.lengths[case]
    profile = np.array([bool(attributes) for attributes in cases.profiles], np.bool_)[case]
    items = 1 + max(int(split.train.item.max(initial=-1)), int(cases.targets.item.max(initial=-1)))
    taken = np.bincount(split.train.item[split.train.weight > 0], minlength=items)
    warm_item = taken[cases.targets.item] > 0
    masks = {
        ALL: np.ones(len(case), np.bool_),
        "warm": warm_item & (length > 0),
        "cold_item": ~warm_item,
        "tail_item": _tail(taken)[cases.targets.item],
    }
    for name, (least, most) in _HISTORY.items():
        masks[name] = (length >= least) & (length <= (np.inf if most is None else most))
    masks["profile_only"] = profile & (length == 0)
    return {name: mask for name, mask in masks.items() if mask.any()}


def _tail(taken: NDArray[np.int64]) -> NDArray[np.bool_]:
    """`(items,)`: from the least popular up, as long as they make up `TAIL_SHARE`; equally popular ones all or none."""
    counts = np.unique(taken[taken > 0])
    uptakes = np.bincount(taken) * np.arange(1 + taken.max(initial=0))
    within = np.cumsum(uptakes)[counts] <= TAIL_SHARE * taken.sum()
    return np.isin(taken, counts[within])
