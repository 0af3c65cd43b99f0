"""One call of the generator, and how it ends: gRPC's statuses by number."""

from __future__ import annotations

from typing import Protocol

import grpc

OK: int = grpc.StatusCode.OK.value[0]
DEADLINE_EXCEEDED: int = grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
RESOURCE_EXHAUSTED: int = grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
INTERNAL: int = grpc.StatusCode.INTERNAL.value[0]
UNAVAILABLE: int = grpc.StatusCode.UNAVAILABLE.value[0]
_UNKNOWN: int = grpc.StatusCode.UNKNOWN.value[0]
_STATUSES = frozenset(code.value[0] for code in grpc.StatusCode)
# What "gRPC over HTTP2" says of an answer without a gRPC status, and of a stream that the server resets.
_OF_HTTP = {
    400: INTERNAL,
    401: grpc.StatusCode.UNAUTHENTICATED.value[0],
    403: grpc.StatusCode.PERMISSION_DENIED.value[0],
    404: grpc.StatusCode.UNIMPLEMENTED.value[0],
    429: UNAVAILABLE,
    502: UNAVAILABLE,
    503: UNAVAILABLE,
    504: UNAVAILABLE,
}
_OF_RESET = {
    7: UNAVAILABLE,
    8: grpc.StatusCode.CANCELLED.value[0],
    11: RESOURCE_EXHAUSTED,
    12: grpc.StatusCode.PERMISSION_DENIED.value[0],
}


def status_of_answer(grpc_status: int | None, http_status: int | None) -> int:
    """The status of a call whose answer has ended."""
    if grpc_status is None:
        return _OF_HTTP.get(http_status or 0, _UNKNOWN)
    return grpc_status if grpc_status in _STATUSES else _UNKNOWN


def status_of_reset(error_code: int) -> int:
    """The status of a call whose stream the server has reset."""
    return _OF_RESET.get(error_code, INTERNAL)


class Done(Protocol):
    """Is told how a call ended."""

    def __call__(self, status: int, message: bytes | bytearray, ended_s: float, /) -> None:
        """Takes the gRPC status, for OK the answer, and when it came, on `time.perf_counter`'s clock."""


class Carrier(Protocol):
    """What a call was sent on."""

    def cancel(self, call: Call, /) -> None:
        """Forgets a call, and queues that the server is told."""

    def flush(self) -> None:
        """Writes what is queued."""


class Call:
    """One call, from when it is due to its end.

    Attributes:
        method: Number of its headers.
        request: The serialised message.
        done: Called at its end, once.
        expires_s: When its deadline passes.
        connection: What it was sent on; None before.
        stream: Its number on the connection; 0 before it is sent.
        ended: Whether it has ended.
    """

    __slots__ = ("body", "connection", "done", "ended", "expires_s", "http_status", "method", "request", "stream")

    def __init__(self, method: int, request: bytes, done: Done, expires_s: float) -> None:
        self.method = method
        self.request = request
        self.done = done
        self.expires_s = expires_s
        self.connection: Carrier | None = None
        self.stream = 0
        self.ended = False
        self.http_status: int | None = None
        self.body: bytes | bytearray = b""

    def end(self, status: int, message: bytes | bytearray, ended_s: float) -> None:
        """Ends it, unless it has ended."""
        if not self.ended:
            self.ended = True
            self.body = b""
            self.done(status, message, ended_s)
