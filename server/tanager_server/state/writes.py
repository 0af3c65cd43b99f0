"""The writes as SQL, inside a transaction that somebody else begins and ends."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from tanager_server.state.rows import execute_rows, execute_values, select_json
from tanager_server.state.schema import slot
from tanager_server.state.store import (
    AddEvents,
    AddImpressions,
    DeleteItems,
    DropVectors,
    ExpireImpressions,
    Outcome,
    PurgeUser,
    PutItems,
    PutMeta,
    PutUsers,
    PutVectors,
    Removed,
    StoredEvent,
)

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence

    from tanager_server.state.store import Impression, StoredVector, Write

_MAX_CACHED_KEYS = 200_000
_UNINDEXED_EVENTS = 8_192


class _Interned(NamedTuple):
    """How ids of one kind are given keys, and found."""

    insert: str
    select: str
    cache: dict[str, int]

    @classmethod
    def of(cls, table: str, column: str) -> _Interned:
        return cls(
            f"INSERT INTO {table} ({column}) VALUES {{rows}} ON CONFLICT ({column}) DO NOTHING",  # noqa: S608
            f"SELECT json_group_object({column}, key) FROM {table} WHERE {column} IN {{rows}}",  # noqa: S608
            {},
        )


class Writer:
    """Applies writes to a connection.

    What it remembers of the file holds as long as each transaction is committed; after one that was not, `forget`.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._users = _Interned.of("users", "user_id")
        self._items = _Interned.of("items", "item_id")
        self._kinds = _Interned.of("kinds", "kind")
        self._encoders = _Interned.of("encoders", "fingerprint")
        self._unindexed: set[str] | None = None
        """Ids of the events that `event_ids` lacks yet."""

    def forget(self) -> None:
        """After a transaction that was rolled back."""
        for interned in (self._users, self._items, self._kinds, self._encoders):
            interned.cache.clear()
        self._unindexed = None

    def apply(self, write: Write, seq: int) -> Outcome:
        """Applies one write, under its sequence number."""
        match write:
            case PutItems():
                return self._put_items(write, seq)
            case DeleteItems():
                return self._delete_items(write, seq)
            case PutVectors():
                return self._put_vectors(write, seq)
            case DropVectors():
                return self._drop_vectors(write, seq)
            case PutUsers():
                return self._put_users(write, seq)
            case PurgeUser():
                return self._purge_user(write, seq)
            case AddEvents():
                return self._add_events(write, seq)
            case AddImpressions():
                return self._add_impressions(write.impressions, seq)
            case ExpireImpressions():
                return self._expire_impressions(write, seq)
            case PutMeta():
                return self._put_meta(write, seq)

    def _put_items(self, write: PutItems, seq: int) -> Outcome:
        if any(item.deleted for item in write.items):
            raise ValueError("PutItems writes items that are there; DeleteItems deletes")
        vectors_of = {vector.item_id for vector in write.vectors}
        if not vectors_of <= {item.item_id for item in write.items}:
            raise ValueError("PutItems writes vectors of its own items; PutVectors those of others")
        existed = self._existed(
            "SELECT json_group_array(item_id) FROM items WHERE seq IS NOT NULL AND NOT deleted AND item_id IN {rows}",
            [item.item_id for item in write.items],
        )
        execute_rows(
            self._connection,
            "INSERT INTO items (item_id, data, deleted, seq) VALUES {rows} ON CONFLICT (item_id)"
            " DO UPDATE SET data = excluded.data, deleted = 0, seq = excluded.seq",
            [(item.item_id, item.data, 0, seq) for item in write.items],
        )
        if write.vectors:
            self._remove_vectors(list(vectors_of))
            self._insert_vectors(write.vectors)
        return Outcome(seq, existed)

    def _delete_items(self, write: DeleteItems, seq: int) -> Outcome:
        ids = list(dict.fromkeys(write.item_ids))
        there = _union(
            select_json(
                self._connection,
                "SELECT json_group_array(item_id) FROM items"
                " WHERE seq IS NOT NULL AND NOT deleted AND item_id IN {rows}",
                ids,
            )
        )
        self._remove_vectors(ids)
        execute_rows(
            self._connection,
            "INSERT INTO items (item_id, data, deleted, seq) VALUES {rows} ON CONFLICT (item_id)"
            " DO UPDATE SET data = NULL, deleted = 1, seq = excluded.seq",
            [(item_id, None, 1, seq) for item_id in ids],
        )
        existed = []
        for item_id in write.item_ids:
            existed.append(item_id in there)
            there.discard(item_id)
        return Outcome(seq, tuple(existed))

    def _put_vectors(self, write: PutVectors, seq: int) -> Outcome:
        unchanged: set[str] = set()
        for known in select_json(
            self._connection,
            "SELECT json_group_object(item_id, seq) FROM items WHERE seq IS NOT NULL AND NOT deleted"
            " AND item_id IN {rows}",
            list({vector.item_id for vector in write.vectors}),
        ):
            unchanged.update(item_id for item_id, item_seq in known.items() if item_seq <= write.as_of_seq)
        existed = tuple(vector.item_id in unchanged for vector in write.vectors)
        self._insert_vectors([vector for vector, kept in zip(write.vectors, existed, strict=True) if kept])
        return Outcome(seq, existed)

    def _insert_vectors(self, vectors: Sequence[StoredVector]) -> None:
        items = self._keys(self._items, (vector.item_id for vector in vectors))
        encoders = self._keys(self._encoders, (vector.fingerprint for vector in vectors))
        execute_rows(
            self._connection,
            "INSERT INTO vectors (slot, vector) VALUES {rows} ON CONFLICT (slot)"
            " DO UPDATE SET vector = excluded.vector",
            [(slot(encoders[v.fingerprint], items[v.item_id]), v.vector) for v in vectors],
        )

    def _remove_vectors(self, item_ids: Sequence[str]) -> None:
        execute_values(
            self._connection,
            "DELETE FROM vectors WHERE slot IN"
            " (SELECT encoders.key << 32 | items.key FROM items CROSS JOIN encoders WHERE item_id IN {rows})",
            item_ids,
        )

    def _drop_vectors(self, write: DropVectors, seq: int) -> Outcome:
        row = self._connection.execute(
            "SELECT key FROM encoders WHERE fingerprint = ?", (write.fingerprint,)
        ).fetchone()
        if row is None:
            return Outcome(seq)
        removed = self._connection.execute(
            "DELETE FROM vectors WHERE slot IN (SELECT slot FROM vectors WHERE slot >= ? AND slot < ? LIMIT ?)",
            (slot(row[0], 0), slot(row[0] + 1, 0), write.limit),
        ).rowcount
        return Outcome(seq, removed=Removed(vectors=removed))

    def _put_users(self, write: PutUsers, seq: int) -> Outcome:
        existed = self._existed(
            "SELECT json_group_array(user_id) FROM users WHERE seq IS NOT NULL AND user_id IN {rows}",
            [user.user_id for user in write.users],
        )
        execute_rows(
            self._connection,
            "INSERT INTO users (user_id, data, seq) VALUES {rows} ON CONFLICT (user_id)"
            " DO UPDATE SET data = excluded.data, seq = excluded.seq",
            [(user.user_id, user.data, seq) for user in write.users],
        )
        return Outcome(seq, existed)

    def _purge_user(self, write: PurgeUser, seq: int) -> Outcome:
        connection = self._connection
        row = connection.execute("SELECT key, seq FROM users WHERE user_id = ?", (write.user_id,)).fetchone()
        if row is None:
            return Outcome(seq, (False,))
        key, profile_seq = row
        newer = "n > (SELECT indexed_event FROM counter) AND user = ?"
        (ids,) = connection.execute(f"SELECT json_group_array(event_id) FROM events WHERE {newer}", (key,)).fetchone()  # noqa: S608
        self._known_unindexed().difference_update(json.loads(ids))
        older = "n IN (SELECT n FROM user_events WHERE user = ?)"
        connection.execute(
            f"DELETE FROM event_ids WHERE event_id IN (SELECT event_id FROM events WHERE {older})",  # noqa: S608
            (key,),
        )
        events = connection.execute(f"DELETE FROM events WHERE {older}", (key,)).rowcount  # noqa: S608
        events += connection.execute(f"DELETE FROM events WHERE {newer}", (key,)).rowcount  # noqa: S608
        connection.execute("DELETE FROM user_events WHERE user = ?", (key,))
        # The number of an event that was the last is given again: what comes then is not indexed.
        connection.execute(
            "UPDATE counter SET indexed_event = min(indexed_event, coalesce((SELECT max(n) FROM events), 0))"
        )
        impressions = connection.execute("DELETE FROM impressions WHERE user = ?", (key,)).rowcount
        connection.execute("DELETE FROM users WHERE key = ?", (key,))
        self._users.cache.pop(write.user_id, None)
        return Outcome(seq, (True,), Removed(int(profile_seq is not None), events, impressions))

    def _add_events(self, write: AddEvents, seq: int) -> Outcome:
        unindexed = self._known_unindexed()
        known = {event.event_id for event in write.events}
        there = known & unindexed
        there |= _union(
            select_json(
                self._connection,
                "SELECT json_group_array(event_id) FROM event_ids WHERE event_id IN {rows}",
                list(known - there),
            )
        )
        existed, added = [], []
        for event in write.events:
            existed.append(event.event_id in there)
            if event.event_id not in there:
                there.add(event.event_id)
                added.append(event)
        self._insert_events(added, seq)
        unindexed.update(event.event_id for event in added)
        if len(unindexed) >= _UNINDEXED_EVENTS:
            self._index_events()
        return Outcome(seq, tuple(existed))

    def _insert_events(self, events: Sequence[StoredEvent], seq: int) -> None:
        users = self._keys(self._users, (event.user_id for event in events))
        items = self._keys(self._items, (event.item_id for event in events))
        kinds = self._keys(self._kinds, (event.kind for event in events))
        execute_rows(
            self._connection,
            "INSERT INTO events (event_id, user, item, kind, weight, time_ns, attribution, context, seq) VALUES {rows}",
            [
                (
                    event.event_id,
                    users[event.user_id],
                    items[event.item_id],
                    kinds[event.kind],
                    event.weight,
                    event.time_ns,
                    event.attribution,
                    event.context,
                    seq,
                )
                for event in events
            ],
        )

    def _known_unindexed(self) -> set[str]:
        if self._unindexed is None:
            (ids,) = self._connection.execute(
                "SELECT json_group_array(event_id) FROM events WHERE n > (SELECT indexed_event FROM counter)"
            ).fetchone()
            self._unindexed = set(json.loads(ids))
        return self._unindexed

    def _index_events(self) -> None:
        newer = "n > (SELECT indexed_event FROM counter)"
        execute = self._connection.execute
        execute(f"INSERT INTO event_ids SELECT event_id, n FROM events WHERE {newer} ORDER BY event_id")  # noqa: S608
        execute(f"INSERT INTO user_events SELECT user, n FROM events WHERE {newer} ORDER BY user, n")  # noqa: S608
        execute("UPDATE counter SET indexed_event = (SELECT max(n) FROM events)")
        self._unindexed = set()

    def _add_impressions(self, impressions: Sequence[Impression], seq: int) -> Outcome:
        ids = [impression.attribution_id for impression in impressions]
        existed = self._existed(
            "SELECT json_group_array(attribution_id) FROM impressions WHERE attribution_id IN {rows}", ids
        )
        users = self._keys(self._users, (impression.user_id for impression in impressions if impression.user_id))
        execute_rows(
            self._connection,
            "INSERT INTO impressions (attribution_id, user, time_ns, data) VALUES {rows}",
            [
                (impression.attribution_id, users.get(impression.user_id), impression.time_ns, impression.data)
                for impression, was_there in zip(impressions, existed, strict=True)
                if not was_there
            ],
        )
        return Outcome(seq, existed)

    def _expire_impressions(self, write: ExpireImpressions, seq: int) -> Outcome:
        removed = self._connection.execute(
            "DELETE FROM impressions WHERE n IN (SELECT n FROM impressions WHERE time_ns < ? ORDER BY time_ns LIMIT ?)",
            (write.before_ns, write.limit),
        ).rowcount
        return Outcome(seq, removed=Removed(impressions=removed))

    def _put_meta(self, write: PutMeta, seq: int) -> Outcome:
        names = list(write.values)
        existed = self._existed("SELECT json_group_array(name) FROM meta WHERE name IN {rows}", names)
        execute_values(self._connection, "DELETE FROM meta WHERE name IN {rows}", names)
        execute_rows(
            self._connection,
            "INSERT INTO meta (name, value) VALUES {rows}",
            [(name, value) for name, value in write.values.items() if value is not None],
        )
        return Outcome(seq, existed)

    def _existed(self, sql: str, ids: Sequence[str]) -> tuple[bool, ...]:
        """For each id whether the query finds it, or it came earlier among the ids."""
        there = _union(select_json(self._connection, sql, list(dict.fromkeys(ids))))
        existed = []
        for identifier in ids:
            existed.append(identifier in there)
            there.add(identifier)
        return tuple(existed)

    def _keys(self, interned: _Interned, ids: Iterable[str]) -> dict[str, int]:
        """Keys of ids, new ones for new ids; of others too."""
        wanted = dict.fromkeys(ids)
        if len(interned.cache) + len(wanted) > _MAX_CACHED_KEYS:
            interned.cache.clear()
        missing = [identifier for identifier in wanted if identifier not in interned.cache]
        if missing:
            execute_rows(self._connection, interned.insert, [(identifier,) for identifier in missing])
            for keys in select_json(self._connection, interned.select, missing):
                interned.cache.update(keys)
        return interned.cache


def _union(lists: Iterable[Iterable[str]]) -> set[str]:
    return {identifier for found in lists for identifier in found}
