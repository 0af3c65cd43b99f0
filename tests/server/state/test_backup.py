"""Backups while the state is written to."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from tanager_server.errors import StateError
from tanager_server.state import AddEvents, PutItems, SqliteStore, StoredEvent, StoredItem, verify
from tanager_server.state.lock import DirectoryLock

if TYPE_CHECKING:
    from pathlib import Path


def put(name: str, size: int = 10) -> PutItems:
    return PutItems([StoredItem(name, bytes(size))])


def names(store: SqliteStore) -> list[str]:
    with store.load() as snapshot:
        return [item.item_id for item, _ in snapshot.items()]


def test_a_server_can_be_started_with_a_backup(tmp_path: Path):
    with SqliteStore(tmp_path / "state") as store:
        store.commit([put("a"), AddEvents([StoredEvent("1", "ada", "a", "view", 1.0, 0)])])
        store.backup(tmp_path / "into" / "backup")
        store.commit([put("b")])
    with SqliteStore(tmp_path / "into" / "backup") as restored:
        assert names(restored) == ["a"]
        assert restored.seq == 2
        assert restored.state_id != store.state_id  # the same numbers mean other writes from here on
        assert not restored.commit([AddEvents([StoredEvent("1", "ada", "a", "view", 1.0, 0)])])[0].new[0]
    assert verify(tmp_path / "into" / "backup").seq == 3
    assert [path.name for path in (tmp_path / "into").iterdir()] == ["backup"]


def test_it_has_one_moment_and_commits_go_on(tmp_path: Path):
    told: list[tuple[int, int]] = []
    with SqliteStore(tmp_path / "state") as store:
        for n in range(40):
            store.commit([put(f"before-{n}", 100_000)])

        def progress(done: int, pages: int) -> None:
            told.append((done, pages))
            store.commit([put(f"during-{len(told)}", 100_000)])

        store.backup(tmp_path / "backup", progress=progress)
        assert len(names(store)) == 40 + len(told)
    assert len(told) >= 4
    assert told[-1][0] == told[-1][1]
    assert sorted(told) == told
    assert len({pages for _, pages in told}) == 1
    with SqliteStore(tmp_path / "backup") as restored:
        assert names(restored) == [f"before-{n}" for n in range(40)]


def test_it_can_be_read_from_a_disk_that_cannot_be_written(tmp_path: Path):
    """Its file needs no log beside it, so it can be verified where it lies."""
    with SqliteStore(tmp_path / "state") as store:
        store.commit([put("a")])
        store.backup(tmp_path / "backup")
    verify(tmp_path / "backup")
    assert sorted(path.name for path in (tmp_path / "backup").iterdir()) == ["lock", "tanager.sqlite3"]


def test_what_is_there_is_never_overwritten(tmp_path: Path):
    with SqliteStore(tmp_path / "state") as store:
        (tmp_path / "file").write_text("mine")
        (tmp_path / "full").mkdir()
        (tmp_path / "full" / "file").write_text("mine")
        for name in ("file", "full", "state"):
            with pytest.raises(StateError, match="new or empty"):
                store.backup(tmp_path / name)
        (tmp_path / "empty").mkdir()
        store.backup(tmp_path / "empty")
    assert verify(tmp_path / "empty").seq == 0


def test_what_a_killed_backup_left_is_taken_away(tmp_path: Path):
    with SqliteStore(tmp_path / "state") as store:
        left = tmp_path / ".backup.partial"
        left.mkdir()
        for name in ("tanager.sqlite3", "tanager.sqlite3-journal", "lock"):
            (left / name).write_bytes(b"half of a backup")
        store.backup(tmp_path / "backup")
    assert verify(tmp_path / "backup").seq == 0
    assert not left.exists()


def test_two_backups_to_one_place(tmp_path: Path):
    (tmp_path / ".backup.partial").mkdir()
    with SqliteStore(tmp_path / "state") as store:
        with DirectoryLock(tmp_path / ".backup.partial"), pytest.raises(StateError, match="in use by process"):
            store.backup(tmp_path / "backup")
        store.backup(tmp_path / "backup")


def test_one_that_is_stopped_leaves_nothing(tmp_path: Path):
    def stop(*_: int) -> None:
        raise KeyboardInterrupt

    with SqliteStore(tmp_path / "state") as store:
        with pytest.raises(KeyboardInterrupt):
            store.backup(tmp_path / "backup", progress=stop)
        assert [path.name for path in tmp_path.iterdir()] == ["state"]
        store.commit([put("a")])


def test_it_runs_on_any_thread(tmp_path: Path):
    with SqliteStore(tmp_path / "state") as store:
        thread = threading.Thread(target=store.backup, args=(tmp_path / "backup",))
        thread.start()
        for n in range(50):
            store.commit([put(str(n))])
        thread.join()
    with SqliteStore(tmp_path / "backup") as restored:
        assert names(restored) == [str(n) for n in range(restored.seq)]
