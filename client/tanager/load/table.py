"""The figures of a run as text for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tanager.load.measurement import OK, STAGES, percentile, summary

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tanager.load.measurement import Measurement
    from tanager.load.options import Options
    from tanager.load.search import Step
    from tanager.load.workload import Pool


def table(options: Options, pool: Pool, measurement: Measurement, steps: Sequence[Step] = ()) -> str:
    """The figures for a person; arguments as for `figures.as_json`."""
    lines = [f"{options.target}: {settings(options)}", f"requests: {requests(pool, measurement)}", ""]
    if options.objective is not None:
        lines += [*_steps(steps), "", found(options, steps), ""]
    lines += [
        *_columns(
            [
                ("answers", _answers(measurement)),
                ("throughput", f"{measurement.throughput_rps:,.1f} OK/s over {seconds(measurement.duration_s)}"),
                *([("offered", f"{measurement.offered_rps:,.1f} calls/s")] if options.open_loop else []),
                ("server", server_time(measurement)),
                ("generator", generator(measurement)),
            ]
        ),
        "",
        *_latencies(measurement),
    ]
    lines += [f"\n{note}" for note in notes(options, measurement)]
    return "\n".join(lines)


def settings(options: Options) -> str:
    """How calls were sent, in words."""
    connections = f"{options.connections:,} connection{'' if options.connections == 1 else 's'}"
    if options.objective is not None:
        how = f"the highest rate for {options.objective.text} ({options.arrivals} arrivals)"
    elif options.rate is not None:
        how = f"open loop, {options.rate:,g} calls/s ({options.arrivals})"
    else:
        how = f"closed loop, {options.concurrency:,} in flight"
    return (
        f"{options.workload}, {how}, {connections}, deadline {options.timeout_s:g} s, "
        f"{options.warm_up_s:g} s of warm-up, seed {options.seed}"
    )


def requests(pool: Pool, measurement: Measurement) -> str:
    """What was sent, in words."""
    return f"{measurement.distinct_requests:,} different, of {len(pool.requests):,} {pool.source}"


def seconds(duration_s: float) -> str:
    """A duration, in words."""
    return f"{duration_s:,.1f} s" if duration_s >= 1 else f"{duration_s:.3f} s"


def calls(number: int) -> str:
    """A number of calls, in words."""
    return f"{number:,} call{'' if number == 1 else 's'}"


def found(options: Options, steps: Sequence[Step]) -> str:
    """What the search found, in words."""
    assert options.objective is not None
    passed = [step for step in steps if step.passed]
    failed = [step for step in steps if not step.passed]
    if not passed:
        return f"no rate that was tried meets {options.objective.text}"
    best = max(passed, key=lambda step: step.rate)
    text = f"{best.rate:,.1f} calls/s is the highest rate found that meets {options.objective.text}"
    above = [step for step in failed if step.rate > best.rate]
    if above and any(step.measurement.limits for step in above):
        text += "; the generator itself was at its limit above it"
    return text


def server_time(measurement: Measurement) -> str:
    """The server's account of its time, in words."""
    if not measurement.ok:
        return "nothing was answered OK"
    stages = ", ".join(f"{name} {measurement.stages[name].mean_us / 1e3:.2f}" for name in STAGES)
    batch = f"; batches of {measurement.batch_size_mean:.1f}" if measurement.batch_size_mean else ""
    return f"{stages} ms on average{batch}"


def generator(measurement: Measurement) -> str:
    """What the generator cost, in words."""
    per_call_ms = measurement.cpu_s / measurement.sent * 1e3 if measurement.sent else 0.0
    text = f"{measurement.cores:.0%} of a core, {per_call_ms:.2f} ms of CPU a call"
    if measurement.lags_s:
        lag_ms = percentile(measurement.lags_s, 99) * 1e3
        text += f"; calls sent {lag_ms:.1f} ms late (p99), {measurement.lags_s[-1] * 1e3:.1f} ms at most"
    elif measurement.loop_lags_s:
        text += f"; event loop {percentile(measurement.loop_lags_s, 99) * 1e3:.1f} ms late (p99)"
    return text


def notes(options: Options, measurement: Measurement) -> list[str]:
    """What a reader must know before believing the figures."""
    said = []
    if measurement.limits:
        said.append(
            f"THE GENERATOR ITSELF WAS A LIMIT: {' and '.join(measurement.limits)}. The latencies include its own "
            "delays, and the server may be able to do more. Give it cores of its own, or send less."
        )
    if measurement.interrupted:
        said.append(f"Interrupted: {seconds(measurement.duration_s)} were measured.")
    if measurement.unanswered:
        said.append(f"{calls(measurement.unanswered)} dropped without an answer; no latency counts for these.")
    if measurement.empty:
        said.append(f"{measurement.empty:,} of the OK answers held no result.")
    if options.open_loop and measurement.sent and measurement.throughput_rps < 0.95 * measurement.offered_rps:
        said.append(
            f"The server answered {measurement.throughput_rps / measurement.offered_rps:.0%} of what was offered: "
            "latencies depend on how long the run was."
        )
    return said


def _answers(measurement: Measurement) -> str:
    text = f"{measurement.ok:,} of {measurement.sent:,} OK"
    failed = [f"{count:,} {name}" for name, count in measurement.statuses.items() if name != OK]
    return ", ".join([text, *failed])


def _latencies(measurement: Measurement) -> list[str]:
    heads = ("mean", "p50", "p90", "p95", "p99", "p999", "max")
    rows: list[tuple[str, ...]] = [("latency in ms", *heads)]
    for name in measurement.statuses:
        if values := measurement.latencies_s.get(name):
            figures = summary(values, 1e3)
            rows.append((name, *(f"{figures[head]:,.2f}" for head in heads)))
    return _columns(rows, right=range(1, len(heads) + 1)) if len(rows) > 1 else ["no call was answered"]


def _steps(steps: Sequence[Step]) -> list[str]:
    rows = [("rate", "OK/s", "p50 ms", "p99 ms", "errors", "")]
    for step in steps:
        values = step.measurement.latencies_s.get(OK, ())
        rows.append(
            (
                f"{step.rate:,.1f}",
                f"{step.measurement.throughput_rps:,.1f}",
                f"{percentile(values, 50) * 1e3:,.2f}" if values else "-",
                f"{percentile(values, 99) * 1e3:,.2f}" if values else "-",
                f"{step.measurement.error_share:.2%}",
                "meets it" if step.passed else step.failure,
            )
        )
    return _columns(rows, right=range(5))


def _columns(rows: Iterable[Sequence[str]], right: Iterable[int] = ()) -> list[str]:
    """The rows with their columns aligned, those of `right` to the right."""
    rows, right = list(rows), set(right)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if number in right else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
