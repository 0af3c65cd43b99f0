"""A recommender that learns while it serves: a story over a real server, told through the SDK, and what befalls it."""

from __future__ import annotations

import contextlib
import datetime as dt
import resource
import signal
import sqlite3
from typing import TYPE_CHECKING

import pytest
from tests.support import ServerProcess, start_and_fail

from tanager import (
    AsyncClient,
    Client,
    FailedPreconditionError,
    InvalidArgumentError,
    Item,
    NotFoundError,
    ReasonKind,
    ResourceExhaustedError,
    Strategy,
    User,
    UserEvent,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

QUICK = (
    *("--encoder.threads", "1", "--encoder.workers", "1"),
    *("--batching.max-batch-tokens", "512", "--batching.batch-cost-tokens", "0"),
)
"""Nothing is measured at the start."""
ITEMS = 120
NOON = dt.datetime(2026, 5, 1, 12, tzinfo=dt.UTC)


@contextlib.contextmanager
def served(bundle: Path, *options: str) -> Iterator[tuple[ServerProcess, Client]]:
    """A server, and a client of it."""
    with ServerProcess(bundle, *QUICK, *options) as server, Client(server.address, timeout_s=30) as client:
        yield server, client


@contextlib.contextmanager
def stateful(bundle: Path, directory: Path, *options: str) -> Iterator[tuple[ServerProcess, Client]]:
    """A server with state, and a client of it."""
    with served(bundle, "--state", str(directory / "state"), *options) as both:
        yield both


def kill(server: ServerProcess) -> None:
    server.kill()
    assert server.wait() == -signal.SIGKILL


def topics(results) -> list[str]:
    return [result.item_id.split("-")[1] for result in results]


def ids(results) -> list[str]:
    return [result.item_id for result in results]


def click(user_id: str, item_id: str, number: int, **more) -> UserEvent:
    return UserEvent(
        user_id=user_id,
        item_id=item_id,
        type="click",
        time=NOON + dt.timedelta(minutes=number),
        event_id=f"{user_id}-{number}",
        **more,
    )


NEWCOMER = Item(
    item_id="film-war-new",
    title="War anew",
    text="war film war 3",
    domain="film",
    categories=("war",),
    attributes={"year": 2026, "dubbed": True, "cast": ("Ann", "Bo")},
)
OTHER = Item(item_id="book-love-new", text="love book love 7", domain="book", categories=("love",))


def test_the_story_of_a_user_an_item_and_a_server_that_is_killed(tiny_bundle: Path, tmp_path: Path):
    with stateful(tiny_bundle, tmp_path) as (server, client):
        # A new user signs up, and is recommended something by the profile alone.
        signed_up = client.upsert_users([User(user_id="ann", profile={"likes": ("war film war 3",), "age": 30})])
        assert signed_up.created_count == 1
        nobody = client.recommend(page_size=ITEMS)
        first = client.recommend(user_id="ann", page_size=ITEMS, min_consistency_token=signed_up.consistency_token)
        assert first.strategy is Strategy.PROFILE
        plain = {result.item_id: result.score for result in nobody}
        lifts = {result.item_id: result.score - plain[result.item_id] for result in first}
        assert max(lifts, key=lifts.__getitem__).split("-")[1] == "war", "who likes war is told of war"
        told = client.recommend(user_id="ann", explain=True)
        assert ids(told) == ids(first)[:10]
        assert any(reason.kind is ReasonKind.PROFILE_TEXT for result in told for reason in result.reasons)

        # She clicks two; the list changes at once, and says why.
        clicked = ["book-space-1", "film-space-4"]
        written = client.write_events([click("ann", item_id, number) for number, item_id in enumerate(clicked)])
        assert (written.written_count, written.unknown_item_count) == (2, 0)
        second = client.recommend(
            user_id="ann", page_size=10, min_consistency_token=written.consistency_token, explain=True, max_reasons=20
        )
        assert second.strategy is Strategy.PERSONAL
        assert ids(second) != ids(first)[:10]
        assert not set(ids(second)) & set(clicked), "what was clicked is not recommended again"
        assert topics(second).count("space") > topics(first[:10]).count("space")
        cited = [reason for reason in second[0].reasons if reason.item_id]
        assert cited
        assert {reason.item_id for reason in cited} <= set(clicked)
        assert {reason.kind for reason in cited} >= {ReasonKind.COLLABORATIVE}
        for result in second:
            total = sum(reason.contribution for reason in result.reasons) + result.other_contribution
            assert total == pytest.approx(result.score, abs=1e-4)

        # Items are added: each is told first to who likes its like.
        added = client.upsert_items([NEWCOMER, OTHER])
        assert (added.created_count, added.encoded_count) == (2, 2)
        client.write_events([click("bob", f"film-war-{number}", number) for number in (2, 3, 5)])
        client.write_events([click("cyd", f"book-love-{number}", number) for number in (6, 7, 8)])
        for fan, wanted, unwanted in (("bob", NEWCOMER, OTHER), ("cyd", OTHER, NEWCOMER)):
            answer = client.recommend(user_id=fan, page_size=1000, min_consistency_token=added.consistency_token)
            places = {item_id: place for place, item_id in enumerate(ids(answer))}
            assert places[wanted.item_id] < places[unwanted.item_id]
        client.delete_items([OTHER.item_id])
        assert NEWCOMER.item_id in ids(client.recommend(text=NEWCOMER.text, page_size=2))
        assert NEWCOMER.item_id in ids(client.similar_items("film-war-3", page_size=1000))
        assert client.get_item(NEWCOMER.item_id).attributes == NEWCOMER.attributes
        assert client.list_items().total_size == ITEMS + 1
        # Its audience is who likes its like; filters let it in and leave it out.
        audience = client.find_audience(NEWCOMER.item_id, explain=True)
        assert audience[0].user_id == "bob"
        assert audience[0].reasons
        assert ids(client.recommend(filter="year >= 2026 AND dubbed = true")) == [NEWCOMER.item_id]
        assert [member.user_id for member in client.find_audience(NEWCOMER.item_id, filter="age = 30")] == ["ann"]
        without = client.recommend(user_id="bob", filter='NOT cast:"Ann"', page_size=1000)
        assert NEWCOMER.item_id not in ids(without)
        assert {result.domain for result in client.recommend(user_id="bob", target_domains=["book"])} == {"book"}
        with pytest.raises(InvalidArgumentError, match="filter"):
            client.recommend(filter="yeer >= 2026")

        # The server is killed, and started again: nothing that was acknowledged is missing.
        before = client.status()
        known = {user_id: client.get_user(user_id) for user_id in ("ann", "bob", "cyd")}
        lists = {user_id: client.recommend(user_id=user_id, page_size=ITEMS) for user_id in ("ann", "bob", "cyd")}
        kill(server)
    with stateful(tiny_bundle, tmp_path) as (server, client):
        after = client.status()
        assert after.state == before.state
        assert {user_id: client.get_user(user_id) for user_id in known} == known
        assert client.get_item(NEWCOMER.item_id).attributes == NEWCOMER.attributes
        for user_id, listed in lists.items():
            again = client.recommend(user_id=user_id, page_size=ITEMS, min_consistency_token=written.consistency_token)
            assert ids(again) == ids(listed)
            assert [result.score for result in again] == pytest.approx([result.score for result in listed], abs=1e-5)

        # It is deleted, and is nowhere any more, not after another end either.
        assert client.delete_items([NEWCOMER.item_id, "no-such-item"]).deleted_count == 1
        gone(client)
        kill(server)
    with stateful(tiny_bundle, tmp_path) as (_, client):
        gone(client)
        # A mailing goes out: to each what single calls would tell.
        mailing = client.batch_recommend(["ann", "bob", "cyd", "nobody"], page_size=5)
        for one in mailing:
            assert ids(one) == ids(client.recommend(user_id=one.user_id, page_size=5))
        # And it comes again, as something else.
        changed = Item(item_id=NEWCOMER.item_id, text="love book love 3", title="Love", domain="book")
        assert client.upsert_items([changed]).created_count == 1
        assert changed.item_id in ids(client.recommend(text=changed.text, page_size=2))
        assert changed.item_id not in ids(client.recommend(text=NEWCOMER.text, page_size=2))
        assert client.get_item(changed.item_id).title == "Love"


def gone(client: Client) -> None:
    name = NEWCOMER.item_id
    assert client.list_items().total_size == ITEMS
    with pytest.raises(NotFoundError, match=name):
        client.get_item(name)
    with pytest.raises(NotFoundError, match=name):
        client.similar_items(name)
    for answer in (
        client.recommend(page_size=1000),
        client.recommend(user_id="bob", page_size=1000),
        client.recommend(text=NEWCOMER.text, page_size=1000),
        client.similar_items("film-war-3", page_size=1000),
        client.trending(page_size=1000),
        client.rank([name, "film-war-3"], user_id="bob"),
    ):
        assert name not in ids(answer)


def test_late_and_repeated_events_count_once_and_in_their_order(tiny_bundle: Path, tmp_path: Path):
    events = [click("cat", f"film-music-{number}", number) for number in range(6)]
    with stateful(tiny_bundle, tmp_path) as (server, client):
        written = client.write_events([events[4], events[1], events[1], events[5]])
        assert written.written_count == 3
        assert client.write_events([events[5]]).written_count == 0
        # What happened before comes after; and an event of an item that comes later still.
        late = client.write_events([events[0], events[3], events[2], click("cat", "film-music-later", 9)])
        assert (late.written_count, late.unknown_item_count) == (4, 1)
        user = client.get_user("cat")
        assert user.event_count == 7
        order = ["film-music-later", *(f"film-music-{number}" for number in reversed(range(6)))]
        assert [event.item_id for event in user.latest_events] == order
        assert [event.time for event in user.latest_events][1] == NOON + dt.timedelta(minutes=5)
        by_user = client.recommend(user_id="cat", page_size=50)
        by_history = client.recommend(history=[event.item_id for event in events], page_size=50)
        assert ids(by_user) == ids(by_history)
        # A dislike counts against what is like it.
        client.write_events([UserEvent(user_id="dan", item_id="book-war-1", type="dislike")])
        disliked, neutral = client.recommend(user_id="dan", page_size=ITEMS), client.recommend(page_size=ITEMS)
        assert topics(disliked[:24]).count("war") <= topics(neutral[:24]).count("war")
        assert "book-war-1" not in ids(disliked)
        with pytest.raises(InvalidArgumentError, match="weight"):
            client.write_events([UserEvent(user_id="dan", item_id="book-war-1", type="stares at")])
        kill(server)
    with stateful(tiny_bundle, tmp_path) as (_, client):
        assert client.write_events(events).written_count == 0, "ids are known after a restart too"
        later = Item(item_id="film-music-later", text="music film music 77", domain="film")
        client.upsert_items([later])
        assert [event.item_id for event in client.get_user("cat").latest_events] == order
        assert later.item_id not in ids(client.recommend(user_id="cat", page_size=1000)), "it was seen already"
        trending = client.trending(page_size=3)
        assert trending.strategy is Strategy.TRENDING


def test_a_user_who_is_purged_leaves_no_trace(tiny_bundle: Path, tmp_path: Path):
    secret, words = "eve-whom-nobody-may-find", "collects unmistakable porcelain"
    directory = tmp_path / "state"
    with stateful(tiny_bundle, tmp_path) as (server, client):
        client.upsert_users([User(user_id=secret, profile={"likes": words}), User(user_id="frank", profile={})])
        events = [
            click(secret, f"film-war-{number}", number, context={"mood": f"{words} {number}"}) for number in range(10)
        ]
        client.write_events(events)
        client.write_events([click("frank", "film-war-1", 1)])
        nobody = ids(client.recommend(page_size=20))
        assert ids(client.recommend(user_id=secret, page_size=20)) != nobody
        assert any(secret.encode() in file.read_bytes() for file in directory.iterdir()), "it is looked for where it is"
        purged = client.purge_user(secret)
        assert (purged.profile_removed, purged.event_count) == (True, 10)
        again = client.purge_user(secret)
        assert (again.profile_removed, again.event_count) == (False, 0)
        with pytest.raises(NotFoundError):
            client.get_user(secret)
        assert ids(client.recommend(user_id=secret, page_size=20)) == nobody
        assert client.get_user("frank").event_count == 1
        state = client.status().state
        assert state is not None
        assert state.event_count == 1
        _assert_no_trace(directory, secret, words)
        kill(server)
    _assert_no_trace(directory, secret, words)
    with stateful(tiny_bundle, tmp_path) as (_, client):
        with pytest.raises(NotFoundError):
            client.get_user(secret)
        assert client.write_events([events[0]]).written_count == 1, "not even the ids of the events are known"
    with contextlib.closing(sqlite3.connect(next(directory.glob("*.sqlite3")))) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def _assert_no_trace(directory: Path, *traces: str) -> None:
    for file in directory.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            for trace in traces:
                assert trace.encode() not in content, f"{file.name} has a trace"


def test_a_full_disk_is_told_of_and_reads_go_on(tiny_bundle: Path, tmp_path: Path):
    """A limit on the size of its files stands in for the disk: it can be set and lifted while the server runs."""
    with stateful(tiny_bundle, tmp_path) as (server, client):
        client.upsert_items([NEWCOMER])
        client.write_events([click("gil", "film-war-3", 0)])
        wanted = ids(client.recommend(user_id="gil", page_size=20))
        soft, hard = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (4096, hard))
        another = Item(item_id="film-war-more", text="war film war 99")
        for write in (
            lambda: client.upsert_items([another]),
            lambda: client.delete_items([NEWCOMER.item_id]),
            lambda: client.upsert_users([User(user_id="gil", profile={"age": 9})]),
            lambda: client.write_events([click("gil", "film-war-4", 1)]),
            lambda: client.purge_user("gil"),
        ):
            with pytest.raises(ResourceExhaustedError, match="disk is full"):
                write()
        assert ids(client.recommend(user_id="gil", page_size=20)) == wanted
        assert client.get_item(NEWCOMER.item_id).title == NEWCOMER.title
        assert client.get_user("gil").event_count == 1
        with pytest.raises(NotFoundError):
            client.get_item(another.item_id)
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (soft, hard))
        assert client.upsert_items([another]).created_count == 1
        assert client.write_events([click("gil", "film-war-4", 1)]).written_count == 1
        kill(server)
    with stateful(tiny_bundle, tmp_path) as (_, client):
        assert client.get_item(another.item_id).text == another.text
        assert client.get_user("gil").event_count == 2


