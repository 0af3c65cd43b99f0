"""Draws plots as SVG: scales, axes, lines, bars, and what a pointer over them shows."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_TOP, _BOTTOM, _RIGHT = 26.0, 30.0, 14.0
_CHARACTER_WIDTH = 7.0
_TICK_LENGTH = 5.0


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps values to a coordinate, linearly or by their logarithm."""

    least: float
    most: float
    begin: float
    end: float
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        """The coordinate of a value."""
        least, most = self.least, self.most
        if self.logarithmic:
            least, most, value = math.log(least), math.log(most), math.log(max(value, self.least))
        share = (value - least) / (most - least) if most > least else 0.5
        return self.begin + share * (self.end - self.begin)


@dataclass(frozen=True, slots=True)
class Tick:
    """A marked place of an axis."""

    value: float
    label: str


@dataclass(slots=True)
class Mark:
    """What a pointer shows at one place: where, what it is called, and a line for each series."""

    x: float
    title: str
    rows: list[tuple[str, str, str]] = field(default_factory=list)
    ys: list[tuple[str, float]] = field(default_factory=list)


class Plot:
    """One drawing, to which series are added.

    Args:
        width: In units of the drawing, about a pixel each.
        height: The same.
        x_ticks: Of the lower axis.
        y_ticks: Of the left axis.
        x_range: Least and most value of the lower axis.
        y_range: The same of the left axis.
        x_label: What the lower axis counts, with its unit.
        y_label: What the left axis counts, with its unit.
        x_logarithmic: Whether the lower axis is.
        alt: What the drawing shows, for those who cannot see it.
    """

    def __init__(
        self,
        width: float,
        height: float,
        *,
        x_ticks: Sequence[Tick],
        y_ticks: Sequence[Tick],
        x_range: tuple[float, float],
        y_range: tuple[float, float],
        x_label: str,
        y_label: str,
        alt: str,
        x_logarithmic: bool = False,
    ) -> None:
        self._width, self._height, self._alt = width, height, alt
        left = 12 + _CHARACTER_WIDTH * max((len(tick.label) for tick in y_ticks), default=1)
        self.x = Scale(*x_range, left, width - _RIGHT, logarithmic=x_logarithmic)
        self.y = Scale(*y_range, height - _BOTTOM - 16, _TOP)
        self._marks: list[Mark] = []
        self._parts: list[str] = []
        self._axes(x_ticks, y_ticks, x_label, y_label)

    def line(self, points: Sequence[tuple[float, float | None]], style: str, *, area: bool = False) -> None:
        """Joins points; where one has no value the line breaks, and a point alone becomes a dot."""
        for run in _runs(points):
            at = [f"{_n(self.x(x))},{_n(self.y(y))}" for x, y in run]
            if len(at) == 1:
                cx, cy = at[0].split(",")
                self._parts.append(f'<circle class="{style} dot" cx="{cx}" cy="{cy}" r="3"/>')
                continue
            if area:
                floor = _n(self.y.begin)
                first, last = _n(self.x(run[0][0])), _n(self.x(run[-1][0]))
                self._parts.append(f'<path class="{style} area" d="M{first},{floor}L{"L".join(at)}L{last},{floor}Z"/>')
            self._parts.append(f'<path class="{style} line" d="M{"L".join(at)}"/>')

    def level(self, value: float, style: str) -> None:
        """A line across at one value of the left axis."""
        y = _n(self.y(value))
        self._parts.append(f'<path class="{style} line level" d="M{_n(self.x.begin)},{y}H{_n(self.x.end)}"/>')

    def bar(self, x0: float, x1: float, y0: float, y1: float, style: str) -> None:
        """A bar between values of both axes."""
        left, right = self.x(x0), self.x(x1)
        gap = min(1.0, (right - left) * 0.15)
        top = self.y(y1)
        self._parts.append(
            f'<rect class="{style} bar" x="{_n(left + gap / 2)}" y="{_n(top)}" '
            f'width="{_n(max(0.5, right - left - gap))}" height="{_n(self.y(y0) - top)}"/>'
        )

    def dot(self, x: float, y: float, style: str) -> None:
        """A point alone."""
        self._parts.append(f'<circle class="{style} dot" cx="{_n(self.x(x))}" cy="{_n(self.y(y))}" r="4"/>')

    def mark(self, x: float, title: str, rows: Sequence[tuple[str, str, str, float | None]]) -> None:
        """Says what a pointer near a value of the lower axis shows.

        Args:
            x: The value.
            title: What stands there.
            rows: Style, name, text and, for a dot, the value on the left axis, of each series.
        """
        mark = Mark(self.x(x), title)
        for style, name, text, y in rows:
            mark.rows.append((style, name, text))
            if y is not None:
                mark.ys.append((style, self.y(y)))
        self._marks.append(mark)

    def svg(self) -> str:
        """The drawing."""
        marks = [
            [round(m.x, 1), m.title, m.rows, [(style, round(y, 1)) for style, y in m.ys]]
            for m in sorted(self._marks, key=lambda m: m.x)
        ]
        hover = escape(json.dumps(marks, separators=(",", ":")), quote=True)
        return (
            f'<svg viewBox="0 0 {_n(self._width)} {_n(self._height)}" role="img" aria-label="{escape(self._alt)}" '
            f'data-top="{_n(self.y.end)}" data-bottom="{_n(self.y.begin)}" data-marks="{hover}">{"".join(self._parts)}'
            '<g class="pointer"></g></svg>'
        )

    def _axes(self, x_ticks: Sequence[Tick], y_ticks: Sequence[Tick], x_label: str, y_label: str) -> None:
        left, right, floor = self.x.begin, self.x.end, self.y.begin
        for tick in y_ticks:
            y = self.y(tick.value)
            self._parts.append(
                f'<path class="grid" d="M{_n(left)},{_n(y)}H{_n(right)}"/>'
                f'<text class="tick" x="{_n(left - 7)}" y="{_n(y + 4)}" text-anchor="end">{escape(tick.label)}</text>'
            )
        self._parts.append(f'<path class="axis" d="M{_n(left)},{_n(floor)}H{_n(right)}"/>')
        for tick, at in self._with_room(x_ticks):
            self._parts.append(
                f'<path class="axis" d="M{_n(self.x(tick.value))},{_n(floor)}v{_n(_TICK_LENGTH)}"/>'
                f'<text class="tick" x="{_n(at)}" y="{_n(floor + 18)}" text-anchor="middle">{escape(tick.label)}</text>'
            )
        self._parts.append(
            f'<text class="unit" x="2" y="12">{escape(y_label)}</text>'
            f'<text class="unit" x="{_n(right)}" y="{_n(floor + 36)}" text-anchor="end">{escape(x_label)}</text>'
        )

    def _with_room(self, ticks: Sequence[Tick]) -> list[tuple[Tick, float]]:
        """The ticks whose labels do not run into each other, and where those go: the last one matters most."""
        shown: list[tuple[Tick, float]] = []
        limit = math.inf
        for tick in reversed(ticks):
            half = _CHARACTER_WIDTH * len(tick.label) / 2
            # A label at the edge of the drawing leans inwards.
            at = min(max(self.x(tick.value), half + 1), self._width - half - 1)
            if at + half <= limit:
                shown.append((tick, at))
                limit = at - half - 6
        return shown[::-1]


