"""What is wrong with a file, where, and what to do about it: raised by a load, collected by a check."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn, TypeAlias

from tanager_export.errors import ExportError


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that makes a file unusable.

    Attributes:
        file: Name of the file, as in "interactions.csv".
        line: Counted from 1 as an editor counts; None when it is about the whole file.
        code: Short name of the kind of problem.
        message: What is wrong.
        mend: What to do about it; may be empty.
        count: How often it occurs, `line` being the first place.
    """

    file: str
    line: int | None
    code: str
    message: str
    mend: str = ""
    count: int = 1

    @property
    def place(self) -> str:
        """The file and the line."""
        return self.file if self.line is None else f"{self.file}, line {self.line}"

    def __str__(self) -> str:
        return f"{self.place}: {self.message}" + (f": {self.mend}" if self.mend else "")


class DatasetError(ExportError):
    """A dataset that cannot be used; the message names the file, the line and the mend.

    Attributes:
        problem: The same, in parts.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem

    @property
    def file(self) -> str:
        """The name of the file."""
        return self.problem.file

    @property
    def line(self) -> int | None:
        """The line, counted from 1; None when it is about the whole file."""
        return self.problem.line


Reporter: TypeAlias = Callable[[Problem], None]
"""Where a reader sends what it finds wrong. A reader skips what it has reported, if the call returns."""


def refuse(problem: Problem) -> NoReturn:
    """The `Reporter` of a load: raise at the first problem."""
    raise DatasetError(problem)


class Tally:
    """A `Reporter` that counts what it hands on."""

    def __init__(self, report: Reporter) -> None:
        self._report = report
        self.count = 0

    def __call__(self, problem: Problem) -> None:
        """Hand on and count."""
        self.count += 1
        self._report(problem)
