"""Writing any number of records. Every test that makes calls runs with both clients."""

import asyncio
import pickle
import threading
from typing import Any

import grpc
import pytest
from google.protobuf import duration_pb2
from google.rpc import error_details_pb2, status_pb2

import tanager
from tanager import _bulk
from tanager.v1 import catalog_pb2, event_pb2, user_pb2


def item(item_id: object, text: str = "x") -> tanager.Item:
    return tanager.Item(item_id=str(item_id), text=text)


def event(item_id: object) -> tanager.UserEvent:
    return tanager.UserEvent(user_id="u", item_id=str(item_id), type="click")


def retry_info(delay_s: float) -> bytes:
    packed = status_pb2.Status()
    delay = duration_pb2.Duration(nanos=int(delay_s * 1e9))
    packed.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    return bytes(packed.SerializeToString())


def violation(field: str, description: str) -> bytes:
    packed = status_pb2.Status()
    found = error_details_pb2.BadRequest.FieldViolation(field=field, description=description)
    packed.details.add().Pack(error_details_pb2.BadRequest(field_violations=[found]))
    return bytes(packed.SerializeToString())


def refuse(context: grpc.ServicerContext, code: grpc.StatusCode, details: bytes = b"", message: str = "no") -> None:
    if details:
        context.set_trailing_metadata((("grpc-status-details-bin", details),))
    context.abort(code, message)


