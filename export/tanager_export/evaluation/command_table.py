"""The figures of an evaluation as text for a terminal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tanager_export.evaluation.experiment.result import METRIC, METRICS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tanager_export.evaluation.bootstrap import Interval
    from tanager_export.evaluation.experiment.result import ColdItems, ColdUsers, Result, Served, Table


def tables(result: Result) -> str:
    """All of them."""
    head = [
        f"{result.dataset}: {result.items:,} items, {result.interactions:,} interactions",
        f"encoder: {result.model}",
        f"seeds {', '.join(map(str, result.seeds))}; {result.trials} trials for each baseline; intervals are of 95 %",
    ]
    blocks = ["\n".join(head)]
    for table in result.tables:
        blocks += _of_table(table)
    if result.cold_users is not None:
        blocks.append(_cold_users(result.cold_users))
    if result.cold_items is not None:
        blocks.append(_cold_items(result.cold_items))
    blocks += [f"note: {notice}" for notice in result.notices]
    blocks += [f"INCOMPLETE: {what}" for what in result.incomplete]
    return "\n\n".join(blocks)


def figure(value: float) -> str:
    """A figure with the digits that matter; a dash where there is none."""
    if not math.isfinite(value):
        return "–"
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.2f}"


def interval(found: Interval | None) -> str:
    """A figure and where it may lie."""
    return "–" if found is None else f"{figure(found.value)} [{figure(found.low)}, {figure(found.high)}]"


def gain(found: Interval | None) -> str:
    """A ratio as what it is more than 1, in per cent."""
    if found is None or not math.isfinite(found.value):
        return "–"
    return f"{found.value - 1:+.1%} [{found.low - 1:+.1%}, {found.high - 1:+.1%}]"


def percent(found: Interval) -> str:
    """A share, in per cent."""
    return f"{found.value:.2%} [{found.low:.2%}, {found.high:.2%}]" if math.isfinite(found.value) else "–"


def unknown(popular: str) -> str:
    """What baselines do about users of whom they know nothing."""
    return f"Users of whom a baseline knows nothing get {popular} from it."


def _finite(value: float, form: str) -> str:
    return format(value, form) if math.isfinite(value) else "–"


def _of_table(table: Table) -> list[str]:
    heads = ["method", METRICS[METRIC], "tanager over it", *list(METRICS.values())[1:]]
    rows = []
    for row in table.rows:
        if row.missing:
            rows.append([row.method, "missing: " + row.missing])
        else:
            first, *others = (figure(row.metrics[name]) for name in METRICS)
            rows.append([row.method, first, gain(row.ratio), *others])
    title = f"{table.protocol}: {table.cases:,} cases, {table.targets:,} targets; {table.train:,} events to learn from"
    slices = ["N@10 by slice", *(f"{name} ({cases:,})" for name, (cases, _) in table.slices.items())]
    by_slice = [
        [row.method, *(interval(row.slices.get(name)) for name in table.slices)]
        for row in table.rows
        if not row.missing
    ]
    below = f"\n{unknown(table.popular)}" if table.popular else ""
    blocks = [f"{title}\n{_aligned(heads, rows)}{below}", _aligned(slices, by_slice)]
    if table.curve:
        names = {"category_diversity": "ILD categories", "ease_diversity": "ILD EASE"}
        heads = ["diversity", "N@10", *names.values(), "coverage"]
        lines = [
            [
                f"{point.kind} {point.value:g}{' (chosen on validation)' if point.chosen else ''}",
                gain(point.ratio),
                *(gain(point.diversity.get(name)) for name in names),
                f"x{point.coverage:.3f}",
            ]
            for point in table.curve
        ]
        blocks.append(_aligned(heads, lines))
    if table.served is not None:
        blocks.append(_served(table.served))
    return blocks


def _served(served: Served) -> str:
    lines = [
        f"served by {served.address} ({served.model}, bundle {served.bundle_id[:12]}), {served.cases:,} cases",
        f"  N@10 exact  {interval(served.exact)}",
        f"  N@10 served {interval(served.served)}",
        f"  loss        {percent(served.loss)}",
        f"  of the exact first ten {served.overlap:.1%} were answered",
        *(f"  warning: {text}" for text in served.warnings),
    ]
    return "\n".join(lines)


def _cold_users(found: ColdUsers) -> str:
    methods = list(next(iter(found.ndcg.values())))
    heads = [f"cold users ({found.users:,}), N@10", *methods, *(f"tanager over {name}" for name in methods[1:])]
    rows = [
        [shown, *(interval(by[name]) for name in methods), *(gain(found.ratios[shown][name]) for name in methods[1:])]
        for shown, by in found.ndcg.items()
    ]
    return f"{_aligned(heads, rows)}\n{unknown(found.popular)}"


def _cold_items(found: ColdItems) -> str:
    heads = [f"cold items ({found.hidden:,} hidden, {found.cases:,} cases)", "", "tanager over it", "seed by seed"]
    return _aligned(heads, cold_item_rows(found))


def cold_item_rows(found: ColdItems) -> list[tuple[str, str, str, str]]:
    """What was measured, the figure, Tanager's ratio to it, and that or the figure seed by seed."""
    rows = [
        (
            f"R@20 among cold items, {name}",
            interval(value),
            gain(found.ratios.get(name)),
            ", ".join(_finite(ratio - 1, "+.1%") for ratio in found.ratios_by_seed.get(name, ())),
        )
        for name, value in found.among_cold.items()
    ]
    return [
        *rows,
        ("R@20 of cold items among all", interval(found.among_all), "", ""),
        ("R@20 of warm items among all", interval(found.warm), "", ""),
        (
            "cold as a share of warm",
            percent(found.share),
            "",
            ", ".join(_finite(one, ".1%") for one in found.share_by_seed),
        ),
        ("N@10 that warm items lose to cold ones", percent(found.warm_loss), "", ""),
        ("N@10 of all uptakes, cold items ranked too", gain(found.together), "", ""),
    ]


def _aligned(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns as wide as their widest cell; a row with fewer cells, such as a remark, widens none but its first."""
    body = list(rows)
    full = [row for row in (heads, *body) if len(row) == len(heads)]
    widths = [max(len(row[at]) for row in full) for at in range(len(heads))]
    widths[0] = max(len(row[0]) for row in (heads, *body))
    lines = []
    for row in (heads, *body):
        cells = [
            row[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=False)),
        ]
        if len(row) != len(heads):
            cells = [row[0].ljust(widths[0]), *row[1:]]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
