"""`interactions.csv`: read by the block into columns, with the exact line of whatever is wrong."""

from __future__ import annotations

import csv
import itertools
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tanager_export.dataset.format import Interactions
from tanager_export.dataset.problem import Problem, Tally
from tanager_export.dataset.textfile import CONTROL, text_lines

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from tanager_export.dataset.problem import Reporter

INTERACTIONS = "interactions.csv"
REQUIRED = ("user_id", "item_id", "timestamp")
PARTS = ("train", "valid", "test")
"""The parts of a split that a dataset brings along in a column `split`."""


_PART_NUMBERS = {part: number for number, part in enumerate(PARTS)} | {"": -1, "validation": 1, "val": 1, "dev": 1}
_ROWS_A_BLOCK = 1 << 10  # small enough for a block to stay in the processor's cache
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_LINE_BREAK = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True, slots=True, eq=False)
class LocatedInteractions:
    """Interactions as they are in the file.

    Attributes:
        interactions: What could be read.
        lines: `(n,) int64`, the line on which each begins.
        part: `(n,) int8`, the part of a split that each is in, as a position in `PARTS`, -1 where it is in none; None
            where the file has no column `split`.
    """

    interactions: Interactions
    lines: NDArray[np.int64]
    part: NDArray[np.int8] | None = None

    @classmethod
    def none(cls) -> LocatedInteractions:
        """No interactions."""
        return cls(Interactions.empty(), np.empty(0, np.int64))


def read_interactions(
    directory: Path, item_index: Mapping[str, int], report: Reporter, *, progress: bool = False
) -> LocatedInteractions:
    """Read the interactions of a dataset directory; none where the file is missing.

    Args:
        directory: The dataset.
        item_index: Position of each item id in the catalogue.
        report: Told what is wrong; rows it was told of are left out. Interactions with items that are not in the
            catalogue are reported once, with their number.
        progress: Whether to show a bar on stderr.
    """
    path = directory / INTERACTIONS
    if not path.exists():
        return LocatedInteractions.none()
    tally = Tally(report)
    rows = csv.reader(text_lines(path, tally, progress=progress), strict=True)
    header = _read_header(rows, tally)
    if not header:
        return LocatedInteractions.none()
    table = _Table(header, item_index, report)
    while True:
        line = rows.line_num + 1
        block: list[list[str]] = []
        try:
            block.extend(itertools.islice(rows, _ROWS_A_BLOCK))  # keeps the rows before one that is broken
        except csv.Error as error:
            table.add(block, line, rows.line_num)
            _report_broken_row(error, line + sum(map(_height, block)), report)
            continue
        if not block:
            return table.finish()
        table.add(block, line, rows.line_num)


