"""One HTML page of a run: charts, tables and settings, with nothing to fetch from anywhere."""

from __future__ import annotations

import datetime as dt
from html import escape
from typing import TYPE_CHECKING

from tanager.load import charts, table
from tanager.load.measurement import OK, STAGES, percentile, summary
from tanager.load.page import SIZES, frame, tile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tanager.load.measurement import Measurement
    from tanager.load.options import Options
    from tanager.load.search import Step
    from tanager.load.workload import Pool

_WHOLE_SIZES = SIZES | {"full": (1100.0, 320.0)}
_STAGE_NAMES = {
    "queue": "waiting for a batch",
    "tokenize": "tokenising",
    "encode": "encoding",
    "search": "finding candidates",
    "rank": "scoring and ordering",
}


def page(
    options: Options,
    pool: Pool,
    measurement: Measurement,
    steps: Sequence[Step] = (),
    *,
    made_at: dt.datetime | None = None,
) -> str:
    """The page; arguments as for `figures.as_json`, and when it was made, which is now if not given."""
    made_at = made_at or dt.datetime.now(dt.UTC)
    cards = [_search(options, steps)] if options.objective is not None and steps else []
    cards += _charts(options, measurement)
    cards += [_latency_table(measurement), _settings(options, pool, measurement)]
    return frame(
        f"Load test of {options.target}",
        lead=_lead(options, measurement, steps),
        tiles=_tiles(options, measurement, steps),
        notes=table.notes(options, measurement),
        cards=cards,
        footer=f"Made by tanager load on {made_at:%Y-%m-%d at %H:%M} UTC. {_footnote(options)}",
    )


def _lead(options: Options, measurement: Measurement, steps: Sequence[Step]) -> str:
    text = f"Workload: {table.settings(options)}. {table.seconds(measurement.duration_s)} measured"
    if options.objective is None or not steps:
        return f"{text}."
    return f"{text} at each rate. {table.found(options, steps)}; what follows is of that rate."


def _footnote(options: Options) -> str:
    since = "when they were due" if options.open_loop else "when they were sent"
    return f"Latencies count from {since} to the answer, as this client saw it. Percentiles are of the nearest rank."


def _tiles(options: Options, measurement: Measurement, steps: Sequence[Step]) -> str:
    tiles = []
    best = max((step.rate for step in steps if step.passed), default=None)
    if options.objective is not None and steps:
        found = "none" if best is None else f"{best:,.0f}<small>/s</small>"
        tiles.append(tile("highest rate", found, options.objective.text, bad=best is None))
    offered = f"of {measurement.offered_rps:,.0f}/s offered" if options.open_loop else "answered OK"
    tiles.append(tile("throughput", f"{measurement.throughput_rps:,.0f}<small>/s</small>", offered))
    if measurement.ok:
        figures = summary(measurement.latencies_s[OK], 1e3)
        for name, more in (("p50", "half are faster"), ("p99", f"p99.9 {charts.ms(figures['p999'])}")):
            number, unit = charts.ms(figures[name]).split()
            tiles.append(tile(f"{name} latency", f"{number}<small> {unit}</small>", more))
    errors = measurement.sent - measurement.ok
    share = f"{measurement.error_share:.2%}" if errors else "0"
    tiles.append(tile("errors", share, f"{errors:,} of {table.calls(measurement.sent)}", bad=errors > 0))
    lag = f"sends {percentile(measurement.lags_s, 99) * 1e3:.1f} ms late (p99)" if measurement.lags_s else "of one core"
    limited = bool(measurement.limits)
    tiles.append(tile("generator", f"{measurement.cores:.0%}<small> CPU</small>", lag, bad=limited))
    return "".join(tiles)


def _charts(options: Options, measurement: Measurement) -> list[str]:
    styles = charts.styles(measurement)
    if not styles:
        return []
    legend = [(style, name) for name, style in styles.items()]
    errors = [(style, name) for style, name in legend if name != OK]
    first = legend[0][1]
    size = len(charts.grouped(measurement.seconds)[0]) if measurement.seconds else 1
    per_point = f" A point stands for {size} seconds: the highest p99 and the median p50." if size > 1 else ""
    offered = options.rate if options.open_loop else None
    if options.objective is not None:
        offered = measurement.offered_rps
    over_time = [("first", "answered OK"), *([("grey", "offered")] if offered is not None else [])]
    cards = [
        _card(
            "Latency by percentile",
            "Each further nine gets as much room as the one before.",
            legend,
            lambda width, height: charts.percentiles(measurement, width, height),
        ),
        _card(
            "Distribution of latency",
            f"Number of calls that ended with {first}, by how long they took.",
            legend[:1],
            lambda width, height: charts.histogram(measurement, width, height),
        ),
    ]
    if measurement.seconds:
        cards.append(
            _card(
                "Throughput",
                "By when the answer came.",
                over_time,
                lambda width, height: charts.throughput(measurement, offered, width, height),
            )
        )
        cards.append(
            _card(
                "Latency over time",
                f"OK answers, by when they came.{per_point}",
                [("second", "p99"), ("first", "p50")],
                lambda width, height: charts.latency_over_time(measurement, width, height),
            )
            if measurement.ok
            else _empty("Latency over time", "Nothing was answered OK.")
        )
        if any(second.errors for second in measurement.seconds):
            cards.append(
                _card(
                    "Errors",
                    "By status and by when they came.",
                    errors,
                    lambda width, height: charts.errors_over_time(measurement, width, height),
                )
            )
        elif not errors:
            cards.append(_empty("Errors", "Every call that counts was answered OK."))
        else:
            cards.append(_empty("Errors", "All errors came after the time that counts had ended."))
    cards.append(_stages(measurement))
    return cards


