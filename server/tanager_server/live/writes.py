"""What is written to the server while it serves: made durable first, then true for the next call, then acknowledged.

Whatever is known in memory is a fold over what is stored, in the order of its sequence numbers: a restart makes the
same of it.
"""

from __future__ import annotations

import asyncio
import collections
import logging
import time
from typing import TYPE_CHECKING

from tanager_server.engine.records import ItemRecord, item_bytes, profile_bytes, read_profile
from tanager_server.errors import (
    EncodeError,
    EncoderStuckError,
    FieldViolation,
    HungTextError,
    InvalidRequestError,
    StaleError,
    UserNotFoundError,
)
from tanager_server.live.carried import carried
from tanager_server.live.impressions import Impressions
from tanager_server.live.item_gate import ItemGate
from tanager_server.live.loading import load_state
from tanager_server.live.outcomes import DeletedItems, PurgedUser, UpsertedItems, UpsertedUsers, WrittenEvents
from tanager_server.live.replica import Replica
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
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from tanager_server.bundle import Item, ProfileValue
    from tanager_server.engine.engine import Engine
    from tanager_server.errors import ServerError
    from tanager_server.live.folding import Encode
    from tanager_server.live.indexing import Indexer
    from tanager_server.live.replica import Draft, Vectors
    from tanager_server.live.served import Served
    from tanager_server.state import Journal, Outcome, Snapshot, Store, StoredVector, Write
    from tanager_server.state.users import KnownUser

_log = logging.getLogger(__name__)

_SEQ_BYTES = 8
_VECTORS_AT_A_TIME = 256


