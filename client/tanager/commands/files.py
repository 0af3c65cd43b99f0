"""Reads the records of a file, and knows on which line each of them is."""

from __future__ import annotations

import csv
import json
import sys
from array import array
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Generic, NoReturn, TypeVar

from tanager.commands.fields import FieldError, Fields

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_Record = TypeVar("_Record", covariant=True)
_BOM = b"\xef\xbb\xbf"


class FileError(ValueError):
    """A file that cannot be used; the message names file, line and field."""


class RecordFile(Generic[_Record]):
    """The records of a file, read as they are asked for.

    Args:
        path: The file, "-" for standard input.
        convert: Makes a record of its fields.
        csv: Whether it is CSV with a header, and not JSON lines.

    Attributes:
        name: What messages call it.
        lines: Of the records read so far, in their order: the line on which each begins, from 1.
        read_bytes: How much was read.
        total_bytes: How much there is; None if that cannot be told.
    """

    def __init__(self, path: str, convert: Callable[[Fields], _Record], *, csv: bool = False) -> None:
        self.name = "standard input" if path == "-" else path
        self.lines = array("Q")
        self.read_bytes = 0
        self.total_bytes = _size(path)
        self._path = path
        self._convert = convert
        self._csv = csv

    def __iter__(self) -> Iterator[_Record]:
        """The records.

        Raises:
            FileError: A line has none.
            OSError: The file cannot be read.
        """
        with _opened(self._path) as file:
            for line, record in self._rows(file) if self._csv else self._objects(file):
                fields = Fields(record, of_text=self._csv)
                try:
                    converted = self._convert(fields)
                    fields.finish()
                except FieldError as error:
                    self.refuse(line, str(error))
                self.lines.append(line)
                yield converted

    def refuse(self, line: int, problem: str) -> NoReturn:
        """Says what is wrong with a line.

        Raises:
            FileError: Always.
        """
        raise FileError(f"{self.name}: line {line}: {problem}") from None

    def _objects(self, file: BinaryIO) -> Iterator[tuple[int, dict[str, object]]]:
        for line, text in self._texts(file):
            if text.strip():
                yield line, self._object(line, text)

    def _object(self, line: int, text: str) -> dict[str, object]:
        try:
            record = json.loads(text, parse_constant=_no_constant)
        except json.JSONDecodeError as error:
            self.refuse(line, f"is no JSON: {error.msg} at column {error.colno}")
        except RecursionError:
            self.refuse(line, "is nested too deeply")
        except ValueError as error:
            self.refuse(line, f"is no JSON: {error}")
        if not isinstance(record, dict):
            self.refuse(line, "must be a JSON object")
        return record

    def _rows(self, file: BinaryIO) -> Iterator[tuple[int, dict[str, object]]]:
        reader = csv.reader((text for _, text in self._texts(file)), strict=True)
        header: list[str] | None = None
        while True:
            line = reader.line_num + 1  # a quoted cell may go over several
            try:
                row = next(reader)
            except StopIteration:
                if header is None:
                    self.refuse(1, "has no header")
                return
            except csv.Error as error:
                self.refuse(line, f"is no CSV: {error}")
            if not row:
                continue
            if header is None:
                header = [name.strip() for name in row]
                if twice := {name for name in header if header.count(name) > 1}:
                    self.refuse(line, f"the header has the column {min(twice)!r} twice")
                continue
            if len(row) != len(header):
                self.refuse(line, f"has {len(row)} columns, and the header {len(header)}")
            yield line, {name: cell for name, cell in zip(header, row, strict=True) if cell.strip()}

    def _texts(self, file: BinaryIO) -> Iterator[tuple[int, str]]:
        for line, data in enumerate(file, start=1):
            self.read_bytes += len(data)
            try:
                yield line, (data.removeprefix(_BOM) if line == 1 else data).decode()
            except UnicodeDecodeError as error:
                self.refuse(line, f"is not UTF-8: byte {error.start + 1}")


class IdFile(RecordFile[str]):
    """The ids of users in a file: a line is an id, or the JSON of a user.

    Args:
        path: The file, "-" for standard input.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path, _user_id)

    def _objects(self, file: BinaryIO) -> Iterator[tuple[int, dict[str, object]]]:
        for line, text in self._texts(file):
            if text.lstrip().startswith("{"):
                yield line, self._object(line, text)
            elif user_id := text.strip():
                yield line, {"user_id": user_id}


def _user_id(fields: Fields) -> str:
    user_id = fields.required_text("user_id", "id")
    fields.ignore("profile", "attributes", "event_count", "latest_events")
    return user_id


@contextmanager
def _opened(path: str) -> Iterator[BinaryIO]:
    if path == "-":
        yield sys.stdin.buffer
        return
    with Path(path).open("rb") as file:
        yield file


def _size(path: str) -> int | None:
    if path == "-" or not Path(path).is_file():
        return None
    return Path(path).stat().st_size


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")
