"""The charts of a report, each a function of what it shows and of its size."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tanager.load.plot import Plot, Tick, labelled, ticks
from tanager_export.evaluation.command_table import figure, gain, interval
from tanager_export.evaluation.experiment.result import METRIC, TANAGER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tanager_export.evaluation.bootstrap import Interval
    from tanager_export.evaluation.experiment.encoder import Epoch
    from tanager_export.evaluation.experiment.result import DiversityPoint, Row, Table

STYLES = ("first", "second", "third", "fourth")
DRAWN_LOSS = 0.1
"""Of N@10, beyond which lists chosen for diversity are not drawn."""
_ROW = 28.0  # units of height of a row of a chart with names on its left axis
_FRAME = 76.0  # what such a chart needs beside its rows
_SPREAD = 0.16  # between the series of a row


def best_of(table: Table) -> list[Row]:
    """Tanager, the best baseline, and those that everybody knows: as many as there are styles."""
    rows = {row.method: row for row in table.rows if not row.missing}
    others = sorted((row for row in rows.values() if row.is_baseline), key=lambda row: -row.metrics[METRIC])
    names = [TANAGER, *(row.method for row in others[:1]), "ease", "popularity", *(row.method for row in others[1:])]
    return [rows[name] for name in dict.fromkeys(names) if name in rows][: len(STYLES)]


def by_slice(table: Table, width: float, height: float) -> str:
    """N@10 of some methods in each slice, with intervals."""
    shown = best_of(table)
    names = [name for name in table.slices if any(_known(row.slices.get(name)) for row in shown)]
    most = max((row.slices[name].high for row in shown for name in names if _known(row.slices.get(name))), default=1.0)
    plot, drawn = _rows([words(name) for name in names], width, height, ticks(most), x_label="N@10", alt="By slice")
    places = dict(zip(names, drawn.values(), strict=True))
    for name in names:
        for number, row in enumerate(shown):
            found = row.slices.get(name)
            if found is None or not _known(found):
                continue
            y = places[name] + _SPREAD * ((len(shown) - 1) / 2 - number)
            _whisker(plot, found, y, STYLES[number])
            plot.mark(found.value, words(name), [(STYLES[number], row.method, interval(found), y)])
    return plot.svg()


def gains(table: Table, width: float, height: float) -> str:
    """How much better Tanager is than each baseline, with intervals."""
    rows = [row for row in table.rows if row.ratio is not None and _known(row.ratio)]
    rows.sort(key=lambda row: row.ratio.value if row.ratio else 0.0)
    # What is beaten many times over would press all the others onto the axis.
    ceiling = max(1.0, 3 * min((row.ratio.value - 1 for row in rows if row.ratio), default=1.0))
    highs = [min(row.ratio.high - 1, ceiling) for row in rows if row.ratio]
    lows = [row.ratio.low - 1 for row in rows if row.ratio]
    levels = ticks(max([*highs, 0.05]), least=min([*lows, 0.0]))
    plot, places = _rows(
        [row.method for row in rows], width, height, levels, x_label="Tanager's N@10 over it", alt="Gains", percent=True
    )
    plot.line([(0.0, plot.y.least), (0.0, plot.y.most)], "grey")
    for row in rows:
        if row.ratio is None:
            continue
        style = "good" if row.ratio.low > 1 else "bad" if row.ratio.high < 1 else "second"
        y = places[row.method]
        value, low, high = (
            max(levels[0], min(v - 1, levels[-1])) for v in (row.ratio.value, row.ratio.low, row.ratio.high)
        )
        plot.line([(low, y), (high, y)], style)
        plot.dot(value, y, style)
        plot.mark(value, row.method, [(style, "Tanager over it", gain(row.ratio), y)])
    return plot.svg()


def trials(table: Table, width: float, height: float) -> str:
    """What each trial of tuning reached on validation."""
    rows = [row for row in table.rows if row.trials]
    most = max(score for row in rows for score in row.trials)
    plot, places = _rows(
        [row.method for row in rows], width, height, ticks(most), x_label="N@10 on validation", alt="Trials of tuning"
    )
    for row in rows:
        y = places[row.method]
        for score in row.trials:
            plot.dot(score, y, "grey")
        if row.validation is not None:
            plot.dot(row.validation, y, "first")
            chosen = ", ".join(f"{name} {value}" for name, value in row.parameters.items())
            lines = [
                ("first", "best", figure(row.validation), y),
                ("grey", "trials", f"{len(row.trials)} of {row.grid:,} combinations", None),
                ("grey", "chosen", chosen[:90] or "nothing to tune", None),
            ]
            plot.mark(row.validation, row.method, lines)
    return plot.svg()


def diversity(points: Sequence[DiversityPoint], measure: str, width: float, height: float) -> str:
    """N@10 kept over the gain in diversity."""
    shown = plottable(points, measure)
    xs = [point.diversity[measure].value - 1 for point in shown]
    ys = [point.ratio.value - 1 for point in shown]
    x_levels, y_levels = ticks(max([*xs, 0.05]), least=min([*xs, 0.0])), ticks(max([*ys, 0.0]), least=min([*ys, -0.05]))
    plot = Plot(
        width,
        height,
        x_ticks=labelled(x_levels, _percent),
        y_ticks=labelled(y_levels, _percent),
        x_range=(x_levels[0], x_levels[-1]),
        y_range=(y_levels[0], y_levels[-1]),
        x_label="intra-list diversity",
        y_label="N@10",
        alt="Accuracy against diversity",
    )
    for kind, style, setting in of_diversity(points):
        own = [point for point in shown if point.kind == kind]
        plot.line([(point.diversity[measure].value - 1, point.ratio.value - 1) for point in own], style)
        for point in own:
            x, y = point.diversity[measure].value - 1, point.ratio.value - 1
            plot.dot(x, y, style)
            lines = [
                (style, "N@10", gain(point.ratio), y),
                ("grey", "diversity", gain(point.diversity[measure]), None),
                ("grey", "coverage", f"x{point.coverage:.3f}", None),
            ]
            title = f"{setting} {point.value:g}{', chosen on validation' if point.chosen else ''}"
            plot.mark(x, title, lines)
    return plot.svg()


def of_diversity(points: Sequence[DiversityPoint]) -> list[tuple[str, str, str]]:
    """The kinds of points that there are, with the style of each and what its value is."""
    kinds = dict.fromkeys(point.kind for point in points)
    return [(kind, style, "lambda" if kind.startswith("mmr") else "at most")
            for kind, style in zip(kinds, STYLES, strict=False)]  # fmt: skip


def plottable(points: Sequence[DiversityPoint], measure: str) -> list[DiversityPoint]:
    """Those that are worth drawing: far losses would press the others onto the axis.

    Without a ratio are lists where those as they are have no diversity, or no hits, at all.
    """
    return [
        point
        for point in points
        if measure in point.diversity
        and math.isfinite(point.diversity[measure].value)
        and 1 - DRAWN_LOSS <= point.ratio.value < math.inf
    ]


def learning(epochs: Sequence[Epoch], what: str, style: str, width: float, height: float) -> str:
    """Loss or validation by epoch."""
    found = [(epoch.epoch, epoch.loss if what == "loss" else epoch.validation) for epoch in epochs]
    values = [value for _, value in found if value is not None]
    # A loss far from 0 has its changes where they can be seen.
    least = min(values) - 0.1 * ((max(values) - min(values)) or 1.0)
    levels = ticks(max(values), least=max(0.0, least))
    xs = ticks(max(epoch for epoch, _ in found) or 1, whole=True)
    plot = Plot(
        width,
        height,
        x_ticks=labelled(xs),
        y_ticks=labelled(levels),
        x_range=(0, xs[-1]),
        y_range=(levels[0], levels[-1]),
        x_label="epoch",
        y_label=what,
        alt=f"{what} by epoch",
    )
    plot.line([(float(epoch), value) for epoch, value in found], style)
    for epoch, value in found:
        if value is not None:
            plot.dot(epoch, value, style)
            plot.mark(epoch, f"epoch {epoch}", [(style, what, figure(value), value)])
    return plot.svg()


def compression(rows: Sequence[dict[str, object]], x: str, y: str, name: str, width: float, height: float) -> str:
    """One figure of each variant over another."""
    points = [(float(a), float(b), str(row.get(name, ""))) for row in rows for a, b in [(row.get(x), row.get(y))]
              if isinstance(a, int | float) and isinstance(b, int | float)]  # fmt: skip
    x_levels = ticks(max(point[0] for point in points))
    ys = [point[1] for point in points]
    y_levels = ticks(max(ys), least=min(ys) - 0.05 * (max(ys) - min(ys)))
    plot = Plot(
        width,
        height,
        x_ticks=labelled(x_levels),
        y_ticks=labelled(y_levels),
        x_range=(0, x_levels[-1]),
        y_range=(y_levels[0], y_levels[-1]),
        x_label=x.replace("_", " "),
        y_label=y.replace("_", " "),
        alt="Compression",
    )
    for a, b, label in points:
        plot.dot(a, b, "first")
        plot.mark(a, label, [("first", y, figure(b), b), ("grey", x, f"{a:,.1f}", None)])
    return plot.svg()


def words(name: str) -> str:
    """The name of a slice or of what was shown, for people."""
    ranges = {"history_1_4": "history 1 to 4", "history_5_9": "history 5 to 9", "history_10": "history 10 or more"}
    return ranges.get(name, name.replace("_", " "))


def heights(rows: int) -> dict[str, tuple[float, float]]:
    """Sizes of a chart with so many rows, for the widths of a card."""
    height = _FRAME + _ROW * max(rows, 2)
    return {"narrow": (340.0, height), "medium": (540.0, height), "broad": (860.0, height), "full": (1100.0, height)}


def _rows(
    names: Sequence[str],
    width: float,
    height: float,
    levels: Sequence[float],
    *,
    x_label: str,
    alt: str,
    percent: bool = False,
) -> tuple[Plot, dict[str, float]]:
    """A chart with names on its left axis, from the top down; and where each lies."""
    places = {name: float(len(names) - number) for number, name in enumerate(names)}
    plot = Plot(
        width,
        height,
        x_ticks=labelled(levels, _percent) if percent else labelled(levels),
        y_ticks=[Tick(place, name) for name, place in places.items()],
        x_range=(levels[0], levels[-1]),
        y_range=(0.4, len(names) + 0.6),
        x_label=x_label,
        y_label="",
        alt=alt,
    )
    return plot, places


def _whisker(plot: Plot, found: Interval, y: float, style: str) -> None:
    plot.line([(found.low, y), (found.high, y)], style)
    plot.dot(found.value, y, style)


def _known(found: Interval | None) -> bool:
    return found is not None and all(map(math.isfinite, (found.value, found.low, found.high)))


def _percent(value: float) -> str:
    return f"{value:+.0%}" if abs(value * 100 - round(value * 100)) < 1e-6 else f"{value:+.1%}"