class _Table:
    """Columns growing by the block. The usual block is converted without looking at its rows one by one."""

    def __init__(self, header: list[str], item_index: Mapping[str, int], report: Reporter) -> None:
        self._width = len(header)
        self._user, self._item, self._time = (header.index(name) for name in REQUIRED)
        self._weight = header.index("weight") if "weight" in header else None
        self._part = header.index("split") if "split" in header else None
        self._items = item_index
        self._report = report
        self._users: dict[str, int] = {}
        self._blocks: list[tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int64], NDArray[np.float32]]] = []
        self._lines: list[NDArray[np.int64]] = []
        self._parts: list[NDArray[np.int8]] = []
        self._orphans = 0
        self._first_orphan = (0, "")

    def add(self, rows: list[list[str]], first_line: int, last_line: int) -> None:
        """Add rows that lie on these lines of the file."""
        lines = np.arange(first_line, first_line + len(rows), dtype=np.int64)
        if last_line - first_line + 1 != len(rows) or not self._convert(rows, lines):
            good = []
            for row in rows:
                if row and (flaw := self._flaw(row)) is not None:
                    self._report(Problem(INTERACTIONS, first_line, *flaw))
                elif row:
                    good.append((row, first_line))
                first_line += _height(row)
            if good:
                kept, kept_lines = zip(*good, strict=True)
                converted = self._convert(list(kept), np.array(kept_lines, np.int64))
                assert converted, "a row without a flaw converts"

    def finish(self) -> LocatedInteractions:
        """What was read."""
        if self._orphans:
            line, item = self._first_orphan
            message = f"item {item!r} is not in items.jsonl"
            if self._orphans > 1:
                message += f" ({self._orphans:,} interactions have such unknown items, this is the first)"
            mend = "add the items or drop these rows"
            self._report(Problem(INTERACTIONS, line, "orphan-interactions", message, mend, self._orphans))
        if not self._blocks:
            return LocatedInteractions.none()
        user, item_, timestamp, weight = (np.concatenate(column) for column in zip(*self._blocks, strict=True))
        interactions = Interactions(user, item_, timestamp, weight, tuple(self._users))
        part = None if self._part is None else np.concatenate(self._parts)
        return LocatedInteractions(interactions, np.concatenate(self._lines), part)

    def _convert(self, rows: list[list[str]], lines: NDArray[np.int64]) -> bool:
        """Append rows as columns; False, and nothing appended, when any of them has a flaw."""
        if set(map(len, rows)) != {self._width}:
            return False
        columns = list(zip(*rows, strict=True))
        names, times = columns[self._user], columns[self._time]
        new = [name for name in dict.fromkeys(names) if name not in self._users]
        if not all(map(str.strip, new)) or any(map(CONTROL.search, new)):
            return False
        if not _are_plain_digits(times) and not all(map(_INTEGER.fullmatch, times)):
            return False
        weight = np.ones(len(rows), np.float32)
        if self._weight is not None:
            try:
                with np.errstate(over="ignore"):
                    weight = np.fromiter(map(float, columns[self._weight]), np.float64, len(rows)).astype(np.float32)
            except ValueError:
                return False
            if not np.isfinite(weight).all():
                return False
        part = None
        if self._part is not None:
            if not set(columns[self._part]) <= _PART_NUMBERS.keys():
                return False
            part = np.fromiter(map(_PART_NUMBERS.__getitem__, columns[self._part]), np.int8, len(rows))
        item = np.fromiter(map(self._items.get, columns[self._item], itertools.repeat(-1)), np.int32, len(rows))
        known = item >= 0
        if not known.all():
            first = int(np.argmin(known))
            if not self._orphans:
                self._first_orphan = (int(lines[first]), columns[self._item][first])
            self._orphans += int((~known).sum())
            new = [name for name in dict.fromkeys(itertools.compress(names, known)) if name not in self._users]
        self._users.update(zip(new, itertools.count(len(self._users))))
        user = np.fromiter(map(self._users.get, names, itertools.repeat(-1)), np.int32, len(rows))
        timestamp = np.fromiter(map(int, times), np.int64, len(rows))
        self._blocks.append((user[known], item[known], timestamp[known], weight[known]))
        self._lines.append(lines[known])
        if part is not None:
            self._parts.append(part[known])
        return True

    def _flaw(self, row: list[str]) -> tuple[str, str, str] | None:
        """Code, message and mend of what is wrong with a row by itself."""
        if len(row) != self._width:
            mend = "quote fields that contain a comma" if len(row) > self._width else "keep the comma of an empty field"
            return "broken-row", f"expected {self._width} columns, found {len(row)}", mend
        if not row[self._user].strip():
            return "blank-id", "blank user_id", "name the user or drop the row"
        if CONTROL.search(row[self._user]):
            return "control-character", "user_id contains a control character", "remove it"
        if not _INTEGER.fullmatch(row[self._time]):
            return "timestamp", f"timestamp {row[self._time]!r} is no integer", "give Unix seconds, as in 1700000000"
        if self._weight is not None and not is_weight(row[self._weight]):
            return "weight", f"weight {row[self._weight]!r} is no finite number", "give a number such as 1 or 0.5"
        if self._part is not None and row[self._part] not in _PART_NUMBERS:
            mend = "rename the column if it is something else"
            return "split", f"split {row[self._part]!r} is none of {', '.join(PARTS)}", mend
        return None


def _are_plain_digits(texts: tuple[str, ...]) -> bool:
    """Whether each is an integer below 10^18 without a sign: one scan of them all, as a regular expression is slow."""
    joined = "".join(texts)
    return joined.isascii() and joined.isdigit() and all(texts) and len(max(texts, key=len)) < 19


def _read_header(rows: Iterator[list[str]], tally: Tally) -> list[str]:
    """The names of the columns; none when they are unusable, which is then reported."""
    try:
        header = next(rows, [])
    except csv.Error as error:
        tally(Problem(INTERACTIONS, 1, "header", f"the header is no CSV row ({error})"))
        return []
    mend = f"the first line is {','.join(REQUIRED)}, with event, weight and more as wanted"
    if not header and not tally.count:
        tally(Problem(INTERACTIONS, 1, "header", "no header", mend))
    for name in REQUIRED if header else ():
        if name not in header:
            tally(Problem(INTERACTIONS, 1, "header", f"no column {name}", mend))
    for name in sorted(set(header)):
        if header.count(name) > 1:
            tally(Problem(INTERACTIONS, 1, "header", f"two columns are named {name!r}", "rename or drop one"))
    return [] if tally.count else header


def _report_broken_row(error: csv.Error, line: int, report: Reporter) -> None:
    reason = str(error)
    if "end of data" in reason or "field larger" in reason:
        reason = "a quote that opens on this line is never closed"
    report(Problem(INTERACTIONS, line, "broken-row", reason, 'write a quote inside a field as ""'))


def _height(row: list[str]) -> int:
    """How many lines of the file a row takes: a quoted field may contain line breaks."""
    return 1 + sum(len(_LINE_BREAK.findall(value)) for value in row)


def is_weight(text: str) -> bool:
    """Whether a field can be read as a weight."""
    try:
        with np.errstate(over="ignore"):
            return math.isfinite(np.float32(float(text)))
    except ValueError:
        return False
