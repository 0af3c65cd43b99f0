"""Many rows to a statement.

Each step of a statement gives up the interpreter's lock, and to get it back from a busy event loop can take
milliseconds. So rows are written by the hundred, and what is looked up comes back as one row of JSON.
"""

from __future__ import annotations

import functools
import json
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence

_MAX_ROWS = 128
_ROWS = "{rows}"

T = TypeVar("T")


def execute_rows(connection: sqlite3.Connection, sql: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Executes a statement with `{rows}` in the place of its rows: `INSERT INTO t VALUES {rows}`."""
    for chunk in _chunks(rows):
        connection.execute(_expanded(sql, len(chunk), len(chunk[0])), [value for row in chunk for value in row])


def execute_values(connection: sqlite3.Connection, sql: str, values: Sequence[Any]) -> None:
    """Executes a statement with `{rows}` in the place of a list: `DELETE FROM t WHERE a IN {rows}`."""
    for chunk in _chunks(values):
        connection.execute(_expanded(sql, 1, len(chunk)), chunk)


def select_json(connection: sqlite3.Connection, sql: str, values: Sequence[Any]) -> Iterator[Any]:
    """The same for a query whose answer is one value of JSON; one for each chunk of values."""
    for chunk in _chunks(values):
        (answer,) = connection.execute(_expanded(sql, 1, len(chunk)), chunk).fetchone()
        yield json.loads(answer)


def _chunks(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    """In powers of two, so that few statements are ever prepared."""
    start = 0
    while left := len(rows) - start:
        size = min(_MAX_ROWS, 1 << left.bit_length() - 1)
        yield rows[start : start + size]
        start += size


@functools.lru_cache(512)
def _expanded(sql: str, rows: int, columns: int) -> str:
    return sql.replace(_ROWS, ",".join(["(" + ",".join("?" * columns) + ")"] * rows))
