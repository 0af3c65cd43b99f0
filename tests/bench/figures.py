"""What the comparison comes to: ratios with a goal and a floor each, as median and range over the repetitions.

A ratio is taken within each repetition, and only then summed up: what slows the machine for a while slows both its
sides.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

Measured = dict[str, float]
"""One repetition: what was measured, by "turn.quantity"."""

FRAMEWORKS = ("mosec", "litserve", "bentoml")


class Verdict(StrEnum):
    """How a figure stands to its goal."""

    PASS = "PASS"
    UNDER_GOAL = "under goal"
    UNDER_FLOOR = "UNDER FLOOR"
    NOT_MEASURED = "not measured"
    NO_GOAL = "to compare"


@dataclass(frozen=True, slots=True)
class Spread:
    """A quantity over all repetitions."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Sums up at least one value."""
        return cls(statistics.median(values), min(values), max(values))


@dataclass(frozen=True, slots=True)
class Figure:
    """One promise.

    Attributes:
        name: what it is, as it is printed.
        goal: what is aimed at; None for what is only shown.
        floor: what must hold; None with the goal.
        value: from one repetition; raises KeyError if that did not measure it.
        higher_is_better: whether goal and floor are lower bounds, or upper ones.
    """

    name: str
    goal: float | None
    floor: float | None
    value: Callable[[Measured], float]
    higher_is_better: bool = True

    def spread(self, repetitions: Sequence[Measured]) -> Spread | None:
        """Over the repetitions that measured it; None if none did."""
        values = []
        for measured in repetitions:
            try:
                values.append(self.value(measured))
            except KeyError:
                continue
        return Spread.of(values) if values else None

    def verdict(self, spread: Spread | None) -> Verdict:
        """By the median."""
        if spread is None:
            return Verdict.NOT_MEASURED
        if self.goal is None or self.floor is None:
            return Verdict.NO_GOAL
        sign = 1 if self.higher_is_better else -1
        if sign * spread.median >= sign * self.goal:
            return Verdict.PASS
        return Verdict.UNDER_GOAL if sign * spread.median >= sign * self.floor else Verdict.UNDER_FLOOR


def ratio(above: str, below: str) -> Callable[[Measured], float]:
    """One measured quantity over another."""
    return lambda measured: measured[above] / measured[below]


def _best_framework(measured: Mapping[str, float]) -> float:
    rates = [measured[key] for name in FRAMEWORKS if (key := f"{name}.throughput_rps") in measured]
    if not rates:
        raise KeyError("frameworks")
    return max(rates)


FIGURES = (
    Figure("throughput / RAW", 0.80, 0.72, ratio("tanager.throughput_rps", "raw.throughput_rps")),
    Figure(
        "server CPU a request / RAW CPU a text",
        1.20,
        1.35,
        ratio("tanager.cpu_ms", "raw.cpu_ms"),
        higher_is_better=False,
    ),
    Figure("throughput / batching off", 3.0, 2.5, ratio("tanager.throughput_rps", "unbatched.throughput_rps")),
    Figure(
        "throughput / TEI-like policy, 5 to 128 tokens",
        1.5,
        1.3,
        ratio("tanager-mixed.throughput_rps", "tei-mixed.throughput_rps"),
    ),
    Figure(
        "throughput / best other framework",
        1.5,
        1.2,
        lambda measured: measured["tanager.throughput_rps"] / _best_framework(measured),
    ),
    Figure(
        "throughput / mosec with its batches sorted",
        None,
        None,
        ratio("tanager.throughput_rps", "mosec-sorted.throughput_rps"),
    ),
    Figure(
        "p50 of a lone request / the same in process",
        1.25,
        1.4,
        ratio("tanager.single_p50_ms", "raw.single_p50_ms"),
        higher_is_better=False,
    ),
    Figure(
        "history-only throughput / empty gRPC echo",
        0.75,
        0.6,
        ratio("tanager-history.throughput_rps", "echo.throughput_rps"),
    ),
    Figure("goodput at twice the peak / peak", 0.95, 0.9, ratio("overload.goodput_rps", "overload.peak_rps")),
    Figure(
        "p99 of a rejection / p50 of an answer, overloaded",
        0.2,
        0.3,
        ratio("overload.rejected_p99_ms", "overload.ok_p50_ms"),
        higher_is_better=False,
    ),
    Figure(
        "encoded for callers who had gone, overloaded",
        0.01,
        0.02,
        ratio("overload.wasted_texts", "overload.encoded_texts"),
        higher_is_better=False,
    ),
    Figure("Zipf(1.1) throughput, cache on / off", 3.0, 2.0, ratio("cached.throughput_rps", "uncached.throughput_rps")),
    Figure(
        "throughput with / without metrics and logs",
        0.98,
        0.95,
        ratio("tanager.throughput_rps", "quiet.throughput_rps"),
    ),
    Figure("resident memory, MB", 250, 350, lambda measured: measured["tanager.resident_mb"], higher_is_better=False),
)


def overlap(answers: Sequence[Sequence[str]], expected: Sequence[Sequence[str]]) -> float:
    """Mean share of the expected items that are among the answers."""
    shares = [len(set(answer) & set(wanted)) / len(wanted) for answer, wanted in zip(answers, expected, strict=True)]
    return statistics.fmean(shares)


def spreads(repetitions: Sequence[Measured]) -> dict[str, Spread]:
    """Every quantity that was measured."""
    names = dict.fromkeys(name for measured in repetitions for name in measured)
    return {name: Spread.of([measured[name] for measured in repetitions if name in measured]) for name in names}
