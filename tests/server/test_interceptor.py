"""What happens around every call: admission, deadline, errors to statuses, request id, metrics, log."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import secrets
import weakref
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from tanager.v1 import recommendation_pb2_grpc
from tanager.v1.recommendation_pb2 import RecommendRequest, RecommendResponse
from tanager_server.errors import (
    BundleError,
    DeadlineExpiredError,
    DrainingError,
    EncodeError,
    EncoderStuckError,
    FieldViolation,
    InvalidRequestError,
    ItemNotFoundError,
    OverloadedError,
    ServerError,
    StartupError,
)
from tanager_server.rpc.interceptor import CallInterceptor, deadline_s
from tanager_server.telemetry import call_log

METHOD = "/tanager.v1.RecommendationService/Recommend"
SECRET = "/home/somebody/secret"


class Context:
    """The part of gRPC's context that the interceptor uses."""

    def __init__(self, remaining=60.0, metadata=()):
        self.remaining, self.metadata = remaining, metadata
        self.trailing: dict[str, Any] = {}
        self.code: grpc.StatusCode | None = None
        self.message = ""
        self.aborted: grpc.aio.AbortError | None = None

    def invocation_metadata(self):
        return self.metadata

    def time_remaining(self):
        return self.remaining

    def set_trailing_metadata(self, metadata):
        self.trailing = dict(metadata)

    async def abort(self, code, details="", trailing_metadata=()):
        self.code, self.message = code, details
        self.trailing |= dict(trailing_metadata)
        self.aborted = grpc.aio.AbortError("Locally aborted.")
        raise self.aborted

    def details(self, kind):
        """The one error detail, of this kind."""
        status = status_pb2.Status.FromString(self.trailing["grpc-status-details-bin"])
        assert self.code is not None
        assert (status.code, status.message) == (self.code.value[0], self.message)
        (packed,) = status.details
        detail = kind()
        assert packed.Unpack(detail)
        return detail


class Calls:
    """Stands in for the metrics."""

    def __init__(self):
        self.seen: list[tuple[str, str]] = []
        self.shed: list[str] = []

    def observe_shed(self, reason):
        self.shed.append(reason)

    def observe_call(self, *, method, code, seconds):
        assert seconds >= 0
        self.seen.append((method, code))


@pytest.fixture
def calls():
    return Calls()


@pytest.fixture
def intercept(calls):
    """An interceptor around one method: `call(context, request)` does what gRPC would."""

    async def wrap(answer, *, method=METHOD, **options):
        defaults: dict[str, Any] = {"max_calls": 2, "default_deadline_s": 10.0, "metrics": calls, "log_calls": True}
        interceptor = CallInterceptor(**(defaults | options))
        handler = grpc.unary_unary_rpc_method_handler(
            answer,
            request_deserializer=RecommendRequest.FromString,
            response_serializer=RecommendResponse.SerializeToString,
        )

        async def continuation(details):
            return handler

        details: Any = type("Details", (), {"method": method})
        wrapped: Any = await interceptor.intercept_service(continuation, details)

        async def call(context, data=b""):
            answered = await wrapped.unary_unary(wrapped.request_deserializer(data), context)
            if context.aborted is not None:  # a method may keep it to itself, and gRPC raises it all the same
                raise context.aborted
            return answered

        return interceptor, call, wrapped is handler

    return wrap


def answering(outcome=None):
    async def answer(request, context):
        if isinstance(outcome, BaseException):
            raise outcome
        return RecommendResponse(unknown_item_count=3)

    return answer


async def aborted(call, context, data=b""):
    with pytest.raises(grpc.aio.AbortError):
        await call(context, data)
    return context


# Answers


async def test_an_answer_is_passed_on_counted_and_logged(intercept, calls, caplog):
    caplog.set_level(logging.INFO)
    interceptor, call, _ = await intercept(answering())
    context = Context(metadata=(("x-request-id", "abc"),))
    assert (await call(context)).unknown_item_count == 3
    assert (context.code, context.trailing) == (None, {})  # its caller knows the id
    assert calls.seen == [(METHOD, "OK")]
    assert interceptor.calls_in_flight == 0
    (record,) = caplog.records
    assert (record.request_id, record.code, record.method) == ("abc", "OK", METHOD)


