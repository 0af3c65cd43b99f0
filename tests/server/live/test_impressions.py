"""What was shown is logged, found again by its token, and gone when it should be."""

from __future__ import annotations

import asyncio
import json
import random
import time

import pytest

from tanager_server.engine import Engine, Events, RecommendQuery
from tanager_server.errors import StorageError
from tanager_server.live import Impressions, Indexer, Live, Shown, read_impression
from tanager_server.live import folding as folding_module
from tanager_server.live import impressions as impressions_module
from tanager_server.live.indexing import rows_for
from tanager_server.live.served import Served
from tanager_server.state import Impression, Journal, JournalPolicy, SqliteStore, StoredEvent

DAY_NS = 24 * 3600 * 10**9


@pytest.fixture
def store(tmp_path):
    with SqliteStore(tmp_path / "state", survives="process") as opened:
        yield opened


@pytest.fixture
def generation(make_generation, monkeypatch):
    monkeypatch.setattr(folding_module, "fingerprint", lambda manifest: "made")  # it has no encoder
    return make_generation(60).with_room(rows_for(60))


@pytest.fixture
async def begin(store, generation, make_engine, tmp_path):
    """A live engine with the impressions given; ended by the fixture."""
    ends = []

    async def start(policy=None, **options) -> tuple[Engine, Live]:
        engine, _ = make_engine(generation)
        live = Live(Served(engine), store, Impressions(store, **options))
        journal = Journal(store, apply=live.apply, policy=policy)
        live.begin(journal, Indexer(engine, None, tmp_path))
        ends.append((live, journal))
        return engine, live

    yield start
    for live, journal in ends:
        await live.impressions.close()
        await journal.close()


async def show(engine, live, user_id="ann", page_size=5, **query):
    """What a user is shown: ids and token."""
    asked = RecommendQuery(page_size, user_id=user_id, **query)
    answer = await engine.recommend(asked, deadline=0)
    return [item.item_id for item in answer.items], live.impressions.log(asked, answer, began=live.impressions.moment)


def click(event_id, item_id, token, user_id="ann"):
    return StoredEvent(event_id, user_id, item_id, "click", 1.0, time.time_ns(), token)


async def settled(live):
    """All that was posted is committed: it goes before any later write."""
    await live.delete_items(["item-59"])


async def test_what_was_shown_is_stored_with_how_it_came_about(begin, store, generation):
    engine, live = await begin()
    shown, token = await show(
        engine, live, events=Events(["item-1"], [1.0]), target_domains={"even"}, shown=[3, 4], profile={"color": "red"}
    )
    await settled(live)
    kept = store.lookup_impression(token)
    assert (kept.user_id, abs(kept.time_ns - time.time_ns()) < DAY_NS) == ("ann", True)
    record = json.loads(kept.data)
    assert record["items"] == shown
    assert (record["strategy"], record["degraded"]) == ("PERSONAL", False)
    assert record["bundle"] == generation.manifest.bundle_id
    assert record["request"] == {"events": 1, "profile": ["color"], "target_domains": ["even"]}
    assert len(record["scores"]) == len(record["sources"]) == 5
    assert set("+".join(record["sources"]).split("+")) <= {
        *("TEXT", "COLLABORATIVE", "TRANSITION", "POPULAR", "PROFILE")
    }
    assert read_impression(kept.data) == Shown(shown, 3, [1.0] * 5)


async def test_tokens_are_short_and_each_list_has_its_own(begin):
    engine, live = await begin()
    tokens = [(await show(engine, live))[1] for _ in range(50)]
    assert len(set(tokens)) == 50
    assert all(len(token) == 12 for token in tokens)


async def test_events_are_compared_with_what_their_list_showed(begin):
    engine, live = await begin()
    shown, token = await show(engine, live)
    other = next(f"item-{number}" for number in range(60) if f"item-{number}" not in shown)
    events = [
        click("1", shown[0], token),
        click("2", other, token),
        click("3", shown[0], "no token at all " * 100),
        click("4", shown[0], "AAAAAAAAAAAA"),
        click("5", other, ""),
        click("6", shown[4], token, user_id="bob"),
    ]
    done = await live.write_events(events)
    assert (done.written, done.unattributed) == (6, 4)
    again = await live.write_events([*events, click("7", other, token)])
    assert (again.written, again.unattributed) == (1, 1), "of events that are new"


async def test_what_is_no_more_in_memory_is_looked_up(begin, store, monkeypatch):
    monkeypatch.setattr(impressions_module, "_MAX_REMEMBERED", 10)
    engine, live = await begin()
    shown, token = await show(engine, live)
    later = [await show(engine, live, user_id=user) for user in ("bob", "ann")]
    await settled(live)
    looked_up: list[str] = []
    look_up = store.lookup_impression

    def note(token):
        looked_up.append(token)
        return look_up(token)

    monkeypatch.setattr(store, "lookup_impression", note)
    events = [click("1", shown[0], token), click("2", "item-59", token), click("3", later[1][0][0], later[1][1])]
    done = await live.write_events(events)
    assert (done.unattributed, looked_up) == (1, [token])


