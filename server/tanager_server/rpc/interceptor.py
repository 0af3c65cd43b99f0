"""What happens around every call, in one place: admission, deadline, errors to statuses, request id, metrics, log."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import secrets
import time
from typing import TYPE_CHECKING, Any, cast

import grpc
import grpc.aio
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from tanager_server.errors import (
    DeadlineExpiredError,
    DrainingError,
    FieldViolation,
    InvalidRequestError,
    OverloadedError,
    ServerError,
)
from tanager_server.telemetry import CallRecord

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tanager_server.telemetry import Metrics

    Context = grpc.aio.ServicerContext[Message, Message]
    Answer = Callable[[Message, Context], Awaitable[Message]]

_log = logging.getLogger("tanager_server.calls")

REQUEST_ID = "x-request-id"
_MAX_REQUEST_ID_CHARS = 128
_OWN_METHODS = "/tanager."
_DETAILS = "grpc-status-details-bin"
_INTERNAL = "internal error; quote the request id {} to whoever runs this server"

# Of calls refused for overload, so many a second are logged; the next line tells how many were not.
_SHED_CODES = frozenset(("RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "UNAVAILABLE"))
_SHED_LINES_PER_S = 20

# Beyond this a deadline is none: gRPC reports a missing one as a time far in the future.
_NO_DEADLINE_S = 86_400.0

_deadline_s: contextvars.ContextVar[float] = contextvars.ContextVar("deadline_s")


def deadline_s() -> float:
    """Seconds that the call in progress had left when it began, the server's default where its client set none."""
    return _deadline_s.get()


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Wraps every method of this server's own services; health and reflection pass untouched.

    Args:
        max_calls: calls answered at a time; the next is refused at once.
        default_deadline_s: deadline of calls that come without one.
        metrics: what counts the calls; None for none.
        log_calls: whether answered calls are logged too, or failed ones only.
    """

    def __init__(self, *, max_calls: int, default_deadline_s: float, metrics: Metrics | None, log_calls: bool) -> None:
        self._max_calls = max_calls
        self._default_deadline_s = default_deadline_s
        self._metrics = metrics
        self._log_calls = log_calls
        self._handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
        self.calls_in_flight = 0
        self._refusing = False
        self._refusals_leave = asyncio.Event()
        self._refusals_leave.set()
        self._shed_second = self._shed_logged = self._shed_unlogged = 0
        self._ended = asyncio.Event()

    async def refuse_new_calls(self, *, grace_s: float) -> None:
        """From now on answers new calls UNAVAILABLE; returns when those in flight have ended, or after the grace."""
        self._refusing = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                while self.calls_in_flight:
                    self._ended.clear()
                    await self._ended.wait()

    def hold_refusals(self) -> None:
        """From now on who is refused learns it at `release_refusals` only, and does not call again before."""
        self._refusals_leave.clear()

    def release_refusals(self) -> None:
        """Refuses all who were held."""
        self._refusals_leave.set()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Wraps the method's handler."""
        method: str = handler_call_details.method
        if (wrapped := self._handlers.get(method)) is not None:
            return wrapped
        handler = await continuation(handler_call_details)
        if handler is None or handler.unary_unary is None or not method.startswith(_OWN_METHODS):
            return handler
        answer = cast("Answer", handler.unary_unary)
        deserialize = cast("Callable[[bytes], Message]", handler.request_deserializer)

        async def call(request: Message | DecodeError, context: Context) -> Message:
            return await self._call(answer, method, request, context)

        def parse(data: bytes) -> Message | DecodeError:
            # Raising here would make gRPC answer INTERNAL to what is the caller's mistake.
            try:
                return deserialize(data)
            except DecodeError as error:
                return error

        self._handlers[method] = grpc.unary_unary_rpc_method_handler(
            call, request_deserializer=parse, response_serializer=_serialize
        )
        return self._handlers[method]

    async def _call(
        self,
        answer: Answer,
        method: str,
        request: Message | DecodeError,
        context: Context,
    ) -> Message:
        began = time.perf_counter()
        remaining = context.time_remaining()
        request_id = _request_id(context)
        if request_id is None:
            # Its caller learns it from the answer; one who sent an id knows it, and is spared the header.
            request_id = secrets.token_hex(8)
            context.set_trailing_metadata(((REQUEST_ID, request_id),))
        code = "CANCELLED"  # unless it is answered
        self.calls_in_flight += 1
        try:
            response = await self._answer(answer, request, context, remaining)
            code = "OK"
            return response
        except ServerError as error:
            code = error.code
            await _abort(context, error, request_id)
        except Exception:  # a bug: its caller gets a correlation id, and nothing of what is inside
            code = "INTERNAL"
            _log.exception("unhandled error", extra={"request_id": request_id, "method": method})
            await context.abort(grpc.StatusCode.INTERNAL, _INTERNAL.format(request_id), ((REQUEST_ID, request_id),))
        finally:
            self.calls_in_flight -= 1
            self._ended.set()
            seconds = time.perf_counter() - began
            if code == "CANCELLED" and remaining is not None and seconds >= remaining:
                code = "DEADLINE_EXCEEDED"  # gRPC cancels what has run into its caller's deadline
            self._record(method, code, seconds, request_id)
        raise AssertionError("abort raises")

    async def _answer(
        self,
        answer: Answer,
        request: Message | DecodeError,
        context: Context,
        remaining: float | None,
    ) -> Message:
        if self._refusing:
            self._shed("draining")
            await self._refusals_leave.wait()
            raise DrainingError("the server is shutting down; try again")
        if self.calls_in_flight > self._max_calls:
            self._shed("max_calls")
            raise OverloadedError(f"{self._max_calls} calls are in flight already", retry_after_s=0.1)
        if isinstance(request, DecodeError):
            raise InvalidRequestError(
                FieldViolation("request", f"is not valid: malformed, or a string that is not UTF-8 ({request})")
            )
        if remaining is not None and remaining <= _NO_DEADLINE_S:
            _deadline_s.set(remaining)
            return await answer(request, context)  # gRPC cancels this when the deadline passes
        _deadline_s.set(self._default_deadline_s)
        try:
            async with asyncio.timeout(self._default_deadline_s):
                return await answer(request, context)
        except TimeoutError:
            raise DeadlineExpiredError("the deadline passed before the answer was ready") from None

    def _shed(self, reason: str) -> None:
        if self._metrics is not None:
            self._metrics.observe_shed(reason)

    def _record(self, method: str, code: str, seconds: float, request_id: str) -> None:
        if self._metrics is not None:
            self._metrics.observe_call(method=method, code=code, seconds=seconds)
        if (not self._log_calls and code in ("OK", "CANCELLED")) or not _log.isEnabledFor(logging.INFO):
            return
        fields: dict[str, object] = {
            "method": method,
            "code": code,
            "ms": round(seconds * 1e3, 3),
            "request_id": request_id,
        }
        if code in _SHED_CODES:
            second = int(time.monotonic())
            if second != self._shed_second:
                self._shed_second, self._shed_logged = second, 0
            self._shed_logged += 1
            if self._shed_logged > _SHED_LINES_PER_S:  # to tell of each would cost as much as the refusal itself
                self._shed_unlogged += 1
                return
            if self._shed_unlogged:
                fields["unlogged_before"], self._shed_unlogged = self._shed_unlogged, 0
        _log.handle(CallRecord(_log.name, "call", fields))