# gRPC does not look at what it receives, and refuses to send it; in a text line they would stand for something else.
ODD_IDS = [
    (("x-request-id", value),) for value in ("two\nlines", "\x1b[31m", "\x00", "\x7f", "é", "\u2028", "x code=OK")
]


@pytest.mark.parametrize("metadata", [(), (("x-request-id", ""),), (("x-request-id", "x" * 129),), *ODD_IDS])
async def test_a_call_without_a_usable_id_gets_one(intercept, metadata, monkeypatch):
    monkeypatch.setattr(secrets, "token_hex", lambda size: "made" * size)
    _, call, _ = await intercept(answering())
    context = Context(metadata=metadata)
    await call(context)
    assert context.trailing == {"x-request-id": "made" * 8}


async def test_answered_calls_need_not_be_logged_but_failed_ones_are(intercept, caplog):
    caplog.set_level(logging.INFO)
    for outcome, lines in ((None, 0), (ItemNotFoundError("x"), 1)):
        _, call, _ = await intercept(answering(outcome), log_calls=False)
        await (call(Context()) if outcome is None else aborted(call, Context()))
        assert len(caplog.records) == lines


@pytest.mark.parametrize("method", ["/grpc.health.v1.Health/Check", "/grpc.reflection.v1alpha.ServerReflection/X"])
async def test_health_and_reflection_pass_untouched(intercept, method):
    assert (await intercept(answering(), method=method))[2]
    assert not (await intercept(answering()))[2]


# Errors


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ItemNotFoundError("no item 'x'"), "NOT_FOUND"),
        (DeadlineExpiredError("late"), "DEADLINE_EXCEEDED"),
        (InvalidRequestError(FieldViolation("a", "b")), "INVALID_ARGUMENT"),
        (OverloadedError("full", retry_after_s=1), "RESOURCE_EXHAUSTED"),
        (BundleError("other bundle"), "FAILED_PRECONDITION"),
        (StartupError("not started"), "FAILED_PRECONDITION"),
        (DrainingError("shutting down"), "UNAVAILABLE"),
        (EncoderStuckError("hangs"), "UNAVAILABLE"),
    ],
)
async def test_each_error_has_its_status_and_tells_its_message(intercept, calls, error, code):
    interceptor, call, _ = await intercept(answering(error))
    context = await aborted(call, Context(metadata=(("x-request-id", "abc"),)))
    assert (context.code, context.message) == (grpc.StatusCode[code], str(error))
    assert context.trailing["x-request-id"] == "abc"
    assert calls.seen == [(METHOD, code)]
    assert interceptor.calls_in_flight == 0


async def test_fields_at_fault_come_as_bad_request(intercept):
    error = InvalidRequestError(FieldViolation("text", "must not be blank"), FieldViolation("page_size", "三"))
    context = await aborted((await intercept(answering(error)))[1], Context())
    found = context.details(error_details_pb2.BadRequest).field_violations
    assert [(v.field, v.description) for v in found] == [("text", "must not be blank"), ("page_size", "三")]


@pytest.mark.parametrize(
    ("retry_after_s", "told_ms"),
    [(0.25, 250), (0.07, 70), (0.1, 100), (0.2501, 260), (0.0001, 10), (3600.0, 3_600_000)],
)
async def test_an_overload_comes_with_the_time_to_try_again_in_hundredths_of_a_second(
    intercept, retry_after_s, told_ms
):
    for _ in range(2):  # packed, and as it was packed before
        error = OverloadedError("full", retry_after_s=retry_after_s)
        context = await aborted((await intercept(answering(error)))[1], Context())
        assert context.details(error_details_pb2.RetryInfo).retry_delay.ToMilliseconds() == told_ms


