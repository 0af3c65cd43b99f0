"""What each failure raises. Every test that makes calls runs with both clients."""

import asyncio
import pickle

import grpc
import pytest
from google.protobuf import duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

import tanager
from tanager import _details
from tanager.v1 import model_pb2

VIOLATIONS = (("page_size", "must be 1 to 1,000"), ("recent_events[3].weight", "must be finite"))
BAD_REQUEST = error_details_pb2.BadRequest(
    field_violations=[
        error_details_pb2.BadRequest.FieldViolation(field=field, description=description)
        for field, description in VIOLATIONS
    ]
)
RETRY_INFO = error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=2, nanos=500_000_000))
OTHER = error_details_pb2.ErrorInfo(reason="OTHER")


def status(*details: Message) -> bytes:
    """The details as a server sends them, packed by googleapis-common-protos, which the client does without."""
    packed = status_pb2.Status(code=3, message="message")
    for detail in details:
        packed.details.add().Pack(detail)
    return bytes(packed.SerializeToString())


def broken(value: bytes) -> bytes:
    """Details of which the one that counts is no message."""
    packed = status_pb2.Status()
    packed.details.add(type_url="type.googleapis.com/google.rpc.BadRequest", value=value)
    return bytes(packed.SerializeToString())


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (grpc.StatusCode.CANCELLED, tanager.CancelledError),
        (grpc.StatusCode.INVALID_ARGUMENT, tanager.InvalidArgumentError),
        (grpc.StatusCode.DEADLINE_EXCEEDED, tanager.DeadlineExceededError),
        (grpc.StatusCode.NOT_FOUND, tanager.NotFoundError),
        (grpc.StatusCode.PERMISSION_DENIED, tanager.PermissionDeniedError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, tanager.ResourceExhaustedError),
        (grpc.StatusCode.FAILED_PRECONDITION, tanager.FailedPreconditionError),
        (grpc.StatusCode.UNIMPLEMENTED, tanager.UnimplementedError),
        (grpc.StatusCode.INTERNAL, tanager.InternalError),
        (grpc.StatusCode.UNAUTHENTICATED, tanager.UnauthenticatedError),
        (grpc.StatusCode.DATA_LOSS, tanager.UnexpectedStatusError),
        (grpc.StatusCode.UNKNOWN, tanager.UnexpectedStatusError),
    ],
)
async def test_a_status_raises_its_class_once(client, server, code, error):
    server.fail("GetStatus", code, "what happened")
    with pytest.raises(tanager.TanagerError, match="what happened") as caught:
        await client.status(request_id="r-1")
    assert type(caught.value) is error
    assert caught.value.code is code
    assert caught.value.request_id == "r-1"
    assert "r-1" in str(caught.value)
    assert isinstance(caught.value.__cause__, grpc.RpcError)
    assert len(server.calls) == 1  # only UNAVAILABLE is tried again


async def test_a_status_without_a_message_still_says_something(client, server):
    server.fail("GetStatus", grpc.StatusCode.NOT_FOUND)
    with pytest.raises(tanager.NotFoundError, match="NOT_FOUND without a message"):
        await client.status()


async def test_invalid_argument_names_the_fields(client, server):
    server.fail("Recommend", grpc.StatusCode.INVALID_ARGUMENT, "bad", status(OTHER, BAD_REQUEST))
    with pytest.raises(tanager.InvalidArgumentError) as caught:
        await client.recommend()
    assert caught.value.field_violations == VIOLATIONS
    assert caught.value.field_violations[1].field == "recent_events[3].weight"


async def test_resource_exhausted_says_when_to_try_again(client, server):
    server.fail("Recommend", grpc.StatusCode.RESOURCE_EXHAUSTED, "full", status(RETRY_INFO))
    with pytest.raises(tanager.ResourceExhaustedError) as caught:
        await client.recommend()
    assert caught.value.retry_after_s == 2.5


async def test_a_request_beyond_16_mib_is_refused(client, server):
    with pytest.raises(tanager.ResourceExhaustedError, match="larger than max"):
        await client.embed(["a" * (16 * 1024 * 1024)])
    assert server.calls == []


