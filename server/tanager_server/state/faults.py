"""What SQLite's errors mean to the server."""

from __future__ import annotations

import errno
import os
import sqlite3
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tanager_server.errors import StorageCorruptError, StorageError, StorageFullError, StorageReadOnlyError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_PRIMARY = 0xFF  # the rest of an extended code says where it happened
_PROBE_BYTES = 64 << 10
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)
_OF_THE_DISK = (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_PROTOCOL)
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_CORRUPT = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

STATE = "the state"
FULL = "{}'s disk is full; free some space there, or use a larger one"
READ_ONLY = "{}'s disk takes no writes; it is read-only or the server may not write there"
FAILED = "{}'s disk failed; the server's log has the cause"
BUSY = "another program holds {}'s file"
CORRUPT = "{}'s file is damaged; restore a backup"


def storage_error(error: sqlite3.Error, directory: Path, what: str = STATE) -> StorageError | None:
    """The error to raise for one of SQLite's; None for one that is the fault of what was to be written.

    Messages go to callers, so they name no path.
    """
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & _PRIMARY
    if code == sqlite3.SQLITE_FULL:
        return StorageFullError(FULL.format(what))
    if code == sqlite3.SQLITE_READONLY:
        return StorageReadOnlyError(READ_ONLY.format(what))
    if code in _CORRUPT:
        return StorageCorruptError(CORRUPT.format(what))
    if code in _BUSY:
        return StorageError(BUSY.format(what))
    if code in _OF_THE_DISK:
        return _ask_disk(directory, what)
    return None


def os_storage_error(error: OSError, what: str = STATE) -> StorageError:
    """The error to raise for a file operation that failed."""
    if error.errno in _FULL:
        return StorageFullError(FULL.format(what))
    if error.errno in _READ_ONLY:
        return StorageReadOnlyError(READ_ONLY.format(what))
    return StorageError(FAILED.format(what))


@contextmanager
def translated(directory: Path, what: str = STATE) -> Iterator[None]:
    """Raises SQLite's errors in the block as the server's.

    Raises:
        StorageError: the disk failed, is full or takes no writes, or the file is damaged.
    """
    try:
        yield
    except sqlite3.Error as error:
        if (mine := storage_error(error, directory, what)) is not None:
            raise mine from error
        raise


def _ask_disk(directory: Path, what: str) -> StorageError:
    """SQLite tells that a file operation failed but not why (a quota, a disk remounted read-only): try one."""
    try:
        with tempfile.TemporaryFile(dir=directory, buffering=0) as probe:
            left = _PROBE_BYTES
            while left:  # what still fits is taken, and only the next write fails
                left -= probe.write(bytes(left))
            os.fsync(probe.fileno())
    except OSError as error:
        return os_storage_error(error, what)
    return StorageError(FAILED.format(what))
