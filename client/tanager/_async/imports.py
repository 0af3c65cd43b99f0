"""The methods of `AsyncClient` that write any number of records."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable
from typing import TYPE_CHECKING, TypeVar

from tanager import _bulk, _record_messages, _wire
from tanager._async.caller import AsyncCaller
from tanager._errors import ResourceExhaustedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

    from google.protobuf.message import Message

    from tanager._records import Item, User, UserEvent
    from tanager._writes import (
        ImportedEvents,
        ImportedItems,
        ImportedUsers,
        UpsertedItems,
        UpsertedUsers,
        WrittenEvents,
    )
    from tanager.v1 import catalog_pb2, event_pb2, user_pb2

_Record = TypeVar("_Record")
_Message = TypeVar("_Message", bound="Message")
_Request = TypeVar("_Request")
_Answer = TypeVar("_Answer", bound="UpsertedItems | UpsertedUsers | WrittenEvents")
_Imported = TypeVar("_Imported", bound=_bulk.Imported)


class AsyncImportCalls(AsyncCaller):
    """Items, users and events in bulk."""

    async def import_items(
        self,
        items: Iterable[Item] | AsyncIterable[Item],
        *,
        batch_size: int = 100,
        max_in_flight: int = 4,
        on_progress: Callable[[ImportedItems], None] | None = None,
        timeout_s: float = _bulk.DEFAULT_BATCH_TIMEOUT_S,
        max_wait_s: float = _bulk.DEFAULT_MAX_WAIT_S,
    ) -> ImportedItems:
        """Writes any number of items, from an asynchronous iterable too; see `Client.import_items`."""

        async def send(request: catalog_pb2.UpsertItemsRequest) -> UpsertedItems:
            rpc = self._stubs.catalog.UpsertItems
            return await self._call(rpc, request, _record_messages.upserted_items, timeout_s, None)

        plan = _bulk.Import(_bulk.ITEMS, batch_size=batch_size, max_in_flight=max_in_flight, on_progress=on_progress)
        return await _run(plan, _records("items", items), send, max_wait_s)

    async def import_users(
        self,
        users: Iterable[User] | AsyncIterable[User],
        *,
        batch_size: int = 1000,
        max_in_flight: int = 4,
        on_progress: Callable[[ImportedUsers], None] | None = None,
        timeout_s: float = _bulk.DEFAULT_BATCH_TIMEOUT_S,
        max_wait_s: float = _bulk.DEFAULT_MAX_WAIT_S,
    ) -> ImportedUsers:
        """Writes any number of users, from an asynchronous iterable too; see `Client.import_users`."""

        async def send(request: user_pb2.UpsertUsersRequest) -> UpsertedUsers:
            rpc = self._stubs.user.UpsertUsers
            return await self._call(rpc, request, _record_messages.upserted_users, timeout_s, None)

        plan = _bulk.Import(_bulk.USERS, batch_size=batch_size, max_in_flight=max_in_flight, on_progress=on_progress)
        return await _run(plan, _records("users", users), send, max_wait_s)

    async def import_events(
        self,
        events: Iterable[UserEvent] | AsyncIterable[UserEvent],
        *,
        batch_size: int = 1000,
        max_in_flight: int = 4,
        on_progress: Callable[[ImportedEvents], None] | None = None,
        timeout_s: float = _bulk.DEFAULT_BATCH_TIMEOUT_S,
        max_wait_s: float = _bulk.DEFAULT_MAX_WAIT_S,
    ) -> ImportedEvents:
        """Writes any number of events, from an asynchronous iterable too; see `Client.import_events`."""

        async def send(request: event_pb2.WriteEventsRequest) -> WrittenEvents:
            rpc = self._stubs.event.WriteEvents
            return await self._call(rpc, request, _record_messages.written_events, timeout_s, None)

        plan = _bulk.Import(_bulk.EVENTS, batch_size=batch_size, max_in_flight=max_in_flight, on_progress=on_progress)
        return await _run(plan, _records("events", events), send, max_wait_s)


async def _run(
    plan: _bulk.Import[_Record, _Message, _Request, _Answer, _Imported],
    records: AsyncIterator[_Record],
    send: Callable[[_Request], Awaitable[_Answer]],
    max_wait_s: float,
) -> _Imported:
    """Reads and keeps account in this task, waits for answers in others."""
    _bulk.checked_wait(max_wait_s)
    stopped = asyncio.Event()
    in_flight: dict[asyncio.Task[_Answer | None], _bulk.Batch[_Message]] = {}

    async def send_patiently(batch: _bulk.Batch[_Message]) -> _Answer | None:
        """Sends a batch until it is written; None if it was given up because another one was not."""
        request = plan.kind.request(batch.messages)
        patience = _bulk.Patience(max_wait_s)
        while True:
            try:
                return await send(request)
            except ResourceExhaustedError as error:
                pause_s = patience.pause_s(error)
                if pause_s is None:
                    raise
            try:
                async with asyncio.timeout(pause_s):
                    await stopped.wait()
            except TimeoutError:
                continue
            return None

    async def settle() -> None:
        """Takes in what has ended, at least one batch."""
        done, _ = await asyncio.wait(in_flight, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            batch = in_flight.pop(task)
            try:
                answer = task.result()
            except Exception as error:
                plan.not_written(batch, error)
                stopped.set()
                continue
            if answer is None:
                plan.not_written(batch)
            else:
                plan.written(batch, answer)

    try:
        async for batch in _batches(plan, records):
            while not plan.failed and not batch.may_be_sent(in_flight.values(), plan.max_in_flight):
                await settle()
            if plan.failed:
                plan.not_written(batch)
                break
            in_flight[asyncio.create_task(send_patiently(batch))] = batch
        while in_flight:
            await settle()
    finally:
        # Where the task was cancelled, so are its calls.
        for task in in_flight:
            task.cancel()
        await asyncio.gather(*in_flight, return_exceptions=True)
    return plan.result()


async def _batches(
    plan: _bulk.Import[_Record, _Message, _Request, _Answer, _Imported], records: AsyncIterator[_Record]
) -> AsyncIterator[_bulk.Batch[_Message]]:
    try:
        async for record in records:
            batch = plan.add(record)
            if batch is not None:
                yield batch
    except Exception as error:
        plan.broke_off(error)
        return
    last = plan.end()
    if last is not None:
        yield last


def _records(name: str, records: Iterable[_Record] | AsyncIterable[_Record]) -> AsyncIterator[_Record]:
    if isinstance(records, AsyncIterable):
        return aiter(records)
    return _asynchronous(_wire.many(name, records))


async def _asynchronous(records: Iterable[_Record]) -> AsyncIterator[_Record]:
    for record in records:
        yield record
