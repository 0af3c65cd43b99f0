"""Tells on standard error how far a file is, where that is a terminal."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

    from tanager._bulk import Imported
    from tanager.commands.files import RecordFile

_PERIOD_S = 0.1
_BAR_WIDTH = 30
_CLEAR_LINE = "\r\x1b[K"


class Progress:
    """One line that is written over, and gone at the end.

    Args:
        name: What the records are called, in the plural.
        file: They are from; how far it is, is measured in its bytes.
        shown: Whether it is shown at all.
    """

    def __init__(self, name: str, file: RecordFile[object], *, shown: bool = True) -> None:
        self.done_count = 0
        self._name = name
        self._file = file
        self._terminal = shown and sys.stderr.isatty()
        self._started_s = time.monotonic()
        self._shown_s = 0.0

    def update(self, imported: Imported) -> None:
        """Takes in what has come of an import."""
        self.advance(imported.record_count)

    def advance(self, count: int) -> None:
        """Takes in how many are done so far."""
        self.done_count = count
        now_s = time.monotonic()
        if self._terminal and now_s - self._shown_s >= _PERIOD_S:
            self._shown_s = now_s
            self._write(self.line(now_s - self._started_s))

    def line(self, elapsed_s: float) -> str:
        """What is shown after so many seconds."""
        rate = f"{self.done_count / elapsed_s:,.0f}/s" if elapsed_s > 0 else ""
        counts = f"{self.done_count:,} {self._name}  {rate}".rstrip()
        total_bytes, read_count = self._file.total_bytes, len(self._file.lines)
        if not total_bytes or not read_count:
            return counts
        # Reading is ahead of writing by a few batches.
        share = min(1.0, self._file.read_bytes / total_bytes * self.done_count / read_count)
        done = int(_BAR_WIDTH * share)
        left_s = elapsed_s * (1 / share - 1) if share else 0.0
        return f"[{'#' * done}{'-' * (_BAR_WIDTH - done)}] {share:4.0%}  {counts}  {left_s:,.0f} s left"

    def end(self) -> None:
        """Tells how many there were, in a line that stays."""
        elapsed_s = time.monotonic() - self._started_s
        if self._terminal:
            self._shown_s = 0.0
            self._write(f"{self.done_count:,} {self._name} in {elapsed_s:.1f} s\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._shown_s:
            self._write("")

    def _write(self, text: str) -> None:
        print(f"{_CLEAR_LINE}{text}", end="", file=sys.stderr, flush=True)