def _request_id(context: Context) -> str | None:
    for key, value in context.invocation_metadata() or ():
        if key == REQUEST_ID and isinstance(value, str) and 0 < len(value) <= _MAX_REQUEST_ID_CHARS:
            return value
    return None


def _serialize(response: Message | bytes) -> bytes:
    """Hot responses come serialised: see `responses`."""
    return response if isinstance(response, bytes) else response.SerializeToString()


async def _abort(context: Context, error: ServerError, request_id: str) -> None:
    code = grpc.StatusCode[error.code]
    if code is grpc.StatusCode.INTERNAL:
        _log.error("internal error", exc_info=error, extra={"request_id": request_id})
        await context.abort(code, _INTERNAL.format(request_id), ((REQUEST_ID, request_id),))
    message = str(error)
    details: list[Message] = []
    if isinstance(error, InvalidRequestError):
        violations = [
            error_details_pb2.BadRequest.FieldViolation(field=v.field, description=v.description)
            for v in error.violations
        ]
        details.append(error_details_pb2.BadRequest(field_violations=violations))
    if isinstance(error, OverloadedError):
        delay = duration_pb2.Duration()
        delay.FromNanoseconds(int(error.retry_after_s * 1e9))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    metadata: list[tuple[str, str | bytes]] = [(REQUEST_ID, request_id)]
    if details:
        packed = []
        for detail in details:
            holder = any_pb2.Any()
            holder.Pack(detail)
            packed.append(holder)
        status = status_pb2.Status(code=code.value[0], message=message, details=packed)
        metadata.append((_DETAILS, status.SerializeToString()))
    await context.abort(code, message, tuple(metadata))
