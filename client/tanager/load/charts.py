"""The charts of a report, each a function of what it shows and of its size."""

from __future__ import annotations

import math
import statistics
from bisect import bisect_left
from collections import Counter
from typing import TYPE_CHECKING, TypeAlias

from tanager.load.measurement import OK, percentile
from tanager.load.plot import Plot, Tick, labelled, logarithmic_ticks, ticks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tanager.load.measurement import Measurement, Second
    from tanager.load.search import Objective, Step

# Statuses in the order of their number of calls, OK apart.
ERROR_STYLES = ("bad", "third", "fourth", "grey")
Row: TypeAlias = tuple[str, str, str, float | None]

_PERCENTILES = (0.0, 50.0, 90.0, 99.0, 99.9, 99.99, 99.999, 99.9999)
_PERCENTILE_STEPS = 100
_MOST_POINTS = 240
_BINS = 48


def ms(value_ms: float) -> str:
    """Milliseconds with the digits that matter."""
    decimals = 2 if value_ms < 10 else 1 if value_ms < 100 else 0
    return f"{value_ms:,.{decimals}f} ms"


def styles(measurement: Measurement) -> dict[str, str]:
    """A style for each status that occurred; beyond the fourth error they share the last."""
    errors = [name for name in measurement.statuses if name != OK and measurement.latencies_s.get(name)]
    chosen = {OK: "first"} if measurement.ok else {}
    return chosen | {name: ERROR_STYLES[min(i, len(ERROR_STYLES) - 1)] for i, name in enumerate(errors)}


def percentiles(measurement: Measurement, width: float, height: float) -> str:
    """Latency over the percentile, on an axis that gives each further nine as much room as the one before."""
    shown = {name: measurement.latencies_s[name] for name in styles(measurement)}
    # The slowest call of all has no percentile below 100, which lies infinitely far: it gets the right edge.
    nines = max(1.0, math.log10(max(map(len, shown.values()))))
    edge = nines * 1.08
    levels = ticks(max(values[-1] for values in shown.values()) * 1e3)
    plot = Plot(
        width,
        height,
        x_ticks=[*(Tick(_nines(p), f"{p:g}") for p in _PERCENTILES if _nines(p) <= nines + 1e-9), Tick(edge, "max")],
        y_ticks=labelled(levels),
        x_range=(0, edge),
        y_range=(0, levels[-1]),
        x_label="percentile",
        y_label="ms",
        alt="Latency by percentile",
    )
    style_of = styles(measurement)
    places = [nines * i / _PERCENTILE_STEPS for i in range(_PERCENTILE_STEPS + 1)]
    for name, values in shown.items():
        own = [x for x in places if x <= math.log10(len(values)) + 1e-9]
        plot.line(
            [*((x, percentile(values, _percent(x)) * 1e3) for x in own), (edge, values[-1] * 1e3)], style_of[name]
        )
    for x in (*places, edge):
        percent = 100.0 if x == edge else _percent(x)
        rows: list[Row] = []
        for name, values in shown.items():
            y = percentile(values, percent) * 1e3
            rows.append((style_of[name], name, ms(y), y))
        plot.mark(x, "the slowest call" if x == edge else f"percentile {percent:.{max(1, math.ceil(x))}f}", rows)
    return plot.svg()


def histogram(measurement: Measurement, width: float, height: float) -> str:
    """How many calls took how long: OK answers, or where there are none, what came most often instead."""
    name = next(iter(styles(measurement)))
    style = styles(measurement)[name]
    values = [max(value * 1e3, 1e-3) for value in measurement.latencies_s[name]]
    # Half a bin of margin; a single value gets bins around it.
    least, most = values[0] / 1.05, values[-1] * 1.05
    edges = [least * (most / least) ** (i / _BINS) for i in range(_BINS + 1)]
    places = [bisect_left(values, edge) for edge in edges[1:-1]]
    counts = [b - a for a, b in zip([0, *places], [*places, len(values)], strict=True)]
    levels = ticks(max(counts), whole=True)
    plot = Plot(
        width,
        height,
        x_ticks=labelled(_spread(least, most), lambda value: f"{value:g}" if value < 1e3 else f"{value:,.0f}"),
        y_ticks=labelled(levels),
        x_range=(least, most),
        y_range=(0, levels[-1]),
        x_label="ms, logarithmic",
        y_label="calls",
        x_logarithmic=True,
        alt="Distribution of latencies",
    )
    for begin, end, count in zip(edges, edges[1:], counts, strict=False):
        if count:
            plot.bar(begin, end, 0, count, style)
        row = (style, name, f"{count:,} ({count / len(values):.1%})", None)
        plot.mark(math.sqrt(begin * end), f"{ms(begin)} to {ms(end)}", [row])
    return plot.svg()


def throughput(measurement: Measurement, offered_rps: float | None, width: float, height: float) -> str:
    """OK answers per second, second by second, under what was offered."""
    groups = grouped(measurement.seconds)
    rates = [sum(s.ok for s in group) / len(group) for group in groups]
    levels = ticks(max([*rates, offered_rps or 0, 1]), whole=True)
    plot = _over_time(measurement, width, height, levels, "OK answers per second", "answers/s")
    plot.line([(_middle(group), rate) for group, rate in zip(groups, rates, strict=True)], "first", area=True)
    if offered_rps is not None:
        plot.level(offered_rps, "grey")
    for group, rate in zip(groups, rates, strict=True):
        rows: list[Row] = [("first", "answered OK", f"{rate:,.0f}/s", rate)]
        if offered_rps is not None:
            rows.append(("grey", "offered", f"{offered_rps:,.0f}/s", None))
        plot.mark(_middle(group), _span(group), rows)
    return plot.svg()


