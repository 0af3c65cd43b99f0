"""Writes of items that overlap, room that runs out, and what a restart makes of it all."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any
from unittest.mock import AsyncMock

import numpy as np
import pytest
from tests.server.conftest import Wishes

from tanager_server.bundle import Item
from tanager_server.engine import Engine
from tanager_server.errors import (
    EncodeError,
    InvalidRequestError,
    OverloadedError,
    StaleError,
    StorageError,
    UserNotFoundError,
)
from tanager_server.live import Indexer, Live, Served
from tanager_server.live.replica import Replica
from tanager_server.runtime import EncodedTexts
from tanager_server.state import Journal, SqliteStore, StoredEvent

ITEMS, ROOM = 20, 4


def vector_of(text):
    """Each text has one."""
    vector = np.random.default_rng(list(text.encode())).standard_normal(16).astype(np.float32)
    return vector / np.linalg.norm(vector)


class SlowTexts(Wishes):
    """Texts that begin with "slow" wait until they are released."""

    def __init__(self, generation):
        super().__init__(generation, {})
        self.released = asyncio.Event()
        self.encoded = []

    async def encode_items(self, texts, *, deadline):
        self.encoded += texts
        if any(text.startswith("slow") for text in texts):
            await self.released.wait()
        return EncodedTexts([vector_of(text) for text in texts], 0.0, 0.0, 0.0, len(texts))


def item(name, text, **more):
    fields = {"title": "", "domain": "", "categories": (), "attributes": {}, "popularity": 0.0}
    return Item(id=name, text=text, **(fields | more))


def event(number, user="ann", name="item-1", weight=1.0):
    return StoredEvent(f"event-{number}", user, name, "click", weight, number)


@pytest.fixture
def started(make_generation, tmp_path, monkeypatch):
    """A server's inner half, over a state; to be started again over the same one."""

    @contextlib.asynccontextmanager
    async def start():
        generation = make_generation(ITEMS).with_room(ITEMS + ROOM)
        monkeypatch.setattr("tanager_server.live.folding.fingerprint", lambda manifest: "the encoder")
        generation.catalogue._lines = _Lines(generation.catalogue)
        texts: Any = SlowTexts(generation)
        engine = Engine(generation, texts)
        with contextlib.closing(SqliteStore(tmp_path / "state", survives="process")) as store:
            live = Live(Served(engine), store)
            with store.load() as snapshot:
                live.load(snapshot, lambda found: np.stack([vector_of(text) for text in found]))
            async with Journal(store, apply=live.apply) as journal:
                indexer = Indexer(engine, None, tmp_path / "state")
                monkeypatch.setattr(indexer, "look", lambda: None)
                live.begin(journal, indexer)
                yield live, engine, texts

    return start


class _Lines:
    """The bundle's own items, which were not read from a file here."""

    def __init__(self, catalogue):
        self._catalogue = catalogue

    def item(self, position):
        return item(self._catalogue.ids[position], "")


def own_vector(engine, name):
    return engine.generation.vectors[engine.generation.catalogue.position(name)]


def written(live, *items):
    return live.upsert_items(items, deadline=1e9)


async def test_of_two_texts_written_at_the_same_time_the_vector_of_the_later_one_stays(started):
    async with started() as (live, engine, texts):
        await written(live, item("a", "first"))
        slow = asyncio.create_task(written(live, item("a", "slow second"), item("b", "first")))
        await asyncio.sleep(0)
        # What has the same text as before need not be encoded, but for what overtakes it.
        same = asyncio.create_task(written(live, item("c", "slow third"), item("a", "first", title="title")))
        await asyncio.sleep(0)
        texts.released.set()
        await asyncio.gather(slow, same)
        position = engine.generation.catalogue.position("a")
        text = engine.items.item(position).text
        np.testing.assert_array_equal(own_vector(engine, "a"), vector_of(text))
    async with started() as (_, engine, _):
        position = engine.generation.catalogue.position("a")
        assert engine.items.item(position).text == text
        np.testing.assert_array_equal(own_vector(engine, "a"), vector_of(text))


