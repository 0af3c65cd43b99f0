"""The highest rate at which an objective holds: what is asked of a rate, and which rate to try next."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tanager.load.measurement import OK, PERCENTILES, percentile

if TYPE_CHECKING:
    from tanager.load.measurement import Measurement

_OBJECTIVE = re.compile(r"(p\d+|mean|max)\s*(<=|<)\s*(\d+(?:\.\d+)?)\s*(ms|s)")
# A rate that is kept up answers nearly all of what is sent while it is sent; the rest is still in flight at the end.
_MIN_ANSWERED = 0.95
_MAX_STEPS = 30


@dataclass(frozen=True, slots=True)
class Objective:
    """A bound on the latency of OK answers.

    Attributes:
        figure: "mean", "max" or a name of `PERCENTILES`.
        bound_s: What it must not exceed, in seconds.
        text: As it was written.
    """

    figure: str
    bound_s: float
    text: str

    @classmethod
    def parse(cls, text: str) -> Objective:
        """Reads an objective such as "p99<=50ms".

        Raises:
            ValueError: It is none.
        """
        match = _OBJECTIVE.fullmatch(text.strip())
        if match is None or (match[1] not in PERCENTILES and match[1] not in ("mean", "max")):
            figures = ", ".join((*PERCENTILES, "mean", "max"))
            raise ValueError(
                f"an objective is one of {figures}, then <= and a time in ms or s: p99<=50ms, not {text!r}"
            )
        return cls(match[1], float(match[3]) / (1_000 if match[4] == "ms" else 1), text.strip())

    def value_s(self, measurement: Measurement) -> float | None:
        """The bounded figure; None if nothing was answered OK."""
        latencies = measurement.latencies_s.get(OK)
        if not latencies:
            return None
        match self.figure:
            case "mean":
                return sum(latencies) / len(latencies)
            case "max":
                return latencies[-1]
        return percentile(latencies, PERCENTILES[self.figure])


@dataclass(frozen=True, slots=True)
class Step:
    """One rate that was tried.

    Attributes:
        rate: Calls per second that were to be sent.
        measurement: What came of it.
        failure: Why the objective does not hold; empty if it holds.
    """

    rate: float
    measurement: Measurement
    failure: str

    @property
    def passed(self) -> bool:
        """Whether the objective holds."""
        return not self.failure


def judge(rate: float, measurement: Measurement, objective: Objective, max_errors: float) -> Step:
    """Says whether the objective held at a rate."""
    value_s = objective.value_s(measurement)
    failure = ""
    if value_s is None:
        failure = "nothing was answered OK"
    elif measurement.error_share > max_errors:
        failure = f"{measurement.error_share:.2%} errors"
    elif value_s > objective.bound_s:
        failure = f"{objective.figure} {value_s * 1e3:,.1f} ms"
    elif measurement.throughput_rps < _MIN_ANSWERED * measurement.offered_rps:
        failure = f"only {measurement.throughput_rps / measurement.offered_rps:.0%} answered in time: a queue grows"
    return Step(rate, measurement, failure)


class RateSearch:
    """Doubles the rate until the objective fails, halves it until it holds, and closes in on the border between.

    Args:
        first: The rate to begin with, in calls per second.
        precision: When to stop: the border is known to this share of it.
    """

    def __init__(self, first: float, precision: float) -> None:
        self._next = first
        self._precision = precision
        self._least_failed = float("inf")
        self._steps = 0
        self.best = 0.0

    def next_rate(self) -> float | None:
        """The rate to try now; None at the end."""
        known = self.best > 0 and self._least_failed <= self.best * (1 + self._precision)
        # Below a call in ten seconds no rate is worth looking for.
        return None if known or self._steps >= _MAX_STEPS or self._next < 0.1 else self._next

    def tell(self, rate: float, *, passed: bool) -> None:
        """Takes in whether the objective held at a rate."""
        self._steps += 1
        if passed:
            self.best = max(self.best, rate)
        else:
            self._least_failed = min(self._least_failed, rate)
        if self._least_failed == float("inf"):
            self._next = self.best * 2
        elif self.best == 0:
            self._next = self._least_failed / 2
        else:
            self._next = (self.best + self._least_failed) / 2
