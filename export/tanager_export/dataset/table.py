"""Files of rows as other people's data sets have them: fields separated by something, as many in each row."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tanager_export.dataset.problem import DatasetError, Problem, refuse
from tanager_export.dataset.textfile import text_lines

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Table:
    """A file of rows.

    Attributes:
        name: The file's.
        separator: What fields are separated by.
        width: How many fields a row has.
        encoding: Of the file.
        header: The first row, where it names the columns.
        quoted: Whether fields may stand in quotes, as CSV has it.
    """

    name: str
    separator: str
    width: int
    encoding: str = "latin-1"
    header: tuple[str, ...] = ()
    quoted: bool = False

    def rows(self, directory: Path, *, progress: bool = False) -> Iterator[tuple[int, list[str]]]:
        """The rows, each with the line it begins on, which have the right number of fields."""
        lines = text_lines(directory / self.name, refuse, encoding=self.encoding, progress=progress)
        rows = ((line, row) for line, row in self._split(lines) if row)
        if self.header:
            line, row = next(rows, (1, []))
            if tuple(row) != self.header:
                between = " " if self.separator == "\t" else self.separator
                raise self.error(line, f"expected the header {between.join(self.header)}")
        for line, row in rows:
            if len(row) != self.width:
                separator = {"\t": "a tab"}.get(self.separator, repr(self.separator))
                raise self.error(line, f"expected {self.width} fields separated by {separator}, found {len(row)}")
            yield line, row

    def first_row(self, directory: Path) -> list[str]:
        """The first row that is not empty, however many fields it has; empty where there is none."""
        return next(
            (row for _, row in self._split(text_lines(directory / self.name, refuse, encoding=self.encoding)) if row),
            [],
        )

    def error(self, line: int, message: str) -> DatasetError:
        """What to raise for a line."""
        return DatasetError(Problem(self.name, line, "malformed", message, "unpack the data set anew"))

    def _split(self, lines: Iterator[str]) -> Iterator[tuple[int, list[str]]]:
        if not self.quoted:
            for number, line in enumerate(lines, start=1):
                text = line.rstrip("\r\n")
                yield number, text.split(self.separator) if text else []
            return
        reader = csv.reader(lines, delimiter=self.separator, strict=True)
        number = 1
        try:
            for row in reader:
                yield number, row
                number = reader.line_num + 1
        except csv.Error as error:
            raise self.error(number, str(error)) from error
