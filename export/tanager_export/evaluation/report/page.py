"""One HTML page of an evaluation: charts and tables, with nothing to fetch from anywhere."""

from __future__ import annotations

import datetime as dt
from html import escape
from typing import TYPE_CHECKING

from tanager.load.page import SIZES, frame, tile
from tanager_export.evaluation.command_table import cold_item_rows, figure, gain, interval, percent, unknown
from tanager_export.evaluation.experiment.result import METRIC, METRICS, TANAGER
from tanager_export.evaluation.report import charts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from tanager_export.evaluation.experiment.result import ColdItems, ColdUsers, Result, Served, Table

_DIVERSITY = {"category_diversity": "categories", "ease_diversity": "EASE space"}
_CHOSEN_BY = {
    "mmr": "maximal marginal relevance, by lambda",
    "category cap": "so many of a category at most",
    "interests": "so many interests at most",
    "mmr, 3 interests": "up to 3 interests, by lambda",
}
_SPEED, _LOSS = ("texts_per_s", "texts_s", "texts/s", "speed"), ("loss", "ndcg_loss", "hybrid_loss", "relative_loss")


def page(result: Result, *, made_at: dt.datetime | None = None) -> str:
    """The page.

    Args:
        result: what was found.
        made_at: when the page was made; now if not given.
    """
    made_at = made_at or dt.datetime.now(dt.UTC)
    cards: list[str] = []
    for table in result.tables:
        cards += _table_cards(table)
    if result.cold_users is not None:
        cards.append(_cold_users(result.cold_users))
    if result.cold_items is not None:
        cards.append(_cold_items(result.cold_items))
    cards += _learning(result) + _compression(result.compression)
    cards += [*map(_tuning, result.tables), _settings(result)]
    return frame(
        f"Evaluation on {result.dataset}",
        lead=f"{result.items:,} items, {result.interactions:,} interactions. Items read by {result.model}.",
        tiles=_tiles(result),
        notes=(*(f"Incomplete: {what}" for what in result.incomplete), *result.notices),
        cards=cards,
        footer=f"Made by tanager-export evaluate on {made_at:%Y-%m-%d at %H:%M} UTC. The full catalogue is ranked, "
        "without what a user has seen; ties count against whoever has them. Intervals are of 95 %, by the paired "
        "bootstrap over users.",
    )


def _tiles(result: Result) -> str:
    tiles = []
    for table in result.tables:
        ours = table.rows[0]
        tiles.append(tile(f"N@10, {table.protocol}", figure(ours.metrics[METRIC]), f"{table.cases:,} cases"))
        known = [row for row in table.rows if row.is_baseline and not row.missing]
        if known:
            best = max(known, key=lambda row: row.metrics[METRIC])
            if best.ratio is not None:
                value, worse = f"{best.ratio.value - 1:+.1%}", best.ratio.high < 1
                between = f"{best.ratio.low - 1:+.1%} to {best.ratio.high - 1:+.1%}"
                tiles.append(tile(f"over {best.method}, the best baseline", value, between, bad=worse))
        if table.served is not None:
            loss = table.served.loss
            tiles.append(tile("lost in serving", f"{loss.value:.2%}", percent(loss), bad=loss.value > 0.01))
    if result.cold_items is not None:
        found = result.cold_items
        tiles.append(tile("R@20 among cold items", figure(found.among_cold[TANAGER].value), f"{found.cases:,} cases"))
    if result.cold_users is not None:
        first = next(iter(result.cold_users.ratios.values())).get("popularity")
        if first is not None:
            tiles.append(tile("cold users over popularity", f"{first.value - 1:+.1%}", "of whom nothing is known"))
    return "".join(tiles)


