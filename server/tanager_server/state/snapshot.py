"""Reading all of the state as it was at one moment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from tanager_server.state.faults import translated
from tanager_server.state.schema import connect, slot
from tanager_server.state.stored import Impression, StoredEvent, StoredItem, StoredUser

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tanager_server.state.stored import BriefEventRow, EventRow

_BLOCK_ROWS = 10_000
_NO_ENCODER = -1


class SqliteSnapshot:
    """A read transaction on a connection of its own.

    Args:
        file: the database; a store must have it open, so that its log can be read.

    Raises:
        StorageError: it cannot be read.
    """

    def __init__(self, file: Path) -> None:
        self._directory = file.parent
        with translated(self._directory):
            self._connection = connect(file, mode="ro", sole=True)
            try:
                self._connection.execute("BEGIN")
                (self.seq,) = self._connection.execute("SELECT seq FROM counter").fetchone()
            except BaseException:
                self._connection.close()
                raise

    def meta(self) -> Mapping[str, str]:
        """See `Snapshot`."""
        return dict(self._rows("SELECT name, value FROM meta"))

    def items(self, fingerprint: str | None = None) -> Iterator[tuple[StoredItem, bytes | None]]:
        """See `Snapshot`."""
        keys = [key for (key,) in self._rows("SELECT key FROM encoders WHERE fingerprint = ?", fingerprint)]
        for item_id, data, deleted, seq, vector in self._rows(
            "SELECT item_id, coalesce(data, x''), deleted, seq, vector"
            " FROM items LEFT JOIN vectors ON slot = ? + key WHERE seq IS NOT NULL ORDER BY key",
            slot(keys[0] if keys else _NO_ENCODER, 0),
        ):
            yield StoredItem(item_id, data, bool(deleted), seq), vector

    def users(self) -> Iterator[StoredUser]:
        """See `Snapshot`."""
        rows = self._rows("SELECT user_id, data, seq FROM users WHERE seq IS NOT NULL ORDER BY key")
        return map(StoredUser._make, rows)

    def user_keys(self) -> Iterator[list[tuple[int, str]]]:
        """See `Snapshot`."""
        return self._blocks("SELECT key, user_id FROM users ORDER BY key")

    def item_keys(self) -> Iterator[list[tuple[int, str]]]:
        """See `Snapshot`."""
        return self._blocks("SELECT key, item_id FROM items ORDER BY key")

    def kinds(self) -> Mapping[int, str]:
        """See `Snapshot`."""
        return dict(self._rows("SELECT key, kind FROM kinds"))

    def event_rows(self) -> Iterator[list[EventRow]]:
        """See `Snapshot`."""
        return self._blocks(
            "SELECT user, item, kind, weight, time_ns, attribution, context, seq FROM events ORDER BY n"
        )

    def brief_event_rows(self) -> Iterator[list[BriefEventRow]]:
        """See `Snapshot`."""
        return self._blocks("SELECT user, item, kind, weight, time_ns FROM events ORDER BY n")

    def events(self) -> Iterator[StoredEvent]:
        """See `Snapshot`."""
        rows = self._rows(
            "SELECT event_id, user_id, item_id, kinds.kind, weight, time_ns, attribution, context, events.seq"
            " FROM events CROSS JOIN users ON users.key = user CROSS JOIN items ON items.key = item"
            " CROSS JOIN kinds ON kinds.key = events.kind ORDER BY n"
        )
        return map(StoredEvent._make, rows)

    def impressions(self) -> Iterator[Impression]:
        """See `Snapshot`."""
        rows = self._rows(
            "SELECT attribution_id, coalesce(user_id, ''), time_ns, impressions.data"
            " FROM impressions LEFT JOIN users ON users.key = user ORDER BY n"
        )
        return map(Impression._make, rows)

    def close(self) -> None:
        """See `Snapshot`."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _rows(self, sql: str, *values: str | int | None) -> Iterator[Any]:
        for block in self._blocks(sql, *values):
            yield from block

    def _blocks(self, sql: str, *values: str | int | None) -> Iterator[list[Any]]:
        with translated(self._directory):
            cursor = self._connection.execute(sql, values)
            while block := cursor.fetchmany(_BLOCK_ROWS):
                yield block
