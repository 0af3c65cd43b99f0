"""What is written to the server while it serves: made durable first, then true for the next call, then acknowledged.

Whatever is known in memory is a fold over what is stored, in the order of its sequence numbers: a restart makes the
same of it.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import logging
import time
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tanager_server.engine.folding import figure, fold, has_text, stored_vectors
from tanager_server.engine.impressions import Impressions
from tanager_server.engine.records import ItemRecord, item_bytes, profile_bytes, read_item, read_profile
from tanager_server.errors import FieldViolation, InvalidRequestError, OverloadedError, StaleError, UserNotFoundError
from tanager_server.runtime.worker import WorkerThread
from tanager_server.state import (
    AddEvents,
    DeleteItems,
    DropVectors,
    PurgeUser,
    PutItems,
    PutMeta,
    PutUsers,
    PutVectors,
    StoredEvent,
    StoredItem,
    StoredUser,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from tanager_server.bundle import Item, ProfileValue
    from tanager_server.engine.engine import Engine
    from tanager_server.engine.folding import Encode
    from tanager_server.engine.indexing import Indexer
    from tanager_server.engine.items import Written
    from tanager_server.engine.served import Served
    from tanager_server.state import Journal, Outcome, Snapshot, Store, StoredVector, Write
    from tanager_server.state.users import KnownUser

_log = logging.getLogger(__name__)

_RETRY_AFTER_S = 1.0
_SEQ_BYTES = 8
_VECTORS_AT_A_TIME = 256


class UpsertedItems(NamedTuple):
    """What became of items; `seq` is of the write."""

    created: int
    encoded: int
    seq: int


class DeletedItems(NamedTuple):
    """What became of items to delete; `seq` is of the write."""

    deleted: int
    seq: int


class UpsertedUsers(NamedTuple):
    """What became of users; `seq` is of the write."""

    created: int
    seq: int


class WrittenEvents(NamedTuple):
    """What became of events; `seq` is of the write."""

    written: int
    unknown_items: int
    seq: int
    unattributed: int = 0


class PurgedUser(NamedTuple):
    """What was removed of a user; `seq` is of the write."""

    had_profile: bool
    events: int
    impressions: int
    seq: int


class _Held(NamedTuple):
    """A write of items, and the number it was committed under."""

    seq: int
    write: PutItems | DeleteItems


class _Keys:
    """Names by the keys that stand for them in a snapshot."""

    def __init__(self, keys: Iterator[tuple[int, str]]) -> None:
        known = dict(keys)
        self.names = list(known.values())
        self._places = np.zeros(max(known, default=0) + 1, np.int64)
        self._places[list(known)] = np.arange(len(known))

    def places(self, keys: Sequence[int]) -> NDArray[np.int64]:
        """(keys,) int64: where in `names` each key's name is."""
        return self._places[np.array(keys, np.int64)]


