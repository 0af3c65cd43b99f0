"""Opening a directory: old files, files of others, damaged ones, and those in use."""

from __future__ import annotations

import errno
import gzip
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tanager_server.errors import StateError, StorageCorruptError
from tanager_server.state import AddEvents, PurgeUser, PutItems, SqliteStore, StoredEvent, StoredItem, schema, verify
from tanager_server.state.schema import FILE, VERSION

_VERSION_1 = Path(__file__).parent / "version-1.sqlite3.gz"


def test_a_file_of_version_1_is_brought_up(tmp_path: Path):
    (tmp_path / FILE).write_bytes(gzip.decompress(_VERSION_1.read_bytes()))
    with SqliteStore(tmp_path) as store:
        assert store.seq == 6
        with store.load() as snapshot:
            events = list(snapshot.events())
            assert [event.event_id for event in events] == [*(f"event-{n}" for n in range(6)), "event-9"]
            assert events[3] == StoredEvent(
                "event-3", "ada", "film-0", "like", 4.0, 1_700_000_000_000_000_003, "token", b"", seq=3
            )
            assert list(snapshot.items("any")) == [
                (StoredItem("film-1", b'{"title":"Solaris"}', seq=1), None),
                (StoredItem("film-2", b'{"title":"Stalker"}', seq=1), None),
            ]
            assert snapshot.meta() == {"state_id": store.state_id, "active_bundle": "b1"}
        known = [StoredEvent(name, "ada", "film-1", "view", 1.0, 0) for name in ("event-0", "event-9", "event-10")]
        assert store.commit([AddEvents(known)])[0].new == (False, False, True)
        assert store.commit([PurgeUser("ada")])[0].removed == (1, 4, 0, 0)
    assert verify(tmp_path).schema_version == VERSION
    with SqliteStore(tmp_path) as store:  # and once is enough
        assert store.seq == 8


def test_a_migration_that_fails_leaves_the_file_as_it_was(tmp_path: Path):
    file = tmp_path / FILE
    file.write_bytes(gzip.decompress(_VERSION_1.read_bytes()))
    connection = schema.connect(file, mode="rw")
    broken = (*schema.MIGRATIONS[:1], (*schema.MIGRATIONS[1], "CREATE TABLE events (n)"))
    with pytest.raises(sqlite3.OperationalError, match="already exists"):
        schema.migrate(connection, file, broken)
    assert connection.execute("PRAGMA user_version").fetchone() == (1,)
    assert connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'vectors'").fetchone() == (0,)
    connection.close()
    SqliteStore(tmp_path).close()


def test_a_newer_version_is_refused(tmp_path: Path):
    SqliteStore(tmp_path).close()
    _execute(tmp_path / FILE, f"PRAGMA user_version = {VERSION + 1}")
    with pytest.raises(StateError, match=rf"{FILE}: schema version {VERSION + 1}.*newer server"):
        SqliteStore(tmp_path)
    with pytest.raises(StateError, match="newer server"):
        verify(tmp_path)


def test_another_programs_file_is_left_alone(tmp_path: Path):
    _execute(tmp_path / FILE, "CREATE TABLE theirs (a)")
    before = (tmp_path / FILE).read_bytes()
    with pytest.raises(StateError, match=rf"{FILE}: an SQLite file, but no state of Tanager's"):
        SqliteStore(tmp_path)
    assert (tmp_path / FILE).read_bytes() == before


@pytest.mark.parametrize("content", [b"no database at all", b"SQLite format 3\0" + b"\xff" * 5000, bytes(4096)])
def test_what_is_no_database_is_left_alone(tmp_path: Path, content: bytes):
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(StateError, match=FILE):
        SqliteStore(tmp_path)
    with pytest.raises(StateError, match=FILE):
        verify(tmp_path)
    assert (tmp_path / FILE).read_bytes() == content


def test_a_file_of_no_length_is_a_new_state(tmp_path: Path):
    """So a server leaves it that is killed the moment it made it."""
    (tmp_path / FILE).touch()
    with SqliteStore(tmp_path) as store:
        assert store.seq == 0


def test_damage_is_found(tmp_path: Path):
    with SqliteStore(tmp_path) as store:
        store.commit([PutItems([StoredItem(f"item-{n}", bytes(1000)) for n in range(200)])])
    file = tmp_path / FILE
    with file.open("r+b") as damaged:
        damaged.seek(file.stat().st_size // 2)
        damaged.write(b"\xa5" * 8192)
    with pytest.raises(StateError, match=rf"{FILE}: damaged"):
        verify(tmp_path)
    with SqliteStore(tmp_path) as store, store.load() as snapshot:
        with pytest.raises(StorageCorruptError):
            list(snapshot.items())
        with pytest.raises(StorageCorruptError):
            store.backup(tmp_path / "backup")
    assert not (tmp_path / "backup").exists()


@pytest.mark.parametrize("left", [0.3, 0.9])
def test_a_file_that_was_cut_is_found(tmp_path: Path, left: float):
    with SqliteStore(tmp_path) as store:
        store.commit([PutItems([StoredItem(f"item-{n}", bytes(1000)) for n in range(200)])])
    file = tmp_path / FILE
    with file.open("r+b") as cut:
        cut.truncate(int(file.stat().st_size * left) // 4096 * 4096)
    with pytest.raises(StateError, match=FILE):
        verify(tmp_path)


def test_a_state_is_verified_in_use_and_after_a_crash(tmp_path: Path):
    code = "import os, sys; from pathlib import Path; from tanager_server.state import *\n"
    code += "store = SqliteStore(Path(sys.argv[1])); store.commit([PutMeta({'a': 'b'})]); os._exit(9)"
    assert subprocess.run([sys.executable, "-c", code, tmp_path], check=False).returncode == 9
    assert verify(tmp_path).seq == 1
    with SqliteStore(tmp_path) as store:
        assert verify(tmp_path) == (VERSION, store.state_id, 1)


def test_nothing_to_verify(tmp_path: Path):
    with pytest.raises(StateError, match="no state directory"):
        verify(tmp_path)


def test_two_servers_never_share_a_state(tmp_path: Path):
    with SqliteStore(tmp_path):
        with pytest.raises(StateError, match=rf"{tmp_path}: in use by process {os.getpid()};"):
            SqliteStore(tmp_path)
        code = (
            "import sys; from pathlib import Path; from tanager_server.state import *; SqliteStore(Path(sys.argv[1]))"
        )
        other = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=False)
        assert f"in use by process {os.getpid()}" in other.stderr
        code = code.replace("SqliteStore(", "verify(")
        other = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=False)
        assert "in use by another process" in other.stderr
    SqliteStore(tmp_path).close()


def test_the_lock_is_free_again_after_a_refusal(tmp_path: Path):
    (tmp_path / FILE).write_bytes(b"no database at all, but long enough to be looked at" * 100)
    with pytest.raises(StateError, match=FILE):
        SqliteStore(tmp_path)
    (tmp_path / FILE).unlink()
    SqliteStore(tmp_path).close()


def test_the_lock_of_a_full_disk_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with SqliteStore(tmp_path), pytest.raises(StateError, match="in use by process unknown"):
        SqliteStore(tmp_path)


def test_a_directory_that_cannot_be_is_refused(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(StateError, match="file"):
        SqliteStore(tmp_path / "file" / "state")


def _execute(file: Path, sql: str) -> None:
    connection = sqlite3.connect(file)
    connection.execute(sql)
    connection.close()
