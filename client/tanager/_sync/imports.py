"""The methods of `Client` that write any number of records."""

from __future__ import annotations

import threading
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, TypeVar

from tanager import _bulk, _record_messages, _wire
from tanager._errors import ResourceExhaustedError
from tanager._sync.caller import Caller

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

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


class ImportCalls(Caller):
    """Items, users and events in bulk."""

    def import_items(
        self,
        items: Iterable[Item],
        *,
        batch_size: int = 100,
        max_in_flight: int = 4,
        on_progress: Callable[[ImportedItems], None] | None = None,
        timeout_s: float = _bulk.DEFAULT_BATCH_TIMEOUT_S,
        max_wait_s: float = _bulk.DEFAULT_MAX_WAIT_S,
    ) -> ImportedItems:
        """Writes any number of items, in batches of which a few are in flight at a time.

        The iterable is read as the writing goes on, so it may be larger than memory. A batch for which the server has
        no room is sent again when the server says that it has. Of two items with one id the later one stays.

        Args:
            items: The items.
            batch_size: Items in a batch, at most. A batch is smaller where they are large (4 MiB), and where an id
                would be in it twice.
            max_in_flight: Batches in flight, at most.
            on_progress: Is told, in this thread, what has come of the import after each batch.
            timeout_s: The deadline of one batch each time it is sent, in seconds; not the client's.
            max_wait_s: How long one batch waits for a server that has no room, in all, in seconds.

        Raises:
            ImportStoppedError: A batch was not written, or a record could not be read or sent; it tells which are not
                written.
        """

        def send(request: catalog_pb2.UpsertItemsRequest) -> UpsertedItems:
            rpc = self._stubs.catalog.UpsertItems
            return self._call(rpc, request, _record_messages.upserted_items, timeout_s, None)

        plan = _bulk.Import(_bulk.ITEMS, batch_size=batch_size, max_in_flight=max_in_flight, on_progress=on_progress)
        return _run(plan, _wire.many("items", items), send, max_wait_s)

    def import_users(
        self,
        users: Iterable[User],
        *,
        batch_size: int = 1000,
        max_in_flight: int = 4,
        on_progress: Callable[[ImportedUsers], None] | None = None,
        timeout_s: float = _bulk.DEFAULT_BATCH_TIMEOUT_S,
        max_wait_s: float = _bulk.DEFAULT_MAX_WAIT_S,
    ) -> ImportedUsers:
        """Writes any number of users: as `import_items` writes items.

        Args:
            users: The users.
            batch_size: Users in a batch, at most.
            max_in_flight: Batches in flight, at most.
            on_progress: Is told, in this thread, what has come of the import after each batch.
            timeout_s: The deadline of one batch each time it is sent, in seconds; not the client's.
            max_wait_s: How long one batch waits for a server that has no room, in all, in seconds.

        Raises:
            ImportStoppedError: A batch was not written, or a record could not be read or sent.
        """

        def send(request: user_pb2.UpsertUsersRequest) -> UpsertedUsers:
            rpc = self._stubs.user.UpsertUsers
            return self._call(rpc, request, _record_messages.upserted_users, timeout_s, None)

        plan = _bulk.Import(_bulk.USERS, batch_size=batch_size, max_in_flight=max_in_flight, on_progress=on_progress)
        return _run(plan, _wire.many("users", users), send, max_wait_s)

    def import_events(
        self,
        events: Iterable[UserEvent],
        *,
        batch_size: int = 1000,
        max_in_flight: int = 4,
        on_progress: Callable[[ImportedEvents], None] | None = None,
        timeout_s: float = _bulk.DEFAULT_BATCH_TIMEOUT_S,
        max_wait_s: float = _bulk.DEFAULT_MAX_WAIT_S,
    ) -> ImportedEvents:
        """Writes any number of events: as `import_items` writes items. An event that was written before is not again.

        Args:
            events: The events, in any order.
            batch_size: Events in a batch, at most.
            max_in_flight: Batches in flight, at most.
            on_progress: Is told, in this thread, what has come of the import after each batch.
            timeout_s: The deadline of one batch each time it is sent, in seconds; not the client's.
            max_wait_s: How long one batch waits for a server that has no room, in all, in seconds.

        Raises:
            ImportStoppedError: A batch was not written, or a record could not be read or sent.
        """

        def send(request: event_pb2.WriteEventsRequest) -> WrittenEvents:
            rpc = self._stubs.event.WriteEvents
            return self._call(rpc, request, _record_messages.written_events, timeout_s, None)

        plan = _bulk.Import(_bulk.EVENTS, batch_size=batch_size, max_in_flight=max_in_flight, on_progress=on_progress)
        return _run(plan, _wire.many("events", events), send, max_wait_s)


def _run(
    plan: _bulk.Import[_Record, _Message, _Request, _Answer, _Imported],
    records: Iterable[_Record],
    send: Callable[[_Request], _Answer],
    max_wait_s: float,
) -> _Imported:
    """Reads and keeps account in this thread, waits for answers in others."""
    _bulk.checked_wait(max_wait_s)
    stopped = threading.Event()
    in_flight: dict[Future[_Answer | None], _bulk.Batch[_Message]] = {}

    def send_patiently(batch: _bulk.Batch[_Message]) -> _Answer | None:
        """Sends a batch until it is written; None if it was given up because another one was not."""
        request = plan.kind.request(batch.messages)
        patience = _bulk.Patience(max_wait_s)
        while True:
            try:
                return send(request)
            except ResourceExhaustedError as error:
                pause_s = patience.pause_s(error)
                if pause_s is None:
                    raise
                if stopped.wait(pause_s):
                    return None

    def settle() -> None:
        """Takes in what has ended, at least one batch."""
        done, _ = wait(in_flight, return_when=FIRST_COMPLETED)
        for future in done:
            batch = in_flight.pop(future)
            try:
                answer = future.result()
            except Exception as error:
                plan.not_written(batch, error)
                stopped.set()
                continue
            if answer is None:
                plan.not_written(batch)
            else:
                plan.written(batch, answer)

    with ThreadPoolExecutor(plan.max_in_flight, thread_name_prefix="tanager-import") as pool:
        try:
            for batch in _batches(plan, records):
                while not plan.failed and not batch.may_be_sent(in_flight.values(), plan.max_in_flight):
                    settle()
                if plan.failed:
                    plan.not_written(batch)
                    break
                in_flight[pool.submit(send_patiently, batch)] = batch
            while in_flight:
                settle()
        finally:
            # Where it was interrupted, what is being written is waited for: progress has told of all of it then.
            stopped.set()
            while in_flight:
                settle()
    return plan.result()


def _batches(
    plan: _bulk.Import[_Record, _Message, _Request, _Answer, _Imported], records: Iterable[_Record]
) -> Iterator[_bulk.Batch[_Message]]:
    try:
        iterator = iter(records)
        for record in iterator:
            batch = plan.add(record)
            if batch is not None:
                yield batch
    except Exception as error:
        plan.broke_off(error)
        return
    last = plan.end()
    if last is not None:
        yield last
