"""An engine's audiences: made ready beside calls and writes, filtered, and found whenever they are asked for."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from tanager_server.bundle import Item
from tanager_server.engine import audience_filter, audience_tables
from tanager_server.engine.audiences import AudienceQuery
from tanager_server.engine.records import ItemRecord, item_bytes
from tanager_server.engine.request import RankQuery, RecommendQuery
from tanager_server.errors import InvalidRequestError, ItemNotFoundError
from tanager_server.live import folding
from tanager_server.state import PutItems, StoredItem

ITEMS = 60
CROWD = 2_500  # some parts of a snapshot


class Worker:
    """A thread's stand-in, which has something happen after each thing that it did."""

    def __init__(self, then=lambda: None):
        self.then, self.done = then, 0

    async def run(self, function, *args):
        result = function(*args)
        self.done += 1
        self.then()
        return result


@pytest.fixture(scope="module")
def generation(make_generation):
    return make_generation(ITEMS)


@pytest.fixture
def engine(generation, make_engine):
    engine, _ = make_engine(generation)
    for number in range(CROWD):
        add(engine, f"user-{number}", number % ITEMS, {"color": "red" if number % 2 else "blue", "age": number % 80})
    return engine


def add(engine, user, item, profile):
    known = engine.known
    known.users.put_profile(user, profile)
    known.users.add_event(user, known.numbers.number(f"item-{item}"), "click", 1.0, 1)


async def expected(engine, generation, make_engine, query):
    """The answer of an engine that reads the users now."""
    fresh, _ = make_engine(generation)
    for name in ("users", "numbers"):
        setattr(fresh.known, name, getattr(engine.known, name))
    fresh.known.filter = audience_filter.UserFilter(fresh.known.users)
    fresh.audiences.load()
    return await fresh.audiences.find(query)