async def test_refusals_that_differ_are_told_apart(intercept):
    for message, retry_after_s in (("full", 0.25), ("fuller", 0.25), ("full", 0.5), ("full", 0.25)):
        error = OverloadedError(message, retry_after_s=retry_after_s)
        context = await aborted((await intercept(answering(error)))[1], Context())
        assert context.message == message
        assert context.details(error_details_pb2.RetryInfo).retry_delay.ToMilliseconds() == retry_after_s * 1000


@pytest.mark.parametrize(
    "error",
    [ServerError(SECRET), EncodeError(SECRET), KeyError(SECRET), AssertionError(SECRET), RecursionError(SECRET)],
)
async def test_a_bug_is_told_by_its_request_id_only_and_logged_in_full(intercept, calls, caplog, error):
    interceptor, call, _ = await intercept(answering(error))
    context = await aborted(call, Context(metadata=(("x-request-id", "abc"),)))
    assert context.code is grpc.StatusCode.INTERNAL
    assert "abc" in context.message
    assert SECRET not in context.message + str(context.trailing)
    assert SECRET in caplog.text
    assert calls.seen == [(METHOD, "INTERNAL")]
    assert interceptor.calls_in_flight == 0


@pytest.mark.parametrize("data", [b"\x0a\xff", b"\x0a\x02\xff\xfe", b"\xff" * 50])
async def test_bytes_that_are_no_message_are_the_callers_fault(intercept, data):
    with pytest.raises(DecodeError):
        RecommendRequest.FromString(data)
    context = await aborted((await intercept(answering()))[1], Context(), data)
    assert context.code is grpc.StatusCode.INVALID_ARGUMENT
    (violation,) = context.details(error_details_pb2.BadRequest).field_violations
    assert violation.field == "request"


# Admission and deadline


async def test_the_call_too_many_is_refused_at_once_and_the_others_are_answered(intercept, calls, settle):
    go = asyncio.Event()

    async def wait(request, context):
        await go.wait()
        return RecommendResponse()

    interceptor, call, _ = await intercept(wait)
    waiting = [asyncio.create_task(call(Context())) for _ in range(2)]
    await settle()
    context = await aborted(call, Context())
    assert context.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert context.details(error_details_pb2.RetryInfo).retry_delay.ToNanoseconds() > 0
    assert calls.shed == ["max_calls"]
    assert interceptor.calls_in_flight == 2
    go.set()
    await asyncio.gather(*waiting)
    assert interceptor.calls_in_flight == 0
    await call(Context())


async def test_a_cancelled_call_gives_its_place_back(intercept, calls, settle):
    async def wait(request, context):
        await asyncio.Event().wait()

    interceptor, call, _ = await intercept(wait)
    task = asyncio.create_task(call(Context()))
    await settle()
    assert interceptor.calls_in_flight == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
    assert interceptor.calls_in_flight == 0
    assert calls.seen == [(METHOD, "CANCELLED")]


async def test_a_call_whose_client_set_no_deadline_is_ended_after_the_servers(intercept, calls):
    async def wait(request, context):
        await asyncio.Event().wait()

    interceptor, call, _ = await intercept(wait, default_deadline_s=0.0)
    context = await aborted(call, Context(remaining=None))
    assert context.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert interceptor.calls_in_flight == 0
    assert calls.seen == [(METHOD, "DEADLINE_EXCEEDED")]


@pytest.mark.parametrize(("remaining", "code"), [(0.0, "DEADLINE_EXCEEDED"), (60.0, "CANCELLED")])
async def test_a_call_that_grpc_cancels_at_its_deadline_is_counted_as_late(intercept, calls, settle, remaining, code):
    async def wait(request, context):
        await asyncio.Event().wait()

    _, call, _ = await intercept(wait)
    task = asyncio.create_task(call(Context(remaining)))
    await settle()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
    assert calls.seen == [(METHOD, code)]


@pytest.mark.parametrize(("remaining", "seen"), [(2.5, 2.5), (None, 10.0), (1e12, 10.0), (86_400.0, 86_400.0)])
async def test_the_method_sees_the_callers_deadline_or_the_servers_where_there_is_none(intercept, remaining, seen):
    found = []

    async def answer(request, context):
        found.append(deadline_s())
        return RecommendResponse()

    _, call, _ = await intercept(answer)
    await call(Context(remaining))
    assert found == [seen]