class Live:
    """Writes of all kinds, over one store.

    Args:
        served: what answers; its items and users are changed here.
        store: what keeps them.
        impressions: what was shown.
    """

    def __init__(self, served: Served, store: Store, impressions: Impressions | None = None) -> None:
        self._served, self._store, self._trends = served, store, served.engine.trends
        self.impressions = Impressions(store) if impressions is None else impressions
        self._journal: Journal | None = None
        self._indexer: Indexer | None = None
        self._prepared: dict[int, list[Written]] = {}
        # Not nicer than the event loop: on busy cores it would be kept waiting while it has Python's lock, and the loop
        # with it.
        self._worker = WorkerThread("figures")
        self._backups = WorkerThread("backup", niceness=8)
        self._then: dict[int, Callable[[], None]] = {}
        self._followed: list[_Held] | None = None
        self._item_writes: set[asyncio.Task[Outcome]] = set()
        self._under_way: collections.Counter[str] = collections.Counter()
        """Ids of items that wait to be written."""
        self._reserved = 0
        """Rows for the new ones among them."""
        self._open = asyncio.Event()
        self._open.set()
        self._unstored: list[StoredVector] = []
        self._seq, self._events = store.seq, 0

    @property
    def _engine(self) -> Engine:
        return self._served.engine

    # The start

    def load(self, snapshot: Snapshot, encode: Encode) -> None:
        """Folds what is stored into the engine's items and users.

        Args:
            snapshot: all that is stored.
            encode: for items that have no vector by this encoder.
        """
        began = time.monotonic()
        engine = self._engine
        folded = fold(engine, snapshot, encode)
        self._unstored = folded.encoded
        self._load_users(snapshot)
        engine.audiences.rebuild()
        self._seq = snapshot.seq
        _log.info(
            "state",
            extra={
                "seq": self._seq,
                "items_written": folded.items,
                "encoded": len(folded.encoded),
                "users": len(engine.known.users),
                "events": self.event_count,
                "took_s": round(time.monotonic() - began, 3),
            },
        )

    def _load_users(self, snapshot: Snapshot) -> None:
        known = self._engine.known
        for user in snapshot.users():
            known.users.put_profile(user.user_id, read_profile(user.data))
        users = _Keys(key_and_name for block in snapshot.user_keys() for key_and_name in block)
        items = _Keys(key_and_name for block in snapshot.item_keys() for key_and_name in block)
        kinds = _Keys(iter(snapshot.kinds().items()))
        numbers = known.numbers.numbers(items.names)
        blocks = [
            (
                users.places(column[0]),
                numbers[items.places(column[1])],
                kinds.places(column[2]),
                np.array(column[3], np.float32),
                np.array(column[4], np.int64),
            )
            for block in snapshot.event_rows()
            if (column := list(zip(*block, strict=True)))
        ]
        if blocks:
            by, of, kind, weight, time_ns = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
            known.users.load_events(users.names, by, of, kinds.names, kind, weight, time_ns)
            self._events = len(by)
        self._trends.load(known.users.take_ups())

    def begin(self, journal: Journal, indexer: Indexer) -> None:
        """From here on writes are taken."""
        self._journal, self._indexer = journal, indexer
        self.impressions.begin(journal)
        # What is dropped for want of room is encoded again at the next start.
        for some in _parts(self._unstored):
            journal.post(PutVectors(some, self._seq))
        self._unstored = []
        indexer.look()

    # Another bundle

    def follow_items(self) -> None:
        """From here on what happens to items is noted, for another engine; see `items_since`."""
        self._followed = []

    def items_since(self, seq: int) -> tuple[list[PutItems | DeleteItems], int]:
        """What happened to items since a write, and was not asked for before; and the last write that there is."""
        assert self._followed is not None
        held, self._followed = self._followed, []
        return [one.write for one in held if one.seq > seq], self._seq

    @property
    def waiting_items(self) -> int:
        """Writes that `items_since` has not told of yet."""
        return len(self._followed or ())

    def forget_items(self) -> None:
        """Ends what `follow_items` began."""
        self._followed = None

    async def keep_vectors(self, vectors: Sequence[StoredVector], as_of_seq: int) -> None:
        """Keeps vectors by another encoder of items as they were at a write.

        Raises:
            As `delete_items`.
        """
        for some in _parts(vectors):
            await self._write(PutVectors(some, as_of_seq))

    async def drop_vectors(self, fingerprint: str) -> None:
        """Forgets vectors of an encoder that no bundle needs.

        Raises:
            As `delete_items`.
        """
        while (await self._write(DropVectors(fingerprint))).removed.vectors:
            pass

    @contextlib.asynccontextmanager
    async def items_held(self) -> AsyncIterator[None]:
        """Keeps items as they are: writes of them wait until it ends, those under way have been applied."""
        self._open.clear()
        try:
            while self._item_writes:
                await asyncio.wait(self._item_writes)
            yield
        finally:
            self._open.set()

    async def put_meta(self, values: Mapping[str, str | None], then: Callable[[], None]) -> None:
        """Makes settings durable and does something with it, between two calls and in the order of all writes.

        Raises:
            As `delete_items`; then nothing is done.
        """
        await self._write(PutMeta(values), then=then)

    def index_by(self, indexer: Indexer) -> Indexer:
        """From here on another indexer looks after the items.

        Returns:
            The one before.
        """
        assert self._indexer is not None
        before, self._indexer = self._indexer, indexer
        indexer.look()
        return before

    async def back_up(self, destination: Path) -> int:
        """Copies the state, as it is at one moment, while writes go on.

        Args:
            destination: a directory that is not there yet.

        Returns:
            Its size in bytes.

        Raises:
            StateError: there is something at the destination.
            StorageError: it could not be read or written.
        """

        def copy() -> int:
            self._store.backup(destination)
            return sum(entry.stat().st_size for entry in destination.iterdir())

        return await self._backups.run(copy)

    async def close(self) -> None:
        """Waits for the index, and ends the threads; the journal must have been closed."""
        if self._indexer is not None:
            await self._indexer.close()
        self._worker.close()
        self._backups.close()

    # Sequence numbers

    @property
    def seq(self) -> int:
        """The last write that the engine knows of."""
        return self._seq

    @property
    def event_count(self) -> int:
        """Number of events of all users."""
        return self._events

    def token(self, seq: int) -> str:
        """A sequence number as callers are given it."""
        return f"{self._store.state_id[:_SEQ_BYTES]}-{seq:x}"

    def require(self, token: str, *, field: str) -> None:
        """Checks that the engine knows of the write that a token stands for.

        Raises:
            InvalidRequestError: it is no token of this state.
            StaleError: the write is not known, as after a backup was restored.
        """
        state, dash, number = token.partition("-")
        try:
            seq = int(number, 16)
        except ValueError:
            seq = -1
        if not dash or seq < 0 or state != self._store.state_id[:_SEQ_BYTES]:
            raise InvalidRequestError(FieldViolation(field, "is no consistency token of this server's state"))
        if seq > self._seq:
            raise StaleError(f"{field}: the state ends before this write; was a backup restored?")

    # Items

    async def upsert_items(self, items: Sequence[Item], *, deadline: float) -> UpsertedItems:
        """Writes items; texts that changed are encoded.

        Raises:
            OverloadedError: too much waits to be encoded or written, or there is no room for new items yet.
            StorageError: the disk does not take it.
            DeadlineExpiredError: the deadline passed before all texts were encoded; nothing was written.
        """
        self._check_room(self._new(items))
        written_ns = time.time_ns()
        records = [ItemRecord(item, written_ns) for item in items]
        vectors: list[NDArray[np.float32] | None] = [None] * len(items)
        engine, written = self._engine, None
        while written is None or engine is not self._engine or not all(map(self._is_known, items, vectors)):
            # The second time, if another call wrote another text of the same item meanwhile, or if another bundle is
            # served since, whose encoder has to read the texts.
            if engine is not self._engine:
                engine, vectors = self._engine, [None] * len(items)
            texts = [n for n, item in enumerate(items) if not self._is_known(item, vectors[n])]
            if texts:
                prompt = engine.generation.manifest.encoder.item_prompt
                encoded = await engine.embed_items([prompt + items[place].text for place in texts], deadline=deadline)
                for place, vector in zip(texts, encoded.vectors, strict=True):
                    vectors[place] = vector
            written = await self._worker.run(figure, engine.generation, records, vectors)
            await self._until_open()
        new = self._new(items)
        self._check_room(new)
        stored = [StoredItem(record.item.id, item_bytes(record)) for record in records]
        write = PutItems(stored, stored_vectors(engine.generation.manifest, written))
        outcome = await self._write_items(write, written, new)
        return UpsertedItems(new, sum(vector is not None for vector in vectors), outcome.seq)

    def _new(self, items: Sequence[Item]) -> int:
        catalogue = self._engine.generation.catalogue
        return sum(catalogue.position(item.id) is None for item in items)

    def _check_room(self, new: int) -> None:
        if new > self._engine.items.room - self._reserved:
            assert self._indexer is not None
            self._indexer.look()
            raise OverloadedError(
                f"items: {new} new ones do not fit until the index is made anew; try again",
                retry_after_s=_RETRY_AFTER_S,
            )

    def _is_known(self, item: Item, vector: NDArray[np.float32] | None) -> bool:
        """Whether there is a vector of an item's text, which will be there until it is written."""
        return vector is not None or (item.id not in self._under_way and has_text(self._engine, item))

    async def delete_items(self, item_ids: Sequence[str]) -> DeletedItems:
        """Deletes items; those that the catalogue does not have are ignored.

        Raises:
            OverloadedError: too much waits to be written.
            StorageError: the disk does not take it.
        """
        await self._until_open()
        catalogue = self._engine.generation.catalogue
        known = [item_id for item_id in dict.fromkeys(item_ids) if catalogue.position(item_id) is not None]
        if not known:
            return DeletedItems(0, self._seq)
        outcome = await self._write_items(DeleteItems(known))
        return DeletedItems(len(known), outcome.seq)

    # Users and events

    async def upsert_users(self, profiles: Mapping[str, Mapping[str, ProfileValue]]) -> UpsertedUsers:
        """Writes profiles of users.

        Raises:
            As `delete_items`.
        """
        new = sum(user_id not in self._engine.known.users for user_id in profiles)
        stored = [StoredUser(user_id, profile_bytes(profile)) for user_id, profile in profiles.items()]
        outcome = await self._write(PutUsers(stored))
        return UpsertedUsers(new, outcome.seq)

    def user(self, user_id: str, *, latest: int) -> KnownUser:
        """What is known of a user, with so many of the latest events.

        Raises:
            UserNotFoundError: nothing is.
        """
        found = self._engine.known.users.get(user_id, latest)
        if found is None:
            raise UserNotFoundError(f"user_id: nothing is known of {user_id[:100]!r}")
        return found

    async def purge_user(self, user_id: str) -> PurgedUser:
        """Removes all that is known of a user.

        Raises:
            As `delete_items`.
        """
        with self.impressions.silence(user_id):
            outcome = await self._write(PurgeUser(user_id))
        removed = outcome.removed
        return PurgedUser(removed.profiles > 0, removed.events, removed.impressions, outcome.seq)

    async def write_events(self, events: Sequence[StoredEvent]) -> WrittenEvents:
        """Writes events; those whose id is known are ignored.

        Raises:
            As `delete_items`.
        """
        tokens = {event.attribution for event in events if event.attribution}
        shown = await self.impressions.shown_by(tokens) if tokens else {}
        write = AddEvents(events)
        outcome = await self._write(write)
        catalogue = self._engine.generation.catalogue
        new = [event for event, is_new in zip(events, outcome.new, strict=True) if is_new]
        unknown = sum(catalogue.position(event.item_id) is None for event in new)
        unattributed = sum(event.item_id not in shown[event.attribution] for event in new if event.attribution)
        return WrittenEvents(len(new), unknown, outcome.seq, unattributed)

    # The fold

    async def _until_open(self) -> None:
        while not self._open.is_set():
            await self._open.wait()

    async def _write_items(
        self, write: PutItems | DeleteItems, prepared: list[Written] | None = None, new: int = 0
    ) -> Outcome:
        """Writes items, whose rows are theirs and whose texts are not known until it is done, whoever waits for it."""
        ids = [item.item_id for item in write.items] if isinstance(write, PutItems) else []
        self._under_way.update(ids)
        self._reserved += new
        # A task: whoever waits for all of them must also know those whose callers have gone.
        task = asyncio.create_task(self._write(write, prepared), name="items")
        self._item_writes.add(task)

        def done(task: asyncio.Task[Outcome]) -> None:
            self._item_writes.discard(task)
            self._under_way -= collections.Counter(ids)
            self._reserved -= new
            if not task.cancelled():
                task.exception()  # of a caller who has gone: looked at, and let be

        task.add_done_callback(done)
        return await asyncio.shield(task)

    async def _write(
        self, write: Write, prepared: list[Written] | None = None, *, then: Callable[[], None] | None = None
    ) -> Outcome:
        assert self._journal is not None
        if prepared is not None:
            self._prepared[id(write)] = prepared
        if then is not None:
            self._then[id(write)] = then
        try:
            (outcome,) = await self._journal.write(write)
        except BaseException:
            # Where the caller has gone, the write may still be applied: what was prepared is then prepared again.
            self._prepared.pop(id(write), None)
            self._then.pop(id(write), None)
            raise
        return outcome

    def apply(self, write: Write, outcome: Outcome) -> Iterator[None] | None:
        """Makes memory follow a write that was committed; of items, step by step."""
        match write:
            case PutItems():
                return self._apply_items(write, outcome)
            case DeleteItems():
                self._note(write, outcome)
                for item_id in write.item_ids:
                    self._engine.items.remove(item_id)
                    self._engine.known.moved(item_id, None)
            case PutUsers():
                for user in write.users:
                    self._engine.known.users.put_profile(user.user_id, read_profile(user.data))
            case PurgeUser():
                self.impressions.forget(write.user_id)
                purged = self._engine.known.users.purge(write.user_id)
                if purged is not None:
                    self._trends.remove(purged.taken)
                    self._events -= purged.event_count
            case AddEvents():
                for event, is_new in zip(write.events, outcome.new, strict=True):
                    if is_new:
                        self._apply_event(event)
            case PutMeta():
                if (then := self._then.pop(id(write), None)) is not None:
                    then()
            case _:
                pass
        self._seq = max(self._seq, outcome.seq)
        return None

    def _note(self, write: PutItems | DeleteItems, outcome: Outcome) -> None:
        if self._followed is not None:
            self._followed.append(_Held(outcome.seq, write))

    def _apply_items(self, write: PutItems, outcome: Outcome) -> Iterator[None]:
        prepared = self._prepared.pop(id(write), None)
        if prepared is None:
            vectors = {one.item_id: np.frombuffer(one.vector, "<f4") for one in write.vectors}
            records = [read_item(stored.data) for stored in write.items]
            found = [vectors.get(record.item.id) for record in records]
            prepared = figure(self._engine.generation, records, found)
        positions = []
        for written in prepared:
            positions.append(self._engine.put(written))
            self._engine.known.moved(written.item.id, positions[-1])
            yield
        self._engine.audiences.moved(positions)
        self._note(write, outcome)
        self._seq = max(self._seq, outcome.seq)
        if self._indexer is not None:
            self._indexer.look()

    def _apply_event(self, event: StoredEvent) -> None:
        known = self._engine.known
        number = known.numbers.number(event.item_id)
        before = known.users.last_take_up(event.user_id, number) if event.weight > 0 else None
        known.users.add_event(event.user_id, number, event.kind, event.weight, event.time_ns)
        self._events += 1
        self._trends.add(number, event.weight, event.time_ns, before)


def _parts(vectors: Sequence[StoredVector]) -> list[Sequence[StoredVector]]:
    return [vectors[start : start + _VECTORS_AT_A_TIME] for start in range(0, len(vectors), _VECTORS_AT_A_TIME)]
