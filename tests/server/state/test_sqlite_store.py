"""What each write does, and what it answers."""

from __future__ import annotations

import shutil
import threading
from typing import TYPE_CHECKING

import pytest

from tanager_server.errors import StorageError
from tanager_server.state import (
    AddEvents,
    AddImpressions,
    DeleteItems,
    DropVectors,
    ExpireImpressions,
    Impression,
    PurgeUser,
    PutItems,
    PutMeta,
    PutUsers,
    PutVectors,
    Removed,
    SqliteStore,
    StoredEvent,
    StoredItem,
    StoredUser,
    StoredVector,
    sqlite,
    user_writer,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tanager_server.state import Outcome, Write


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    with SqliteStore(tmp_path / "state") as store:
        yield store


def event(event_id: str, user_id: str = "ada", item_id: str = "film", *, weight: float = 1.0) -> StoredEvent:
    return StoredEvent(event_id, user_id, item_id, "view", weight, 7, "token", b"{}")


def items(store: SqliteStore, fingerprint: str | None = None) -> list[tuple[StoredItem, bytes | None]]:
    with store.load() as snapshot:
        return list(snapshot.items(fingerprint))


def events(store: SqliteStore) -> list[StoredEvent]:
    with store.load() as snapshot:
        return list(snapshot.events())


def one(store: SqliteStore, write: Write) -> Outcome:
    (outcome,) = store.commit([write])
    return outcome


def test_a_new_state_is_empty(store: SqliteStore):
    assert store.seq == 0
    assert items(store) == []
    assert events(store) == []
    with store.load() as snapshot:
        assert snapshot.meta() == {"state_id": store.state_id}
        assert snapshot.seq == 0


def test_each_write_takes_the_next_number(store: SqliteStore):
    first = store.commit([PutUsers([]), PutMeta({"a": "1"})])
    second = store.commit([PutItems([])])
    assert [outcome.seq for outcome in (*first, *second)] == [1, 2, 3]
    assert store.seq == 3


def test_items_are_written_and_overwritten(store: SqliteStore):
    assert one(store, PutItems([StoredItem("a", b"1"), StoredItem("b", b"2")])).existed == (False, False)
    assert one(store, PutItems([StoredItem("b", b"3"), StoredItem("c", b"4")])).existed == (True, False)
    assert [item for item, _ in items(store)] == [
        StoredItem("a", b"1", seq=1),
        StoredItem("b", b"3", seq=2),
        StoredItem("c", b"4", seq=2),
    ]


def test_a_deleted_item_keeps_its_id_alone(store: SqliteStore):
    store.commit([PutItems([StoredItem("a", b"1")], [StoredVector("a", "e", b"vector")])])
    assert one(store, DeleteItems(["a", "never", "a"])).existed == (True, False, False)
    assert items(store, "e") == [
        (StoredItem("a", b"", deleted=True, seq=2), None),
        (StoredItem("never", b"", deleted=True, seq=2), None),
    ]
    assert one(store, PutItems([StoredItem("a", b"2")])).existed == (False,)
    assert items(store, "e")[0] == (StoredItem("a", b"2", seq=3), None)


def test_an_item_is_put_that_only_an_event_knew(store: SqliteStore):
    store.commit([AddEvents([event("1", item_id="later")])])
    assert items(store) == []
    assert one(store, PutItems([StoredItem("later", b"1")])).existed == (False,)
    assert events(store)[0].item_id == "later"


def test_items_put_as_deleted_are_refused(store: SqliteStore):
    with pytest.raises(ValueError, match="DeleteItems"):
        store.commit([PutItems([StoredItem("a", b"", deleted=True)])])


def test_a_new_text_takes_the_place_of_all_vectors(store: SqliteStore):
    vectors = [StoredVector("a", "old", b"1"), StoredVector("a", "new", b"2"), StoredVector("b", "old", b"3")]
    store.commit([PutItems([StoredItem("a", b""), StoredItem("b", b"")], vectors)])
    store.commit([PutItems([StoredItem("a", b"text")], [StoredVector("a", "new", b"4")])])
    store.commit([PutItems([StoredItem("b", b"attributes")])])
    assert [vector for _, vector in items(store, "old")] == [None, b"3"]
    assert [vector for _, vector in items(store, "new")] == [b"4", None]
    assert [vector for _, vector in items(store, "unknown")] == [None, None]
    assert [vector for _, vector in items(store)] == [None, None]


def test_vectors_of_what_changed_meanwhile_are_left_out(store: SqliteStore):
    store.commit([PutItems([StoredItem("same", b""), StoredItem("changed", b""), StoredItem("deleted", b"")])])
    as_of_seq = store.seq
    store.commit([PutItems([StoredItem("changed", b"text")]), DeleteItems(["deleted"])])
    names = ["same", "changed", "deleted", "unknown"]
    outcome = one(store, PutVectors([StoredVector(name, "e", b"v") for name in names], as_of_seq))
    assert outcome.existed == (True, False, False, False)
    assert [item.item_id for item, vector in items(store, "e") if vector] == ["same"]


def test_vectors_of_an_encoder_are_dropped_some_at_a_time(store: SqliteStore):
    names = ["a", "b", "c"]
    vectors = [StoredVector(name, encoder, b"v") for name in names for encoder in ("old", "new")]
    store.commit([PutItems([StoredItem(name, b"") for name in names], vectors)])
    removed = [one(store, DropVectors("old", limit=2)).removed.vectors for _ in range(3)]
    assert removed == [2, 1, 0]
    assert [vector for _, vector in items(store, "old")] == [None] * 3
    assert [vector for _, vector in items(store, "new")] == [b"v"] * 3
    assert one(store, DropVectors("unknown")).removed == Removed()


def test_an_event_counts_once(store: SqliteStore):
    assert one(store, AddEvents([event("1"), event("2"), event("1", weight=9)])).new == (True, True, False)
    assert one(store, AddEvents([event("2", "eve"), event("3")])).new == (False, True)
    assert [(e.event_id, e.weight, e.seq) for e in events(store)] == [("1", 1.0, 1), ("2", 1.0, 1), ("3", 1.0, 2)]
    assert events(store)[0] == event("1")._replace(seq=1)


def test_event_rows_refer_to_ids_by_keys(store: SqliteStore):
    store.commit([AddEvents([event("1", "ada", "x"), event("2", "bob", "y"), event("3", "ada", "y")])])
    with store.load() as snapshot:
        users, items = (
            dict(pair for block in blocks for pair in block) for blocks in (snapshot.user_keys(), snapshot.item_keys())
        )
        kinds = snapshot.kinds()
        rows = [row for block in snapshot.event_rows() for row in block]
    assert [(users[user], items[item], kinds[kind]) for user, item, kind, *_ in rows] == [
        ("ada", "x", "view"),
        ("bob", "y", "view"),
        ("ada", "y", "view"),
    ]
    assert [row[3:] for row in rows] == [(1.0, 7, "token", b"{}", 1)] * 3


@pytest.mark.parametrize("unindexed", [1, 3, 1000])
def test_events_are_known_before_and_after_they_are_indexed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unindexed: int
):
    monkeypatch.setattr(user_writer, "_UNINDEXED_EVENTS", unindexed)
    for round_ in range(3):
        with SqliteStore(tmp_path) as store:
            for n in range(10):
                new = one(store, AddEvents([event(f"{n}-{i}", f"user-{i % 2}") for i in range(2)])).new
                assert new == (not round_,) * 2
    with SqliteStore(tmp_path) as store:
        assert one(store, PurgeUser("user-0")).removed == Removed(events=10)
        assert {e.user_id for e in events(store)} == {"user-1"}
        # What is purged is not known any more, wherever it was, and its number is given again.
        assert one(store, AddEvents([event(f"{n}-0", "user-0") for n in range(10)])).new == (True,) * 10
        assert one(store, AddEvents([event("9-0"), event("9-1")])).new == (False, False)
        assert one(store, PurgeUser("user-1")).removed == Removed(events=10)
        assert one(store, PurgeUser("user-0")).removed == Removed(events=10)


