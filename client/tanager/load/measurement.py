"""What a run leaves behind: every call taken down in arrays, and the figures made of them."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

STAGES = ("queue", "tokenize", "encode", "search", "rank")
STATUS_NAMES = {code.value[0]: code.name for code in grpc.StatusCode}
OK = "OK"
# Later than this at the 99th percentile, sends or the event loop of the generator are part of what it measures.
MAX_LAG_S = 0.010
MAX_CORES = 0.9
PERCENTILES = {"p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0, "p999": 99.9}


class Recorder:
    """Takes down calls as they end. Arrays of numbers: no call leaves an object behind that Python would look after.

    Attributes:
        ended_s: When the answer came, on the run's clock.
        latency_s: How long that was after the call was due.
        lag_s: How much later than due the call was sent.
        status: Number of the gRPC status.
        results: How many results the answer held.
        stages_us: The server's account of itself: five stages and the batch size, six numbers for each call.
        loop_lag_s: How late the event loop was at each tick, and when.
    """

    __slots__ = ("ended_s", "lag_s", "latency_s", "loop_lag_s", "results", "stages_us", "status", "ticked_s")

    def __init__(self) -> None:
        self.ended_s = array("d")
        self.latency_s = array("f")
        self.lag_s = array("f")
        self.status = array("B")
        self.results = array("I")
        self.stages_us = array("q")
        self.loop_lag_s = array("f")
        self.ticked_s = array("d")

    def __len__(self) -> int:
        return len(self.status)


@dataclass(frozen=True, slots=True)
class Window:
    """The part of a run that counts.

    Attributes:
        begin_s: On the run's clock.
        end_s: On the run's clock; not before `begin_s`.
        cpu_s: CPU seconds that this process used in between.
    """

    begin_s: float
    end_s: float
    cpu_s: float

    @property
    def duration_s(self) -> float:
        """Its length."""
        return self.end_s - self.begin_s


@dataclass(frozen=True, slots=True)
class Second:
    """The answers that came within one second of the window."""

    second: int
    ok: int
    errors: Mapping[str, int]
    p50_s: float | None
    p99_s: float | None


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of the server's own time, over the OK answers."""

    mean_us: float
    p50_us: float
    p99_us: float


@dataclass(frozen=True, slots=True)
class Measurement:
    """The figures of one run. Calls that were due within the window count, whenever they were answered.

    Attributes:
        duration_s: Length of the window.
        cpu_s: CPU seconds that the generator used in it.
        interrupted: Whether the run was ended early.
        unanswered: Calls that were dropped without an answer, by a second interrupt.
        latencies_s: By status, in ascending order, from when the call was due.
        answered_ok: OK answers that came within the window; in a run of so many calls, only to those that count: the
            window is as long as they take, so answers to others would raise the throughput for nothing.
        lags_s: How late calls were sent, ascending; empty in a closed loop, where no call is due at any time.
        loop_lags_s: How late the generator's event loop was, ascending.
        stages: The server's own time, by stage, over the OK answers.
        batch_size_mean: Of the OK answers for which something was encoded; 0 if there are none.
        empty: OK answers without a result.
        seconds: What came, second by second; in a run of so many calls, to those that count.
        distinct_requests: How many different requests were sent, warm-up included.
    """

    duration_s: float
    cpu_s: float
    interrupted: bool
    unanswered: int
    latencies_s: Mapping[str, Sequence[float]]
    answered_ok: int
    lags_s: Sequence[float]
    loop_lags_s: Sequence[float]
    stages: Mapping[str, Stage]
    batch_size_mean: float
    empty: int
    seconds: Sequence[Second]
    distinct_requests: int

    @property
    def statuses(self) -> dict[str, int]:
        """Number of calls by status, OK first and always there."""
        counts = {name: len(values) for name, values in self.latencies_s.items()}
        return {OK: counts.pop(OK, 0)} | dict(sorted(counts.items(), key=lambda pair: -pair[1]))

    @property
    def sent(self) -> int:
        """Calls that count."""
        return sum(map(len, self.latencies_s.values())) + self.unanswered

    @property
    def ok(self) -> int:
        """Of them, those answered OK."""
        return len(self.latencies_s.get(OK, ()))

    @property
    def throughput_rps(self) -> float:
        """OK answers per second of the window."""
        return self.answered_ok / self.duration_s if self.duration_s > 0 else 0.0

    @property
    def offered_rps(self) -> float:
        """Calls per second of the window."""
        return self.sent / self.duration_s if self.duration_s > 0 else 0.0

    @property
    def error_share(self) -> float:
        """Share of the calls that were not answered OK."""
        return 1 - self.ok / self.sent if self.sent else 0.0

    @property
    def cores(self) -> float:
        """Cores that the generator kept busy."""
        return self.cpu_s / self.duration_s if self.duration_s > 0 else 0.0

    @property
    def limits(self) -> list[str]:
        """Why the generator itself may have been the bottleneck; empty if it was not."""
        reasons = []
        if self.cores > MAX_CORES:
            reasons.append(f"it used {self.cores:.0%} of a core")
        if self.lags_s and (lag_s := percentile(self.lags_s, 99)) > MAX_LAG_S:
            reasons.append(f"1 % of its calls were sent {lag_s * 1e3:.0f} ms late or more")
        elif self.loop_lags_s and (lag_s := percentile(self.loop_lags_s, 99)) > MAX_LAG_S:
            reasons.append(f"its event loop was {lag_s * 1e3:.0f} ms late at times")
        return reasons


