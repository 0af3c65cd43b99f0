"""The embedded store: one SQLite file with a write-ahead log, in a directory that one server holds at a time."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
from typing import TYPE_CHECKING, Literal, Self

from tanager_server.errors import StateError, StorageError
from tanager_server.state.backup import back_up, sync_directory
from tanager_server.state.faults import storage_error, translated
from tanager_server.state.lock import DirectoryLock
from tanager_server.state.schema import FILE, connect, migrate
from tanager_server.state.snapshot import SqliteSnapshot
from tanager_server.state.stored import STATE_ID, Impression
from tanager_server.state.writer import Writer
from tanager_server.state.writes import PurgeUser

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tanager_server.state.writes import Outcome, Write

_log = logging.getLogger(__name__)

Survives = Literal["power", "process"]
_SYNCHRONOUS = {"power": "FULL", "process": "NORMAL"}
_CACHE_KIB = 64 << 10
_LOG_PAGES = 4096  # 16 MiB, after which what is in the log is brought into the file
_LOG_BYTES_KEPT = 64 << 20
_TRUNCATE_EVERY_S = 1.0
_BUSY_TIMEOUT_MS = 5_000


class SqliteStore:
    """The store of a directory, made when it does not exist. See `Store` for what it does.

    Args:
        directory: where the state is, or is to be.
        survives: what an acknowledged write survives: `power`, a loss of power too, or `process`, any end of the
            process, but after a loss of power the last writes may be missing (what is left is sound all the same).

    Raises:
        StateError: another process has the directory; it cannot be written; its file is damaged, not Tanager's, or of
            a newer version. Nothing is deleted.
    """

    def __init__(self, directory: Path, *, survives: Survives = "power") -> None:
        self._directory, self._file = directory, directory / FILE
        self._commit_lock, self._read_lock = threading.Lock(), threading.Lock()
        self._closed = False
        self._failing: type[StorageError] | None = None
        self._retry: threading.Timer | None = None
        """Runs while the log may have something of a user that is purged."""
        with contextlib.ExitStack() as undo:
            try:
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as error:
                raise StateError(f"{directory}: {error.strerror}; the state cannot be kept there") from error
            self._lock = undo.enter_context(DirectoryLock(directory))
            try:
                self._connection = undo.enter_context(contextlib.closing(_open(self._file, survives)))
                self._reader = undo.enter_context(contextlib.closing(connect(self._file, mode="ro", sole=True)))
                self._seq = int(self._connection.execute("SELECT seq FROM counter").fetchone()[0])
                named = self._connection.execute("SELECT value FROM meta WHERE name = ?", (STATE_ID,)).fetchone()
                self._state_id = str(named[0])
            except sqlite3.Error as error:
                raise StateError(_refusal(self._file, error)) from error
            undo.pop_all()
        self._writer = Writer(self._connection)
        with self._commit_lock:
            self._truncate_log()  # of what a server left there that was killed after a purge

    @property
    def seq(self) -> int:
        """See `Store`."""
        return self._seq

    @property
    def state_id(self) -> str:
        """See `Store`."""
        return self._state_id

    @property
    def file_bytes(self) -> int:
        """Size of the file on the disk."""
        return _size(self._file)

    @property
    def log_bytes(self) -> int:
        """Size of the write-ahead log on the disk: of what is not in the file yet, or was not a while ago."""
        return _size(self._file.with_name(f"{FILE}-wal"))

    def commit(self, writes: Sequence[Write]) -> Sequence[Outcome]:
        """See `Store`."""
        with self._commit_lock:
            self._check_open()
            try:
                if self._connection.in_transaction:  # of a write that the disk did not even let us roll back
                    self._connection.execute("ROLLBACK")
                self._connection.execute("BEGIN IMMEDIATE")
                outcomes = [self._writer.apply(write, self._seq + n) for n, write in enumerate(writes, start=1)]
                self._connection.execute("UPDATE counter SET seq = ?", (self._seq + len(writes),))
                self._connection.execute("COMMIT")
            except BaseException as error:
                self._roll_back()
                if isinstance(error, sqlite3.Error) and (mine := storage_error(error, self._directory)) is not None:
                    self._note(mine, error)
                    raise mine from error
                raise
            self._seq += len(writes)
            self._note(None)
            if any(isinstance(write, PurgeUser) for write in writes):
                self._truncate_log()
            return outcomes

    def load(self) -> SqliteSnapshot:
        """See `Store`."""
        self._check_open()
        return SqliteSnapshot(self._file)

    def lookup_impression(self, attribution_id: str) -> Impression | None:
        """See `Store`."""
        with self._read_lock, translated(self._directory):
            self._check_open()
            row = self._reader.execute(
                "SELECT attribution_id, coalesce(user_id, ''), time_ns, impressions.data"
                " FROM impressions LEFT JOIN users ON users.key = user WHERE attribution_id = ?",
                (attribution_id,),
            ).fetchone()
        return None if row is None else Impression._make(row)

    def backup(self, destination: Path, *, progress: Callable[[int, int], None] | None = None) -> None:
        """See `Store`."""
        self._check_open()
        back_up(self._file, destination, progress=progress)

    def close(self) -> None:
        """See `Store`."""
        with self._commit_lock, self._read_lock:
            if self._closed:
                return
            self._closed = True
            if self._retry is not None:
                self._retry.cancel()
            self._reader.close()
            # The last connection to close brings the log into the file, and removes it.
            self._connection.close()
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._closed:
            raise StorageError("the state is closed")

    def _note(self, failure: StorageError | None, cause: Exception | None = None) -> None:
        """Logs when writes begin to fail, and when they no longer do."""
        kind = type(failure) if failure is not None else None
        if kind is self._failing:
            return
        self._failing = kind
        if failure is None:
            _log.info("the state can be written again", extra={"file": str(self._file)})
        else:
            _log.error("the state cannot be written: %s", failure, exc_info=cause, extra={"file": str(self._file)})

    def _roll_back(self) -> None:
        self._writer.forget()
        if self._connection.in_transaction:
            try:
                self._connection.execute("ROLLBACK")
            except sqlite3.Error:  # what failed before is what is told
                _log.exception("a write could not be rolled back", extra={"file": str(self._file)})

    def _truncate_log(self, *, again: bool = False) -> None:
        """Empties the log of what it still has of a user that is purged; if somebody reads it now, again and again."""
        remains = True
        try:
            self._connection.execute("PRAGMA busy_timeout = 0")
            (busy, _, _) = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            remains = bool(busy)
        except sqlite3.Error:  # the purge itself is done
            if not again:
                _log.warning("the log could not be emptied after a purge; it is tried again", exc_info=True)
        finally:
            self._connection.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")
        if self._retry is not None:
            self._retry.cancel()
        if not remains:
            self._retry = None
            return
        retry = threading.Timer(_TRUNCATE_EVERY_S, self._truncate_again)
        retry.daemon = True
        retry.start()
        self._retry = retry

    def _truncate_again(self) -> None:
        with self._commit_lock:
            if not self._closed and self._retry is threading.current_thread():
                self._truncate_log(again=True)


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:  # no log, as when the store is closed
        return 0


def _open(file: Path, survives: Survives) -> sqlite3.Connection:
    if not file.exists():
        sync_directory(file.parent.parent)
    connection = connect(file, mode="rwc", sole=True, timeout_s=_BUSY_TIMEOUT_MS / 1e3)
    try:
        connection.execute(f"PRAGMA synchronous = {_SYNCHRONOUS[survives]}")
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        migrate(connection, file)  # before anything is changed: it looks whether the file is Tanager's
        (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise StateError(f"{file}: its file system cannot keep a write-ahead log; use a local disk")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
        connection.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES_KEPT}")
    except BaseException:
        connection.close()
        raise
    return connection


def _refusal(file: Path, error: sqlite3.Error) -> str:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF
    if code == sqlite3.SQLITE_NOTADB:
        return f"{file}: no SQLite file, or damaged; it is left as it is. Restore a backup, or give another directory"
    if code == sqlite3.SQLITE_CORRUPT:
        return f"{file}: damaged ({error}); it is left as it is. Restore a backup"
    return f"{file}: {error}; the state cannot be opened"