async def test_a_draining_server_refuses_new_calls_and_waits_for_those_in_flight(intercept, calls, settle):
    go = asyncio.Event()

    async def wait(request, context):
        await go.wait()
        return RecommendResponse()

    interceptor, call, _ = await intercept(wait)
    waiting = asyncio.create_task(call(Context()))
    await settle()
    draining = asyncio.create_task(interceptor.refuse_new_calls(grace_s=600))
    await settle()
    context = await aborted(call, Context())
    assert context.code is grpc.StatusCode.UNAVAILABLE
    assert calls.shed == ["draining"]
    await settle()
    assert not draining.done()
    go.set()
    await draining
    await waiting
    assert calls.seen == [(METHOD, "UNAVAILABLE"), (METHOD, "OK")]


async def test_draining_waits_no_longer_than_the_grace(intercept, settle):
    async def wait(request, context):
        await asyncio.Event().wait()

    interceptor, call, _ = await intercept(wait)
    task = asyncio.create_task(call(Context()))
    await settle()
    await interceptor.refuse_new_calls(grace_s=0.001)
    assert interceptor.calls_in_flight == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_without_metrics_calls_are_answered_all_the_same(intercept):
    _, call, _ = await intercept(answering(), metrics=None)
    assert (await call(Context())).unknown_item_count == 3


@pytest.mark.parametrize(
    ("error", "lines"),
    [
        (OverloadedError("full", retry_after_s=1.0), 20),
        (DeadlineExpiredError("too near"), 20),
        (DrainingError("shutting down"), 20),
        (EncoderStuckError("hangs"), 50),
        (ItemNotFoundError("no item"), 50),
    ],
)
async def test_of_shed_calls_few_a_second_are_logged_and_of_others_each(intercept, caplog, monkeypatch, error, lines):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(call_log, "time", SimpleNamespace(monotonic=lambda: 100.0))
    _, call, _ = await intercept(answering(error), log_calls=False)
    for _ in range(50):
        await aborted(call, Context())
    assert len(caplog.records) == lines


async def test_calls_that_ran_into_a_deadline_while_they_were_answered_are_each_logged(
    intercept, caplog, monkeypatch, settle
):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(call_log, "time", SimpleNamespace(monotonic=lambda: 100.0))

    async def wait(request, context):
        await asyncio.Event().wait()

    _, call, _ = await intercept(wait, default_deadline_s=0.0, max_calls=100)
    for _ in range(25):
        await aborted(call, Context(remaining=None))
    tasks = [asyncio.create_task(call(Context(0.0))) for _ in range(25)]
    await settle()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert [record.code for record in caplog.records] == ["DEADLINE_EXCEEDED"] * 50


async def test_a_refusal_leaves_nothing_to_the_garbage_collector(intercept):
    class Aborting(Context):
        async def abort(self, code, details="", trailing_metadata=()):
            error = grpc.aio.AbortError("Locally aborted.")
            held.append(error)  # as gRPC holds it, and with it this context if it has a traceback
            raise error

    async def wait(request, context):
        future = asyncio.get_running_loop().create_future()
        future.set_exception(OverloadedError("full", retry_after_s=1.0))
        seen.append(weakref.ref(future))
        await future

    seen: list[weakref.ref[Any]] = []
    held: list[BaseException] = []
    _, call, _ = await intercept(wait)
    gc.collect()
    gc.disable()
    try:
        context = Aborting()
        seen.append(weakref.ref(context))
        await call(context)
        del context
        assert [ref() for ref in seen] == [None, None]
        assert len(held) == 1
    finally:
        gc.enable()


# Over a connection


class Service(recommendation_pb2_grpc.RecommendationServiceServicer):
    """Raises what it is given, one at a time, and then answers."""

    def __init__(self) -> None:
        self.errors: list[Exception] = []

    async def Recommend(self, request, context):  # noqa: N802
        if self.errors:
            raise self.errors.pop(0)
        return RecommendResponse(unknown_item_count=3)