def latency_over_time(measurement: Measurement, width: float, height: float) -> str:
    """Median and 99th percentile of OK answers, second by second."""
    groups = grouped(measurement.seconds)
    p50s, p99s = [], []
    for group in groups:
        medians = [s.p50_s for s in group if s.p50_s is not None]
        peaks = [s.p99_s for s in group if s.p99_s is not None]
        p50s.append(statistics.median(medians) * 1e3 if medians else None)
        p99s.append(max(peaks) * 1e3 if peaks else None)
    levels = ticks(max((p for p in p99s if p is not None), default=1.0))
    plot = _over_time(measurement, width, height, levels, "Latency over time", "ms")
    plot.line([(_middle(group), p) for group, p in zip(groups, p99s, strict=True)], "second")
    plot.line([(_middle(group), p) for group, p in zip(groups, p50s, strict=True)], "first")
    for group, p50, p99 in zip(groups, p50s, p99s, strict=True):
        if p50 is not None and p99 is not None:
            plot.mark(_middle(group), _span(group), [("second", "p99", ms(p99), p99), ("first", "p50", ms(p50), p50)])
        else:
            plot.mark(_middle(group), _span(group), [("grey", "no OK answer", "", None)])
    return plot.svg()


def errors_over_time(measurement: Measurement, width: float, height: float) -> str:
    """Answers other than OK per second, by status, upon each other."""
    groups = grouped(measurement.seconds)
    counts = [sum((Counter(s.errors) for s in group), Counter()) for group in groups]
    levels = ticks(max([*(c.total() / len(g) for c, g in zip(counts, groups, strict=True)), 1e-9]))
    plot = _over_time(measurement, width, height, levels, "Errors over time", "errors/s")
    style_of = {name: style for name, style in styles(measurement).items() if name != OK}
    for group, count in zip(groups, counts, strict=True):
        begin, end, floor = group[0].second, group[-1].second + 1, 0.0
        rows: list[Row] = []
        for name, style in style_of.items():
            if count[name]:
                rate = count[name] / len(group)
                plot.bar(begin, min(end, plot.x.most), floor, floor + rate, style)
                floor += rate
                rows.append((style, name, f"{rate:,.1f}/s", None))
        plot.mark(_middle(group), _span(group), rows or [("grey", "no error", "", None)])
    return plot.svg()


def tried_rates(steps: Sequence[Step], objective: Objective, width: float, height: float) -> str:
    """The bounded figure at each rate that was tried, and the bound."""
    values = [(step, value_s and value_s * 1e3) for step in steps for value_s in [objective.value_s(step.measurement)]]
    bound_ms = objective.bound_s * 1e3
    # A rate that is far too high would press all the others onto the axis: it is drawn at the upper edge.
    ceiling = max([bound_ms * 1.25, *(min(value, bound_ms * 3) for _, value in values if value is not None)])
    levels, rates = ticks(ceiling), ticks(max(step.rate for step in steps))
    plot = Plot(
        width,
        height,
        x_ticks=labelled(rates),
        y_ticks=labelled(levels),
        x_range=(0, rates[-1]),
        y_range=(0, levels[-1]),
        x_label="calls/s offered",
        y_label=f"{objective.figure}, ms",
        alt=f"{objective.figure} by rate",
    )
    plot.level(bound_ms, "second")
    values.sort(key=lambda pair: pair[0].rate)
    plot.line([(step.rate, None if value is None else min(value, levels[-1])) for step, value in values], "grey")
    for step, value in values:
        style = "good" if step.passed else "bad"
        plot.dot(step.rate, levels[-1] if value is None else min(value, levels[-1]), style)
        plot.mark(
            step.rate,
            f"{step.rate:,.1f} calls/s {'meets it' if step.passed else 'fails'}",
            [
                (style, objective.figure, "no OK answer" if value is None else ms(value), None),
                ("grey", "answered OK", f"{step.measurement.throughput_rps:,.1f}/s", None),
                ("grey", "errors", f"{step.measurement.error_share:.2%}", None),
            ],
        )
    return plot.svg()


def grouped(seconds: Sequence[Second]) -> list[Sequence[Second]]:
    """The seconds in groups of one, or of so many that there are no more groups than a chart can show."""
    size = max(1, math.ceil(len(seconds) / _MOST_POINTS))
    return [seconds[i : i + size] for i in range(0, len(seconds), size)]


def _over_time(
    measurement: Measurement, width: float, height: float, levels: Sequence[float], alt: str, unit: str
) -> Plot:
    duration_s = max(measurement.duration_s, len(measurement.seconds))
    return Plot(
        width,
        height,
        x_ticks=labelled([t for t in ticks(duration_s, count=6, whole=True) if t <= duration_s * (1 + 1e-9)]),
        y_ticks=labelled(levels),
        x_range=(0, duration_s),
        y_range=(0, levels[-1]),
        x_label="seconds measured",
        y_label=unit,
        alt=alt,
    )


def _middle(group: Sequence[Second]) -> float:
    return (group[0].second + group[-1].second + 1) / 2


def _span(group: Sequence[Second]) -> str:
    return f"second {group[0].second + 1:,}" + (f" to {group[-1].second + 1:,}" if len(group) > 1 else "")


def _nines(percent: float) -> float:
    return -math.log10(1 - percent / 100)


def _percent(nines: float) -> float:
    return 100 * (1 - 10**-nines)


def _spread(least: float, most: float) -> list[float]:
    """Ticks of a logarithmic axis; round linear ones where it spans too little for enough of the others."""
    values = logarithmic_ticks(least, most)
    if len(values) >= 3:
        return values
    return [value for value in ticks(most, least=least) if least <= value <= most]