async def test_users_may_change_while_they_are_read(engine, generation, make_engine):
    """The first of them, the last, those not read yet, and some who come; slots that are given again."""
    users, writes = engine.known.users, iter(range(10_000))

    def write():
        turn = next(writes)
        for slot in (turn, CROWD - 1 - turn, CROWD // 2 + turn):
            users.purge(f"user-{slot}")
        add(engine, f"new-{turn}", turn, {"color": "blue", "age": turn})
        add(engine, f"user-{100 + turn}", 7, {"color": "red"})
        users.put_profile(f"user-{200 + turn}", {"color": ("red", "blue"), "age": 20})

    worker = Worker(write)
    await engine.audiences.prepare(worker)
    assert worker.done > 2
    for text in ("", 'color = "red"', "age < 3"):
        query = AudienceQuery("item-3", CROWD, filter=text)  # all of them
        found = await engine.audiences.find(query)
        assert found == await expected(engine, generation, make_engine, query)
        assert found.members.candidates


async def test_what_is_ready_is_not_made_again(engine):
    worker = Worker()
    await engine.audiences.prepare(worker)
    done = worker.done
    await engine.audiences.prepare(worker)
    assert worker.done == done


async def test_items_may_move_while_users_are_read(make_generation, make_engine, monkeypatch):
    """Their text is kept beside the catalogue, and must be that of the item as it is now."""
    monkeypatch.setattr(audience_tables, "_EXACT_ITEMS", 0)
    generation = make_generation(ITEMS)
    engine, _ = make_engine(generation)
    add(engine, "ada", 1, {})
    vector = generation.vectors[5].copy()

    def move():
        generation.vectors[4] = vector
        engine.audiences.moved([4])

    await engine.audiences.prepare(Worker(move))
    text = engine.audiences._index.tables.text
    assert product(text, vector, 4) == product(text, vector, 5)
    generation.vectors[4] = -vector
    engine.audiences.moved([4])
    assert product(text, vector, 4) == -product(text, vector, 5)


def product(text, vector, position):
    search = text.products(vector)
    try:
        while True:
            next(search)
    except StopIteration as done:
        return done.value[position]


async def test_an_engine_that_was_not_made_ready_finds_them_too(engine, generation, make_engine):
    query = AudienceQuery("item-5", 20, filter="age >= 18")
    first, second = await asyncio.gather(engine.audiences.find(query), engine.audiences.find(query))
    assert first == second == await expected(engine, generation, make_engine, query)


async def test_a_filter_follows_many_changes_in_turns(engine, monkeypatch):
    monkeypatch.setattr(audience_filter, "_PART", 10)
    by = engine.known.filter
    turns = 0
    for _ in by.follow():
        turns += 1
        if turns == 3:  # who was looked at already
            engine.known.users.put_profile("user-1", {"color": "green"})
    assert turns >= CROWD / 10 - 1
    users = engine.known.users
    (green,) = np.flatnonzero(by.allowed('color = "green"')).tolist()
    assert users.user_id(green) == "user-1"
    users.purge("user-1")
    assert not list(by.follow())
    assert not by.allowed('color = "green"').any()


async def test_a_purged_user_is_forgotten_at_once(engine):
    by, users = engine.known.filter, engine.known.users
    users.put_profile("somebody", {"color": "secret", "likes": ("secret", "red")})
    for _ in by.follow():
        pass
    assert by.allowed("id = somebody").sum() == by.allowed("likes:secret").sum() == 1
    by.forget(users.purge("somebody").slot)
    held = [column.texts.find(text) for column in by._columns._columns.values() for text in ("secret", "somebody")]
    assert set(held) == {-1}
    assert by.allowed("id = somebody").sum() == by.allowed("likes:secret").sum() == 0
    assert not list(by.follow())
    by.forget(users.slots)


async def test_two_may_follow_at_a_time(engine, monkeypatch):
    monkeypatch.setattr(audience_filter, "_PART", 10)
    by = engine.known.filter
    one, other = by.follow(), by.follow()
    next(one)
    engine.known.users.put_profile("user-2", {"color": "green"})
    for _ in other:
        pass
    for _ in one:
        pass
    assert by.allowed('color = "green"').sum() == 1
    assert not list(by.follow())


async def test_each_member_is_told_of_with_as_many_reasons_as_are_asked_for(engine):
    query = AudienceQuery("item-5", 20)
    found = await engine.find_audience(query)
    assert found == await engine.audiences.find(query)
    assert not found.explanations
    explained = await engine.find_audience(query._replace(reasons=2))
    assert explained.members == found.members
    assert len(explained.explanations) == 20
    for user_id, explanation in zip(found.members.user_ids, explained.explanations, strict=True):
        asked = RankQuery(["item-5"], RecommendQuery(page_size=1, user_id=user_id, reasons=2))
        (own,) = (await engine.rank(asked, deadline=np.inf)).explanations
        assert explanation == own
        assert len(explanation.reasons) <= 2
    assert any(explanation.reasons for explanation in explained.explanations)


async def test_what_cannot_be_asked_for_is_refused(engine):
    with pytest.raises(ItemNotFoundError):
        await engine.audiences.find(AudienceQuery("nothing", 5))
    with pytest.raises(InvalidRequestError, match="filter"):
        await engine.audiences.find(AudienceQuery("item-1", 5, filter="age >"))


async def test_whom_a_filter_does_not_allow_is_not_found_whoever_comes_meanwhile(make_generation, make_engine):
    engine, _ = make_engine(make_generation(60))
    for number in range(400):
        add(engine, f"user-{number}", 3, {"color": "red" if number % 2 else "blue"})
    engine.audiences.load()
    for number in range(200):  # so many changes are taken in with pauses
        add(engine, f"user-{number}", 3, {"color": "red" if number % 2 else "blue"})
    query = AudienceQuery("item-5", 1000, include_seen=True, filter='color = "red"')
    finding = asyncio.create_task(engine.audiences.find(query))
    for _ in range(2):  # before and in the midst of what it follows
        await asyncio.sleep(0)
    engine.known.users.purge("user-301")
    add(engine, "intruder", 3, {"color": "blue"})  # has that one's place
    found = await finding
    assert len(found.members.user_ids) > 100
    assert "intruder" not in found.members.user_ids


async def test_items_that_come_after_the_tables_are_in_them(make_generation, make_engine, monkeypatch):
    monkeypatch.setattr(audience_tables, "_EXACT_ITEMS", 0)
    monkeypatch.setattr(folding, "fingerprint", lambda manifest: "encoder")
    generation = make_generation(60).with_room(100)
    engine, _ = make_engine(generation)
    engine.known.users.add_event("ada", engine.known.numbers.number("new"), "click", 1.0, 1)
    engine.audiences.load()
    new = Item(id="new", title="", text="new", domain="even", categories=(), attributes={}, popularity=0.0)
    write = PutItems([StoredItem("new", item_bytes(ItemRecord(new, 1)))], [])
    folding.follow(engine, [write], lambda texts: generation.vectors[[5]])
    index = engine.audiences._index
    assert index is not None
    products = run(index.tables.text.products(generation.vectors[5]))
    assert products[generation.catalogue.position("new")] == products[5] > 0.9


def run(steps):
    """What a generator gives in the end."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return done.value