def percentile(ascending: Sequence[float], percent: float) -> float:
    """The smallest value that at least `percent` % of the values do not exceed (nearest rank): one that occurred."""
    return ascending[max(0, math.ceil(len(ascending) * percent / 100 - 1e-9) - 1)]


def summary(ascending: Sequence[float], scale: float = 1.0) -> dict[str, float]:
    """Mean, percentiles and maximum of values, each times `scale`."""
    values = {"mean": math.fsum(ascending) / len(ascending)}
    values |= {name: percentile(ascending, percent) for name, percent in PERCENTILES.items()}
    values["max"] = ascending[-1]
    return {name: round(value * scale, 4) for name, value in values.items()}


def measure(
    recorder: Recorder,
    window: Window,
    *,
    open_loop: bool,
    by_count: bool = False,
    interrupted: bool = False,
    unanswered: int = 0,
    distinct_requests: int = 0,
) -> Measurement:
    """Makes the figures of what was taken down; `by_count` where a number of calls, not a time, ends the run."""
    begin_s, end_s = window.begin_s, window.end_s
    due = [ended - latency for ended, latency in zip(recorder.ended_s, recorder.latency_s, strict=True)]
    # Latencies are kept in single precision; what was due at the very beginning must not fall out by its rounding.
    counted = [i for i, due_s in enumerate(due) if due_s >= begin_s - 1e-6 and due_s <= end_s]
    latencies: dict[str, list[float]] = {}
    for i in counted:
        latencies.setdefault(STATUS_NAMES[recorder.status[i]], []).append(recorder.latency_s[i])
    for values in latencies.values():
        values.sort()
    ok = [i for i in counted if recorder.status[i] == 0]
    batches = [size for i in ok if (size := recorder.stages_us[6 * i + 5])]
    ticks = zip(recorder.ticked_s, recorder.loop_lag_s, strict=True)
    answers = counted if by_count else range(len(recorder))
    within = [i for i in answers if begin_s <= recorder.ended_s[i] <= end_s]
    return Measurement(
        duration_s=window.duration_s,
        cpu_s=window.cpu_s,
        interrupted=interrupted,
        unanswered=unanswered,
        latencies_s=latencies,
        answered_ok=sum(recorder.status[i] == 0 for i in within),
        lags_s=sorted(recorder.lag_s[i] for i in counted) if open_loop else (),
        loop_lags_s=sorted(lag for ticked, lag in ticks if begin_s <= ticked <= end_s),
        stages={name: _stage(recorder, ok, k) for k, name in enumerate(STAGES)},
        batch_size_mean=sum(batches) / len(batches) if batches else 0.0,
        empty=sum(recorder.results[i] == 0 for i in ok),
        seconds=_seconds(recorder, within, window),
        distinct_requests=distinct_requests,
    )


def _stage(recorder: Recorder, ok: Sequence[int], number: int) -> Stage:
    values = sorted(recorder.stages_us[6 * i + number] for i in ok)
    if not values:
        return Stage(0.0, 0.0, 0.0)
    return Stage(sum(values) / len(values), percentile(values, 50), percentile(values, 99))


def _seconds(recorder: Recorder, within: Sequence[int], window: Window) -> list[Second]:
    # A last second that is hardly begun would show as a drop.
    count = max(1, math.floor(window.duration_s + 0.5)) if window.duration_s > 0 else 0
    latencies: list[list[float]] = [[] for _ in range(count)]
    errors: list[Counter[str]] = [Counter() for _ in range(count)]
    for i in within:
        second = min(count - 1, int(recorder.ended_s[i] - window.begin_s))
        if recorder.status[i] == 0:
            latencies[second].append(recorder.latency_s[i])
        else:
            errors[second][STATUS_NAMES[recorder.status[i]]] += 1
    seconds = []
    for number, (values, failed) in enumerate(zip(latencies, errors, strict=True)):
        values.sort()
        p50_s, p99_s = (percentile(values, 50), percentile(values, 99)) if values else (None, None)
        seconds.append(Second(number, len(values), dict(failed), p50_s, p99_s))
    return seconds