def _table_cards(table: Table) -> list[str]:
    caption = f"{table.cases:,} cases, {table.targets:,} targets; {table.train:,} events to learn from. "
    caption += unknown(table.popular) if table.popular else ""
    rows: list[tuple[str, ...]] = [("method", METRICS[METRIC], "Tanager over it", *list(METRICS.values())[1:])]
    missing = []
    for row in table.rows:
        if row.missing:
            missing.append(f"{row.method} is missing: {row.missing}")
        else:
            first, *others = (figure(row.metrics[name]) for name in METRICS)
            rows.append((row.method, first, gain(row.ratio), *others))
    below = "".join(f'<p class="caption">{escape(text)}</p>' for text in missing)
    cards = [_words(f"All methods, {table.protocol}", caption, _html_table(rows) + below)]
    shown = charts.best_of(table)
    keys = [(style, row.method) for style, row in zip(charts.STYLES, shown, strict=False)]
    cards.append(
        _card(
            f"Accuracy by slice, {table.protocol}",
            "N@10 and where it may lie.",
            keys,
            lambda width, height: charts.by_slice(table, width, height),
            sizes=charts.heights(round(1.6 * len(table.slices))),
            below=_scroll(
                _html_table(
                    [
                        ("N@10", *(f"{charts.words(name)} ({cases:,})" for name, (cases, _) in table.slices.items())),
                        *(
                            (row.method, *(interval(row.slices.get(name)) for name in table.slices))
                            for row in table.rows
                            if not row.missing
                        ),
                    ]
                )
            ),
        )
    )
    baselines = [row for row in table.rows if row.ratio is not None]
    if baselines:
        cards.append(
            _card(
                f"Tanager over each baseline, {table.protocol}",
                "Ratio of N@10; what is far beyond is drawn at the edge.",
                [("good", "surely better"), ("second", "not sure"), ("bad", "surely worse")],
                lambda width, height: charts.gains(table, width, height),
                sizes=charts.heights(len(baselines)),
            )
        )
    cards += [_diversity(table, measure) for measure in _DIVERSITY if charts.plottable(table.curve, measure)]
    if table.served is not None:
        cards.append(_served(table.served))
    return cards


def _diversity(table: Table, measure: str) -> str:
    best = ", ".join(f"{point.kind} {point.value:g}" for point in table.curve if point.chosen)
    return _card(
        f"Accuracy against diversity in {_DIVERSITY[measure]}, {table.protocol}",
        "Lists chosen from the exact scores as the server chooses them, against the lists as they are. What maximal "
        "marginal relevance keeps down is likeness of categories; of EASE space it does not know. "
        f"What loses more than {charts.DRAWN_LOSS:.0%} is not drawn."
        + (f" On validation, within 1 % of N@10: {best}." if best else ""),
        [(style, _CHOSEN_BY.get(kind, kind)) for kind, style, _ in charts.of_diversity(table.curve)],
        lambda width, height: charts.diversity(table.curve, measure, width, height),
        sizes=SIZES,
    )


def _tuning(table: Table) -> str:
    rows = [row for row in table.rows if row.trials]
    if not rows:
        return ""
    cells: list[tuple[str, ...]] = [("method", "trials", "combinations", "validation", "test", "seconds", "chosen")]
    for row in rows:
        chosen = ", ".join(f"{name} {value}" for name, value in row.parameters.items()) or "nothing to tune"
        test, best = figure(row.metrics[METRIC]), "–" if row.validation is None else figure(row.validation)
        cells.append((row.method, f"{len(row.trials)}", f"{row.grid:,}", best, test, f"{row.seconds:,.0f}", chosen))
    return _card(
        f"Tuning of the baselines, {table.protocol}",
        "N@10 on validation of every trial, and the best one, which is fitted anew to all that may be learned from.",
        [("first", "best"), ("grey", "other trials")],
        lambda width, height: charts.trials(table, width, height),
        sizes=charts.heights(len(rows)),
        below=_scroll(_html_table(cells)),
    )


def _served(served: Served) -> str:
    rows = [
        ("Server", f"{served.address}: {served.model}, bundle {served.bundle_id[:16]}"),
        ("Cases", f"{served.cases:,}"),
        ("N@10 of exact scores, fp32", interval(served.exact)),
        ("N@10 as served", interval(served.served)),
        ("Lost", percent(served.loss)),
        ("Of the exact first ten", f"{served.overlap:.1%} were answered"),
        *(("Warning", text) for text in served.warnings),
    ]
    return _words("Through the server", "The same cases over gRPC.", _pairs(rows))


def _cold_users(found: ColdUsers) -> str:
    methods = list(next(iter(found.ndcg.values())))
    rows: list[tuple[str, ...]] = [("shown", *methods, *(f"Tanager over {name}" for name in methods[1:]))]
    for shown, by in found.ndcg.items():
        ratios = found.ratios[shown]
        rows.append(
            (
                charts.words(shown),
                *(interval(by[name]) for name in methods),
                *(gain(ratios[name]) for name in methods[1:]),
            )
        )
    caption = f"N@10 of the same {found.users:,} new users with more or less of what they did shown. "
    caption += f"{unknown(found.popular)} {_chosen(found.parameters)}"
    return _words("Cold users", caption, _html_table(rows))