def test_a_state_that_cannot_be_is_refused_at_the_start(tiny_bundle: Path, tmp_path: Path):
    file = tmp_path / "file"
    file.write_text("mine")
    assert str(file) in start_and_fail(tiny_bundle, *QUICK, "--state", str(file))
    assert file.read_text() == "mine"
    with stateful(tiny_bundle, tmp_path) as (server, client):
        assert str(server.pid) in start_and_fail(tiny_bundle, *QUICK, "--state", str(tmp_path / "state"))
        client.upsert_items([NEWCOMER])


def test_without_state_nothing_can_be_written_and_the_mend_is_told(tiny_bundle: Path):
    with served(tiny_bundle) as (_, client):
        for write in (
            lambda: client.upsert_items([NEWCOMER]),
            lambda: client.delete_items(["film-war-1"]),
            lambda: client.upsert_users([User(user_id="hal")]),
            lambda: client.write_events([click("hal", "film-war-1", 0)]),
            lambda: client.purge_user("hal"),
            lambda: client.get_user("hal"),
            lambda: client.recommend(min_consistency_token="1-1"),
        ):
            with pytest.raises(FailedPreconditionError, match="--state"):
                write()
        assert client.status().state is None
        assert client.recommend(user_id="hal").strategy is Strategy.COLD_START
        assert client.get_item("film-war-1").title == "War film 1"
        assert client.list_items(page_size=7).total_size == ITEMS
        assert len(list(client.iter_items())) == ITEMS