def on_the_disk(directory: Path) -> bytes:
    return b"".join(file.read_bytes() for file in directory.iterdir() if not file.name.endswith("-shm"))


TRACES: list[Write] = [
    PutUsers([StoredUser("trace-user", b"trace-profile"), StoredUser("bob", b"kept-profile")]),
    AddEvents(
        [
            StoredEvent("trace-event", "trace-user", "film", "view", 1.0, 1, "trace-token", b"trace-context"),
            event("kept-event", "bob"),
        ]
    ),
    AddImpressions([Impression("trace-shown", "trace-user", 1, b"trace-items"), Impression("b", "bob", 1, b"")]),
]


def test_a_purge_removes_every_trace(store: SqliteStore, tmp_path: Path):
    store.commit(TRACES)
    outcome = one(store, PurgeUser("trace-user"))
    assert outcome.existed == (True,)
    assert outcome.removed == Removed(profiles=1, events=1, impressions=1)
    kept = on_the_disk(tmp_path / "state")
    assert b"kept-profile" in kept
    assert b"trace" not in kept
    assert one(store, PurgeUser("trace-user")).removed == Removed()
    assert one(store, PurgeUser("trace-user")).existed == (False,)
    assert store.lookup_impression("trace-shown") is None
    assert [e.event_id for e in events(store)] == ["kept-event"]


