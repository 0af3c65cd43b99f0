"""Writes of users, of what they did, and of what they were shown, as SQL."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tanager_server.state.keys import Keys, union, which_exist
from tanager_server.state.rows import execute_rows, execute_values, select_json
from tanager_server.state.writes import Outcome, Removed

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from tanager_server.state.stored import StoredEvent
    from tanager_server.state.writes import AddEvents, AddImpressions, ExpireImpressions, PurgeUser, PutUsers

_UNINDEXED_EVENTS = 8_192


class UserWriter:
    """Applies writes of users, events and impressions to a connection, each under its sequence number.

    Args:
        connection: in a transaction.
        items: keys of items, which vectors share.
    """

    def __init__(self, connection: sqlite3.Connection, items: Keys) -> None:
        self._connection, self._items = connection, items
        self._users = Keys(connection, "users", "user_id")
        self._kinds = Keys(connection, "kinds", "kind")
        self._unindexed: set[str] | None = None
        """Ids of the events that `event_ids` lacks yet."""

    def forget(self) -> None:
        """After a transaction that was rolled back."""
        self._users.forget()
        self._kinds.forget()
        self._unindexed = None

    def put_users(self, write: PutUsers, seq: int) -> Outcome:
        """See `PutUsers`."""
        existed = which_exist(
            self._connection,
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

    def purge_user(self, write: PurgeUser, seq: int) -> Outcome:
        """See `PurgeUser`."""
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
        self._users.drop(write.user_id)
        return Outcome(seq, (True,), Removed(int(profile_seq is not None), events, impressions))

    def add_events(self, write: AddEvents, seq: int) -> Outcome:
        """See `AddEvents`."""
        unindexed = self._known_unindexed()
        known = {event.event_id for event in write.events}
        there = known & unindexed
        there |= union(
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
        users = self._users.of(event.user_id for event in events)
        items = self._items.of(event.item_id for event in events)
        kinds = self._kinds.of(event.kind for event in events)
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

    def add_impressions(self, write: AddImpressions, seq: int) -> Outcome:
        """See `AddImpressions`."""
        impressions = write.impressions
        ids = [impression.attribution_id for impression in impressions]
        existed = which_exist(
            self._connection,
            "SELECT json_group_array(attribution_id) FROM impressions WHERE attribution_id IN {rows}",
            ids,
        )
        added = [impression for impression, was_there in zip(impressions, existed, strict=True) if not was_there]
        users = self._users.of(impression.user_id for impression in added if impression.user_id)
        execute_rows(
            self._connection,
            "INSERT INTO impressions (attribution_id, user, time_ns, data) VALUES {rows}",
            [
                (impression.attribution_id, users.get(impression.user_id), impression.time_ns, impression.data)
                for impression in added
            ],
        )
        return Outcome(seq, existed)

    def expire_impressions(self, write: ExpireImpressions, seq: int) -> Outcome:
        """See `ExpireImpressions`."""
        execute = self._connection.execute
        expired, users = execute(
            "SELECT json_group_array(n), json_group_array(DISTINCT user)"
            " FROM (SELECT n, user FROM impressions WHERE time_ns < ? ORDER BY time_ns LIMIT ?)",
            (write.before_ns, write.limit),
        ).fetchone()
        removed = execute("DELETE FROM impressions WHERE n IN (SELECT value FROM json_each(?))", (expired,)).rowcount
        self._drop_visitors(users)
        return Outcome(seq, removed=Removed(impressions=removed))

    def _drop_visitors(self, keys: str) -> None:
        """Removes users of whom nothing is kept but the id; of some keys, as JSON."""
        (found,) = self._connection.execute(
            "SELECT json_group_array(user_id) FROM users WHERE key IN (SELECT value FROM json_each(?)) AND seq IS NULL"
            " AND NOT EXISTS (SELECT 1 FROM impressions WHERE user = users.key)"
            " AND NOT EXISTS (SELECT 1 FROM user_events WHERE user = users.key)"
            " AND key NOT IN (SELECT user FROM events WHERE n > (SELECT indexed_event FROM counter))",
            (keys,),
        ).fetchone()
        user_ids = json.loads(found)
        execute_values(self._connection, "DELETE FROM users WHERE user_id IN {rows}", user_ids)
        for user_id in user_ids:
            self._users.drop(user_id)
