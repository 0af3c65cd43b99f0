"""A CSV file whose columns are known by their names, or found under common ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tanager_export.dataset.problem import DatasetError, Problem, refuse
from tanager_export.dataset.table import Table
from tanager_export.dataset.textfile import CONTROL, text_lines

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_SEPARATORS = ",;\t|"


class CsvTable:
    """A CSV file with a header; the separator is that of ",", ";", tab and "|" of which its header has most."""

    def __init__(self, path: Path) -> None:
        self._directory = path.parent
        self.name = path.name
        first = next(text_lines(path, refuse), "")
        separator = max(_SEPARATORS, key=first.count)
        header = Table(path.name, separator, 0, "utf-8", quoted=True).first_row(path.parent)
        if not header:
            raise self.error(1, "no header", "the first line names the columns")
        self._table = Table(path.name, separator, len(header), "utf-8", tuple(header), quoted=True)
        # A column without a name is the row number that some programs write.
        self._names = [" ".join(column.split()) for column in header]
        self.columns = [name for name in self._names if name]
        if twice := [name for name in self.columns if self.columns.count(name) > 1]:
            raise self.error(1, f"two columns are named {twice[0]!r}", "rename one of them")

    @property
    def listed(self) -> str:
        """The columns, to choose from."""
        return f"the columns are {', '.join(self.columns)}"

    def error(self, line: int, message: str, mend: str) -> DatasetError:
        """What to raise for a line."""
        return DatasetError(Problem(self.name, line, "malformed", message, mend))

    def named(self, column: str, option: str) -> str:
        """A column that an option names.

        Raises:
            DatasetError: There is no such column.
        """
        if column not in self.columns:
            raise self.error(1, f"no column {column!r}", f"choose another with {option}: {self.listed}")
        return column

    def often(self, names: Sequence[str]) -> list[str]:
        """The columns that are called by one of these common names, the most common first."""
        by_name = {"".join(filter(str.isalnum, column.lower())): column for column in reversed(self.columns)}
        return [by_name[name] for name in names if name in by_name]

    def column(self, column: str | None, option: str, names: Sequence[str]) -> str | None:
        """The column that an option names, or else one that is commonly called so; None where there is none."""
        return self.named(column, option) if column else next(iter(self.often(names)), None)

    def required(self, column: str | None, option: str, names: Sequence[str]) -> str:
        """The same for a column that cannot be missing.

        Raises:
            DatasetError: There is none.
        """
        found = self.column(column, option, names)
        if found is None:
            kind = option.removeprefix("--").removesuffix("-column")
            raise self.error(1, f"no column that looks like the {kind}'s id", f"name it with {option}: {self.listed}")
        return found

    def identifier(self, column: str | None, option: str, names: Sequence[str]) -> str:
        """The column of ids in a file with a row for each id, where it may be called otherwise than elsewhere."""
        return self.required(column if column in self.columns else None, option, (*names, "id"))

    def rows(self, *, progress: bool = False) -> Iterator[tuple[int, dict[str, str]]]:
        """Each row by column, with the line it begins on."""
        try:
            for line, row in self._table.rows(self._directory, progress=progress):
                yield line, dict(zip(self._names, row, strict=True))
        except DatasetError as error:
            problem = error.problem
            if problem.code == "malformed" and problem.line is not None:
                raise self.error(
                    problem.line, problem.message, "quote fields that hold a separator or quotes"
                ) from error
            raise

    def records(self, identifier: str) -> list[tuple[int, dict[str, str]]]:
        """All rows, in a file with a row for each id.

        Raises:
            DatasetError: An id is blank, or there are two rows of it.
        """
        line_of: dict[str, int] = {}
        records = []
        for line, row in self.rows():
            value = self.checked_id(line, row, identifier)
            if value in line_of:
                message = f"column {identifier!r}: {value!r} is already on line {line_of[value]}"
                raise self.error(line, message, "keep one of them")
            line_of[value] = line
            records.append((line, row))
        return records

    def checked_id(self, line: int, row: dict[str, str], column: str) -> str:
        """An id of a row.

        Raises:
            DatasetError: It is blank, or holds a line break or a tab.
        """
        value = row[column]
        if not value.strip():
            raise self.error(line, f"column {column!r} is blank", "give the id, or drop the row")
        if CONTROL.search(value):
            raise self.error(line, f"column {column!r}: {value!r} holds a line break or a tab", "remove it")
        return value


def find_csv(directory: Path, name: str | None, option: str, names: Sequence[str]) -> CsvTable | None:
    """The file that an option names, or else one that is commonly called so; None where there is none.

    Raises:
        DatasetError: The file that is named is not there, or it has no usable header.
    """
    if name is not None:
        if not (directory / name).is_file():
            mend = f"name a file below {directory}, or an absolute path, with {option}"
            raise DatasetError(Problem(name, None, "no-file", "no such file", mend))
        return CsvTable(directory / name)
    paths = (directory / f"{common}.{ending}" for common in names for ending in ("csv", "tsv"))
    return next((CsvTable(path) for path in paths if path.is_file()), None)