def test_traces_that_somebody_reads_go_when_he_has_done(
    store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    tried = threading.Semaphore(0)
    truncate = store._truncate_log

    def try_again(*, again: bool = False) -> None:
        truncate(again=again)
        tried.release()

    monkeypatch.setattr(sqlite, "_TRUNCATE_EVERY_S", 0.01)
    monkeypatch.setattr(store, "_truncate_log", try_again)
    store.commit(TRACES)
    with store.load() as reader:  # while somebody reads what was, the log cannot be emptied
        store.commit([PurgeUser("trace-user")])
        assert len(list(reader.users())) == 2
        for _ in range(3):
            assert tried.acquire(timeout=60.0)
        assert b"trace-profile" in on_the_disk(tmp_path / "state")
    # Nobody commits anything any more.
    while (retry := store._retry) is not None:
        retry.join(60.0)
    kept = on_the_disk(tmp_path / "state")
    assert b"kept-profile" in kept
    assert b"trace" not in kept


def test_a_store_that_is_closed_tries_no_more(tmp_path: Path):
    store = SqliteStore(tmp_path)
    store.commit(TRACES)
    with store.load():
        store.commit([PurgeUser("trace-user")])
        retry = store._retry
    store.close()
    assert retry is not None
    retry.join(60.0)
    assert not retry.is_alive()
    assert b"trace" not in on_the_disk(tmp_path)


def test_traces_that_a_killed_server_left_go_at_the_next_start(tmp_path: Path):
    store = SqliteStore(tmp_path / "killed")
    store.commit(TRACES)
    with store.load():
        store.commit([PurgeUser("trace-user")])
        shutil.copytree(tmp_path / "killed", tmp_path / "state")
    store.close()
    assert b"trace-profile" in on_the_disk(tmp_path / "state")
    with SqliteStore(tmp_path / "state"):
        kept = on_the_disk(tmp_path / "state")
    assert b"kept-profile" in kept
    assert b"trace" not in kept


def test_impressions_are_found_and_grow_old(store: SqliteStore):
    shown = [Impression("a", "ada", 10, b"1"), Impression("b", "", 20, b"2"), Impression("c", "ada", 30, b"3")]
    assert one(store, AddImpressions([*shown, shown[0]])).new == (True, True, True, False)
    assert [store.lookup_impression(name) for name in "abcd"] == [*shown, None]
    assert one(store, AddImpressions([Impression("b", "eve", 5, b"")])).new == (False,)
    assert one(store, ExpireImpressions(before_ns=30, limit=1)).removed == Removed(impressions=1)
    assert store.lookup_impression("a") is None
    assert one(store, ExpireImpressions(before_ns=30)).removed == Removed(impressions=1)
    assert store.lookup_impression("c") == shown[2]


def user_ids(store: SqliteStore) -> list[str]:
    with store.load() as snapshot:
        return sorted(user_id for block in snapshot.user_keys() for _, user_id in block)


@pytest.mark.parametrize("unindexed", [1, 10_000])
def test_ids_of_visitors_go_with_the_last_that_they_were_shown(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch, unindexed: int
):
    monkeypatch.setattr(user_writer, "_UNINDEXED_EVENTS", unindexed)
    names = ["both", "eve", "profile", "event", "again", ""]
    store.commit(
        [
            AddImpressions([Impression(name, name, 1, b"") for name in names]),
            AddImpressions([Impression("later", "both", 2, b""), Impression("eve", "known already", 1, b"")]),
            PutUsers([StoredUser("profile", b"")]),
            AddEvents([event("1", "event")]),
        ]
    )
    assert user_ids(store) == ["again", "both", "eve", "event", "profile"]
    assert one(store, ExpireImpressions(before_ns=2)).removed == Removed(impressions=6)
    assert user_ids(store) == ["both", "event", "profile"]
    # Their keys are not remembered.
    store.commit([AddEvents([event("2", "new"), event("3", "again")])])
    assert [e.user_id for e in events(store)] == ["event", "new", "again"]
    store.commit([ExpireImpressions(before_ns=3)])
    assert user_ids(store) == ["again", "event", "new", "profile"]


def test_settings_are_written_with_what_they_go_with(store: SqliteStore):
    store.commit([PutMeta({"bundle": "a", "predecessor": "b"})])
    with pytest.raises(OverflowError):
        store.commit([PutMeta({"bundle": "c"}), AddEvents([event("1")._replace(time_ns=1 << 63)])])
    assert one(store, PutMeta({"predecessor": None, "bundle": "d"})).existed == (True, True)
    with store.load() as snapshot:
        assert snapshot.meta() == {"bundle": "d", "state_id": store.state_id}


def test_the_state_keeps_its_name(store: SqliteStore):
    with pytest.raises(ValueError, match="state_id"):
        PutMeta({"state_id": "another"})


@pytest.mark.parametrize(
    "bad",
    [
        AddEvents([event("good"), event("\ud800")]),
        AddEvents([event("good"), event("number")._replace(time_ns=1 << 63)]),
        AddEvents([event("good"), event("nan", weight=float("nan"))]),
        PutUsers([StoredUser("good", b""), StoredUser("bad", [])]),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_stored_takes_nothing_along(store: SqliteStore, bad: Write):
    store.commit([AddEvents([event("before", "before")])])
    with pytest.raises(Exception, match=r".") as raised:
        store.commit([PutItems([StoredItem("good", b"")]), AddEvents([event("new", "new", "new")]), bad])
    assert not isinstance(raised.value, StorageError)
    assert store.seq == 1
    assert items(store) == []
    # Keys that were given in what was rolled back are not remembered.
    outcome = one(store, AddEvents([event("good", "good", "good"), event("new", "new", "new"), event("before")]))
    assert outcome.new == (True, True, False)
    assert [(e.user_id, e.item_id) for e in events(store)] == [("before", "film"), ("good", "good"), ("new", "new")]


def test_a_snapshot_stays_as_it_was(store: SqliteStore):
    store.commit([AddEvents([event("1")])])
    with store.load() as snapshot:
        store.commit([AddEvents([event("2")]), PurgeUser("ada")])
        assert [e.event_id for e in snapshot.events()] == ["1"]
        assert snapshot.seq == 1


def test_large_writes_go_in_whole(store: SqliteStore):
    many = [event(str(n), f"user-{n % 700}", f"item-{n % 900}") for n in range(20_001)]
    assert all(one(store, AddEvents(many)).new)
    assert not any(one(store, AddEvents(many)).new)
    assert [e.event_id for e in events(store)] == [e.event_id for e in many]


def test_a_closed_state_says_so(tmp_path: Path):
    store = SqliteStore(tmp_path)
    store.close()
    store.close()
    for use in (lambda: store.commit([]), store.load, lambda: store.lookup_impression("a")):
        with pytest.raises(StorageError, match="closed"):
            use()
