"""What happens around every call, in one place: admission, deadline, errors to statuses, request id, metrics, log."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import logging
import math
import re
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
from tanager_server.telemetry import CallLog

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tanager_server.telemetry import Metrics

    Context = grpc.aio.ServicerContext[Message, Message]
    Answer = Callable[[Message, Context], Awaitable[Message]]

_log = logging.getLogger("tanager_server.calls")

REQUEST_ID = "x-request-id"
# What may stand in a header and in a line of the log, and be one word there; gRPC does not look at what it receives.
_REQUEST_ID = re.compile(r"[!-~]{1,128}")
_OWN_METHODS = "/tanager."
_DETAILS = "grpc-status-details-bin"
_INTERNAL = "internal error; quote the request id {} to whoever runs this server"

# Times to try again are told in steps of so many to a second: refusals repeat, and are packed once.
_RETRY_STEPS_PER_S = 100
_PACKED_REFUSALS = 1024
# gRPC cancels a call at its deadline by a clock of its own.
_DEADLINE_TOLERANCE_S = 0.01
# What a method returns whose call was aborted; gRPC does not send it.
_NO_ANSWER = cast("Message", None)

# Beyond this a deadline is none: gRPC reports a missing one as a time far in the future.
_NO_DEADLINE_S = 86_400.0

_deadline_s: contextvars.ContextVar[float] = contextvars.ContextVar("deadline_s")


def deadline_s() -> float:
    """Seconds that the call in progress had left when it began, the server's default where its client set none."""
    return _deadline_s.get()


class _OutOfTimeError(DeadlineExpiredError):
    """A call ran into the server's own deadline: it was taken up, and not shed."""


# Raised because there was too much to do, and not because something is broken.
_SHED = (OverloadedError, DrainingError, DeadlineExpiredError)


class _Calls:
    """Calls in flight, of those that began while nobody waited for their end."""

    def __init__(self) -> None:
        self.count = 0
        self.ended: asyncio.Event | None = None


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
        self._log = CallLog(answered=log_calls)
        self._handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
        self.calls_in_flight = 0
        self._calls = _Calls()
        self._refusing = False
        self._refusals_leave = asyncio.Event()
        self._refusals_leave.set()
        self._ended = asyncio.Event()

    def calls_end(self) -> Awaitable[object]:
        """Ends when all calls have that are in flight now, when it is called; others go on."""
        calls, self._calls = self._calls, _Calls()
        calls.ended = asyncio.Event()
        if not calls.count:
            calls.ended.set()
        return calls.ended.wait()

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
        request_id = sent_request_id(context)
        if request_id is None:
            # Its caller learns it from the answer; one who sent an id knows it, and is spared the header.
            request_id = secrets.token_hex(8)
            context.set_trailing_metadata(((REQUEST_ID, request_id),))
        code, shed = "CANCELLED", False  # unless it is answered
        self.calls_in_flight += 1
        calls = self._calls
        calls.count += 1
        try:
            try:
                response = await self._answer(answer, request, context, remaining)
                code = "OK"
                return response
            except ServerError as error:
                failure: Exception = error
                code, shed = error.code, isinstance(error, _SHED) and not isinstance(error, _OutOfTimeError)
            except Exception as error:  # a bug: its caller gets a correlation id, and nothing of what is inside
                failure, code = error, "INTERNAL"
            # Here and not above, or what gRPC raises to end the call would be chained to it.
            await _refuse(context, failure, code, method, request_id)
            return _NO_ANSWER
        finally:
            self.calls_in_flight -= 1
            self._ended.set()
            calls.count -= 1
            if calls.ended is not None and not calls.count:
                calls.ended.set()
            seconds = time.perf_counter() - began
            if code == "CANCELLED" and remaining is not None and seconds >= remaining - _DEADLINE_TOLERANCE_S:
                code = "DEADLINE_EXCEEDED"  # gRPC cancels what has run into its caller's deadline
            if self._metrics is not None:
                self._metrics.observe_call(method=method, code=code, seconds=seconds)
            self._log.write(method=method, code=code, seconds=seconds, request_id=request_id, shed=shed)

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
            raise _OutOfTimeError("the deadline passed before the answer was ready") from None

    def _shed(self, reason: str) -> None:
        if self._metrics is not None:
            self._metrics.observe_shed(reason)


def sent_request_id(context: Context) -> str | None:
    """The request id that a caller has sent, if it is a sound one."""
    for key, value in context.invocation_metadata() or ():
        if key == REQUEST_ID and isinstance(value, str) and _REQUEST_ID.fullmatch(value):
            return value
    return None


def _serialize(response: Message | bytes) -> bytes:
    """Hot responses come serialised: see `responses`."""
    return response if isinstance(response, bytes) else response.SerializeToString()


async def _refuse(context: Context, error: Exception, code: str, method: str, request_id: str) -> None:
    """Answers a call with the status of its error."""
    metadata: tuple[tuple[str, str | bytes], ...] = ((REQUEST_ID, request_id),)
    if code == "INTERNAL":
        what = "internal error" if isinstance(error, ServerError) else "unhandled error"
        _log.error(what, exc_info=error, extra={"request_id": request_id, "method": method})
        message = _INTERNAL.format(request_id)
    else:
        # The future that it came through holds it, it the frames it passed, and they the future: there are too many
        # refusals to leave to the garbage collector.
        error.__traceback__ = None
        message = str(error)
        if isinstance(error, OverloadedError):
            steps = math.ceil(error.retry_after_s * _RETRY_STEPS_PER_S - 1e-6)  # 0.07 s are 7.000000000000001 steps
            metadata += ((_DETAILS, _packed_overload(code, message, steps)),)
        elif isinstance(error, InvalidRequestError):
            metadata += ((_DETAILS, _packed(code, message, _bad_request(error))),)
    try:
        await context.abort(grpc.StatusCode[code], message, metadata)
    except grpc.aio.AbortError as aborted:
        # gRPC holds it, and raises it again when the method returns. Through its traceback it would hold this call's
        # frames, and they the call. (To set the status and return would be as cheap, but would send headers and an
        # empty message first, after which no client retries.)
        aborted.__traceback__ = None


@functools.lru_cache(_PACKED_REFUSALS)
def _packed_overload(code: str, message: str, retry_steps: int) -> bytes:
    delay = duration_pb2.Duration()
    delay.FromNanoseconds(retry_steps * (1_000_000_000 // _RETRY_STEPS_PER_S))
    return _packed(code, message, error_details_pb2.RetryInfo(retry_delay=delay))


def _bad_request(error: InvalidRequestError) -> Message:
    violation = error_details_pb2.BadRequest.FieldViolation
    found = [violation(field=v.field, description=v.description) for v in error.violations]
    return cast("Message", error_details_pb2.BadRequest(field_violations=found))


def _packed(code: str, message: str, detail: Message) -> bytes:
    holder = any_pb2.Any()
    holder.Pack(detail)
    status = status_pb2.Status(code=grpc.StatusCode[code].value[0], message=message, details=[holder])
    return cast("bytes", status.SerializeToString())
