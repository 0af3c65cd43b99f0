"""Numbers that stand for ids in the file, and which ids it has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tanager_server.state.rows import execute_rows, select_json

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence

_MAX_CACHED_KEYS = 200_000


class Keys:
    """Keys of ids of one kind, by a table that has them. What was looked up is remembered until `forget`.

    Args:
        connection: to the file.
        table: has a row for each id.
        column: of the id; `key` is that of its key.
    """

    def __init__(self, connection: sqlite3.Connection, table: str, column: str) -> None:
        self._connection = connection
        self._insert = f"INSERT INTO {table} ({column}) VALUES {{rows}} ON CONFLICT ({column}) DO NOTHING"  # noqa: S608
        self._select = f"SELECT json_group_object({column}, key) FROM {table} WHERE {column} IN {{rows}}"  # noqa: S608
        self._cache: dict[str, int] = {}

    def of(self, ids: Iterable[str]) -> dict[str, int]:
        """Keys of ids, new ones for new ids; of others too."""
        wanted = dict.fromkeys(ids)
        if len(self._cache) + len(wanted) > _MAX_CACHED_KEYS:
            self._cache.clear()
        missing = [identifier for identifier in wanted if identifier not in self._cache]
        if missing:
            execute_rows(self._connection, self._insert, [(identifier,) for identifier in missing])
            for keys in select_json(self._connection, self._select, missing):
                self._cache.update(keys)
        return self._cache

    def drop(self, identifier: str) -> None:
        """An id has no key any more."""
        self._cache.pop(identifier, None)

    def forget(self) -> None:
        """After a transaction that was rolled back."""
        self._cache.clear()


def which_exist(connection: sqlite3.Connection, sql: str, ids: Sequence[str]) -> tuple[bool, ...]:
    """For each id whether the query finds it, or it came earlier among the ids."""
    there = union(select_json(connection, sql, list(dict.fromkeys(ids))))
    found = []
    for identifier in ids:
        found.append(identifier in there)
        there.add(identifier)
    return tuple(found)


def union(lists: Iterable[Iterable[str]]) -> set[str]:
    """All that is in any of them."""
    return {identifier for found in lists for identifier in found}
