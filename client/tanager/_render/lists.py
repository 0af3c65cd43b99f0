"""Answers as text: tables for people, JSON for programs."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import sys
import unicodedata
from typing import TYPE_CHECKING

from tanager._results import ReasonKind, Recommendations, Shortfall, SimilarItems, Status, Strategy

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tanager._results import Reason, Result, Runtime, Timing

_MAX_TITLE_WIDTH = 60
_STRATEGIES = {
    Strategy.PERSONAL: "from the history, and from the wish if there is one",
    Strategy.WISH: "from the wish alone",
    Strategy.COLD_START: "nothing is known about the user: the most popular items",
    Strategy.SIMILAR: "items like the given one",
    Strategy.PROFILE: "from the profile or the context",
    Strategy.UNKNOWN: "not known to this version of the client",
}
_REASONS = {
    ReasonKind.COLLABORATIVE: "liked by who likes {}",
    ReasonKind.TRANSITION: "often follows {}",
    ReasonKind.TEXT: "reads like {}",
    ReasonKind.WISH: "fits the wish",
    ReasonKind.PROFILE: "liked by users with {}",
    ReasonKind.PROFILE_TEXT: "fits the words of the profile",
    ReasonKind.CONTEXT: "fits the context",
    ReasonKind.POPULARITY: "liked by users in general",
    ReasonKind.SEQUENCE: "comes next after {}",
    ReasonKind.UNKNOWN: "for a reason not known to this version of the client",
}
_SHORTFALLS = {
    Shortfall.NONE: "none",
    Shortfall.FILTER: "fewer than asked for: the rest is seen or excluded",
    Shortfall.CATALOGUE: "fewer than asked for: the catalogue has no more",
    Shortfall.UNKNOWN: "fewer than asked for, for a reason not known to this version of the client",
}


def json_text(answer: Recommendations | SimilarItems | Status) -> str:
    """The answer as one JSON object, its keys the attributes of the answer's class, times in ISO 8601."""
    # Where the output cannot carry every character, escapes do; elsewhere titles stay readable.
    utf_8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    return json.dumps(dataclasses.asdict(answer), default=_iso_format, ensure_ascii=not utf_8, indent=2)


def table(answer: Recommendations | SimilarItems | Status, elapsed_s: float) -> str:
    """The answer for a person.

    Args:
        answer: What the server answered.
        elapsed_s: How long that took in all, in seconds.
    """
    lines = _status(answer) if isinstance(answer, Status) else _list(answer, elapsed_s)
    text = "\n".join(lines)
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, errors="replace").decode(encoding)


def _list(answer: Recommendations | SimilarItems, elapsed_s: float) -> list[str]:
    head = ("rank", "score", "title", "domain", "id", "found by")
    rows = [
        (
            str(result.rank),
            f"{result.score:.4f}",
            _cut(_plain(result.title) or "-"),
            _plain(result.domain) or "-",
            _plain(result.item_id),
            ", ".join(result.sources),
        )
        for result in answer
    ]
    footer = [
        ("strategy", f"{answer.strategy}: {_STRATEGIES[answer.strategy]}"),
        ("shortfall", _SHORTFALLS[answer.shortfall]),
    ]
    if isinstance(answer, Recommendations) and answer.unknown_item_count:
        footer.append(("ignored", f"{answer.unknown_item_count} of the history, not in the catalogue"))
    if isinstance(answer, Recommendations) and answer.unknown_attribute_count:
        footer.append(("ignored", f"{answer.unknown_attribute_count} of the profile, not known and no text"))
    footer.append(("time", f"{elapsed_s * 1e3:.1f} ms in all, {_server_time(answer.timing)}"))
    lines = _columns([head, *rows], right=(0, 1)) if rows else ["no items"]
    if any(result.reasons for result in answer):
        lines = [lines[0], *(line for each, row in zip(answer, lines[1:], strict=True) for line in (row, *_why(each)))]
    return [*lines, "", *_columns(footer)]


def _why(result: Result) -> list[str]:
    """The terms of a score, one to a line, under its row."""
    told = [
        (f"{reason.contribution:+.4f}", _REASONS[reason.kind].format(_subject(reason))) for reason in result.reasons
    ]
    rows = [*told, (f"{result.other_contribution:+.4f}", "all else")]
    return [f"      {line}" for line in _columns(rows, right=(0,))]


def _subject(reason: Reason) -> str:
    return _cut(_plain(reason.attribute or reason.title or reason.item_id))


def _server_time(timing: Timing) -> str:
    stages = ("queue", "tokenize", "encode", "search", "rank")
    parts = ", ".join(f"{stage} {getattr(timing, f'{stage}_us') / 1e3:.1f}" for stage in stages)
    return f"{timing.total_us / 1e3:.1f} ms in the server ({parts})"


def _status(status: Status) -> list[str]:
    bundle = status.bundle
    uptime_s = max(0, int((dt.datetime.now(dt.UTC) - status.start_time).total_seconds()))
    domains = ", ".join(f"{name or 'no domain'} {count:,}" for name, count in sorted(bundle.domain_item_counts.items()))
    rows = [
        ("server", f"{status.server_version}, up {dt.timedelta(seconds=uptime_s)}, {status.queue_depth} texts waiting"),
        ("provider", f"{status.execution_provider}, {_runtime(status.runtime)}"),
        ("bundle", f"{bundle.bundle_id}, exported {bundle.create_time:%Y-%m-%d %H:%M} UTC"),
        ("model", f"{bundle.model_name}, {bundle.dim} dimensions, {bundle.max_tokens} tokens"),
        ("precision", bundle.precision),
        ("dataset", bundle.dataset_name),
        ("items", f"{bundle.item_count:,}" + (f" ({domains})" if domains else "")),
        *((name, f"{value:.4g}") for name, value in sorted(bundle.quality.items())),
    ]
    lines = _columns([(_plain(name), _plain(value)) for name, value in rows])
    if bundle.simulated_behaviour:
        lines += ["", "NOTE: the behaviour in this dataset was simulated; nobody's taste is behind these items."]
    return lines


def _runtime(runtime: Runtime) -> str:
    batches = f"{runtime.workers} batches of up to {runtime.max_batch_tokens} tokens at a time"
    return f"{batches}, threads each: {runtime.threads}"


def _columns(rows: Iterable[Sequence[str]], right: Sequence[int] = ()) -> list[str]:
    """The rows with their columns aligned, those of `right` to the right."""
    rows = list(rows)
    widths = [max(map(_width, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = []
        for position, (cell, width) in enumerate(zip(row, widths, strict=True)):
            padding = " " * (width - _width(cell))
            cells.append(padding + cell if position in right else cell + padding)
        lines.append("  ".join(cells).rstrip())
    return lines


def _width(text: str) -> int:
    """How many cells of a terminal the text takes: two for wide East Asian characters and most emoji."""
    return sum(map(_cells, text))


def _cells(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me"):  # drawn onto the character before
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1


def _cut(text: str) -> str:
    if _width(text) <= _MAX_TITLE_WIDTH:
        return text
    width, end = 0, 0
    while width + _cells(text[end]) < _MAX_TITLE_WIDTH:
        width += _cells(text[end])
        end += 1
    return text[:end] + "…"


def _plain(text: str) -> str:
    """The text without what moves a terminal's cursor or changes its colours: a catalogue is data of others."""
    return "".join(character if character.isprintable() else " " for character in text)


def _iso_format(value: object) -> str:
    if isinstance(value, dt.datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no JSON form")
