"""Logging to stderr: a JSON object a line for machines, or plain lines for people; written by a thread of its own."""

from __future__ import annotations

import collections
import contextlib
import logging
import select
import sys
import threading
from typing import TYPE_CHECKING

from pythonjsonlogger.json import JsonFormatter

from tanager_server.telemetry.call_lines import CallFormatter, JsonCallFormatter, TextCallFormatter

if TYPE_CHECKING:
    from tanager_server.settings import LogFormat
    from tanager_server.telemetry.call_lines import Call


# Lines of this long are written together, unless one of them is a warning.
_GATHER_S = 0.05
# So many are formatted at a time, before the thread lets go of the interpreter to write them.
_SLICE = 256
# Lines that may wait for a reader who does not read; more are dropped, and counted.
_MAX_WAITING = 10_000
_CLOSE_S = 2.0

_STANDARD = frozenset((*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"))


class TextFormatter(logging.Formatter):
    """Puts the fields of a record behind its message: `call method=… code=OK`."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging's name
        """The line without its exception."""
        fields = (f"{name}={value}" for name, value in vars(record).items() if name not in _STANDARD)
        return " ".join((super().formatMessage(record), *fields))


class BackgroundHandler(logging.Handler):
    """Formats and writes in a thread, many lines at a time: whoever reads stderr slowly, or not, holds up no call.

    Args:
        calls: makes the lines of calls, which come without a record.
    """

    def __init__(self, calls: CallFormatter | None = None) -> None:
        super().__init__()
        self._calls = calls or TextCallFormatter()
        self._waiting: collections.deque[logging.LogRecord | Call | threading.Event] = collections.deque()
        self._dropped = 0
        self._wake, self._hurry = threading.Event(), threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="log", daemon=True)
        self._thread.start()

    def handle(self, record: logging.LogRecord) -> bool:
        """Puts the record into the queue; takes no lock that the writer could be holding for long."""
        taken = self._put(record)
        if taken and record.levelno >= logging.WARNING:
            self._hurry.set()
        return taken

    def handle_call(self, call: Call) -> bool:
        """Puts what is to be told of a call into the queue."""
        return self._put(call)

    def _put(self, item: logging.LogRecord | Call) -> bool:
        if len(self._waiting) >= _MAX_WAITING:
            self._dropped += 1
            return False
        self._waiting.append(item)
        # Setting takes a lock, and looking does not: only the first line of a batch wakes the writer. It clears the
        # event before it looks into the queue, so a line that finds it set is seen.
        if not self._wake.is_set():
            self._wake.set()
        return True

    def flush(self) -> None:
        """Has what waits written now; gives a reader who does not read some seconds, and never writes itself."""
        if not self._thread.is_alive():
            return
        written = threading.Event()
        self._waiting.append(written)
        self._hurry.set()
        self._wake.set()
        written.wait(_CLOSE_S)

    def close(self) -> None:
        """Writes what waits and ends the thread; gives a reader who does not read some seconds."""
        self._closed = True
        self._hurry.set()
        self._wake.set()
        self._thread.join(_CLOSE_S)
        super().close()

    def _write_waiting(self) -> None:
        flushed: list[threading.Event] = []
        remaining = len(self._waiting)
        dropped, self._dropped = self._dropped, 0  # those that came after what waits now
        while remaining:
            count = min(remaining, _SLICE)
            remaining -= count
            lines = []
            for _ in range(count):
                item = self._waiting.popleft()
                if isinstance(item, threading.Event):
                    flushed.append(item)
                else:
                    lines.append(self._line(item))
            _write("".join(lines))
        if dropped:
            message = "log lines were dropped: stderr is not read fast enough"
            record = logging.LogRecord(__name__, logging.ERROR, __file__, 0, message, (), None)
            record.dropped = dropped
            _write(self._line(record))
        for written in flushed:
            written.set()

    def _line(self, item: logging.LogRecord | Call) -> str:
        if isinstance(item, tuple):
            return self._calls.line(item)
        try:
            return self.format(item) + "\n"
        except Exception as error:  # a record that cannot be shown must not stop those that can
            return f"a log record from {item.pathname}, line {item.lineno} cannot be formatted: {error!r}\n"

    def _work(self) -> None:
        while not (self._closed and not self._waiting):
            self._wake.wait()
            self._hurry.wait(_GATHER_S)
            self._wake.clear()
            self._hurry.clear()
            self._write_waiting()


def _write(text: str) -> None:
    """Writes to stderr without its buffer, whose lock would keep the process from ending while nobody reads."""
    with contextlib.suppress(OSError, ValueError):  # stderr is gone: there is nowhere left to say so
        raw = getattr(getattr(sys.stderr, "buffer", None), "raw", None)
        if raw is None:  # not a file: a test's, or a notebook's
            sys.stderr.write(text)
            sys.stderr.flush()
            return
        data = memoryview(text.encode("utf-8", errors="backslashreplace"))
        while data:
            written = raw.write(data)
            if written is None:  # whoever shares it has made it non-blocking, and it is full
                select.select((), (raw,), ())
            else:
                data = data[written:]


def configure_logging(*, level: str, log_format: LogFormat) -> None:
    """Sets up the root logger.

    Args:
        level: the least severe level written, as `logging` names it.
        log_format: `json` or `text`.
    """
    if log_format == "json":
        handler = BackgroundHandler(JsonCallFormatter())
        handler.setFormatter(
            JsonFormatter(
                "{levelname}{name}{message}",
                style="{",
                rename_fields={"levelname": "level", "name": "logger"},
                timestamp="time",
                json_ensure_ascii=False,
            )
        )
    else:
        handler = BackgroundHandler(TextCallFormatter())
        handler.setFormatter(TextFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(level)