def _cold_items(found: ColdItems) -> str:
    rows: list[tuple[str, ...]] = [("", "", "Tanager over it", "seed by seed"), *cold_item_rows(found)]
    caption = f"{found.hidden:,} items hidden while learning, {found.cases:,} cases. "
    return _words("Cold items", caption + _chosen(found.parameters), _html_table(rows))


def _chosen(parameters: Mapping[str, Mapping[str, object]]) -> str:
    return "; ".join(
        f"{name}: {', '.join(f'{key} {value}' for key, value in chosen.items()) or 'nothing to tune'}"
        for name, chosen in parameters.items()
    )


def _learning(result: Result) -> list[str]:
    cards = []
    for what, style in (("loss", "first"), ("validation", "second")):
        if any(getattr(epoch, what) is not None for epoch in result.epochs):
            cards.append(
                _card(
                    f"Learning curve of the encoder: {what}",
                    "Epoch 0 is before training.",
                    [(style, what)],
                    lambda width, height, what=what, style=style: charts.learning(  # type: ignore[misc]
                        result.epochs, what, style, width, height
                    ),
                    sizes=SIZES,
                )
            )
    return cards


def _compression(rows: Sequence[dict[str, object]]) -> list[str]:
    if not rows:
        return []
    heads = list(dict.fromkeys(key for row in rows for key in row))
    cells = [
        tuple(head.replace("_", " ") for head in heads),
        *(tuple(_cell(row.get(head)) for head in heads) for row in rows),
    ]
    x, y = _first(rows, _SPEED), _first(rows, _LOSS)
    table = _scroll(_html_table(cells))
    if x is None or y is None:
        return [_words("Compression", "As tanager-export compress measured it.", table)]
    return [
        _card(
            "Compression",
            "As tanager-export compress measured it.",
            [("first", "variants")],
            lambda width, height: charts.compression(rows, x, y, heads[0], width, height),
            sizes=charts.heights(7),
            below=table,
        )
    ]


def _first(rows: Sequence[dict[str, object]], names: Sequence[str]) -> str | None:
    """The first of these columns that has numbers."""
    found = (name for name in names if sum(isinstance(row.get(name), int | float) for row in rows) > 1)
    return next(found, None)


def _cell(value: object) -> str:
    if isinstance(value, dict) and "value" in value:
        low, high = value.get("low"), value.get("high")
        text = _cell(value["value"])
        return text if low is None or high is None else f"{text} [{_cell(low)}, {_cell(high)}]"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return "–" if value is None else str(value)


def _settings(result: Result) -> str:
    rows = [
        ("Encoder under test", result.model),
        ("Encoder of the baselines", result.frozen),
        ("Seeds", ", ".join(map(str, result.seeds))),
        ("Trials", f"{result.trials} for each baseline, or as many as its space has combinations"),
        ("Time taken", f"{result.seconds:,.0f} s"),
    ]
    for table in result.tables:
        blend = ", ".join(f"{name} {value:.3g}" for name, value in table.blend.items() if value)
        rows.append((f"Tanager's blend, {table.protocol}", blend))
    return _words("Settings", "", _pairs(rows))


def _card(
    title: str,
    caption: str,
    legend: Sequence[tuple[str, str]],
    draw: Callable[[float, float], str],
    *,
    sizes: Mapping[str, tuple[float, float]],
    below: str = "",
) -> str:
    keys = "".join(f'<span><b class="key block {style}"></b>{escape(name)}</span>' for style, name in legend)
    plots = "".join(f'<div class="plot {name}">{draw(*size)}</div>' for name, size in sizes.items())
    whole = " whole" if "full" in sizes else ""
    return (
        f'<section class="card chart{whole}"><h2>{escape(title)}</h2><p class="caption">{escape(caption)}</p>'
        f'<div class="legend">{keys}</div>{plots}{below}</section>\n'
    )


def _words(title: str, caption: str, body: str) -> str:
    return (
        f'<section class="card whole"><h2>{escape(title)}</h2><p class="muted" style="font-size:13px">{escape(caption)}'
        f"</p>{_scroll(body)}</section>\n"
    )


def _scroll(body: str) -> str:
    return f'<div class="scroll">{body}</div>'


def _pairs(rows: Iterable[tuple[str, str]]) -> str:
    body = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in rows)
    return f'<table class="words">{body}</table>'


def _html_table(rows: Iterable[Sequence[str]]) -> str:
    head, *body = rows
    cells = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    lines = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in body)
    return f"<table><tr>{cells}</tr>{lines}</table>"
