"""Bundles that change while a server answers: none of its callers notices, and the next start knows."""

from __future__ import annotations

import concurrent.futures
import shutil
import threading
from typing import TYPE_CHECKING

import pytest
from tests.support import ServerProcess, start_and_fail

from tanager import (
    AbortedError,
    Client,
    FailedPreconditionError,
    InvalidArgumentError,
    Item,
    NotFoundError,
    TanagerError,
    UserEvent,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CALLERS = 5
TURNS = 5


@pytest.fixture(scope="module")
def bundles(two_bundles: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The two bundles, and one that is not whole (`broken`)."""
    directory = tmp_path_factory.mktemp("three") / "bundles"
    shutil.copytree(two_bundles, directory)
    broken = shutil.copytree(directory / "first", directory / "broken")
    content = bytearray((broken / "encoder.onnx").read_bytes())
    content[-1] ^= 1
    (broken / "encoder.onnx").write_bytes(content)
    return directory


@pytest.fixture
def options(bundles: Path, tmp_path: Path) -> list[str]:
    return ["--bundles", str(bundles), "--state", str(tmp_path / "state"), "--log.calls", "false"]


def new_item(number: int) -> Item:
    return Item(item_id=f"new-{number}", text=f"nature music {number}", title=f"New {number}", domain="film")


def ask_until(ended: threading.Event, ask: Callable[[int], object]) -> tuple[int, list[str]]:
    """Asks again and again; gives how often, and what failed."""
    failed, number = [], 0
    while not ended.is_set():
        number += 1
        try:
            ask(number)
        except TanagerError as error:
            failed.append(f"{type(error).__name__}: {error}")
    return number, failed


def test_bundles_change_under_load_without_a_failed_call(bundles: Path, options: list[str]):
    ended = threading.Event()
    with (
        ServerProcess(bundles / "first", *options) as server,
        Client(server.address, timeout_s=60, retry=None) as client,
        concurrent.futures.ThreadPoolExecutor(CALLERS) as pool,
    ):
        client.upsert_items([new_item(number) for number in range(40)])
        asks: list[Callable[[int], object]] = [
            lambda number: client.recommend(text=f"space {number}", explain=True),
            lambda number: client.recommend(user_id="anybody", history=["film-war-3"]),
            lambda number: client.similar_items("book-love-2"),
            lambda number: client.embed([f"war {number}", "love"]),
            lambda number: client.upsert_items([new_item(1000 + number)]),
        ]
        callers = [pool.submit(ask_until, ended, ask) for ask in asks]
        served = [client.status().bundle.bundle_id]
        try:
            for turn in range(TURNS):
                done = client.activate_bundle("first" if turn % 2 else "second")
                assert client.status().bundle.bundle_id == done.bundle.bundle_id
                served.append(done.bundle.bundle_id)
        finally:
            ended.set()
        outcomes = [caller.result() for caller in callers]
        assert [failed for _, failed in outcomes] == [[]] * len(asks)
        assert len(set(served)) == 2
        # What was written meanwhile is there, and is found by what it says.
        last = outcomes[-1][0]
        known = {item.item_id for item in client.iter_items(filter='domain = "film"')}
        assert {f"new-{1000 + number}" for number in range(1, last + 1)} <= known
        found = client.recommend(text=f"nature music {1000 + last}", page_size=3)
        assert f"new-{1000 + last}" in [result.item_id for result in found]


def test_items_users_and_events_outlive_the_bundle(bundles: Path, options: list[str]):
    with ServerProcess(bundles / "first", *options) as server, Client(server.address, timeout_s=60) as client:
        client.upsert_items([new_item(number) for number in range(5)])
        client.delete_items(["film-war-1"])
        client.write_events(
            [
                UserEvent(user_id="ann", item_id="new-3", type="click"),
                UserEvent(user_id="ann", item_id="film-nature-3", type="click"),
            ]
        )
        first, first_id = client.recommend(user_id="ann", page_size=2), client.status().bundle.bundle_id
        assert first.next_page_token
        done = client.activate_bundle("second")
        assert done.encoded_count == 5
        listed = {bundle.name: bundle for bundle in client.list_bundles()}
        assert [name for name, bundle in listed.items() if bundle.active] == ["second"]
        nearest = client.recommend(text="nature music 3", page_size=1)
        assert [result.item_id for result in nearest] == ["new-3"]
        after = client.recommend(user_id="ann", page_size=120)
        assert not {"new-3", "film-nature-3", "film-war-1"} & {result.item_id for result in after}
        assert client.get_user("ann").event_count == 2
        with pytest.raises(InvalidArgumentError, match="page_token"):
            client.recommend(user_id="ann", page_size=2, page_token=first.next_page_token)
        # Vectors by the encoder before are kept: to go back costs no encoding.
        assert client.rollback_bundle().encoded_count == 0
        assert client.status().bundle.bundle_id == first_id


def test_the_next_start_serves_what_was_activated_and_can_go_back(bundles: Path, options: list[str]):
    with ServerProcess(bundles / "first", *options) as server, Client(server.address, timeout_s=60) as client:
        first = client.status().bundle.bundle_id
        client.upsert_items([new_item(1)])
        second = client.activate_bundle("second").bundle.bundle_id
        assert client.activate_bundle("second").encoded_count == 0
        client.upsert_items([new_item(2)])
        server.kill()
    with ServerProcess(bundles / "first", *options) as server, Client(server.address, timeout_s=60) as client:
        told = {record["message"]: record for record in server.log}
        assert told["listening"]["bundle_id"] == second
        assert told["state"]["encoded"] == 0
        assert client.get_item("new-2").text == "nature music 2"
        with pytest.raises(FailedPreconditionError, match="expected_bundle_id"):
            client.rollback_bundle(expected_bundle_id=first)
        assert client.rollback_bundle(expected_bundle_id=second).bundle.bundle_id == first
        assert client.rollback_bundle().bundle.bundle_id == second


def test_what_cannot_be_served_is_refused_and_changes_nothing(bundles: Path, options: list[str]):
    with ServerProcess(bundles / "first", *options) as server, Client(server.address, timeout_s=60) as client:
        before = client.status().bundle
        with pytest.raises(FailedPreconditionError, match=r"broken/encoder\.onnx: altered.*copy the bundle again"):
            client.activate_bundle("broken")
        with pytest.raises(NotFoundError, match="third"):
            client.activate_bundle("third")
        with pytest.raises(NotFoundError):
            client.activate_bundle("../first")
        with pytest.raises(FailedPreconditionError, match="no other bundle"):
            client.rollback_bundle()
        assert client.status().bundle == before
        assert client.activate_bundle("second").bundle.bundle_id != before.bundle_id


def test_two_at_a_time_are_not_taken(bundles: Path, options: list[str]):
    callers = 4
    with (
        ServerProcess(bundles / "first", *options) as server,
        Client(server.address, timeout_s=60, retry=None) as client,
        concurrent.futures.ThreadPoolExecutor(callers) as pool,
    ):
        client.status()
        together = threading.Barrier(callers)

        def activate(_: int) -> str:
            together.wait()
            try:
                return client.activate_bundle("second").bundle.bundle_id
            except AbortedError as error:
                return str(error)

        told = set(pool.map(activate, range(callers)))
        served = client.status().bundle.bundle_id
        refused = told - {served}
        assert served in told
        assert refused, "one is under way when the others come"
        assert all("try again" in said for said in refused)


def test_a_server_without_state_changes_bundles_too(bundles: Path):
    with ServerProcess(bundles / "first", "--bundles", str(bundles)) as server, Client(server.address) as client:
        first = client.status().bundle.bundle_id
        assert client.activate_bundle("second").bundle.bundle_id != first
        assert len(client.recommend(text="space")) == 10
        assert client.rollback_bundle().bundle.bundle_id == first


def test_a_start_without_what_was_activated_is_refused(bundles: Path, options: list[str], tmp_path: Path):
    others = tmp_path / "bundles"
    shutil.copytree(bundles / "second", others / "second")
    options[1] = str(others)
    with ServerProcess(bundles / "first", *options) as server, Client(server.address, timeout_s=60) as client:
        client.activate_bundle("second")
    shutil.rmtree(others / "second")
    assert "put it back" in start_and_fail(bundles / "first", *options)
