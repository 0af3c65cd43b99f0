"""The tables, and how older files come to have them.

Ids of users, items, kinds and encoders are interned: rows hold small integers. The version is SQLite's `user_version`;
`application_id` tells the file from any other.

Events are appended to `events`. Their two indexes, `event_ids` and `user_events`, have random keys, and to write them
with each event would dirty a page or two of 4 KiB for each event of some 80 bytes. So they lag behind: what is newer
than `counter.indexed_event` is found otherwise, and brought into them some thousands at a time, in order (as
log-structured merge trees do, O'Neil et al. 1996).
"""

from __future__ import annotations

import contextlib
import secrets
import sqlite3
from typing import TYPE_CHECKING, NamedTuple

from tanager_server.errors import StateError
from tanager_server.state.lock import DirectoryLock
from tanager_server.state.stored import STATE_ID

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

FILE = "tanager.sqlite3"
APPLICATION_ID = 0x544E4752  # "TNGR"
_SLOTS = 32  # bits of a vector's slot that are its item's key
_PROBLEMS_SHOWN = 3

Migration = tuple[str, ...]

MIGRATIONS: tuple[Migration, ...] = (
    (
        """CREATE TABLE counter (
            one INTEGER PRIMARY KEY CHECK (one = 1), seq INTEGER NOT NULL, indexed_event INTEGER NOT NULL
        )""",
        "INSERT INTO counter VALUES (1, 0, 0)",
        "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
        # seq is NULL for those that only events and impressions tell of.
        "CREATE TABLE users (key INTEGER PRIMARY KEY, user_id TEXT NOT NULL UNIQUE, data BLOB, seq INTEGER)",
        """CREATE TABLE items (
            key INTEGER PRIMARY KEY, item_id TEXT NOT NULL UNIQUE, data BLOB, deleted INTEGER NOT NULL DEFAULT 0,
            seq INTEGER
        )""",
        "CREATE TABLE kinds (key INTEGER PRIMARY KEY, kind TEXT NOT NULL UNIQUE)",
        """CREATE TABLE events (
            n INTEGER PRIMARY KEY, event_id TEXT NOT NULL, user INTEGER NOT NULL, item INTEGER NOT NULL,
            kind INTEGER NOT NULL, weight REAL NOT NULL, time_ns INTEGER NOT NULL, attribution TEXT NOT NULL,
            context BLOB NOT NULL, seq INTEGER NOT NULL
        )""",
        "CREATE TABLE event_ids (event_id TEXT PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID",
        "CREATE TABLE user_events (user INTEGER, n INTEGER, PRIMARY KEY (user, n)) WITHOUT ROWID",
    ),
    (
        "CREATE TABLE encoders (key INTEGER PRIMARY KEY, fingerprint TEXT NOT NULL UNIQUE)",
        # slot: the encoder's key in the high half, the item's in the low: an encoder's vectors lie together.
        "CREATE TABLE vectors (slot INTEGER PRIMARY KEY, vector BLOB NOT NULL)",
        """CREATE TABLE impressions (
            n INTEGER PRIMARY KEY, attribution_id TEXT NOT NULL UNIQUE, user INTEGER, time_ns INTEGER NOT NULL,
            data BLOB NOT NULL
        )""",
        "CREATE INDEX impressions_by_time ON impressions (time_ns)",
        "CREATE INDEX impressions_by_user ON impressions (user) WHERE user IS NOT NULL",
    ),
)
VERSION = len(MIGRATIONS)


class Verified(NamedTuple):
    """What a sound state says of itself."""

    schema_version: int
    state_id: str
    seq: int


def migrate(connection: sqlite3.Connection, path: Path, migrations: Sequence[Migration] = MIGRATIONS) -> None:
    """Brings a file to the newest version, each step in a transaction of its own; an empty file gets a new state.

    Args:
        connection: in autocommit mode.
        path: of the file; for messages.
        migrations: all there are.

    Raises:
        StateError: it is not Tanager's, or of a newer version than this server knows.
    """
    version = read_version(connection, path, newest=len(migrations))
    for number, statements in enumerate(migrations[version:], start=version + 1):
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in statements:
                connection.execute(statement)
            if number == 1:
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.execute("INSERT INTO meta VALUES (?, ?)", (STATE_ID, new_state_id()))
            connection.execute(f"PRAGMA user_version = {number}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def new_state_id() -> str:
    """A name for a state."""
    return secrets.token_hex(16)


def verify(path: Path) -> Verified:
    """Checks a state that is not in use, or a backup: that it is sound throughout and of a version that can be served.

    Reads the whole file. A state that this very process has open can be checked too.

    Args:
        path: the directory.

    Raises:
        StateError: it is not, or another process has it; the message names the file and what is wrong.
    """
    file = path / FILE
    if not file.is_file():
        raise StateError(f"{file}: no such file; {path} is no state directory")
    try:
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(DirectoryLock(path))
            except StateError:  # in use, or on a disk that cannot be written, as a backup may be
                connection = connect(file, mode="ro", timeout_s=0)
            else:  # what a server that was killed left in the log can be read only by one who may write
                connection = connect(file, mode="rw", sole=True)
            return _verified(stack.enter_context(contextlib.closing(connection)), file)
    except sqlite3.Error as error:
        busy = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF == sqlite3.SQLITE_BUSY
        raise StateError(f"{file}: {'in use by another process' if busy else error}") from error


def connect(file: Path, *, mode: str, sole: bool = False, timeout_s: float = 5.0) -> sqlite3.Connection:
    """Opens a file in autocommit mode, for any thread.

    Args:
        file: the database.
        mode: `ro`, `rw` or `rwc`, as SQLite has them.
        sole: whether this process alone uses the file. The log's index is then in memory and not in a mapped file, by
            which the kernel would kill the process (SIGBUS) when the disk turns read-only under it.
        timeout_s: how long to wait for another program that holds the file.
    """
    return sqlite3.connect(
        f"{file.absolute().as_uri()}?mode={mode}&vfs={'unix-excl' if sole else 'unix'}",
        uri=True,
        timeout=timeout_s,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
    )


def slot(encoder: int, item: int) -> int:
    """Where the vector of an item by an encoder is kept; by their keys."""
    return encoder << _SLOTS | item


def read_version(connection: sqlite3.Connection, path: Path, *, newest: int = VERSION) -> int:
    """The version of a file; 0 for one that is empty.

    Raises:
        StateError: it is not Tanager's, or newer than the newest that is known.
    """
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if not application and not version and not tables:
        return 0
    if application != APPLICATION_ID or version < 1:
        raise StateError(f"{path}: an SQLite file, but no state of Tanager's; it is left as it is")
    if version > newest:
        raise StateError(f"{path}: schema version {version}, this server knows up to {newest}; use the newer server")
    return int(version)


def _verified(connection: sqlite3.Connection, file: Path) -> Verified:
    version = read_version(connection, file, newest=VERSION)
    if not version:
        raise StateError(f"{file}: empty; it has no state")
    problems = [row[0] for row in connection.execute("PRAGMA quick_check")]
    if problems != ["ok"]:
        raise StateError(f"{file}: damaged: {'; '.join(problems[:_PROBLEMS_SHOWN])}")
    (state_id,) = connection.execute("SELECT value FROM meta WHERE name = ?", (STATE_ID,)).fetchone()
    (seq,) = connection.execute("SELECT seq FROM counter").fetchone()
    return Verified(version, state_id, seq)