class Live:
    """Writes of all kinds, over one store.

    Args:
        served: what answers; its items and users are changed here.
        store: what keeps them.
        impressions: what was shown.

    Attributes:
        impressions: the same.
        items: through which all writes of items go.
    """

    def __init__(self, served: Served, store: Store, impressions: Impressions | None = None) -> None:
        self._served, self._store, self._trends = served, store, served.engine.trends
        self.impressions = Impressions(store) if impressions is None else impressions
        self.items = ItemGate()
        self._journal: Journal | None = None
        self._replicas: tuple[Replica, ...] = ()
        self._drafts: dict[int, Sequence[Draft]] = {}
        # Not nicer than the event loop: on busy cores it would be kept waiting while it has Python's lock, and the loop
        # with it.
        self._worker = WorkerThread("figures")
        self._backups = WorkerThread("backup", niceness=8)
        self._then: dict[int, Callable[[], None]] = {}
        self._lose: Callable[[Replica, ServerError], bool] | None = None
        self._unstored: list[StoredVector] = []
        self._profile_names: collections.Counter[str] = collections.Counter()  # that wait to be written
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
        loaded = load_state(engine, self._trends, snapshot, encode)
        self._unstored, self._events = loaded.encoded, loaded.events
        self._seq = snapshot.seq
        _log.info(
            "state",
            extra={
                "seq": self._seq,
                "items_written": loaded.items,
                "encoded": len(loaded.encoded),
                "users": len(engine.known.users),
                "events": self.event_count,
                "took_s": round(time.monotonic() - began, 3),
            },
        )

    def begin(self, journal: Journal, indexer: Indexer) -> None:
        """From here on writes are taken."""
        self._journal, self._replicas = journal, (Replica(self._engine, indexer),)
        self.impressions.begin(journal)
        # What is dropped for want of room is encoded again at the next start.
        for some in _parts(self._unstored):
            journal.post(PutVectors(some, self._seq))
        self._unstored = []
        indexer.look()

    # Another bundle

    def items_since(self, seq: int) -> tuple[list[PutItems | DeleteItems], int]:
        """What was written of items since a number, as `ItemGate.since` has it; and the last write that there is."""
        return self.items.since(seq), self._seq

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

    async def put_meta(self, values: Mapping[str, str | None], then: Callable[[], None]) -> None:
        """Makes settings durable and does something with it, between two calls and in the order of all writes.

        Raises:
            As `delete_items`; then nothing is done.
        """
        await self._write(PutMeta(values), then=then)

    @property
    def replicas(self) -> tuple[Replica, ...]:
        """The engines that follow what is written; that of the bundle which is served goes first."""
        return self._replicas

    def follow_with(self, *replicas: Replica) -> None:
        """From here on these engines follow what is written; they must have all that was written so far."""
        self._replicas = replicas
        for replica in replicas:
            replica.indexer.look()

    def lose_by(self, lose: Callable[[Replica, ServerError], bool]) -> None:
        """Names what gives up a replica whose encoder fails, not that of the served bundle, and tells if it did."""
        self._lose = lose

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
        for replica in self._replicas:
            await replica.indexer.close()
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
            InvalidRequestError: attributes would have too many names; nothing was written.
            StorageError: the disk does not take it.
            DeadlineExpiredError: the deadline passed before all texts were encoded; nothing was written.
        """
        self._check_room(items)
        written_ns = time.time_ns()
        records = [ItemRecord(item, written_ns) for item in items]
        drafts: list[Draft] = []
        while not self._are_ready(drafts):
            # The second time, if another call wrote another text of the same item meanwhile, or if another engine
            # answers since.
            of = {draft.replica: draft for draft in drafts}
            drafts = [of.get(replica) or replica.draft(records) for replica in self._replicas]
            encoded: Vectors = {}
            for draft in drafts:
                try:
                    await draft.make_ready(self.items.under_way, encoded, self._worker, deadline=deadline)
                except (EncodeError, EncoderStuckError, HungTextError) as error:
                    if draft.replica in self._replicas and not self._gives_up(draft.replica, error):
                        raise
            await self.items.until_open()
        names = self._check_room(items)
        created, stored = self._replicas[0].new(items), [StoredItem(one.item.id, item_bytes(one)) for one in records]
        vectors = {(one.item_id, one.fingerprint): one for draft in drafts for one in draft.stored}
        outcome = await self._write_items(PutItems(stored, list(vectors.values())), items, drafts, names)
        return UpsertedItems(created, drafts[0].encoded, outcome.seq)

    def _check_room(self, items: Sequence[Item]) -> set[str]:
        return set[str]().union(*(replica.check_room(items, self.items.names) for replica in self._replicas))

    def _gives_up(self, replica: Replica, error: ServerError) -> bool:
        return replica is not self._replicas[0] and self._lose is not None and self._lose(replica, error)

    def _are_ready(self, drafts: Sequence[Draft]) -> bool:
        same = tuple(draft.replica for draft in drafts) == self._replicas
        return same and all(draft.is_ready(self.items.under_way) for draft in drafts)

    async def delete_items(self, item_ids: Sequence[str]) -> DeletedItems:
        """Deletes items; those that the catalogue does not have are ignored.

        Raises:
            OverloadedError: too much waits to be written.
            StorageError: the disk does not take it.
        """
        await self.items.until_open()
        catalogues = [replica.engine.generation.catalogue for replica in self._replicas]
        known = [
            item_id
            for item_id in dict.fromkeys(item_ids)
            if any(catalogue.position(item_id) is not None for catalogue in catalogues)
        ]
        if not known:
            return DeletedItems(0, self._seq)
        outcome = await self._write_items(DeleteItems(known))
        return DeletedItems(len(known), outcome.seq)

    # Users and events

    async def upsert_users(self, profiles: Mapping[str, Mapping[str, ProfileValue]]) -> UpsertedUsers:
        """Writes profiles of users.

        Raises:
            InvalidRequestError: their attributes have too many names.
            OverloadedError, StorageError: as `delete_items`.
        """
        known = self._engine.known
        names = known.check_names(profiles.values(), self._profile_names)
        new = sum(user_id not in known.users for user_id in profiles)
        stored = [StoredUser(user_id, profile_bytes(profile)) for user_id, profile in profiles.items()]
        self._profile_names.update(names)

        def done() -> None:
            self._profile_names -= collections.Counter(names)

        outcome = await asyncio.shield(carried(self._write(PutUsers(stored)), done))
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
        unattributed = 0
        for event in new:
            if not event.attribution:
                continue
            of = shown[event.attribution]
            if event.user_id == of.user_id and event.item_id in of.item_ids:
                self._served.take_up(of.variant, event.weight)
            else:
                unattributed += 1
        return WrittenEvents(len(new), unknown, outcome.seq, unattributed)

    # The fold

    async def _write_items(
        self,
        write: PutItems | DeleteItems,
        items: Sequence[Item] = (),
        drafts: Sequence[Draft] = (),
        names: Collection[str] = (),
    ) -> Outcome:
        ids = [item.id for item in items]
        rows = [(draft.replica, draft.replica.new(items)) for draft in drafts]
        return await self.items.write(self._write(write, drafts), ids, rows, names)

    async def _write(
        self, write: Write, drafts: Sequence[Draft] = (), *, then: Callable[[], None] | None = None
    ) -> Outcome:
        assert self._journal is not None
        if drafts:
            self._drafts[id(write)] = drafts
        if then is not None:
            self._then[id(write)] = then
        try:
            (outcome,) = await self._journal.write(write)
        except BaseException:
            # Where the caller has gone, the write may still be applied: what was prepared is then prepared again.
            self._drafts.pop(id(write), None)
            self._then.pop(id(write), None)
            raise
        return outcome

    def apply(self, write: Write, outcome: Outcome) -> Iterator[None]:
        """Makes memory follow a write that was committed, step by step."""
        match write:
            case PutItems():
                ready = {draft.replica: draft.written for draft in self._drafts.pop(id(write), ())}
                for replica in self._replicas:
                    yield from replica.put(write, ready.get(replica))
                self.items.note(write, outcome.seq)
            case DeleteItems():
                for replica in self._replicas:
                    yield from replica.delete(write)
                self.items.note(write, outcome.seq)
            case PutUsers():
                for user in write.users:
                    self._engine.known.users.put_profile(user.user_id, read_profile(user.data))
                    yield
            case PurgeUser():
                self.impressions.forget(write.user_id)
                purged = self._engine.known.users.purge(write.user_id)
                if purged is not None:
                    self._engine.known.filter.forget(purged.slot)
                    self._trends.remove(purged.taken)
                    self._events -= purged.event_count
            case AddEvents():
                for event, is_new in zip(write.events, outcome.new, strict=True):
                    if is_new:
                        self._apply_event(event)
                        yield
            case PutMeta():
                if (then := self._then.pop(id(write), None)) is not None:
                    then()
            case _:
                pass
        self._seq = max(self._seq, outcome.seq)

    def _apply_event(self, event: StoredEvent) -> None:
        known = self._engine.known
        number = known.numbers.number(event.item_id)
        before = known.users.last_take_up(event.user_id, number) if event.weight > 0 else None
        known.users.add_event(event.user_id, number, event.kind, event.weight, event.time_ns)
        self._events += 1
        self._trends.add(number, event.weight, event.time_ns, before)


def _parts(vectors: Sequence[StoredVector]) -> list[Sequence[StoredVector]]:
    return [vectors[start : start + _VECTORS_AT_A_TIME] for start in range(0, len(vectors), _VECTORS_AT_A_TIME)]
