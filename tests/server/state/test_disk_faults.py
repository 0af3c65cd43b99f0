"""A disk that is full, read-only or failing: said as what it is, nothing half-written, reads go on, and it passes."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import sqlite3
import struct
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING

import pytest

from tanager_server.errors import (
    StateError,
    StorageCorruptError,
    StorageError,
    StorageFullError,
    StorageReadOnlyError,
)
from tanager_server.state import AddImpressions, Impression, PutItems, SqliteStore, StoredItem
from tanager_server.state.faults import os_storage_error, storage_error

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_GET_FLAGS, _SET_FLAGS, _IMMUTABLE = 0x80086601, 0x40086602, 0x10  # linux/fs.h


def put(n: int, size: int = 50_000) -> PutItems:
    return PutItems([StoredItem(f"item-{n}", bytes(size))])


def stored(store: SqliteStore) -> list[str]:
    with store.load() as snapshot:
        return [item.item_id for item, _ in snapshot.items()]


def test_a_full_file(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level("INFO")
    with SqliteStore(tmp_path) as store:
        store.commit([put(0), AddImpressions([Impression("shown", "", 0, b"")])])
        (pages,) = store._connection.execute("PRAGMA page_count").fetchone()
        store._connection.execute(f"PRAGMA max_page_count = {pages + 2}")
        for _ in range(2):
            with pytest.raises(StorageFullError, match="full"):
                store.commit([put(1, 10), put(2)])
        assert stored(store) == ["item-0"]
        assert store.lookup_impression("shown") is not None
        store.commit([put(3, 10)])  # there is room for little
        store._connection.execute(f"PRAGMA max_page_count = {pages + 1000}")
        assert store.commit([put(4)])[0].seq == 4
    # Not each of a thousand writes a second that fail.
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]
    with SqliteStore(tmp_path) as store:
        assert stored(store) == ["item-0", "item-3", "item-4"]


def test_a_connection_that_may_not_write(tmp_path: Path):
    with SqliteStore(tmp_path) as store:
        store.commit([put(0)])
        store._connection.execute("PRAGMA query_only = ON")
        with pytest.raises(StorageReadOnlyError, match="no writes"):
            store.commit([put(1)])
        assert stored(store) == ["item-0"]
        store._connection.execute("PRAGMA query_only = OFF")
        assert store.commit([put(2)])[0].seq == 2


def test_a_file_that_another_program_holds(tmp_path: Path):
    with SqliteStore(tmp_path) as store:
        store._connection.execute("PRAGMA busy_timeout = 0")
        with contextlib.closing(sqlite3.connect(tmp_path / "tanager.sqlite3", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StorageError, match="another program"):
                store.commit([put(0)])
        store.commit([put(0)])


def test_a_disk_that_turns_read_only(tmp_path: Path):
    """Real: files and directory are made immutable under an open store, as a disk is remounted under it."""
    with SqliteStore(tmp_path) as store:
        store.commit([put(0)])
        with _immutable([*tmp_path.glob("tanager.sqlite3*"), tmp_path]):
            for _ in range(2):
                with pytest.raises(StorageReadOnlyError):
                    store.commit([put(1)])
            assert stored(store) == ["item-0"]
            with pytest.raises(StateError, match="in use"):
                SqliteStore(tmp_path)
        assert store.commit([put(2)])[0].seq == 2
        assert stored(store) == ["item-0", "item-2"]


def test_a_disk_that_is_read_only_at_start_is_refused(tmp_path: Path):
    SqliteStore(tmp_path).close()
    with (
        _immutable([*tmp_path.iterdir(), tmp_path]),
        pytest.raises(StateError, match=r"the server must be able to write there"),
    ):
        SqliteStore(tmp_path)
    SqliteStore(tmp_path).close()


_ON_A_SMALL_DISK = """
import sys
from pathlib import Path
from tanager_server.errors import StorageError, StorageFullError
from tanager_server.state import *

disk = Path(sys.argv[1])
store = SqliteStore(disk / "state")
acknowledged, errors = [], []
for n in range(200):
    try:
        store.commit([PutItems([StoredItem(f"item-{n}", bytes(50_000)), StoredItem(f"small-{n}", b"")])])
        acknowledged.append(n)
    except StorageError as error:
        errors.append(error)
        if len(errors) == 3:
            break
