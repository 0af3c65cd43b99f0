"""Logging to stderr: a JSON object a line for machines, or plain lines for people; written by a thread of its own."""

from __future__ import annotations

import collections
import contextlib
import json
import logging
import select
import sys
import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pythonjsonlogger.json import JsonFormatter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tanager_server.settings import LogFormat


# Lines of this long are written together, unless one of them is a warning.
_GATHER_S = 0.05
# Lines that may wait for a reader who does not read; more are dropped, and counted.
_MAX_WAITING = 10_000
_CLOSE_S = 2.0

_EMPTY_RECORD = {**vars(logging.makeLogRecord({})), "levelno": logging.INFO, "levelname": "INFO"}
_STANDARD = frozenset((*_EMPTY_RECORD, "message", "asctime", "taskName", "fields"))
_encode = json.JSONEncoder(ensure_ascii=False).encode


class CallRecord(logging.LogRecord):
    """A record about a call, logged by `logger.handle`.

    `logging` makes a record by asking for the thread, the task and the place in the source: of a call none of that says
    anything, and it costs more than all the rest.
    """

    def __init__(self, logger: str, message: str, fields: Mapping[str, object]) -> None:
        values = self.__dict__
        values.update(_EMPTY_RECORD)
        created = time.time()
        values["name"], values["msg"] = logger, message
        values["created"], values["msecs"] = created, float(int(created % 1 * 1000))
        values.update(fields)
        values["fields"] = fields


class CallJsonFormatter(JsonFormatter):
    """Knows what a `CallRecord` holds, where others have to be searched."""

    def format(self, record: logging.LogRecord) -> str:
        """One JSON object."""
        if type(record) is not CallRecord:
            return super().format(record)
        moment = datetime.fromtimestamp(record.created, UTC).isoformat()
        head = {"level": record.levelname, "logger": record.name, "message": record.msg}
        return _encode({**head, **record.__dict__["fields"], "time": moment})


class TextFormatter(logging.Formatter):
    """Puts the fields of a record behind its message: `call method=… code=OK`."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging's name
        """The line without its exception."""
        fields = (f"{name}={value}" for name, value in vars(record).items() if name not in _STANDARD)
        return " ".join((super().formatMessage(record), *fields))


class BackgroundHandler(logging.Handler):
    """Formats and writes in a thread, many lines at a time: whoever reads stderr slowly, or not, holds up no call."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting: collections.deque[logging.LogRecord | threading.Event] = collections.deque()
        self._dropped = 0
        self._wake, self._hurry = threading.Event(), threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="log", daemon=True)
        self._thread.start()

    def handle(self, record: logging.LogRecord) -> bool:
        """Puts the record into the queue; takes no lock, which the writer could be holding."""
        if len(self._waiting) >= _MAX_WAITING:
            self._dropped += 1
            return False
        self._waiting.append(record)
        if record.levelno >= logging.WARNING:
            self._hurry.set()
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
        lines, flushed = [], []
        for _ in range(len(self._waiting)):
            item = self._waiting.popleft()
            if isinstance(item, threading.Event):
                flushed.append(item)
            else:
                lines.append(self._line(item))
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            message = "log lines were dropped: stderr is not read fast enough"
            record = logging.LogRecord(__name__, logging.ERROR, __file__, 0, message, (), None)
            record.dropped = dropped
            lines.append(self._line(record))
        with contextlib.suppress(OSError, ValueError):  # stderr is gone: there is nowhere left to say so
            _write("".join(lines))
        for written in flushed:
            written.set()

    def _line(self, record: logging.LogRecord) -> str:
        try:
            return self.format(record) + "\n"
        except Exception as error:  # a record that cannot be shown must not stop those that can
            return f"a log record from {record.pathname}, line {record.lineno} cannot be formatted: {error!r}\n"

    def _work(self) -> None:
        while not (self._closed and not self._waiting):
            self._wake.wait()
            self._hurry.wait(_GATHER_S)
            self._wake.clear()
            self._hurry.clear()
            self._write_waiting()


def _write(text: str) -> None:
    """Writes to stderr without its buffer, whose lock would keep the process from ending while nobody reads."""
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
    handler = BackgroundHandler()
    if log_format == "json":
        handler.setFormatter(
            CallJsonFormatter(
                "{levelname}{name}{message}",
                style="{",
                rename_fields={"levelname": "level", "name": "logger"},
                timestamp="time",
                json_ensure_ascii=False,
            )
        )
    else:
        handler.setFormatter(TextFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(level)
