"""Writes of items and of their vectors, as SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tanager_server.state.keys import Keys, union, which_exist
from tanager_server.state.rows import execute_rows, execute_values, select_json
from tanager_server.state.schema import slot
from tanager_server.state.writes import Outcome, Removed

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from tanager_server.state.stored import StoredVector
    from tanager_server.state.writes import DeleteItems, DropVectors, PutItems, PutVectors


class ItemWriter:
    """Applies writes of items to a connection, each under its sequence number.

    Args:
        connection: in a transaction.
        items: keys of items, which events share.
    """

    def __init__(self, connection: sqlite3.Connection, items: Keys) -> None:
        self._connection, self._items = connection, items
        self._encoders = Keys(connection, "encoders", "fingerprint")

    def forget(self) -> None:
        """After a transaction that was rolled back."""
        self._encoders.forget()

    def put_items(self, write: PutItems, seq: int) -> Outcome:
        """See `PutItems`.

        Raises:
            ValueError: it deletes, or has vectors of other items.
        """
        if any(item.deleted for item in write.items):
            raise ValueError("PutItems writes items that are there; DeleteItems deletes")
        vectors_of = {vector.item_id for vector in write.vectors}
        if not vectors_of <= {item.item_id for item in write.items}:
            raise ValueError("PutItems writes vectors of its own items; PutVectors those of others")
        existed = which_exist(
            self._connection,
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

    def delete_items(self, write: DeleteItems, seq: int) -> Outcome:
        """See `DeleteItems`."""
        ids = list(dict.fromkeys(write.item_ids))
        there = union(
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

    def put_vectors(self, write: PutVectors, seq: int) -> Outcome:
        """See `PutVectors`."""
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

    def drop_vectors(self, write: DropVectors, seq: int) -> Outcome:
        """See `DropVectors`."""
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

    def _insert_vectors(self, vectors: Sequence[StoredVector]) -> None:
        items = self._items.of(vector.item_id for vector in vectors)
        encoders = self._encoders.of(vector.fingerprint for vector in vectors)
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