assert errors and all(type(error) is StorageFullError for error in errors), errors
assert acknowledged
def stored():
    with store.load() as snapshot:
        return [item.item_id for item, _ in snapshot.items()]
wanted = [name for n in acknowledged for name in (f"item-{n}", f"small-{n}")]
assert stored() == wanted
try:
    store.backup(disk / "backup")
    raise SystemExit("there was room for a backup")
except StorageFullError as error:
    assert "the backup's disk" in str(error), error
assert not (disk / "backup").exists()
(disk / "ballast").unlink()
store.commit([PutItems([StoredItem("after", bytes(50_000))])])
assert stored() == [*wanted, "after"]
store.close()
assert verify(disk / "state").seq == len(acknowledged) + 1
print("passed", len(acknowledged))
"""


def test_a_disk_that_is_full(tmp_path: Path):
    """Real: a file system of 4 MiB, a quarter of it taken by what is deleted later."""
    if shutil.which("unshare") is None or not _can_mount(tmp_path):
        pytest.skip("mounting a small file system needs user namespaces")
    script = 'mount -t tmpfs -o size=4m none "$1" && head -c 1000000 /dev/zero > "$1/ballast" && exec "$2" -c "$3" "$1"'
    command: list[str | Path] = [
        "unshare",
        "-rm",
        "sh",
        "-ec",
        script,
        "sh",
        tmp_path,
        sys.executable,
        _ON_A_SMALL_DISK,
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("passed")


def _can_mount(directory: Path) -> bool:
    command = ["unshare", "-rm", "mount", "-t", "tmpfs", "none", str(directory)]
    return not subprocess.run(command, capture_output=True, check=False).returncode


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, StorageFullError),
        (errno.EDQUOT, StorageFullError),
        (errno.EROFS, StorageReadOnlyError),
        (errno.EACCES, StorageReadOnlyError),
        (errno.EIO, StorageError),
    ],
)
def test_what_sqlite_does_not_tell_the_disk_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[StorageError]
):
    def refuse(**_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    assert type(storage_error(_error(sqlite3.SQLITE_IOERR_WRITE), tmp_path)) is kind


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (sqlite3.SQLITE_FULL, StorageFullError),
        (sqlite3.SQLITE_READONLY_DBMOVED, StorageReadOnlyError),
        (sqlite3.SQLITE_CORRUPT_INDEX, StorageCorruptError),
        (sqlite3.SQLITE_NOTADB, StorageCorruptError),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, StorageError),
        (sqlite3.SQLITE_IOERR_FSYNC, StorageError),
        (sqlite3.SQLITE_CONSTRAINT_NOTNULL, type(None)),
        (sqlite3.SQLITE_ERROR, type(None)),
    ],
)
def test_what_the_codes_mean(tmp_path: Path, code: int, kind: type):
    assert type(storage_error(_error(code), tmp_path)) is kind


def test_messages_name_no_path(tmp_path: Path):
    assert str(tmp_path) not in str(os_storage_error(OSError(errno.EIO, "failed", str(tmp_path))))


def _error(code: int) -> sqlite3.Error:
    error = sqlite3.OperationalError("as SQLite words it")
    error.sqlite_errorcode = code
    return error


@contextlib.contextmanager
def _immutable(paths: list[Path]) -> Iterator[None]:
    """Makes files and directories such that even root cannot write, also through what is open."""
    done: list[Path] = []
    try:
        for path in paths:
            try:
                _set_immutable(path, on=True)
            except OSError as error:
                pytest.skip(f"no immutable files here: {error}")
            done.append(path)
        yield
    finally:
        for path in done:
            _set_immutable(path, on=False)


def _set_immutable(path: Path, *, on: bool) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        (flags,) = struct.unpack("l", fcntl.ioctl(descriptor, _GET_FLAGS, bytes(8)))
        flags = flags | _IMMUTABLE if on else flags & ~_IMMUTABLE
        fcntl.ioctl(descriptor, _SET_FLAGS, struct.pack("l", flags))
    finally:
        os.close(descriptor)