def ticks(most: float, *, count: int = 5, least: float = 0.0, whole: bool = False) -> list[float]:
    """Round values from `least` (or below) to `most` or a little above: multiples of 1, 2 or 5 times a power of ten."""
    span = most - least
    if span <= 0:
        span = abs(most) or 1.0
    raw = span / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))
    if whole:
        step = max(1.0, step)
    first = math.floor(least / step + 1e-9)
    last = math.ceil((least + span) / step - 1e-9)
    return [number * step for number in range(first, last + 1)]


def logarithmic_ticks(least: float, most: float) -> list[float]:
    """1, 2 and 5 times powers of ten within bounds; the powers alone where there are many."""
    exponents = range(math.floor(math.log10(least)), math.ceil(math.log10(most)) + 1)
    factors = (1, 2, 5) if len(exponents) <= 4 else (1,)
    values = [factor * 10.0**exponent for exponent in exponents for factor in factors]
    return [value for value in values if least * (1 - 1e-9) <= value <= most * (1 + 1e-9)]


def labelled(values: Sequence[float], text: Callable[[float], str] | None = None) -> list[Tick]:
    """Ticks at values, written with as many decimals as tell them apart."""
    if text is not None:
        return [Tick(value, text(value)) for value in values]
    step = min((b - a for a, b in itertools.pairwise(values)), default=1.0)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9)) if step > 0 else 0
    return [Tick(value, f"{value:,.{decimals}f}") for value in values]


def _runs(points: Sequence[tuple[float, float | None]]) -> list[list[tuple[float, float]]]:
    runs: list[list[tuple[float, float]]] = [[]]
    for x, y in points:
        if y is None:
            runs.append([])
        else:
            runs[-1].append((x, y))
    return [run for run in runs if run]


def _n(value: float) -> str:
    """A coordinate, no longer than needed."""
    return f"{value:.1f}".removesuffix(".0")