def _card(
    title: str,
    caption: str,
    legend: Sequence[tuple[str, str]],
    draw: Callable[[float, float], str],
    *,
    whole: bool = False,
    below: str = "",
) -> str:
    keys = "".join(f'<span><b class="key block {style}"></b>{escape(name)}</span>' for style, name in legend)
    plots = "".join(
        f'<div class="plot {name}">{draw(*size)}</div>' for name, size in (_WHOLE_SIZES if whole else SIZES).items()
    )
    return (
        f'<section class="card chart{" whole" if whole else ""}"><h2>{escape(title)}</h2>'
        f'<p class="caption">{escape(caption)}</p><div class="legend">{keys}</div>{plots}{below}</section>\n'
    )


def _empty(title: str, text: str) -> str:
    return f'<section class="card chart"><h2>{escape(title)}</h2><p class="none">{escape(text)}</p></section>\n'


def _stages(measurement: Measurement) -> str:
    title = "Where the server's time went"
    if not measurement.ok:
        return _empty(title, "Nothing was answered OK.")
    longest = max(max(stage.mean_us, stage.p99_us) for stage in measurement.stages.values()) or 1.0
    rows = []
    for name in STAGES:
        stage = measurement.stages[name]
        fill, peak = stage.mean_us / longest, stage.p99_us / longest
        rows.append(
            f'<span>{_STAGE_NAMES[name]}</span><span class="track"><span class="fill" style="width:{fill:.2%}"></span>'
            f'<span class="peak" style="left:min({peak:.2%}, 100% - 2px)"></span></span>'
            f'<span class="number">{charts.ms(stage.mean_us / 1e3)}</span>'
            f'<span class="number">{charts.ms(stage.p99_us / 1e3)}</span>'
        )
    batch = f"Texts were encoded in batches of {measurement.batch_size_mean:.1f} on average. " * bool(
        measurement.batch_size_mean
    )
    head = '<span class="head">stage</span><span></span><span class="head number">mean</span>'
    return (
        f'<section class="card"><h2>{title}</h2><p class="muted" style="font-size:13px">{batch}'
        "From the Timing of the OK answers; the rest of a latency is gRPC, the network and this client.</p>"
        '<div class="legend"><span><b class="key block first"></b>mean</span>'
        '<span><b class="key block second"></b>p99</span></div>'
        f'<div class="stages">{head}<span class="head number">p99</span>{"".join(rows)}</div></section>\n'
    )


def _search(options: Options, steps: Sequence[Step]) -> str:
    objective = options.objective
    assert objective is not None
    head = ("rate", "answered OK", "p50", "p99", "errors", "")
    rows = []
    for step in steps:
        values = step.measurement.latencies_s.get(OK)
        verdict = "meets it" if step.passed else step.failure
        rows.append(
            (
                f"{step.rate:,.1f}/s",
                f"{step.measurement.throughput_rps:,.1f}/s",
                charts.ms(percentile(values, 50) * 1e3) if values else "–",
                charts.ms(percentile(values, 99) * 1e3) if values else "–",
                f"{step.measurement.error_share:.2%}",
                verdict + (" (generator at its limit)" if step.measurement.limits else ""),
            )
        )
    return _card(
        "Rates tried",
        f"{table.found(options, steps)}. At most {options.max_errors:.2%} of calls may fail. "
        "What is much slower is drawn at the upper edge.",
        [("good", "meets the objective"), ("bad", "fails"), ("second", objective.text)],
        lambda width, height: charts.tried_rates(steps, objective, width, height),
        whole=True,
        below=f'<div class="scroll rates">{_html_table([head, *rows])}</div>',
    )


def _latency_table(measurement: Measurement) -> str:
    heads = ("mean", "p50", "p90", "p95", "p99", "p999", "max")
    rows: list[tuple[str, ...]] = [("ms", "calls", *(head.replace("p999", "p99.9") for head in heads))]
    for name in measurement.statuses:
        if values := measurement.latencies_s.get(name):
            figures = summary(values, 1e3)
            rows.append((name, f"{len(values):,}", *(charts.ms(figures[head]).split()[0] for head in heads)))
    body = f'<div class="scroll">{_html_table(rows)}</div>' if len(rows) > 1 else '<p class="none">No call ended.</p>'
    return f'<section class="card whole"><h2>Latency by status</h2>{body}</section>\n'


def _settings(options: Options, pool: Pool, measurement: Measurement) -> str:
    length = f"{options.duration_s:g} s" if options.duration_s is not None else table.calls(options.count or 0)
    if options.objective is not None:
        mode = f"search for the highest rate that meets {options.objective.text}, beginning with {options.rate:,g}/s"
    elif options.open_loop:
        mode = f"open loop, {options.rate:,g} calls/s, {options.arrivals} arrivals"
    else:
        mode = f"closed loop, {options.concurrency:,} in flight"
    rows = [
        ("Server", options.target + (", encrypted" if options.tls else "")),
        ("Workload", f"{options.workload}, {options.page_size} results a call where a request does not say"),
        ("Requests", table.requests(pool, measurement)),
        ("Repetition", "every request equally often" if options.zipf is None else f"Zipf, exponent {options.zipf:g}"),
        ("Mode", mode),
        ("Length", f"{length}, after {options.warm_up_s:g} s of warm-up"),
        ("Connections", f"{options.connections:,}, deadline {options.timeout_s:g} s a call, no retries"),
        ("Seed", str(options.seed)),
        ("Generator", table.generator(measurement)),
    ]
    body = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in rows)
    return f'<section class="card whole"><h2>Settings</h2><table class="words">{body}</table></section>\n'


def _html_table(rows: Iterable[Sequence[str]]) -> str:
    head, *body = rows
    cells = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    lines = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in body)
    return f"<table><tr>{cells}</tr>{lines}</table>"
