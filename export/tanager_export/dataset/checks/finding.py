"""What a check finds: how bad it is, where, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from tanager_export.dataset.interactions import INTERACTIONS

if TYPE_CHECKING:
    from numpy.typing import NDArray

PLACES = 5
"""How many places a finding names."""


class Severity(StrEnum):
    """How bad a finding is: errors are refused by a load or would train garbage, warnings cost quality."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found.

    Attributes:
        severity: How bad.
        code: Its short, stable name.
        message: What was found.
        count: How often, or how many it concerns.
        places: The first of them, as "items.jsonl, line 3".
        mend: What to do about it; empty where there is nothing to do.
    """

    severity: Severity
    code: str
    message: str
    count: int = 1
    places: tuple[str, ...] = ()
    mend: str = ""


def interaction_places(lines: NDArray[np.int64], mask: NDArray[np.bool_]) -> tuple[str, ...]:
    """The first places of the interactions that a mask selects.

    Args:
        lines: The line of each interaction.
        mask: Those meant.
    """
    return tuple(f"{INTERACTIONS}, line {line}" for line in np.sort(lines[mask])[:PLACES])


def gini(counts: NDArray[np.int64]) -> float:
    """The Gini coefficient of counts: 0 when all are equal, towards 1 when one has them all."""
    ascending = np.sort(counts)
    n = len(ascending)
    return 2 * float(np.arange(1, n + 1) @ ascending) / (n * float(ascending.sum())) - (n + 1) / n


def top_share(counts: NDArray[np.int64]) -> float:
    """The share of the sum that the largest hundredth of counts has, at least one."""
    top = max(1, len(counts) // 100)
    return float(np.sort(counts)[-top:].sum() / counts.sum())
