"""Lines about calls. There are thousands a second, so they take a shorter way than `logging`'s, to the same lines."""

from __future__ import annotations

import functools
import json
import time
from abc import ABC, abstractmethod
from datetime import UTC, datetime
from typing import TypeAlias

CALLS_LOGGER = "tanager_server.calls"
CALL_MESSAGE = "call"

# Nanoseconds since the epoch, method, gRPC status, seconds, request id, refusals that got no line before this one. A
# plain tuple, because the event loop makes one for each call.
Call: TypeAlias = tuple[int, str, str, float, str, int]

_SECOND_NS = 1_000_000_000
_quote = json.encoder.encode_basestring  # in C where there is one; keeps what is not ASCII readable
_dump = json.JSONEncoder(ensure_ascii=False).encode


class CallFormatter(ABC):
    """Makes lines of calls; used by one thread."""

    def __init__(self) -> None:
        self._second = -1
        self._shown = ""

    @abstractmethod
    def line(self, call: Call) -> str:
        """The line with its end."""

    @staticmethod
    @abstractmethod
    def _show(second: int) -> str:
        """A second since the epoch as the lines show it."""

    def _second_shown(self, second: int) -> str:
        if second != self._second:  # calls come in the order of their time: nearly always the same
            self._second, self._shown = second, self._show(second)
        return self._shown


class JsonCallFormatter(CallFormatter):
    """One JSON object a call."""

    def line(self, call: Call) -> str:
        """The line with its end."""
        moment_ns, method, code, seconds, request_id, unlogged = call
        second, ns = divmod(moment_ns, _SECOND_NS)
        before = f'"unlogged_before": {unlogged}, ' if unlogged else ""
        return (
            f'{_json_head(method, code)}"ms": {round(seconds * 1e3, 3)!r}, "request_id": {_quote(request_id)}, '
            f'{before}"time": "{self._second_shown(second)}.{ns // 1000:06d}+00:00"}}\n'
        )

    @staticmethod
    def _show(second: int) -> str:
        return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


class TextCallFormatter(CallFormatter):
    """`2026-11-03 12:00:00,250 INFO tanager_server.calls: call method=… code=OK …`, in local time."""

    def line(self, call: Call) -> str:
        """The line with its end."""
        moment_ns, method, code, seconds, request_id, unlogged = call
        second, ns = divmod(moment_ns, _SECOND_NS)
        before = f" unlogged_before={unlogged}" if unlogged else ""
        return (
            f"{self._second_shown(second)},{ns // 1_000_000:03d} INFO {CALLS_LOGGER}: {CALL_MESSAGE} "
            f"method={method} code={code} ms={round(seconds * 1e3, 3)!r} request_id={request_id}{before}\n"
        )

    @staticmethod
    def _show(second: int) -> str:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))


@functools.cache  # of few methods and few codes
def _json_head(method: str, code: str) -> str:
    fields = {"level": "INFO", "logger": CALLS_LOGGER, "message": CALL_MESSAGE, "method": method, "code": code}
    return _dump(fields)[:-1] + ", "
