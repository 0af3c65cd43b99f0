"""The comparison for people and for machines: a table, JSON, and a page with two charts."""

from __future__ import annotations

import json
from dataclasses import asdict
from html import escape
from typing import TYPE_CHECKING, Any

from tests.bench.figures import FIGURES, Spread, spreads
from tests.bench.turns import ANSWERING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tests.bench.figures import Measured

_COLUMNS = (
    ("throughput_rps", "req/s", 0),
    ("cpu_ms", "CPU ms/req", 2),
    ("p50_ms", "p50 ms", 1),
    ("p99_ms", "p99 ms", 1),
    ("single_p50_ms", "alone p50", 2),
    ("resident_mb", "MB", 0),
    ("overlap", "overlap", 2),
    ("generator_cpu_ms", "generator CPU ms", 3),
    ("other_cores", "other work, cores", 2),
)
_LABELS = {"raw": "RAW, in process"} | {contender.name: contender.label for contender in ANSWERING}


def print_report(repetitions: Sequence[Measured], about: Mapping[str, Any], *, figures: bool) -> None:
    """Prints all that was measured, and the figures if they are wanted."""
    measured = spreads(repetitions)
    names = dict.fromkeys(name.rpartition(".")[0] for name in measured if name.endswith(".throughput_rps"))
    print(f"{about['bundle']}; {about['cores']} cores, {about['cpu']}; concurrency {about['concurrency']}")
    print(f"medians of {about['repetitions']} (least to most)\n")
    width = max(28, *(len(_LABELS.get(name, name)) for name in names))
    print(f"{'':<{width}}" + "".join(f"{title:>20}" for _, title, _ in _COLUMNS))
    for name in names:
        cells = [_cell(measured.get(f"{name}.{quantity}"), digits) for quantity, _, digits in _COLUMNS]
        print(f"{_LABELS.get(name, name):<{width}}" + "".join(f"{cell:>20}" for cell in cells))
    others = [name for name in measured if name.rpartition(".")[0] not in names]
    if others:
        print()
    for name in others:
        print(f"{name:<40}{_cell(measured[name], 3):>28}")
    if figures:
        print(f"\n{'figure':<52}{'value':>24}{'goal':>8}{'floor':>8}")
        for row in _figures(repetitions):
            bounds = f"{row['bound']:>3}{_bound(row['goal']):>5}{_bound(row['floor']):>8}"
            print(f"{row['name']:<52}{row['shown']:>24}{bounds}  {row['verdict']}")
    for name, tuning in about["tunings"].items():
        print(f"{name}: {tuning}")
    for note in about["notes"]:
        print(f"note: {note}")


def write_json(path: Path, repetitions: Sequence[Measured], about: Mapping[str, Any]) -> None:
    """Writes every number."""
    report = {
        "about": dict(about),
        "figures": [{key: value for key, value in row.items() if key != "shown"} for row in _figures(repetitions)],
        "measured": {name: asdict(spread) for name, spread in spreads(repetitions).items()},
        "repetitions": list(repetitions),
    }
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def write_html(path: Path, repetitions: Sequence[Measured], about: Mapping[str, Any]) -> None:
    """Writes one page that needs nothing else."""
    measured = spreads(repetitions)
    rows = "".join(
        f"<tr><td>{escape(row['name'])}</td><td>{row['shown']}</td><td>{row['bound']} {_bound(row['goal'])}</td>"
        f"<td>{_bound(row['floor'])}</td><td class='{row['verdict'].name}'>{row['verdict']}</td></tr>"
        for row in _figures(repetitions)
    )
    about_line = (
        f"{about['cores']} cores, {about['cpu']}; {about['concurrency']} requests in flight; medians of "
        f"{about['repetitions']} repetitions, the thin line from the least to the most."
    )
    page = _PAGE.format(
        about=escape(about_line),
        throughput=_bars(measured, "throughput_rps", 0),
        cpu=_bars(measured, "cpu_ms", 2),
        rows=rows,
    )
    path.write_text(page, encoding="utf-8")


def _figures(repetitions: Sequence[Measured]) -> list[dict[str, Any]]:
    rows = []
    for figure in FIGURES:
        spread = figure.spread(repetitions)
        digits = 0 if figure.goal is not None and figure.goal >= 10 else 3
        rows.append(
            {
                "name": figure.name,
                "goal": figure.goal,
                "floor": figure.floor,
                "bound": "" if figure.goal is None else ">=" if figure.higher_is_better else "<=",
                "value": None if spread is None else asdict(spread),
                "shown": _cell(spread, digits),
                "verdict": figure.verdict(spread),
            }
        )
    return rows


def _bound(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"


def _cell(spread: Spread | None, digits: int) -> str:
    if spread is None:
        return "-"
    median, least, most = (f"{value:,.{digits}f}" for value in (spread.median, spread.least, spread.most))
    return median if least == most else f"{median} ({least}-{most})"


def _bars(measured: Mapping[str, Spread], quantity: str, digits: int) -> str:
    """Horizontal bars of the medians, with a line from the least to the most."""
    chosen = [(label, measured[key]) for name, label in _LABELS.items() if (key := f"{name}.{quantity}") in measured]
    if not chosen:
        return "<p>not measured</p>"
    left, length, height = 250, 420, 30
    scale = length / max(spread.most for _, spread in chosen)
    parts = []
    for number, (label, spread) in enumerate(chosen):
        top, middle = number * height + 5, number * height + height / 2
        parts.append(
            f'<text x="{left - 10}" y="{middle + 5}" text-anchor="end">{escape(label)}</text>'
            f'<rect x="{left}" y="{top}" width="{spread.median * scale:.1f}" height="{height - 10}"/>'
            f'<line x1="{left + spread.least * scale:.1f}" x2="{left + spread.most * scale:.1f}" y1="{middle}" '
            f'y2="{middle}"/><text x="{left + spread.most * scale + 8:.1f}" y="{middle + 5}">'
            f"{spread.median:,.{digits}f}</text>"
        )
    width = left + length + 80
    return f'<svg viewBox="0 0 {width} {len(chosen) * height}" width="{width}">{"".join(parts)}</svg>'


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Tanager: comparison</title><style>
:root {{ color-scheme: light dark }}
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }}
svg {{ max-width: 100%; height: auto }} svg text {{ fill: currentColor; font-size: 13px }}
rect {{ fill: #4682b4 }} line {{ stroke: currentColor; stroke-width: 1.5 }}
table {{ border-collapse: collapse }} td, th {{ padding: .2rem .8rem .2rem 0; text-align: left }}
.PASS {{ color: #2e8b57 }} .UNDER_GOAL {{ color: #b8860b }} .UNDER_FLOOR {{ color: #c0392b; font-weight: bold }}
</style></head><body>
<h1>Text to ten items: who does how much</h1><p>{about}</p>
<h2>Throughput, requests a second</h2>{throughput}
<h2>CPU of the server, milliseconds a request</h2>{cpu}
<h2>Figures</h2>
<table><tr><th>figure</th><th>median (least-most)</th><th>goal</th><th>floor</th><th></th></tr>{rows}</table>
</body></html>
"""
