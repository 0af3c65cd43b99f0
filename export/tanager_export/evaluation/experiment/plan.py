"""What an evaluation is asked to do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tanager_export.evaluation.baselines import baselines

PROTOCOLS = ("global-time", "leave-one-out", "cold-items", "cold-users")
ALL_USERS = ("global-time", "leave-one-out")
BASELINES = tuple(baselines(np.zeros((0, 0), np.float32)))


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do.

    Attributes:
        protocols: some of `PROTOCOLS`.
        baselines: some of `BASELINES`.
        trials: of tuning, for each baseline.
        seeds: of whatever is random; the first one is that of tuning.
        served: address of a server to ask as well.
        repeats: of leave-one-out: see there.
        curve: whether to measure what diversity costs.
    """

    protocols: tuple[str, ...]
    baselines: tuple[str, ...] = BASELINES
    trials: int = 20
    seeds: tuple[int, ...] = (0,)
    served: str | None = None
    repeats: str = "drop"
    curve: bool = True
