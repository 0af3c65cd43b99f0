"""The figures of a run as JSON. Other programs depend on these keys: new ones may come, none goes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tanager._version import __version__
from tanager.load.measurement import STAGES, percentile, summary

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tanager.load.measurement import Measurement
    from tanager.load.options import Options
    from tanager.load.search import Step
    from tanager.load.workload import Pool


def as_json(options: Options, pool: Pool, measurement: Measurement, steps: Sequence[Step] = ()) -> dict[str, Any]:
    """The figures, in plain types.

    Args:
        options: What was run.
        pool: What was sent.
        measurement: What came of it; with steps, of the best of them.
        steps: The rates that were tried, with --find-rate.
    """
    best = max((step.rate for step in steps if step.passed), default=None)
    figures: dict[str, Any] = {
        "version": __version__,
        "target": options.target,
        "workload": options.workload,
        "requests": pool.source,
        "different_requests": len(pool.requests),
        "page_size": options.page_size,
        "zipf": options.zipf,
        "mode": "open" if options.open_loop else "closed",
        "concurrency": options.concurrency,
        "rate": (best or steps[-1].rate) if steps else options.rate,
        "arrivals": options.arrivals if options.open_loop else None,
        "connections": options.connections,
        "timeout_s": options.timeout_s,
        "warm_up_s": options.warm_up_s,
        "seed": options.seed,
        "duration_s": round(measurement.duration_s, 4),
        "interrupted": measurement.interrupted,
        "sent": measurement.sent,
        "ok": measurement.ok,
        "statuses": measurement.statuses,
        "unanswered": measurement.unanswered,
        "empty_answers": measurement.empty,
        "distinct_requests_sent": measurement.distinct_requests,
        "throughput_rps": round(measurement.throughput_rps, 3),
        "offered_rps": round(measurement.offered_rps, 3),
        "latency_ms": {name: summary(values, 1e3) for name, values in measurement.latencies_s.items() if values},
        "send_lag_ms": _lag(measurement.lags_s),
        "loop_lag_ms": _lag(measurement.loop_lags_s),
        "server_timing_us": {name: round(measurement.stages[name].mean_us, 2) for name in STAGES},
        "server_timing_p99_us": {name: measurement.stages[name].p99_us for name in STAGES},
        "batch_size_mean": round(measurement.batch_size_mean, 3),
        "generator_cpu_s": round(measurement.cpu_s, 4),
        "generator_cores": round(measurement.cores, 4),
        "generator_limited": bool(measurement.limits),
        "generator_limits": measurement.limits,
        "timeline": [
            {
                "second": second.second,
                "ok": second.ok,
                "errors": sum(second.errors.values()),
                "errors_by_status": dict(second.errors),
                "p50_ms": _ms(second.p50_s),
                "p99_ms": _ms(second.p99_s),
            }
            for second in measurement.seconds
        ],
    }
    if options.objective is not None:
        figures |= {
            "objective": options.objective.text,
            "max_errors": options.max_errors,
            "found_rate": best,
            "steps": [step_as_json(step) for step in steps],
        }
    return figures


def step_as_json(step: Step) -> dict[str, Any]:
    """One tried rate."""
    latencies = step.measurement.latencies_s.get("OK", ())
    return {
        "rate": round(step.rate, 3),
        "passed": step.passed,
        "failure": step.failure,
        "offered_rps": round(step.measurement.offered_rps, 3),
        "throughput_rps": round(step.measurement.throughput_rps, 3),
        "p50_ms": _ms(percentile(latencies, 50)) if latencies else None,
        "p99_ms": _ms(percentile(latencies, 99)) if latencies else None,
        "error_share": round(step.measurement.error_share, 6),
        "generator_limited": bool(step.measurement.limits),
    }


def _lag(ascending: Sequence[float]) -> dict[str, float | None]:
    if not ascending:
        return {"p50": None, "p99": None, "max": None}
    return {"p50": _ms(percentile(ascending, 50)), "p99": _ms(percentile(ascending, 99)), "max": _ms(ascending[-1])}


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1e3, 4)
