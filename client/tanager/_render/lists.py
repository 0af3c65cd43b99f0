"""Ranked lists, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from tanager._enums import ReasonKind, Shortfall, Strategy
from tanager._render.columns import columns, cut, plain
from tanager._results import Ranking, Recommendations, SimilarItems, TrendingItems

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tanager._results import Audience, Reason, Timing

ResultList: TypeAlias = Recommendations | SimilarItems | Ranking | TrendingItems

_STRATEGIES = {
    Strategy.PERSONAL: "from the history, and from the wish if there is one",
    Strategy.WISH: "from the wish alone",
    Strategy.COLD_START: "nothing is known about the user: the most popular items",
    Strategy.SIMILAR: "items like the given one",
    Strategy.PROFILE: "from the profile or the context",
    Strategy.TRENDING: "what users take up lately",
    Strategy.RANK: "the given items, ordered for the user",
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
    Shortfall.FILTER: "fewer than asked for: the rest is seen, excluded or filtered out",
    Shortfall.CATALOGUE: "fewer than asked for: the catalogue has no more",
    Shortfall.UNKNOWN: "fewer than asked for, for a reason not known to this version of the client",
}


def result_list(answer: ResultList, elapsed_s: float) -> list[str]:
    """Ranked items, and how they came about."""
    head = ("rank", "score", "title", "domain", "id", "found by")
    rows = [
        (
            str(result.rank),
            f"{result.score:.4f}",
            cut(plain(result.title)) or "-",
            plain(result.domain) or "-",
            plain(result.item_id),
            ", ".join(result.sources),
        )
        for result in answer
    ]
    lines = columns([head, *rows], right=(0, 1)) if rows else ["no items"]
    if any(result.reasons for result in answer):
        reasons = [_why(result.reasons, result.other_contribution) for result in answer]
        lines = _under_rows(lines, reasons)
    footer = [("strategy", f"{answer.strategy}: {_STRATEGIES[answer.strategy]}")]
    if not isinstance(answer, Ranking):
        footer.append(("shortfall", _SHORTFALLS[answer.shortfall]))
    if isinstance(answer, Recommendations | Ranking) and answer.unknown_item_count:
        footer.append(("ignored", f"{answer.unknown_item_count} {_whose(answer)}, not in the catalogue"))
    if isinstance(answer, Recommendations) and answer.unknown_attribute_count:
        footer.append(("ignored", f"{answer.unknown_attribute_count} of the profile, not known and no text"))
    if answer.degraded:
        footer.append(("degraded", "something was left out, for there was no time or no room for it"))
    if isinstance(answer, Recommendations) and answer.next_page_token:
        footer.append(("next page", f"--page-token {plain(answer.next_page_token)}"))
    if isinstance(answer, Recommendations) and answer.attribution_token:
        footer.append(("attribution", plain(answer.attribution_token)))
    server_time = "" if isinstance(answer, TrendingItems) else f", {_server_time(answer.timing)}"
    footer.append(("time", f"{elapsed_s * 1e3:.1f} ms in all{server_time}"))
    return [*lines, "", *columns(footer)]


def audience(answer: Audience, elapsed_s: float) -> list[str]:
    """Ranked users."""
    head = ("rank", "score", "user")
    rows = [(str(member.rank), f"{member.score:.4f}", plain(member.user_id)) for member in answer]
    lines = columns([head, *rows], right=(0, 1)) if rows else ["no users"]
    if any(member.reasons for member in answer):
        lines = _under_rows(lines, [_why(member.reasons) for member in answer])
    footer = [("chosen from", f"{answer.candidate_count:,} users"), ("time", f"{elapsed_s * 1e3:.1f} ms in all")]
    return [*lines, "", *columns(footer)]


def _whose(answer: Recommendations | Ranking) -> str:
    return "of the items and of the history" if isinstance(answer, Ranking) else "of the history"


def _under_rows(lines: Sequence[str], more: Iterable[Sequence[str]]) -> list[str]:
    """A table with more lines under each of its rows."""
    return [lines[0], *(line for row, under in zip(lines[1:], more, strict=True) for line in (row, *under))]


def _why(reasons: Iterable[Reason], other_contribution: float | None = None) -> list[str]:
    """The terms of a score, one to a line."""
    rows = [(f"{reason.contribution:+.4f}", _REASONS[reason.kind].format(_subject(reason))) for reason in reasons]
    if other_contribution is not None:
        rows.append((f"{other_contribution:+.4f}", "all else"))
    return [f"      {line}" for line in columns(rows, right=(0,))] if rows else []


def _subject(reason: Reason) -> str:
    return cut(plain(reason.attribute or reason.title or reason.item_id))


def _server_time(timing: Timing) -> str:
    stages = ("queue", "tokenize", "encode", "search", "rank")
    parts = ", ".join(f"{stage} {getattr(timing, f'{stage}_us') / 1e3:.1f}" for stage in stages)
    return f"{timing.total_us / 1e3:.1f} ms in the server ({parts})"
