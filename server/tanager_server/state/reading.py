"""Reading a state that another program may be writing, without being its server."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING

from tanager_server.errors import StateError
from tanager_server.state.lock import DirectoryLock
from tanager_server.state.schema import FILE, VERSION, connect, read_version
from tanager_server.state.snapshot import SqliteSnapshot

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def open_snapshot(directory: Path) -> Iterator[SqliteSnapshot]:
    """A state as it is at this moment, for the time of the context. Nothing of it is changed, and writes go on.

    Args:
        directory: of a server, running or not, or of a backup.

    Raises:
        StateError: there is no state, or it is of another version than this program reads.
        StorageError: it cannot be read.
    """
    file = directory / FILE
    if not file.is_file():
        raise StateError(f"{file}: no such file; {directory} is no state directory")
    with contextlib.ExitStack() as held:
        try:
            try:
                held.enter_context(contextlib.closing(_checked(file, mode="ro")))
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
                    raise
                # Nobody has it open. Its log can then be read only by one who may write; kept open, so can others.
                held.enter_context(DirectoryLock(directory))
                held.enter_context(contextlib.closing(_checked(file, mode="rw")))
        except sqlite3.Error as error:
            raise StateError(f"{file}: {error}; it cannot be read") from error
        yield held.enter_context(SqliteSnapshot(file))


def _checked(file: Path, *, mode: str) -> sqlite3.Connection:
    connection = connect(file, mode=mode)
    try:
        version = read_version(connection, file)
        if version != VERSION:
            raise StateError(
                f"{file}: schema version {version}, this program reads {VERSION}; start tanager-server with it once"
            )
    except BaseException:
        connection.close()
        raise
    return connection