@pytest.mark.parametrize(
    "details",
    [
        b"\xff",
        status(BAD_REQUEST)[:-1],
        broken(b"\xff"),
        broken(b"\x0a\x03\x0a\x01\xff"),  # a violation whose field is not UTF-8
    ],
)
async def test_malformed_details_do_not_hide_the_error(client, server, details):
    server.fail("Recommend", grpc.StatusCode.INVALID_ARGUMENT, "bad", details)
    with pytest.raises(tanager.InvalidArgumentError, match="bad") as caught:
        await client.recommend()
    assert caught.value.field_violations == ()


def test_details_are_decoded_whatever_surrounds_them():
    assert _details.decode(None) == _details.Details()
    assert _details.decode([("grpc-status-details-bin", "text")]) == _details.Details()
    # Messages that follow one another are one message.
    data = broken(b"\xff") + status(RETRY_INFO, OTHER, BAD_REQUEST)
    decoded = _details.decode([("other", "x"), ("grpc-status-details-bin", data)])
    assert decoded == _details.Details(VIOLATIONS, 2.5)  # type: ignore[arg-type]


async def test_past_its_deadline(connect, server):
    server.hold("Recommend")
    client = connect(server.target, timeout_s=0.2)
    with pytest.raises(tanager.DeadlineExceededError, match=rf"no answer from {server.target} within 0\.2 s") as caught:
        await client.recommend(request_id="r-1")
    assert caught.value.request_id == "r-1"
    with pytest.raises(tanager.DeadlineExceededError, match=r"within 0\.1 s"):
        await client.recommend(timeout_s=0.1)


async def test_closing_the_client_cancels_its_calls(connect, server):
    server.hold("Recommend")
    client = connect(server.target, timeout_s=60)
    call = asyncio.ensure_future(client.recommend(request_id="r-1"))
    assert await asyncio.to_thread(server.held.wait, 30)
    await client.close()
    with pytest.raises(tanager.CancelledError) as caught:
        await call
    assert caught.value.request_id == "r-1"


async def test_a_closed_client_says_so(client, server):
    await client.close()
    await client.close()
    with pytest.raises(RuntimeError, match="the client is closed"):
        await client.status()
    assert server.calls == []


async def test_leaving_the_context_closes(server):
    server.on("GetStatus", model_pb2.GetStatusResponse(server_version="1"))
    with tanager.Client(server.target) as client:
        assert client.status().server_version == "1"
    async with tanager.AsyncClient(server.target) as async_client:
        assert (await async_client.status()).server_version == "1"
    with pytest.raises(RuntimeError, match="closed"):
        client.status()
    with pytest.raises(RuntimeError, match="closed"):
        await async_client.status()


async def test_cancelling_a_task_cancels_its_call(server):
    server.hold("Recommend")
    async with tanager.AsyncClient(server.target, timeout_s=60) as client:
        task = asyncio.create_task(client.recommend())
        assert await asyncio.to_thread(server.held.wait, 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await asyncio.to_thread(server.cancelled.wait, 30)


async def test_a_timeout_of_asyncio_is_one(server):
    server.hold("Recommend")
    async with tanager.AsyncClient(server.target, timeout_s=60) as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await client.recommend()


def test_an_async_client_needs_a_running_loop():
    with pytest.raises(RuntimeError, match="no running event loop"):
        tanager.AsyncClient()


@pytest.mark.parametrize(
    "error",
    [
        tanager.NotFoundError("no such item", request_id="r-1"),
        tanager.InvalidArgumentError("bad", field_violations=(tanager.FieldViolation("a", "b"),)),
        tanager.ResourceExhaustedError("full", retry_after_s=1.5),
        tanager.UnexpectedStatusError("lost", code=grpc.StatusCode.DATA_LOSS),
    ],
)
def test_errors_survive_the_way_between_processes(error):
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))


def test_every_error_has_one_root():
    errors = [value for value in vars(tanager).values() if isinstance(value, type) and issubclass(value, Exception)]
    assert len(errors) > 10
    assert all(issubclass(error, tanager.TanagerError) for error in errors)
