"""Logging to stderr: a JSON object a line for machines, or plain lines for people."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from pythonjsonlogger.json import JsonFormatter

if TYPE_CHECKING:
    from tanager_server.settings import LogFormat


_STANDARD = frozenset((*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"))


class TextFormatter(logging.Formatter):
    """Puts the fields of a record behind its message: `call method=… code=OK`."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging's name
        """The line without its exception."""
        fields = (f"{name}={value}" for name, value in vars(record).items() if name not in _STANDARD)
        return " ".join((super().formatMessage(record), *fields))


def configure_logging(*, level: str, log_format: LogFormat) -> None:
    """Sets up the root logger.

    Args:
        level: the least severe level written, as `logging` names it.
        log_format: `json` or `text`.
    """
    handler = logging.StreamHandler()
    if log_format == "json":
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
        handler.setFormatter(TextFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