def test_pages_of_a_list_neither_repeat_nor_pass_over_while_items_come_and_go(tiny_bundle: Path, tmp_path: Path):
    with stateful(tiny_bundle, tmp_path) as (server, client):
        pages, shown = client.iter_recommendation_pages(text="space film", page_size=25), []
        shown += ids(next(pages))
        last = shown[-1]
        client.upsert_items([Item(item_id=f"film-space-more-{n}", text=f"space film space 5{n}") for n in range(5)])
        client.delete_items([last])
        shown += [result.item_id for page in pages for result in page]
        assert len(shown) == len(set(shown))
        kept = {item.item_id for item in client.iter_items(page_size=7)}
        assert kept == set(shown) - {last}
        assert len(kept) == ITEMS + 4
        first = client.recommend(page_size=5)
        with pytest.raises(InvalidArgumentError, match="page_token"):
            client.recommend(page_size=5, text="love", page_token=first.next_page_token)
        for token in ("nonsense", first.next_page_token[:-8] + "AAAAAAAA", first.next_page_token[:30]):
            with pytest.raises(InvalidArgumentError, match="page_token"):
                client.recommend(page_size=5, page_token=token)
        kill(server)
    with stateful(tiny_bundle, tmp_path) as (_, client), pytest.raises(InvalidArgumentError, match="first page"):
        client.recommend(page_size=5, page_token=first.next_page_token)