REFUSALS = [
    (OverloadedError("full 三", retry_after_s=0.25), grpc.StatusCode.RESOURCE_EXHAUSTED),
    (DeadlineExpiredError("late"), grpc.StatusCode.DEADLINE_EXCEEDED),
    (DrainingError("going"), grpc.StatusCode.UNAVAILABLE),
    (InvalidRequestError(FieldViolation("text", "blank")), grpc.StatusCode.INVALID_ARGUMENT),
]


async def ask_over_a_connection(calls):
    """Of each refusal what a client sees, and then what one gets who tries again."""
    service = Service()
    server = grpc.aio.server(
        interceptors=[CallInterceptor(max_calls=9, default_deadline_s=10, metrics=calls, log_calls=True)]
    )
    recommendation_pb2_grpc.add_RecommendationServiceServicer_to_server(service, server)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    seen, again = [], []
    async with grpc.aio.insecure_channel(address) as channel:
        for error, _ in REFUSALS:
            service.errors = [error]
            try:
                await recommendation_pb2_grpc.RecommendationServiceStub(channel).Recommend(
                    RecommendRequest(), metadata=(("x-request-id", "abc"),)
                )
            except grpc.aio.AioRpcError as failed:
                seen.append((failed.code(), failed.details(), dict(failed.trailing_metadata())))
    # With a pause of a millisecond gRPC's client now and then never hears of its second attempt, whoever the server.
    retry = {"maxAttempts": 3, "initialBackoff": "0.05s", "maxBackoff": "0.05s", "backoffMultiplier": 1}
    retry["retryableStatusCodes"] = [code.name for _, code in REFUSALS]
    config = json.dumps({"methodConfig": [{"name": [{}], "retryPolicy": retry}]})
    async with grpc.aio.insecure_channel(address, [("grpc.service_config", config)]) as channel:
        for error, _ in REFUSALS:
            service.errors = [error]
            answer = await recommendation_pb2_grpc.RecommendationServiceStub(channel).Recommend(RecommendRequest())
            again.append(answer.unknown_item_count)
    await server.stop(None)
    return seen, again


def test_a_client_sees_the_status_its_details_and_its_request_id_and_may_try_again(calls, caplog):
    seen, again = asyncio.run(ask_over_a_connection(calls))
    for (error, code), (seen_code, message, trailing) in zip(REFUSALS, seen, strict=True):
        assert (seen_code, message) == (code, str(error))
        assert trailing["x-request-id"] == "abc"
        assert ("grpc-status-details-bin" in trailing) == isinstance(error, (OverloadedError, InvalidRequestError))
        if "grpc-status-details-bin" in trailing:
            status = status_pb2.Status.FromString(trailing["grpc-status-details-bin"])
            assert (status.code, status.message, len(status.details)) == (code.value[0], str(error), 1)
    assert again == [3] * len(REFUSALS)
    codes = [code.name for _, code in REFUSALS]
    retried = [name for code in codes for name in (code, "OK")]
    assert calls.seen == [(METHOD, code) for code in codes + retried]
    assert [record for record in caplog.records if record.name.startswith("grpc")] == []


async def test_the_end_of_calls_is_that_of_those_in_flight_and_no_later_ones(intercept):
    gates = [asyncio.Event(), asyncio.Event()]
    asked = iter(gates)

    async def answer(request, context):
        await next(asked).wait()
        return RecommendResponse()

    interceptor, call, _ = await intercept(answer)
    await interceptor.calls_end()  # none is
    first = asyncio.create_task(call(Context()))
    await asyncio.sleep(0)
    end = asyncio.ensure_future(interceptor.calls_end())
    later = asyncio.create_task(call(Context()))
    await asyncio.sleep(0)
    assert not end.done()
    gates[0].set()
    await first
    await end
    assert not later.done()
    gates[1].set()
    await later
    await interceptor.calls_end()