async def test_writes_do_not_depend_on_an_encoder_that_is_only_tried(started, make_generation, tmp_path):
    async with started() as (live, engine, texts):
        generation = make_generation(ITEMS).with_room(ITEMS + ROOM)
        generation.catalogue._lines = _Lines(generation.catalogue)
        tried: Any = SlowTexts(generation)
        held = asyncio.Event()

        async def fail(*_, **__):
            await held.wait()
            raise EncodeError("no vector")

        tried.encode_items = fail
        other = Replica(Engine(generation, tried), Indexer(engine, None, tmp_path / "state"))
        other._fingerprint = "another encoder"
        lost = []

        def lose(replica, error):
            lost.append((replica, str(error)))
            live.follow_with(live.replicas[0])
            return True

        live.lose_by(lose)
        live.follow_with(live.replicas[0], other)
        # Two at a time: the second finds it given up already.
        writes = [asyncio.create_task(written(live, item(name, name))) for name in ("a", "b")]
        while len(texts.encoded) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0)
        held.set()
        await asyncio.gather(*writes)
        assert lost == [(other, "no vector")]
        for name in ("a", "b"):
            np.testing.assert_array_equal(own_vector(engine, name), vector_of(name))
        # The encoder of the bundle that is served is another matter.
        texts.encode_items = fail
        with pytest.raises(EncodeError):
            await written(live, item("c", "c"))


async def test_an_item_that_is_deleted_while_it_is_written_comes_back_whole(started):
    async with started() as (live, engine, texts):
        await written(live, item("a", "first"))
        slow = asyncio.create_task(written(live, item("a", "first", title="again"), item("b", "slow")))
        await asyncio.sleep(0)
        assert (await live.delete_items(["a", "nothing"])).deleted == 1
        texts.released.set()
        await slow
        np.testing.assert_array_equal(own_vector(engine, "a"), vector_of("first"))


async def test_there_is_room_for_all_that_is_acknowledged(started):
    async with started() as (live, engine, _):
        calls = [written(live, *(item(f"{call}-{n}", f"{call} {n}") for n in range(2))) for call in range(5)]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        refused = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        assert {type(outcome) for outcome in refused} == {OverloadedError}
        assert len(outcomes) - len(refused) == ROOM // 2
        assert engine.items.room == 0
        assert len(engine.generation.catalogue) == ITEMS + ROOM


async def test_too_many_names_of_attributes_are_refused_before_anything_is_written(started, monkeypatch):
    monkeypatch.setattr("tanager_server.engine.attribute_names.MOST", 2)
    own = [item("a", "").model_copy(update={"attributes": {f"own-{n}": n}}) for n in range(3)]
    async with started() as (live, engine, texts):
        await written(live, own[0])
        seq, encoded = live.seq, list(texts.encoded)
        with pytest.raises(InvalidRequestError, match=r"items\[2\].attributes: .* more than 2 names"):
            await written(live, item("b", "text"), own[1], own[2].model_copy(update={"id": "c"}))
        assert (live.seq, texts.encoded) == (seq, encoded)
        assert engine.generation.catalogue.position("b") is None


async def test_too_many_names_in_profiles_are_refused_before_anything_is_written(started, monkeypatch):
    monkeypatch.setattr("tanager_server.engine.attribute_names.MOST", 2)
    async with started() as (live, engine, _):
        await live.upsert_users({"ann": {"age": 30.0}})
        seq = live.seq
        with pytest.raises(InvalidRequestError, match=r"users\[1\].profile: .* more than 2 names"):
            await live.upsert_users({"bob": {"city": "Ghent"}, "cyd": {"job": "smith"}})
        assert live.seq == seq
        assert "bob" not in engine.known.users
        await live.upsert_users({"bob": {"city": "Ghent", "age": 31.0}})


async def test_names_of_attributes_that_wait_to_be_written_count(started, monkeypatch):
    monkeypatch.setattr("tanager_server.engine.attribute_names.MOST", 3)
    async with started() as (live, engine, _):
        profiles = [live.upsert_users({f"user-{n}": {f"own-{n}": 1.0}}) for n in range(10)]
        own = [item(f"new-{n}", "").model_copy(update={"attributes": {f"own-{n}": n}}) for n in range(10)]
        for calls in (profiles, [written(live, one) for one in own]):
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
            assert [type(outcome) for outcome in outcomes[3:]] == [InvalidRequestError] * 7
            assert not any(isinstance(outcome, BaseException) for outcome in outcomes[:3])
        await live.upsert_users({f"user-{n}": {} for n in range(3)})
        await live.delete_items([one.id for one in own])
        await live.upsert_users({"user-9": {"own-9": 1.0}})
        await written(live, own[9])
        assert len(engine.known.users.attribute_names) == 1


async def test_names_that_are_given_up_before_another_write_has_them_count_for_that(started, monkeypatch):
    monkeypatch.setattr("tanager_server.engine.attribute_names.MOST", 1)
    async with started() as (live, engine, _):
        await live.upsert_users({"ann": {"age": 1.0}})
        names = engine.known.check_names([{"age": 1.0}])
        live._profile_names.update(names)  # of a write that waits behind the next
        await live.upsert_users({"ann": {}})
        with pytest.raises(InvalidRequestError):
            await live.upsert_users({"ann": {"city": "Ghent"}})


