"""Items and uptakes hidden, to be asked for side by side: what nobody took up yet, and what many did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tanager_export.dataset import Interactions
from tanager_export.evaluation.splits import cold_items, rows_of, split_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tanager_export.dataset import Dataset
    from tanager_export.evaluation.cases import Split

SHARE = 0.2


@dataclass(frozen=True, slots=True, eq=False)
class Hidden:
    """Items hidden as `cold_items` hides them, and as great a share of the other uptakes of who took those up.

    Attributes:
        both: asks for all that was hidden, of cold items and of warm ones.
        cold: asks for the hidden items.
        warm: asks for the others.
        is_cold: `(items,)`: which items are hidden.
    """

    both: Split
    cold: Split
    warm: Split
    is_cold: NDArray[np.bool_]


def hide(dataset: Dataset, *, share: float = SHARE, seed: int) -> Hidden:
    """Hides cold items, and uptakes of warm ones: then both are asked of one model, given the same histories.

    Args:
        dataset: whose interactions to split.
        share: of the items, and of each user's other uptakes.
        seed: of both draws; of the first it is that of `cold_items`.

    Raises:
        SplitError: nothing is left to ask.
    """
    found = cold_items(dataset, share=share, seed=seed)
    train, items = found.train, len(dataset.items)
    is_cold = np.bincount(dataset.interactions.item, minlength=items) > 0
    is_cold &= np.bincount(train.item, minlength=items) == 0
    asked = np.zeros(len(train.user_ids), np.bool_)
    asked[found.cases.user] = True
    # A pair of user and item goes as a whole, or a repetition would tell of it.
    pair = train.user.astype(np.int64) * items + train.item
    pairs, of_event = np.unique(pair, return_inverse=True)
    liked = np.bincount(of_event, weights=train.weight > 0) > 0
    drawn = np.random.default_rng([seed, 2]).random(len(pairs)) < share
    chosen = (drawn & liked)[of_event] & asked[train.user]
    left = np.bincount(train.item[~chosen & (train.weight > 0)], minlength=items)
    chosen &= left[train.item] > 0  # what loses all of its uptakes would be cold as well
    known = rows_of(train, ~chosen)
    first = np.flatnonzero(chosen & (train.weight > 0))
    first = first[np.unique(pair[first], return_index=True)[1]]
    warm = rows_of(train, first)
    cold_user, cold_item = found.cases.user[found.cases.targets.row_of_event], found.cases.targets.item
    targets = found.cases.targets
    cold = Interactions(cold_user, cold_item, targets.timestamp, targets.weight, train.user_ids)
    together = Interactions(
        np.concatenate((warm.user, cold.user)),
        np.concatenate((warm.item, cold.item)),
        np.concatenate((warm.timestamp, cold.timestamp)),
        np.concatenate((warm.weight, cold.weight)),
        train.user_ids,
    )
    at = int(dataset.interactions.timestamp.max())
    both_split, cold_split, warm_split = (_split(dataset, known, asked_for, at) for asked_for in (together, cold, warm))
    return Hidden(both_split, cold_split, warm_split, is_cold)


def _split(dataset: Dataset, train: Interactions, targets: Interactions, at: int) -> Split:
    """Who has a history left is asked."""
    with_history = np.bincount(train.user, minlength=len(train.user_ids)) > 0
    return split_of("cold-items", dataset, train, train, rows_of(targets, with_history[targets.user]), at)
