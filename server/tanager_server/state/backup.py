"""A copy of a state while it is written to."""

from __future__ import annotations

import os
import shutil
from contextlib import closing
from typing import TYPE_CHECKING

from tanager_server.errors import StateError, StorageCorruptError
from tanager_server.state.faults import CORRUPT, os_storage_error, translated
from tanager_server.state.lock import DirectoryLock
from tanager_server.state.schema import FILE, connect, new_state_id, verify
from tanager_server.state.stored import STATE_ID

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_BACKUP = "the backup"
_PAGES = 256
"""Copied at a time, 1 MiB: how often progress is told."""


def back_up(file: Path, destination: Path, *, progress: Callable[[int, int], None] | None = None) -> None:
    """Copies a database that a store has open into a new directory; see `Store.backup`.

    It is copied by SQLite's backup inside one read transaction, so that writes neither wait for it nor make it begin
    anew; the log grows meanwhile. The copy is a state of its own, by another `state_id`: from here on they differ. It
    is verified before it is given its name.
    """
    destination = destination.absolute()
    partial = destination.with_name(f".{destination.name}.partial")
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise StateError(f"{destination}: exists; a backup is written to a directory that is new or empty")
    try:
        partial.mkdir(mode=0o700, parents=True, exist_ok=True)
        with DirectoryLock(partial):
            for left in partial.glob(f"{FILE}*"):  # of a backup that was killed
                left.unlink()
            try:
                _copy(file, partial / FILE, progress)
                sync_directory(partial)
                partial.rename(destination)
                sync_directory(destination.parent)
            except BaseException:
                shutil.rmtree(partial, ignore_errors=True)
                raise
    except OSError as error:
        raise os_storage_error(error, _BACKUP) from error


def _copy(file: Path, copy: Path, progress: Callable[[int, int], None] | None) -> None:
    def tell(_: int, remaining: int, total: int) -> None:
        if progress is not None:
            progress(total - remaining, total)

    with translated(file.parent), closing(connect(file, mode="ro", sole=True)) as source:
        source.execute("BEGIN")
        source.execute("SELECT seq FROM counter").fetchone()  # the moment that is copied
        with translated(copy.parent, _BACKUP):
            with closing(connect(copy, mode="rwc")) as target:
                target.execute("PRAGMA synchronous = OFF")  # it is synced once, below
                source.backup(target, pages=_PAGES, progress=tell)
            with closing(connect(copy, mode="rw")) as target:
                # Readable from a disk that cannot be written; the server turns the log on again.
                target.execute("PRAGMA journal_mode = DELETE")
                target.execute("PRAGMA secure_delete = ON")
                target.execute("UPDATE meta SET value = ? WHERE name = ?", (new_state_id(), STATE_ID))
    with copy.open("rb") as written:
        os.fsync(written.fileno())
    try:
        verify(copy.parent)
    except StateError as error:
        raise StorageCorruptError(CORRUPT.format(_BACKUP)) from error


def sync_directory(directory: Path) -> None:
    """Makes the names in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
