"""Look a dataset over before it trains anything: all that is wrong with it, and what is odd about it."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tanager_export.dataset.interactions import INTERACTIONS
from tanager_export.dataset.reader import LocatedDataset, read_dataset
from tanager_export.dataset.records import ITEMS
from tanager_export.dataset.times import MILLISECONDS_FROM

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from tanager_export.dataset.problem import Problem

_PLACES = 5
_SHORT_TEXT = 12  # characters: a title, seldom more
_DAY_S = 86_400


class Severity(StrEnum):
    """How bad a finding is: errors are refused by a load or would train garbage, warnings cost quality."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found.

    Attributes:
        severity: How bad.
        code: Its short, stable name.
        message: What was found.
        count: How often, or how many it concerns.
        places: The first of them, as "items.jsonl, line 3".
        mend: What to do about it; empty where there is nothing to do.
    """

    severity: Severity
    code: str
    message: str
    count: int = 1
    places: tuple[str, ...] = ()
    mend: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """What a check found.

    Attributes:
        directory: The dataset.
        name: Its name.
        items: How many could be read.
        users: How many have interactions.
        interactions: How many could be read.
        findings: Errors first, then warnings, then the rest.
    """

    directory: str
    name: str
    items: int
    users: int
    interactions: int
    findings: tuple[Finding, ...]

    def count(self, severity: Severity) -> int:
        """How many findings are this bad."""
        return sum(finding.severity is severity for finding in self.findings)

    @property
    def ok(self) -> bool:
        """Whether there are no errors."""
        return not self.count(Severity.ERROR)

    def as_dict(self) -> dict[str, object]:
        """The report as JSON has it."""
        return asdict(self) | {"ok": self.ok}


def check_dataset(directory: str | os.PathLike[str], *, progress: bool = False, now_s: float | None = None) -> Report:
    """Check a dataset; what a load would stop at is collected, and the rest is checked all the same.

    Args:
        directory: The dataset.
        progress: Whether to show a bar on stderr, if that is a terminal.
        now_s: What is the future from here on, in Unix seconds; by default the clock says.
    """
    problems = _Problems()
    located = read_dataset(Path(directory), problems, progress=progress)
    dataset = located.dataset
    findings = [*problems.findings(without_items=not dataset.items)]
    if dataset.items:
        findings += _check_items(located)
        findings += _check_interactions(located, time.time() if now_s is None else now_s)
    return Report(
        directory=str(directory),
        name=dataset.name,
        items=len(dataset.items),
        users=len(dataset.interactions.user_ids),
        interactions=len(dataset.interactions),
        findings=tuple(sorted(findings, key=lambda finding: list(Severity).index(finding.severity))),
    )


class _Problems:
    """A `Reporter` that gathers problems by kind: a file may have millions of the same."""

    def __init__(self) -> None:
        self._first: dict[tuple[str, str], Problem] = {}
        self._count: Counter[tuple[str, str]] = Counter()
        self._places: dict[tuple[str, str], list[str]] = {}

    def __call__(self, problem: Problem) -> None:
        kind = problem.file, problem.code
        self._first.setdefault(kind, problem)
        self._count[kind] += problem.count
        places = self._places.setdefault(kind, [])
        if len(places) < _PLACES:
            places.append(problem.place)

    def findings(self, *, without_items: bool) -> Iterator[Finding]:
        """An error for each kind; interactions are not held against a catalogue that could not be read."""
        for kind, problem in self._first.items():
            if not (without_items and problem.code == "orphan-interactions"):
                message = f"{problem.place}: {problem.message}"
                places = tuple(self._places[kind])
                yield Finding(Severity.ERROR, problem.code, message, self._count[kind], places, problem.mend)


def _check_items(located: LocatedDataset) -> Iterator[Finding]:
    items, lines = located.dataset.items, located.item_lines

    def places(positions: Iterable[int]) -> tuple[str, ...]:
        return tuple(f"{ITEMS}, line {lines[position]}" for position in list(positions)[:_PLACES])

    if empty := [at for at, item in enumerate(items) if not item.text.strip()]:
        message = f"{len(empty):,} items have an empty text: the encoder reads their title only"
        yield Finding(Severity.WARNING, "empty-text", message, len(empty), places(empty), "describe them")
    if short := [at for at, item in enumerate(items) if 0 < len(item.text.strip()) < _SHORT_TEXT]:
        message = f"{len(short):,} items have a text under {_SHORT_TEXT} characters"
        yield Finding(Severity.WARNING, "short-text", message, len(short), places(short), "describe them")
    texts = [" ".join(item.encoder_text.lower().split()) for item in items]
    often = Counter(texts)
    if same := [at for at, text in enumerate(texts) if often[text] > 1]:
        message = f"{len(same):,} items share their text with another: the encoder cannot tell them apart"
        mend = "merge them, or say what sets them apart"
        yield Finding(Severity.WARNING, "identical-text", message, len(same), places(same), mend)
    if untitled := [at for at, item in enumerate(items) if not item.title.strip()]:
        message = f"{len(untitled):,} items have no title: there is nothing to show for them but the id"
        yield Finding(Severity.INFO, "no-title", message, len(untitled), places(untitled), "give them titles")
    domains = Counter(item.domain or "(none)" for item in items)
    listed = ", ".join(f"{domain} {count:,}" for domain, count in domains.most_common(10))
    yield Finding(Severity.INFO, "domains", f"items by domain: {listed}", len(domains))


def _check_interactions(located: LocatedDataset, now_s: float) -> Iterator[Finding]:
    dataset, columns = located.dataset, located.dataset.interactions
    if not len(columns):
        message = "no interactions: recommendations rest on texts alone"
        yield Finding(Severity.WARNING, "no-interactions", message, 0, (), "add interactions.csv")
        return

    def places(mask: NDArray[np.bool_]) -> tuple[str, ...]:
        first = np.sort(located.interaction_lines[mask])[:_PLACES]
        return tuple(f"{INTERACTIONS}, line {line}" for line in first)

    n, n_users, n_items = len(columns), len(columns.user_ids), len(dataset.items)
    pair = columns.user.astype(np.int64) * n_items + columns.item
    order = np.lexsort((columns.timestamp, pair))
    same_pair = np.zeros(n, np.bool_)
    same_pair[order[1:]] = np.diff(pair[order]) == 0
    same_row = np.zeros(n, np.bool_)
    same_row[order[1:]] = np.diff(columns.timestamp[order]) == 0
    same_row &= same_pair
    if twice := int(same_row.sum()):
        message = f"{twice:,} interactions repeat another of the same user, item and time"
        yield Finding(Severity.WARNING, "duplicate-interactions", message, twice, places(same_row), "drop them")
    if again := int(same_pair.sum()) - twice:
        message = f"{again:,} interactions are of a user with an item they had before"
        yield Finding(Severity.INFO, "repeated-interactions", message, again)

    by_item = np.bincount(columns.item, minlength=n_items)
    by_user = np.bincount(columns.user, minlength=n_users)
    yield _density(n - int(same_pair.sum()), n, n_users, n_items)
    yield _imbalance(by_item)
    if single := int((by_user == 1).sum()):
        severity = Severity.WARNING if single > n_users / 2 else Severity.INFO
        message = f"{single:,} of {n_users:,} users have one interaction: they show nothing of what goes with what"
        yield Finding(severity, "single-event-users", message, single)
    if unseen := int((by_item == 0).sum()):
        severity = Severity.WARNING if unseen > n_items / 2 else Severity.INFO
        message = f"{unseen:,} of {n_items:,} items have no interactions: their text has to carry them"
        yield Finding(severity, "unseen-items", message, unseen)
    if quiet := len({user.id for user in dataset.users}.difference(columns.user_ids)):
        yield Finding(
            Severity.INFO, "users-without-events", f"{quiet:,} users have a profile and no interactions", quiet
        )
    if dataset.times != "seconds":
        message = f"the dataset says that its times are {dataset.times!r}: it cannot be split by global time"
        yield Finding(Severity.INFO, "times", message, n)
    times = _check_times(columns.timestamp, now_s) if dataset.times == "seconds" else ()
    for finding, mask in (*times, *_check_weights(columns.weight)):
        yield finding if mask is None else replace(finding, places=places(mask))


def _density(pairs: int, n: int, n_users: int, n_items: int) -> Finding:
    sparse = n < 2 * n_users or n < 2 * n_items
    message = (
        f"{pairs / (n_users * n_items):.3%} of all pairs of user and item occur; "
        f"{n / n_users:.1f} interactions a user, {n / n_items:.1f} an item"
    )
    mend = "expect more from texts than from behaviour" if sparse else ""
    return Finding(Severity.WARNING if sparse else Severity.INFO, "density", message, pairs, (), mend)


def _imbalance(by_item: NDArray[np.int64]) -> Finding:
    ascending = np.sort(by_item)
    n = len(ascending)
    gini = 2 * float(np.arange(1, n + 1) @ ascending) / (n * float(ascending.sum())) - (n + 1) / n
    top = max(1, n // 100)
    share = float(ascending[-top:].sum() / ascending.sum())
    steep = n >= 100 and share > 0.5
    message = f"popularity: Gini coefficient {gini:.2f}; {share:.0%} of interactions are with the top 1 % of items"
    mend = "a recommender will repeat the charts unless diversity is asked for" if steep else ""
    return Finding(Severity.WARNING if steep else Severity.INFO, "imbalance", message, top, (), mend)


def _check_times(seconds: NDArray[np.int64], now_s: float) -> Iterator[tuple[Finding, NDArray[np.bool_] | None]]:
    milli = np.abs(seconds) >= MILLISECONDS_FROM
    if count := int(milli.sum()):
        message = f"{count:,} timestamps look like milliseconds: as seconds they lie beyond the year 5000"
        yield Finding(Severity.ERROR, "time-milliseconds", message, count, (), "divide them by 1000"), milli
    future = (seconds > now_s + _DAY_S) & ~milli
    if count := int(future.sum()):
        message = f"{count:,} interactions lie in the future"
        yield Finding(Severity.WARNING, "time-future", message, count, (), "mend the clock, or drop them"), future
    first, last = int(seconds.min()), int(seconds.max())
    if first == last and len(seconds) > 1:
        message = "all timestamps are equal: nothing can be split or weighted by time"
        yield Finding(Severity.WARNING, "time-constant", message, len(seconds), (), "give the real times"), None
    days = (last - first) / _DAY_S
    message = f"from {_date(first)} to {_date(last)} ({days:,.0f} days)"
    yield Finding(Severity.INFO, "time-range", message, len(seconds)), None


def _check_weights(weight: NDArray[np.float32]) -> Iterator[tuple[Finding, NDArray[np.bool_] | None]]:
    low = weight <= 0
    if count := int(low.sum()):
        message = f"{count:,} weights are zero or negative"
        mend = "a weight says how much an interaction speaks for the item: drop what speaks against it"
        yield Finding(Severity.WARNING, "weight-not-positive", message, count, (), mend), low
    message = f"weights from {weight.min():g} to {weight.max():g}, mean {weight.mean(dtype=np.float64):.3g}"
    yield Finding(Severity.INFO, "weight-range", message, len(weight)), None


def _date(seconds: int) -> str:
    return str(np.datetime64(seconds, "s")).partition("T")[0]