async def test_after_a_restart_events_are_still_attributed(begin, store, make_engine, generation):
    engine, live = await begin()
    shown, token = await show(engine, live)
    await settled(live)
    _, restarted = await begin()
    done = await restarted.write_events([click("1", shown[0], token), click("2", "item-59", token)])
    assert (done.written, done.unattributed) == (2, 1)
    with store.load() as snapshot:
        assert [event.attribution for event in snapshot.events()] == [token, token]


async def test_a_store_that_cannot_be_read_fails_the_write_before_anything_is_written(begin, store, monkeypatch):
    def fail(token):
        raise StorageError("the disk failed")

    _, live = await begin()
    monkeypatch.setattr(store, "lookup_impression", fail)
    with pytest.raises(StorageError):
        await live.write_events([click("1", "item-1", "AAAAAAAAAAAA")])
    assert live.event_count == 0


async def test_a_purged_user_leaves_no_trace_in_memory_nor_in_the_store(begin, store):
    engine, live = await begin()
    lists = [await show(engine, live) for _ in range(3)]
    kept, kept_token = await show(engine, live, user_id="bob")
    purge = asyncio.ensure_future(live.purge_user("ann"))
    await asyncio.sleep(0)
    during = await show(engine, live)
    assert during[1] == "", "nothing is logged meanwhile"
    assert (await purge).impressions == 3
    tokens = [token for _, token in lists]
    assert all(not shown.item_ids for shown in (await live.impressions.shown_by(tokens)).values())
    assert not any("ann" in str(part) for part in vars(live.impressions).values())
    await settled(live)
    assert [store.lookup_impression(token) for token in tokens] == [None] * 3
    assert (await live.impressions.shown_by([kept_token]))[kept_token].item_ids == tuple(kept)
    assert (await show(engine, live))[1], "afterwards ann is somebody new"


async def test_a_list_that_was_begun_before_a_purge_is_not_logged_after_it(begin, monkeypatch):
    monkeypatch.setattr("tanager_server.live.impressions._MAX_PURGES", 3)
    engine, live = await begin()
    asked = RecommendQuery(5, user_id="ann")
    began = live.impressions.moment
    answer = await engine.recommend(asked, deadline=0)
    await live.purge_user("ann")
    await live.purge_user("bob")
    assert live.impressions.log(asked, answer, began=began) == ""
    assert live.impressions.log(asked._replace(user_id="eve"), answer, began=began) != ""
    # Of so many purges not all are known any more: who it was cannot be told, so nothing is logged.
    for number in range(4):
        await live.purge_user(f"user-{number}")
    assert live.impressions.log(asked, answer, began=began) == ""
    assert live.impressions.log(asked._replace(user_id="eve"), answer, began=began) == ""
    assert live.impressions.log(asked, answer, began=live.impressions.moment) != ""


async def test_an_event_of_somebody_else_is_not_attributed(begin):
    engine, live = await begin()
    shown, token = await show(engine, live)
    written = await live.write_events([click("1", shown[0], token), click("2", shown[0], token, user_id="bob")])
    assert written.unattributed == 1


async def test_nobody_and_nothing_are_not_logged(begin):
    engine, live = await begin()
    assert (await show(engine, live, user_id=""))[1] == ""
    assert (await show(engine, live, exclude=[f"item-{number}" for number in range(60)])) == ([], "")


@pytest.mark.parametrize(("share", "least", "most"), [(0.0, 0, 0), (0.25, 60, 140), (1.0, 400, 400)])
async def test_a_share_of_the_lists_is_logged(begin, share, least, most):
    engine, live = await begin(share=share, draw=random.Random(1))
    tokens = [(await show(engine, live))[1] for _ in range(400)]
    assert least <= sum(map(bool, tokens)) <= most


async def test_what_the_journal_drops_has_no_token(begin):
    engine, live = await begin(policy=JournalPolicy(max_posted_rows=2))
    tokens = [(await show(engine, live))[1] for _ in range(3)]
    assert list(map(bool, tokens)) == [True, True, False]


async def test_what_is_old_enough_is_removed_piece_by_piece(begin, store, monkeypatch):
    monkeypatch.setattr(impressions_module, "_EXPIRED_AT_A_TIME", 2)
    engine, live = await begin(keep_days=30.0)
    tokens = [(await show(engine, live))[1] for _ in range(5)]
    await settled(live)
    now = time.time_ns()
    assert await live.impressions.expire(now) == 0
    assert await live.impressions.expire(now + 29 * DAY_NS) == 0
    assert await live.impressions.expire(now + 31 * DAY_NS) == 5
    assert [store.lookup_impression(token) for token in tokens] == [None] * 5


async def test_it_is_done_soon_after_the_start_and_a_failure_is_told(begin, store, monkeypatch, caplog):
    monkeypatch.setattr(impressions_module, "_FIRST_EXPIRE_S", 0.0)

    async def fail(now_ns):
        tried.set()
        raise StorageError("the disk is full")

    tried = asyncio.Event()
    monkeypatch.setattr(Impressions, "expire", lambda self, now_ns: fail(now_ns))
    await begin()
    await tried.wait()
    await asyncio.sleep(0)
    assert "impressions could not be expired: the disk is full" in caplog.text


def test_an_impression_of_another_server_is_read(store):
    data = b'{"items":["a","b"],"first_rank":11,"propensities":[1.0,0.05]}'
    assert read_impression(Impression("x", "u", 1, data).data) == Shown(["a", "b"], 11, [1.0, 0.05])
