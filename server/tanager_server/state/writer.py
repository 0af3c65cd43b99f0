"""Applies writes to the file: SQL inside a transaction that the store begins and ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tanager_server.state.item_writer import ItemWriter
from tanager_server.state.keys import Keys, which_exist
from tanager_server.state.rows import execute_rows, execute_values
from tanager_server.state.user_writer import UserWriter
from tanager_server.state.writes import (
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
)

if TYPE_CHECKING:
    import sqlite3

    from tanager_server.state.writes import Write


class Writer:
    """Applies writes of all kinds to a connection.

    What it remembers of the file holds as long as each transaction is committed; after one that was not, `forget`.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._keys = Keys(connection, "items", "item_id")
        self._items, self._users = ItemWriter(connection, self._keys), UserWriter(connection, self._keys)

    def forget(self) -> None:
        """After a transaction that was rolled back."""
        for part in (self._keys, self._items, self._users):
            part.forget()

    def apply(self, write: Write, seq: int) -> Outcome:
        """Applies one write, under its sequence number."""
        match write:
            case PutItems():
                return self._items.put_items(write, seq)
            case DeleteItems():
                return self._items.delete_items(write, seq)
            case PutVectors():
                return self._items.put_vectors(write, seq)
            case DropVectors():
                return self._items.drop_vectors(write, seq)
            case PutUsers():
                return self._users.put_users(write, seq)
            case PurgeUser():
                return self._users.purge_user(write, seq)
            case AddEvents():
                return self._users.add_events(write, seq)
            case AddImpressions():
                return self._users.add_impressions(write, seq)
            case ExpireImpressions():
                return self._users.expire_impressions(write, seq)
            case PutMeta():
                return self._put_meta(write, seq)

    def _put_meta(self, write: PutMeta, seq: int) -> Outcome:
        names = list(write.values)
        existed = which_exist(self._connection, "SELECT json_group_array(name) FROM meta WHERE name IN {rows}", names)
        execute_values(self._connection, "DELETE FROM meta WHERE name IN {rows}", names)
        execute_rows(
            self._connection,
            "INSERT INTO meta (name, value) VALUES {rows}",
            [(name, value) for name, value in write.values.items() if value is not None],
        )
        return Outcome(seq, existed)
