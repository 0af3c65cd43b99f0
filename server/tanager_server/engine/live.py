"""What is written to the server while it serves: made durable first, then true for the next call, then acknowledged.

Whatever is known in memory is a fold over what is stored, in the order of its sequence numbers: a restart makes the
same of it.
"""

from __future__ import annotations

import asyncio
import collections
import hashlib
import logging
import time
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tanager_server.engine.impressions import Impressions
from tanager_server.engine.items import Written
from tanager_server.engine.records import ItemRecord, item_bytes, profile_bytes, read_item, read_profile
from tanager_server.errors import FieldViolation, InvalidRequestError, OverloadedError, StaleError, UserNotFoundError
from tanager_server.runtime.worker import WorkerThread
from tanager_server.state import (
    AddEvents,
    DeleteItems,
    PurgeUser,
    PutItems,
    PutUsers,
    StoredEvent,
    StoredItem,
    StoredUser,
    StoredVector,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from tanager_server.bundle import Item, Manifest, ProfileValue
    from tanager_server.engine.engine import Engine
    from tanager_server.engine.indexing import Indexer
    from tanager_server.state import Journal, Outcome, Snapshot, Store, Write
    from tanager_server.state.users import KnownUser

_log = logging.getLogger(__name__)

_RETRY_AFTER_S = 1.0
_FIGURES_AT_A_TIME = 64
_SEQ_BYTES = 8


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


def fingerprint(manifest: Manifest) -> str:
    """What vectors of an encoder have in common: those of another one mean something else."""
    parts = [manifest.files[name].sha256 for name in ("encoder.onnx", "tokenizer.json")]
    return hashlib.sha256("\n".join([*parts, manifest.encoder.item_prompt]).encode()).hexdigest()


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
        engine: what answers; its items and users are changed here.
        store: what keeps them.
        impressions: what was shown.
    """

    def __init__(self, engine: Engine, store: Store, impressions: Impressions | None = None) -> None:
        self._engine, self._store, self._trends = engine, store, engine.trends
        self.impressions = Impressions(store) if impressions is None else impressions
        self._journal: Journal | None = None
        self._indexer: Indexer | None = None
        self._prepared: dict[int, list[Written]] = {}
        self._under_way: collections.Counter[str] = collections.Counter()
        """Ids of items that wait to be written."""
        self._reserved = 0
        """Rows for the new ones among them."""
        self._worker = WorkerThread("figures", niceness=8)
        self._fingerprint = fingerprint(engine.generation.manifest)
        self._seq, self._events = store.seq, 0

    # The start

    def load(self, snapshot: Snapshot, encode: Callable[[list[str]], NDArray[np.float32]]) -> None:
        """Folds what is stored into the engine's items and users.

        Args:
            snapshot: all that is stored.
            encode: texts to (n, dim) float32, for items that have no vector by this encoder.
        """
        began = time.monotonic()
        engine = self._engine
        items: list[ItemRecord] = []
        vectors: list[bytes | None] = []
        for stored, vector in snapshot.items(self._fingerprint):
            if stored.deleted:
                engine.items.remove(stored.item_id)
            else:
                items.append(read_item(stored.data))
                vectors.append(vector)
        prompt = engine.generation.manifest.encoder.item_prompt
        missing = [
            place
            for place, vector in enumerate(vectors)
            if vector is None and not self._has_text(items[place].item)  # one of the bundle may have kept its text
        ]
        found = (
            encode([prompt + items[place].item.text for place in missing]) if missing else np.empty((0, 0), np.float32)
        )
        encoded = dict(zip(missing, found, strict=True))
        for start in range(0, len(items), _FIGURES_AT_A_TIME):
            some = range(start, min(start + _FIGURES_AT_A_TIME, len(items)))
            own = [
                encoded.get(place) if (vector := vectors[place]) is None else np.frombuffer(vector, "<f4")
                for place in some
            ]
            for written in self._figure([items[place] for place in some], own):
                engine.put(written)
        self._load_users(snapshot)
        engine.audiences.rebuild()
        self._seq = snapshot.seq
        _log.info(
            "state",
            extra={
                "seq": self._seq,
                "items_written": len(items),
                "encoded": len(missing),
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
        indexer.look()

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
        engine = self._engine
        prompt = engine.generation.manifest.encoder.item_prompt
        self._check_room(self._new(items))
        written_ns = time.time_ns()
        records = [ItemRecord(item, written_ns) for item in items]
        vectors: list[NDArray[np.float32] | None] = [None] * len(items)
        written: list[Written] | None = None
        while written is None or not all(map(self._is_known, items, vectors)):
            # The second time, if another call wrote another text of the same item meanwhile.
            texts = [n for n, item in enumerate(items) if not self._is_known(item, vectors[n])]
            if texts:
                encoded = await engine.embed([prompt + items[place].text for place in texts], deadline=deadline)
                for place, vector in zip(texts, encoded.vectors, strict=True):
                    vectors[place] = vector
            written = await self._worker.run(self._figure, records, vectors)
        new = self._new(items)
        self._check_room(new)
        stored = [StoredItem(record.item.id, item_bytes(record)) for record in records]
        kept = [
            StoredVector(one.item.id, self._fingerprint, one.vector.astype("<f4").tobytes())
            for one in written
            if one.vector is not None
        ]
        outcome = await self._write_items(PutItems(stored, kept), written, new)
        return UpsertedItems(new, sum(vector is not None for vector in vectors), outcome.seq)

    async def _write_items(self, write: PutItems, written: list[Written], new: int) -> Outcome:
        """Writes items, whose rows are theirs and whose texts are not known until it is done, whoever waits for it."""
        ids = [item.item_id for item in write.items]
        self._under_way.update(ids)
        self._reserved += new
        task = asyncio.create_task(self._write(write, written), name="items")

        def release(done: asyncio.Task[Outcome]) -> None:
            self._under_way -= collections.Counter(ids)
            self._reserved -= new
            if not done.cancelled():
                done.exception()  # where the caller has gone, nobody else looks at it

        task.add_done_callback(release)
        return await asyncio.shield(task)

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
        return vector is not None or self._has_text(item)

    def _has_text(self, item: Item) -> bool:
        """Whether the vector that an item has is of its text, and will be until it is written."""
        catalogue = self._engine.generation.catalogue
        if item.id in self._under_way:
            return False
        position = catalogue.position(item.id)
        if position is None:
            return False
        return self._engine.items.item(position).text == item.text

    def _figure(self, records: Sequence[ItemRecord], vectors: Sequence[NDArray[np.float32] | None]) -> list[Written]:
        """Items with what is expected of them; of one whose text stays, by the vector that it has."""
        generation = self._engine.generation
        found: list[Written] = []
        for (item, written_ns), vector in zip(records, vectors, strict=True):
            own = vector
            if own is None:
                position = generation.catalogue.position(item.id)
                if position is None:  # deleted meanwhile; its vector is where it was
                    position = generation.catalogue.former_position(item.id)
                assert position is not None
                own = generation.vectors[position]
            figures = generation.new_items.figures(
                own, domain=item.domain, categories=item.categories, attributes=item.attributes
            )
            found.append(Written(item, written_ns, vector, figures))
        return found

    async def delete_items(self, item_ids: Sequence[str]) -> DeletedItems:
        """Deletes items; those that the catalogue does not have are ignored.

        Raises:
            OverloadedError: too much waits to be written.
            StorageError: the disk does not take it.
        """
        catalogue = self._engine.generation.catalogue
        known = [item_id for item_id in dict.fromkeys(item_ids) if catalogue.position(item_id) is not None]
        if not known:
            return DeletedItems(0, self._seq)
        outcome = await self._write(DeleteItems(known))
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

    async def _write(self, write: Write, prepared: list[Written] | None = None) -> Outcome:
        assert self._journal is not None
        if prepared is not None:
            self._prepared[id(write)] = prepared
        try:
            (outcome,) = await self._journal.write(write)
        except BaseException:
            # Where the caller has gone, the write may still be applied: what was prepared is then prepared again.
            self._prepared.pop(id(write), None)
            raise
        return outcome

    def apply(self, write: Write, outcome: Outcome) -> None:
        """Makes memory follow a write that was committed."""
        match write:
            case PutItems():
                self._apply_items(write)
            case DeleteItems():
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
            case _:
                pass
        self._seq = max(self._seq, outcome.seq)

    def _apply_items(self, write: PutItems) -> None:
        prepared = self._prepared.pop(id(write), None)
        if prepared is None:
            vectors = {one.item_id: np.frombuffer(one.vector, "<f4") for one in write.vectors}
            records = [read_item(stored.data) for stored in write.items]
            prepared = self._figure(records, [vectors.get(record.item.id) for record in records])
        positions = []
        for written in prepared:
            positions.append(self._engine.put(written))
            self._engine.known.moved(written.item.id, positions[-1])
        self._engine.audiences.moved(positions)
        if self._indexer is not None:
            self._indexer.look()

    def _apply_event(self, event: StoredEvent) -> None:
        known = self._engine.known
        number = known.numbers.number(event.item_id)
        before = known.users.last_take_up(event.user_id, number) if event.weight > 0 else None
        known.users.add_event(event.user_id, number, event.kind, event.weight, event.time_ns)
        self._events += 1
        self._trends.add(number, event.weight, event.time_ns, before)