class Catalogue:
    """Keeps what is written: the items by id, and the ids of each batch in the order of their calls."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.items: dict[str, str] = {}
        self.batches: list[list[str]] = []

    def __call__(self, request, context):
        with self.lock:
            ids = [each.item_id for each in request.items]
            new = set(ids) - set(self.items)
            self.batches.append(ids)
            self.items.update({each.item_id: each.text for each in request.items})
            token = str(len(self.batches))
        return catalog_pb2.UpsertItemsResponse(created_count=len(new), encoded_count=len(ids), consistency_token=token)


@pytest.fixture
def catalogue(server):
    kept = Catalogue()
    server.on("UpsertItems", kept.__call__)
    return kept


async def test_items_are_written_in_batches(client, catalogue):
    told: list[tanager.ImportedItems] = []
    answer = await client.import_items((item(n) for n in range(1050)), on_progress=told.append)
    assert answer == tanager.ImportedItems(
        record_count=1050, created_count=1050, encoded_count=1050, consistency_token="11"
    )
    assert sorted(map(len, catalogue.batches)) == [50] + [100] * 10
    assert catalogue.batches[-1] == [str(n) for n in range(1000, 1050)]  # its token stands for all
    assert [each.record_count for each in told] == [*range(100, 1001, 100), 1050]
    assert [each.consistency_token for each in told] == [""] * 10 + ["11"]


async def test_the_last_batch_waits_for_all_others(client, server, catalogue):
    """Its token would not stand for what is written after it."""
    both = threading.Barrier(2)
    ended: list[str] = []

    def answer(request, context):
        first = request.items[0].item_id
        if first != "4":
            both.wait(30)  # the two others are in flight together
        answered = catalogue(request, context)
        ended.append(first)
        return answered

    server.on("UpsertItems", answer)
    result = await client.import_items(map(item, range(6)), batch_size=2, max_in_flight=3)
    assert ended[-1] == "4"
    assert result.consistency_token == "3"


async def test_no_more_are_in_flight_than_said(client, server, catalogue):
    lock, inside, most = threading.Lock(), 0, 0

    def answer(request, context):
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        answered = catalogue(request, context)
        with lock:
            inside -= 1
        return answered

    server.on("UpsertItems", answer)
    await client.import_items(map(item, range(100)), batch_size=1, max_in_flight=2)
    assert most <= 2
    assert len(catalogue.items) == 100


async def test_of_two_items_with_one_id_the_later_one_stays(client, catalogue):
    items = [item(n % 7, str(n)) for n in range(200)]
    answer = await client.import_items(items, batch_size=5, max_in_flight=4)
    assert answer.record_count == 200
    assert catalogue.items == {str(n % 7): str(n) for n in range(193, 200)}
    assert all(len(set(ids)) == len(ids) for ids in catalogue.batches)


async def test_batches_stay_far_below_what_a_message_may_have(client, server, catalogue):
    answer = await client.import_items((item(n, "字" * 8192) for n in range(300)), batch_size=1000)
    assert answer.record_count == 300
    assert max(call.request.ByteSize() for call in server.calls) <= 4 * 1024 * 1024
    assert len(server.calls) == 2


async def test_users(client, server):
    server.on("UpsertUsers", user_pb2.UpsertUsersResponse(created_count=1, consistency_token="t"))
    users = [tanager.User(user_id=str(n)) for n in range(3)]
    answer = await client.import_users(users, batch_size=2)
    assert answer == tanager.ImportedUsers(record_count=3, created_count=2, consistency_token="t")
    assert [[user.user_id for user in call.request.users] for call in server.calls] == [["0", "1"], ["2"]]


async def test_events(client, server):
    server.on(
        "WriteEvents",
        event_pb2.WriteEventsResponse(
            written_count=2, unknown_item_count=1, unattributed_count=1, consistency_token="t"
        ),
    )
    answer = await client.import_events(map(event, range(5)), batch_size=2)
    assert answer == tanager.ImportedEvents(
        record_count=5, written_count=6, unknown_item_count=3, unattributed_count=3, consistency_token="t"
    )
    assert sorted(each.item_id for call in server.calls for each in call.request.events) == list("01234")


async def test_nothing_to_write(client, server):
    assert await client.import_events([]) == tanager.ImportedEvents()
    assert server.calls == []


async def test_an_asynchronous_iterable(server, catalogue):
    async def items():
        for n in range(5):
            await asyncio.sleep(0)
            yield item(n)

    async with tanager.AsyncClient(server.target) as client:
        assert (await client.import_items(items(), batch_size=2)).record_count == 5
    assert sorted(catalogue.items) == list("01234")


async def test_a_server_without_room_is_waited_for(client, server, catalogue):
    busy = 3

    def answer(request, context):
        nonlocal busy
        if busy:
            busy -= 1
            refuse(context, grpc.StatusCode.RESOURCE_EXHAUSTED, retry_info(0.01))
        return catalogue(request, context)

    server.on("UpsertItems", answer)
    answer_of_all = await client.import_items(map(item, range(10)), batch_size=5, max_in_flight=1)
    assert answer_of_all.record_count == 10
    assert len(server.calls) == 5


async def test_a_server_without_room_is_not_waited_for_for_ever(client, server):
    server.fail("UpsertItems", grpc.StatusCode.RESOURCE_EXHAUSTED, "full", retry_info(0.05))
    with pytest.raises(tanager.ImportStoppedError, match=r"items\[0:2\] not written, 0 items are: full") as caught:
        await client.import_items([item(0), item(1)], max_wait_s=0.12)
    assert caught.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert len(server.calls) == 3  # at once, and after each of two waits
    assert isinstance(caught.value.__cause__, tanager.ResourceExhaustedError)


async def test_a_full_disk_is_not_waited_for(client, server):
    server.fail("UpsertItems", grpc.StatusCode.RESOURCE_EXHAUSTED, "the disk is full")
    with pytest.raises(tanager.ImportStoppedError, match="the disk is full"):
        await client.import_items([item(0)])
    assert len(server.calls) == 1


def test_waits_are_as_long_as_told_within_bounds():
    patience = _bulk.Patience(1.0)
    exhausted = tanager.ResourceExhaustedError
    assert patience.pause_s(exhausted("x", retry_after_s=0.0)) == 0.05
    assert patience.pause_s(exhausted("x", retry_after_s=0.75)) == 0.75
    assert patience.pause_s(exhausted("x", retry_after_s=0.25)) is None  # 0.2 s are left
    assert patience.pause_s(exhausted("x")) is None


async def test_the_first_refused_batch_ends_it(client, server, catalogue):
    def answer(request, context):
        if request.items[0].item_id == "20":
            refuse(context, grpc.StatusCode.INVALID_ARGUMENT, violation("items[3].text", "must not be blank"))
        return catalogue(request, context)

    server.on("UpsertItems", answer)
    read: list[int] = []

    def items():
        for n in range(1000):
            read.append(n)
            yield item(n)

    with pytest.raises(tanager.ImportStoppedError, match=r"items\[23\].text: must not be blank") as caught:
        await client.import_items(items(), batch_size=10, max_in_flight=1)
    error = caught.value
    assert error.code is grpc.StatusCode.INVALID_ARGUMENT
    assert error.field_violations == (("items[23].text", "must not be blank"),)
    assert error.written == tanager.ImportedItems(record_count=20, created_count=20, encoded_count=20)
    assert error.not_written == (range(20, len(read)),)
    assert len(read) < 50
    assert sorted(catalogue.items, key=int) == [str(n) for n in range(20)]
    assert isinstance(error.__cause__, tanager.InvalidArgumentError)
    assert error.request_id == error.__cause__.request_id


async def test_what_is_in_flight_beside_a_refused_batch_is_waited_for(client, server, catalogue):
    refused = threading.Event()

    def answer(request, context):
        if request.items[0].item_id == "2":
            refused.set()
            refuse(context, grpc.StatusCode.FAILED_PRECONDITION, message="no state")
        assert refused.wait(30)
        return catalogue(request, context)

    server.on("UpsertItems", answer)
    with pytest.raises(tanager.ImportStoppedError, match="no state") as caught:
        await client.import_items(map(item, range(100)), batch_size=2, max_in_flight=2)
    error = caught.value
    assert error.code is grpc.StatusCode.FAILED_PRECONDITION
    assert error.written.record_count == len(catalogue.items)
    not_written = [str(n) for positions in error.not_written for n in positions]
    assert not_written[:2] == ["2", "3"]
    # Each record that was read is of one kind.
    assert set(not_written).isdisjoint(catalogue.items)
    assert sorted([*not_written, *catalogue.items], key=int) == [
        str(n) for n in range(len(not_written) + len(catalogue.items))
    ]


async def test_a_batch_that_waits_gives_up_when_another_is_refused(client, server):
    waits = threading.Event()

    def answer(request, context):
        if request.items[0].item_id == "0":
            waits.set()
            refuse(context, grpc.StatusCode.RESOURCE_EXHAUSTED, retry_info(0.9), "full")
        assert waits.wait(30)
        refuse(context, grpc.StatusCode.INVALID_ARGUMENT, message="refused")

    server.on("UpsertItems", answer)
    with pytest.raises(tanager.ImportStoppedError, match="refused") as caught:
        await client.import_items(map(item, range(3)), batch_size=1, max_in_flight=2, max_wait_s=1e9)
    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.not_written == (range(3),)


async def test_a_record_that_cannot_be_sent_ends_it(client, catalogue):
    items: list[Any] = [item(0), item(1), item(2), "3", item(4)]
    with pytest.raises(tanager.ImportStoppedError, match=r"items\[3\] must be an Item, not str") as caught:
        await client.import_items(items, batch_size=2)
    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.not_written == (range(2, 4),)
    assert caught.value.written.record_count == 2
    assert isinstance(caught.value.__cause__, TypeError)
    assert sorted(catalogue.items) == ["0", "1"]


async def test_an_iterable_that_breaks_ends_it(client, catalogue):
    def items():
        yield from map(item, range(4))
        raise OSError("the source is gone")

    with pytest.raises(tanager.ImportStoppedError, match="the source is gone") as caught:
        await client.import_items(items(), batch_size=2)
    assert caught.value.written.record_count == 2
    assert caught.value.not_written == (range(2, 4),)
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.code is grpc.StatusCode.UNKNOWN


async def test_who_is_told_of_progress_may_end_it(client, catalogue):
    def stop(imported):
        raise LookupError("enough")

    with pytest.raises(LookupError, match="enough"):
        await client.import_items(map(item, range(10)), batch_size=1, max_in_flight=2, on_progress=stop)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"items": "abc"}, TypeError, "items must be an iterable such as a list, not str"),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1, not 0"),
        ({"batch_size": 1.5}, TypeError, "batch_size must be an int, not float"),
        ({"max_in_flight": 0}, ValueError, "max_in_flight must be at least 1, not 0"),
        ({"max_wait_s": -1}, ValueError, "max_wait_s must be a number of seconds, not -1"),
        ({"max_wait_s": float("nan")}, ValueError, "max_wait_s must be a number of seconds, not nan"),
    ],
)
async def test_arguments_that_make_no_sense(client, server, arguments, error, message):
    with pytest.raises(error, match=f"^{message}"):
        await client.import_items(**({"items": [item(0)]} | arguments))
    assert server.calls == []


async def test_a_closed_client_says_so(client, server):
    await client.close()
    with pytest.raises(tanager.ImportStoppedError, match="the client is closed"):
        await client.import_items([item(0)])
    assert server.calls == []


async def test_cancelling_an_import_cancels_its_calls(server):
    server.hold("UpsertItems")
    async with tanager.AsyncClient(server.target) as client:
        task = asyncio.create_task(client.import_items(map(item, range(10)), batch_size=2))
        assert await asyncio.to_thread(server.held.wait, 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(asyncio.all_tasks()) == 1
    assert await asyncio.to_thread(server.cancelled.wait, 30)


def test_the_error_survives_the_way_between_processes():
    error = tanager.ImportStoppedError(
        "no",
        request_id="r",
        code=grpc.StatusCode.INTERNAL,
        written=tanager.ImportedItems(record_count=3),
        not_written=(range(3, 5),),
    )
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))


def test_an_interrupt_waits_for_what_is_being_written(server, catalogue):
    told: list[tanager.ImportedItems] = []

    def items():
        yield from map(item, range(4))
        raise KeyboardInterrupt

    with tanager.Client(server.target) as client, pytest.raises(KeyboardInterrupt):
        client.import_items(items(), batch_size=1, on_progress=told.append)
    assert sorted(catalogue.items) == ["0", "1", "2"]  # the fourth was not sent yet
    assert told[-1].record_count == 3