async def test_both_clients_tell_the_same(tiny_bundle: Path, tmp_path: Path):
    with stateful(tiny_bundle, tmp_path) as (server, client):
        async with AsyncClient(server.address, timeout_s=30) as other:
            assert await other.upsert_users([User(user_id="ida", profile={"likes": "war"})])
            assert (await other.upsert_items([NEWCOMER])).created_count == 1
            assert (await other.write_events([click("ida", NEWCOMER.item_id, 0)])).written_count == 1
            assert _told(await other.get_user("ida")) == _told(client.get_user("ida"))
            assert await other.get_item(NEWCOMER.item_id) == client.get_item(NEWCOMER.item_id)
            answers = [
                await other.recommend(user_id="ida", explain=True),
                client.recommend(user_id="ida", explain=True),
            ]
            assert answers[0].results == answers[1].results
            listed = [item async for item in other.iter_items(page_size=50)]
            assert listed == list(client.iter_items(page_size=50))
            first, second = await other.purge_user("ida"), client.purge_user("ida")
            assert (first.event_count, second.event_count) == (1, 0)
            assert (await other.delete_items([NEWCOMER.item_id])).deleted_count == 1
            assert client.delete_items([NEWCOMER.item_id]).deleted_count == 0


def _told(user: User) -> tuple[object, ...]:
    return user.profile, user.event_count, [(event.item_id, event.type, event.time) for event in user.latest_events]