async def test_names_of_a_write_that_fails_count_no_more(started, monkeypatch):
    monkeypatch.setattr("tanager_server.engine.attribute_names.MOST", 1)
    async with started() as (live, _, _):
        with monkeypatch.context() as broken:
            broken.setattr(live._journal, "write", AsyncMock(side_effect=StorageError("full")))
            for write in (
                live.upsert_users({"ann": {"age": 1.0}}),
                written(live, item("a", "").model_copy(update={"attributes": {"age": 1}})),
            ):
                with pytest.raises(StorageError):
                    await write
        await live.upsert_users({"ann": {"city": "Ghent"}})
        await written(live, item("a", "").model_copy(update={"attributes": {"city": "Ghent"}}))


async def test_a_caller_who_goes_leaves_a_write_that_is_done(started):
    async with started() as (live, engine, _):
        gone = asyncio.create_task(written(live, item("a", "first")))
        while not live.items.under_way:  # noqa: ASYNC110  # figures are made in a thread
            await asyncio.sleep(0)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        await written(live, item("b", "second"))
        np.testing.assert_array_equal(own_vector(engine, "a"), vector_of("first"))
        assert (live.replicas[0].reserved, dict(live.items.under_way)) == (0, {})


async def test_only_texts_that_change_are_encoded_and_a_restart_encodes_none(started):
    async with started() as (live, _, texts):
        done = await written(live, item("a", "first"), item("item-3", "", title="of the bundle"))
        assert (done.created, done.encoded) == (1, 1)
        again = await written(live, item("a", "first", title="new title"))
        assert (again.created, again.encoded) == (0, 0)
        assert texts.encoded == ["first"]
    async with started() as (live, engine, texts):
        assert engine.items.item(engine.generation.catalogue.position("a")).title == "new title"
        assert engine.generation.catalogue.titles[3] == "of the bundle"
        assert engine.items.unindexed == 1, "the bundle's own vector is in the index still"
        assert live.seq == 2


async def test_events_count_once_and_a_purge_takes_them_back(started):
    async with started() as (live, engine, _):
        done = await live.write_events([event(1), event(1), event(2, name="later"), event(3, user="bob")])
        assert (done.written, done.unknown_items, live.event_count) == (3, 1, 3)
        assert engine.known.past("ann").positions == [1]
        await written(live, item("later", "text"))
        assert engine.known.past("ann").positions == [1, ITEMS]
        await live.delete_items(["item-1"])
        assert engine.known.past("ann").positions == [ITEMS]
        assert (await live.upsert_users({"ann": {"likes": ("war", "love")}, "cyd": {}})).created == 1
        assert live.user("ann", latest=10).profile == {"likes": ("war", "love")}
        removed = await live.purge_user("ann")
        assert (removed.had_profile, removed.events) == (True, 2)
        assert live.event_count == 1
        with pytest.raises(UserNotFoundError):
            live.user("ann", latest=10)
    async with started() as (live, engine, _):
        assert (live.event_count, len(engine.known.users)) == (1, 2)
        assert engine.known.past("ann").positions == []
        assert (await live.write_events([event(1)])).written == 1


async def test_no_text_of_a_purged_user_stays_in_the_filter_over_users(started):
    async with started() as (live, engine, _):
        await live.upsert_users({"ann": {"likes": ("secret",), "city": "secret"}, "bob": {"city": "Rome"}})
        by = engine.known.filter
        for _ in by.follow():
            pass
        assert by.allowed("city = secret").sum() == 1
        await live.purge_user("ann")
        columns = [by._columns.column(name) for name in by._columns.names()]
        kept = {text for column in columns if column for text in column.texts._texts}
        assert kept - {""} == {"bob", "Rome"}
        assert not list(by.follow())
        assert by.allowed("city:*").sum() == 1


async def test_a_token_stands_for_a_write_of_this_state(started):
    async with started() as (live, _, _):
        token = live.token((await live.write_events([event(1)])).seq)
        live.require(token, field="min_consistency_token")
        with pytest.raises(StaleError, match="backup"):
            live.require(live.token(live.seq + 1), field="min_consistency_token")
        for other in ("", "x", "-1", "nonsense-1", token + "-", token.replace("-", "--"), token.partition("-")[0]):
            with pytest.raises(InvalidRequestError, match="min_consistency_token"):
                live.require(other, field="min_consistency_token")
