"""Importing many records: what batches hold, and what came of them. `_sync.imports` and `_async.imports` send them.

A few batches are in flight at a time. Two that hold the same id never are, so that of two records with one id the later
one stays. The last batch is sent when all others are acknowledged: its consistency token stands for all of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

from grpc import StatusCode

from tanager import _record_messages
from tanager._details import FieldViolation
from tanager._errors import ImportStoppedError, InvalidArgumentError, ResourceExhaustedError, TanagerError
from tanager._writes import (
    ImportedEvents,
    ImportedItems,
    ImportedUsers,
    UpsertedItems,
    UpsertedUsers,
    WrittenEvents,
)
from tanager.v1 import catalog_pb2, event_pb2, user_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from google.protobuf.message import Message

    from tanager._records import Item, User, UserEvent

Imported: TypeAlias = ImportedItems | ImportedUsers | ImportedEvents
_Record = TypeVar("_Record")
_Message = TypeVar("_Message", bound="Message")
_Request = TypeVar("_Request")
_Answer = TypeVar("_Answer", bound="UpsertedItems | UpsertedUsers | WrittenEvents")
_Imported = TypeVar("_Imported", bound=Imported)

DEFAULT_BATCH_TIMEOUT_S = 60.0
DEFAULT_MAX_WAIT_S = 60.0
# A quarter of what a message may have: room for what the estimate leaves out, and not too much to send again.
_MAX_BATCH_BYTES = 4 * 1024 * 1024
# Key and length of a repeated field, at most.
_FIELD_BYTES = 6
_MIN_PAUSE_S = 0.05


@dataclass(frozen=True, slots=True)
class Kind(Generic[_Record, _Message, _Request, _Answer, _Imported]):
    """What is different between items, users and events.

    Attributes:
        name: What they are called, in the plural; the field of the request too.
        message: Makes the message of a record, given the record's name for errors.
        key: Of which a batch may hold one only; None where the order of writes does not matter.
        request: Makes the request of a batch.
        nothing: What came of it before anything was written.
        added: What came of it, with one more batch of so many records.
    """

    name: str
    message: Callable[[str, _Record], _Message]
    key: Callable[[_Message], str] | None
    request: Callable[[Sequence[_Message]], _Request]
    nothing: _Imported
    added: Callable[[_Imported, int, _Answer], _Imported]


ITEMS: Kind[Item, catalog_pb2.Item, catalog_pb2.UpsertItemsRequest, UpsertedItems, ImportedItems] = Kind(
    name="items",
    message=_record_messages.item_message,
    key=lambda message: message.item_id,
    request=lambda messages: catalog_pb2.UpsertItemsRequest(items=messages),
    nothing=ImportedItems(),
    added=lambda imported, count, answer: ImportedItems(
        record_count=imported.record_count + count,
        created_count=imported.created_count + answer.created_count,
        encoded_count=imported.encoded_count + answer.encoded_count,
    ),
)
USERS: Kind[User, user_pb2.User, user_pb2.UpsertUsersRequest, UpsertedUsers, ImportedUsers] = Kind(
    name="users",
    message=_record_messages.user_message,
    key=lambda message: message.user_id,
    request=lambda messages: user_pb2.UpsertUsersRequest(users=messages),
    nothing=ImportedUsers(),
    added=lambda imported, count, answer: ImportedUsers(
        record_count=imported.record_count + count, created_count=imported.created_count + answer.created_count
    ),
)
EVENTS: Kind[UserEvent, user_pb2.UserEvent, event_pb2.WriteEventsRequest, WrittenEvents, ImportedEvents] = Kind(
    name="events",
    message=_record_messages.event_message,
    key=None,
    request=lambda messages: event_pb2.WriteEventsRequest(events=messages),
    nothing=ImportedEvents(),
    added=lambda imported, count, answer: ImportedEvents(
        record_count=imported.record_count + count,
        written_count=imported.written_count + answer.written_count,
        unknown_item_count=imported.unknown_item_count + answer.unknown_item_count,
        unattributed_count=imported.unattributed_count + answer.unattributed_count,
    ),
)


@dataclass(slots=True)
class Batch(Generic[_Message]):
    """Records that are written together.

    Attributes:
        start: Position of the first one in the import.
        messages: The records as they are sent.
        keys: Their keys, where there are any.
        last: Whether none comes after it.
    """

    start: int
    messages: list[_Message] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    last: bool = False

    @property
    def positions(self) -> range:
        """Of its records in the import."""
        return range(self.start, self.start + len(self.messages))

    def may_be_sent(self, in_flight: Iterable[Batch[_Message]], max_in_flight: int) -> bool:
        """Whether it may be, beside what is in flight."""
        others = list(in_flight)
        if not others:
            return True
        return not self.last and len(others) < max_in_flight and all(self.keys.isdisjoint(o.keys) for o in others)


class Import(Generic[_Record, _Message, _Request, _Answer, _Imported]):
    """One import: makes batches of its records and keeps account of them. Belongs to one thread.

    Args:
        kind: Of what.
        batch_size: Records in a batch, at most.
        max_in_flight: Batches in flight, at most.
        on_progress: Is told after each batch.

    Raises:
        TypeError: A count is none.
        ValueError: A count is less than 1.
    """

    def __init__(
        self,
        kind: Kind[_Record, _Message, _Request, _Answer, _Imported],
        *,
        batch_size: int,
        max_in_flight: int,
        on_progress: Callable[[_Imported], None] | None,
    ) -> None:
        for name, value in (("batch_size", batch_size), ("max_in_flight", max_in_flight)):
            if not isinstance(value, int):
                raise TypeError(f"{name} must be an int, not {type(value).__name__}")
            if value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        self.kind = kind
        self.max_in_flight = max_in_flight
        self.imported = kind.nothing
        self._batch_size = batch_size
        self._on_progress = on_progress
        self._batch: Batch[_Message] = Batch(0)
        self._batch_bytes = 0
        self._read_count = 0
        self._not_written: list[range] = []
        self._cause: Exception | None = None
        self._caused_by: Batch[_Message] | None = None

    @property
    def failed(self) -> bool:
        """Whether no more is to be sent."""
        return self._cause is not None

    def add(self, record: _Record) -> Batch[_Message] | None:
        """Takes a record in; the batch before it, if the record begins another one.

        Raises:
            TypeError: It cannot be sent.
            ValueError: It cannot be sent.
        """
        position = self._read_count
        self._read_count += 1
        try:
            message = self.kind.message(f"{self.kind.name}[{position}]", record)
        except BaseException:
            self._not_written.append(range(position, position + 1))
            raise
        size = message.ByteSize() + _FIELD_BYTES
        key = self.kind.key(message) if self.kind.key is not None else None
        batch, full = self._batch, None
        if batch.messages and (
            len(batch.messages) >= self._batch_size
            or self._batch_bytes + size > _MAX_BATCH_BYTES
            or (key is not None and key in batch.keys)
        ):
            full = batch
            self._batch = batch = Batch(position)
            self._batch_bytes = 0
        batch.messages.append(message)
        self._batch_bytes += size
        if key is not None:
            batch.keys.add(key)
        return full

    def end(self) -> Batch[_Message] | None:
        """The last batch, if there was a record at all."""
        batch, self._batch = self._batch, Batch(self._read_count)
        batch.last = True
        return batch if batch.messages else None

    def written(self, batch: Batch[_Message], answer: _Answer) -> None:
        """Notes that a batch was written."""
        self.imported = self.kind.added(self.imported, len(batch.messages), answer)
        if batch.last:
            self.imported = replace(self.imported, consistency_token=answer.consistency_token)
        if self._on_progress is not None:
            self._on_progress(self.imported)

    def not_written(self, batch: Batch[_Message], cause: Exception | None = None) -> None:
        """Notes that a batch was not written: because of `cause`, or for None because another one was not."""
        self._not_written.append(batch.positions)
        if cause is not None and (self._caused_by is None or batch.start < self._caused_by.start):
            self._cause, self._caused_by = cause, batch

    def broke_off(self, cause: Exception) -> None:
        """Notes that the records came to an end by an error, of theirs or of the iterable."""
        if self._cause is None:
            self._cause = cause

    def result(self) -> _Imported:
        """What came of the import, when nothing is in flight any more.

        Raises:
            ImportStoppedError: It ended early.
        """
        if self._cause is None:
            return self.imported
        if self._batch.messages:  # begun, and never sent
            self._not_written.append(self._batch.positions)
        raise self._error(self._cause) from self._cause

    def _error(self, cause: Exception) -> ImportStoppedError:
        positions = tuple(_merged(self._not_written))
        violations: tuple[FieldViolation, ...] = ()
        if isinstance(cause, InvalidArgumentError) and self._caused_by is not None:
            violations = tuple(
                FieldViolation(self._in_import(violation.field, self._caused_by.start), violation.description)
                for violation in cause.field_violations
            )
        why = "; ".join(f"{name}: {description}" for name, description in violations)
        if not why:
            why = cause.message if isinstance(cause, TanagerError) else str(cause) or type(cause).__name__
        slices = ", ".join(f"{self.kind.name}[{each.start}:{each.stop}]" for each in positions)
        lost = f"{slices} not written" if slices else "no more were read"
        return ImportStoppedError(
            f"{lost}, {self.imported.record_count:,} {self.kind.name} are: {why}",
            request_id=cause.request_id if isinstance(cause, TanagerError) else "",
            code=_code(cause),
            written=self.imported,
            not_written=positions,
            field_violations=violations,
        )

    def _in_import(self, path: str, start: int) -> str:
        """The path of a field in the request of a batch, with the position in the import."""
        match = re.match(rf"{self.kind.name}\[(\d+)\]", path)
        return f"{self.kind.name}[{start + int(match[1])}]{path[match.end() :]}" if match else path


class Patience:
    """How long one batch waits for a server that has too much to do.

    Args:
        max_wait_s: In all, in seconds.
    """

    def __init__(self, max_wait_s: float) -> None:
        self._left_s = max_wait_s

    def pause_s(self, error: ResourceExhaustedError) -> float | None:
        """How long to wait, in seconds, before the batch is sent again; None for not at all.

        A server that does not say when to come back will not have room soon: its disk is full, or the batch too large.
        """
        if error.retry_after_s is None:
            return None
        pause_s = max(error.retry_after_s, _MIN_PAUSE_S)
        if pause_s > self._left_s:
            return None
        self._left_s -= pause_s
        return pause_s


def checked_wait(max_wait_s: float) -> float:
    """The longest wait, in seconds.

    Raises:
        ValueError: It is negative, or no number.
    """
    if not max_wait_s >= 0:
        raise ValueError(f"max_wait_s must be a number of seconds, not {max_wait_s}")
    return max_wait_s


def _code(cause: Exception) -> StatusCode:
    if isinstance(cause, TanagerError):
        return cause.code
    return StatusCode.INVALID_ARGUMENT if isinstance(cause, TypeError | ValueError) else StatusCode.UNKNOWN


def _merged(ranges: Iterable[range]) -> list[range]:
    merged: list[range] = []
    for each in sorted(ranges, key=lambda each: each.start):
        if merged and merged[-1].stop == each.start:
            merged[-1] = range(merged[-1].start, each.stop)
        else:
            merged.append(each)
    return merged
