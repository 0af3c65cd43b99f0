"""What operators of a server with state see of it: writes, the state, the index, activations."""

from __future__ import annotations

import datetime as dt
import resource
import shutil
from typing import TYPE_CHECKING

import pytest
from tests.support import ServerProcess

from tanager import Client, Item, ResourceExhaustedError, TanagerError, User, UserEvent

if TYPE_CHECKING:
    from pathlib import Path

ITEMS = 120
NEW = 1_050
"""More than are scored one by one for long."""
NOON = dt.datetime(2026, 5, 1, 12, tzinfo=dt.UTC)


def write(client: Client) -> None:
    """Items, of which one is deleted again; two users with three events, and one who is purged."""
    new = [Item(item_id=f"new-{number}", text="space film", domain="film") for number in range(NEW)]
    for first in range(0, NEW, 350):
        client.upsert_items(new[first : first + 350])
    client.delete_items(["film-war-3"])
    client.upsert_users([User(user_id="ada", profile={"age": 36}), User(user_id="gone", profile={"age": 1})])
    client.write_events(
        [
            UserEvent(event_id=str(number), user_id=user, item_id=item, type="click", time=NOON)
            for number, (user, item) in enumerate((("ada", "new-1"), ("ada", "film-love-2"), ("bob", "new-2")))
        ]
    )
    client.purge_user("gone")


def test_writes_and_what_they_leave_are_told(tiny_bundle: Path, tmp_path: Path):
    state = tmp_path / "state"
    with (
        ServerProcess(tiny_bundle, "--state", str(state), "--impressions.share", "0") as server,
        Client(server.address, timeout_s=30) as client,
    ):
        before = server.metrics()
        assert (before["tanager_state_items"], before["tanager_state_users"]) == (ITEMS, 0)
        assert before["tanager_state_sequence_number"] == before["tanager_commit_seconds_count"] == 0
        room = before["tanager_index_room_items"]
        client.upsert_items([Item(item_id="new-0", text="love film", domain="film")])
        assert server.metrics()["tanager_index_room_items"] == room - 1
        write(client)
        found = server.wait_until(lambda now: now["tanager_index_seconds_count"] >= 1)
        expected = {
            "tanager_state_items": ITEMS + NEW - 1,
            "tanager_state_users": 2,
            "tanager_state_events": 3,
            "tanager_state_sequence_number": 8,  # four times items, a deletion, users, events, a purge
            "tanager_commit_writes_sum": 8,
            "tanager_committed_rows_total": 2 * (NEW + 1) + 1 + 2 + 3 + 1,  # vectors too
            "tanager_journal_waiting_rows": 0,
            "tanager_journal_posted_rows": 0,
            "tanager_dropped_rows_total": 0,
            "tanager_failed_indexes_total": 0,
            'tanager_failed_commits_total{cause="full"}': 0,
        }
        assert {name: found[name] for name in expected} == expected
        assert 1 <= found["tanager_commit_seconds_count"] <= 8
        assert found["tanager_index_seconds_sum"] > 0
        server.wait_until(lambda now: now["tanager_index_unindexed_items"] < NEW)
        client.upsert_users([User(user_id="cid", profile={"age": 5})])  # a purge empties the log
        found = server.metrics()
        on_disk = {file.name: file.stat().st_size for file in state.iterdir() if file.is_file()}
        assert found["tanager_state_file_bytes"] == on_disk["tanager.sqlite3"] > 0
        assert found["tanager_state_log_bytes"] == on_disk["tanager.sqlite3-wal"] > 0


def test_what_cannot_be_written_is_told(tiny_bundle: Path, tmp_path: Path):
    with (
        ServerProcess(tiny_bundle, "--state", str(tmp_path / "state")) as server,
        Client(server.address, timeout_s=30, retry=None) as client,
    ):
        client.upsert_users([User(user_id="ada", profile={"age": 36})])
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
        with pytest.raises(ResourceExhaustedError, match="full"):
            client.upsert_users([User(user_id="bob", profile={"age": 7})])
        found = server.metrics()
        assert found['tanager_failed_commits_total{cause="full"}'] == 1
        assert (found["tanager_commit_seconds_count"], found["tanager_state_users"]) == (1, 1)


def test_a_server_without_state_tells_of_activations_alone(tiny_bundle: Path, tmp_path: Path):
    for name in ("one", "other", "broken"):
        shutil.copytree(tiny_bundle, tmp_path / name)
    (tmp_path / "broken" / "encoder.onnx").write_bytes(b"not one")
    with (
        ServerProcess(tmp_path / "one", "--bundles", str(tmp_path)) as server,
        Client(server.address, timeout_s=60, retry=None) as client,
    ):
        assert not any(name.startswith(("tanager_state_", "tanager_journal_")) for name in server.metrics())
        client.activate_bundle("other")
        with pytest.raises(TanagerError, match=r"encoder\.onnx"):
            client.activate_bundle("broken")
        client.rollback_bundle()
        found = server.metrics()
    assert found['tanager_activation_seconds_count{outcome="activated"}'] == 2
    assert found['tanager_activation_seconds_count{outcome="failed"}'] == 1
    assert found['tanager_activation_seconds_sum{outcome="activated"}'] > 0
