"""Look a dataset over before it trains anything: all that is wrong with it, and what is odd about it."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tanager_export.dataset.checks.behaviour import check_behaviour
from tanager_export.dataset.checks.finding import PLACES, Finding, Severity
from tanager_export.dataset.checks.items import check_items
from tanager_export.dataset.checks.split import check_split
from tanager_export.dataset.checks.times import check_times
from tanager_export.dataset.reader import read_dataset

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from tanager_export.dataset.problem import Problem


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
        findings += check_items(located)
        findings += check_behaviour(located)
        findings += check_times(located, time.time() if now_s is None else now_s)
        findings += check_split(located)
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
        if len(places) < PLACES:
            places.append(problem.place)

    def findings(self, *, without_items: bool) -> Iterator[Finding]:
        """An error for each kind; interactions are not held against a catalogue that could not be read."""
        for kind, problem in self._first.items():
            if not (without_items and problem.code == "orphan-interactions"):
                message = f"{problem.place}: {problem.message}"
                places = tuple(self._places[kind])
                yield Finding(Severity.ERROR, problem.code, message, self._count[kind], places, problem.mend)
