"""Windows of validation inside what may be learned from; blend and baselines are tuned on what came next in each."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from tanager_export.evaluation.hiding import hide
from tanager_export.evaluation.splits import SplitError, cold_users, global_time, leave_one_out

if TYPE_CHECKING:
    from tanager_export.dataset import Dataset, Interactions
    from tanager_export.evaluation.cases import Split

Protocol = Literal["global-time", "leave-one-out", "cold-items"]

WINDOWS = 3
"""One window of time has few users; more would leave little to learn from before the first of them."""


def validation_windows(
    dataset: Dataset,
    train: Interactions,
    *,
    protocol: Protocol | Literal["cold-users"],
    seed: int = 0,
    windows: int = WINDOWS,
) -> list[Split]:
    """Splits of `train`, each by the rule that the test goes by; the first has the least to learn from.

    Args:
        dataset: the catalogue; its own interactions are not looked at.
        train: what may be learned from.
        protocol: by global time, several windows, each as great a share of what lies before its end as the test,
            and so by cold users, as far back as each has users who are new; otherwise one. By cold items, it asks
            for those that are not hidden: `new_items` learns of the others.
        seed: of the draw of cold items.
        windows: how many windows of time.

    Raises:
        SplitError: there is too little to split.
    """
    within = replace(dataset, interactions=train)
    if protocol == "leave-one-out":
        return [leave_one_out(within)]
    if protocol == "cold-items":
        return [hide(within, seed=seed + 1).warm]
    split = cold_users if protocol == "cold-users" else global_time
    found: list[Split] = []
    for _ in range(windows):
        try:
            found.append(split(within))
        except SplitError:
            if protocol == "cold-users" and found:
                break
            raise
        within = replace(dataset, interactions=found[-1].train)
    return found[::-1]


def protocol_of(dataset: Dataset) -> Protocol:
    """The rule that a dataset's times allow."""
    by_times: dict[str, Protocol] = {"seconds": "global-time", "order": "leave-one-out", "none": "cold-items"}
    return by_times[dataset.times]


def held_out(dataset: Dataset, *, protocol: Protocol, seed: int) -> Split:
    """The test that `hold_out` leaves alone, all of it: cold items, and the warm ones that are asked beside them."""
    if protocol == "leave-one-out":
        return leave_one_out(dataset)
    if protocol == "cold-items":
        return hide(dataset, seed=seed).both
    return global_time(dataset)
