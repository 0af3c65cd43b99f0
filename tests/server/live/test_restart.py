"""What a server that is started again knows is what it knew, to the last bit."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any

import numpy as np
import pytest
from tests.server.conftest import Wishes

from tanager_server.bundle import (
    ExpectedColumns,
    ExpectedPriors,
    Item,
    NewItems,
    NumberRanks,
    TextProjection,
    TraitLayout,
)
from tanager_server.engine import Engine
from tanager_server.engine.items import LiveItems, NoRoomError, Written
from tanager_server.engine.records import ItemRecord, item_bytes
from tanager_server.engine.subject import History
from tanager_server.errors import InvalidRequestError
from tanager_server.live import Indexer, Live, Served
from tanager_server.runtime import EncodedTexts
from tanager_server.state import AddImpressions, Impression, Journal, SqliteStore, StoredEvent

ITEMS, ROOM, DIM, SEQUENCE_DIM = 20, 90, 16, 5
NEW, USERS, TEXTS = 80, 6, 12
FILTERS = ('domain = "film"', "year >= 1995", 'categories:"love" AND NOT domain = "book"', 'by = "Ann"', 'title:"late"')
LAYOUT = TraitLayout(
    ("category=love", "category=war", "domain=film", "by=Ann"),
    np.array([1.0, 2.0, 3.0, 0.5]),
    (NumberRanks.of("year", np.array([1990.0, 1994, 2000, 2000, 2010])),),
    steps=3,
    width=0.2,
)


def vector_of(text):
    """Each text has one."""
    vector = np.random.default_rng(list(text.encode())).standard_normal(DIM).astype(np.float32)
    return vector / np.linalg.norm(vector)


def learned():
    """Figures that depend on all that is known of an item; some entries of B and T are too small to count."""
    random = np.random.default_rng(1)
    traits = DIM + len(LAYOUT)

    def columns():
        own = np.sort(random.permutation(ITEMS)[:15]).astype(np.int32)
        weights, offset, least = (
            random.normal(size=shape).astype(np.float32) for shape in ((traits, 15), (15,), (15,))
        )
        return ExpectedColumns.fit(own, weights, offset, np.abs(least), dim=DIM)

    priors = ExpectedPriors(
        random.normal(size=(traits, 2)).astype(np.float32),
        np.array([-3.0, -2.0], np.float32),
        1e-3,
        random.normal(size=(2, 4)).astype(np.float32),
    )
    projection = random.normal(size=(DIM, SEQUENCE_DIM - 2)).astype(np.float32)
    offset = np.array([0.1, -0.2, 0.3], np.float32)
    return NewItems(DIM, LAYOUT, columns(), columns(), priors, TextProjection(projection, offset, -0.4, 9.0))


class Texts(Wishes):
    """Stands in for the encoder."""

    async def encode_items(self, texts, *, deadline):
        return EncodedTexts([vector_of(text) for text in texts], 0.0, 0.0, 0.0, len(texts))


class _Lines:
    """The bundle's own items, which were not read from a file here."""

    def __init__(self, catalogue):
        self._catalogue = catalogue

    def item(self, position):
        return item(self._catalogue.ids[position], "")


def item(name, text, **more):
    fields = {"title": "", "domain": "", "categories": (), "attributes": {}, "popularity": 0.0}
    return Item(id=name, text=text, **(fields | more))


def drawn(random, name):
    """An item as it may come: much of it is as it was, or missing."""
    attributes: dict[str, Any] = {
        "year": int(random.integers(1985, 2015)),
        "by": ["Ann", "Bo"][: random.integers(3)] if random.random() < 0.5 else "Ann",
        "used": bool(random.random() < 0.5),
    }
    return item(
        name,
        f"text {random.integers(TEXTS)}",
        title=["", "Early", "Late Night"][random.integers(3)],
        domain=["", "film", "book"][random.integers(3)],
        categories=[("love", "war"), ("war",), ("new here",), ()][random.integers(4)],
        attributes={name: value for name, value in attributes.items() if random.random() < 0.7},
    )


@pytest.fixture
def generation(make_generation, unit_vectors):
    def make():
        made = make_generation(ITEMS, dim=DIM, sequence=unit_vectors(ITEMS, SEQUENCE_DIM))
        made = dataclasses.replace(made, new_items=learned()).with_room(ITEMS + ROOM)
        made.catalogue._lines = _Lines(made.catalogue)
        return made

    return make


@pytest.fixture
def started(generation, tmp_path, monkeypatch):
    """A server's inner half, over a state; to be started again over the same one."""
    monkeypatch.setattr("tanager_server.live.folding.fingerprint", lambda manifest: "the encoder")

    @contextlib.asynccontextmanager
    async def start():
        made = generation()
        texts: Any = Texts(made, {})
        engine = Engine(made, texts)
        with contextlib.closing(SqliteStore(tmp_path / "state", survives="process")) as store:
            live = Live(Served(engine), store)
            with store.load() as snapshot:
                live.load(snapshot, lambda found: np.stack([vector_of(text) for text in found]))
            async with Journal(store, apply=live.apply) as journal:
                indexer = Indexer(engine, None, tmp_path / "state")
                monkeypatch.setattr(indexer, "look", lambda: None)
                live.begin(journal, indexer)
                yield live, engine

    return start


async def write(live, random, steps):
    """Does this and that."""
    names = [f"item-{number}" for number in range(ITEMS)] + [f"new-{number}" for number in range(NEW)]
    for step in range(steps):
        kind = random.integers(10)
        user = f"user-{random.integers(USERS)}"
        if kind < 5:
            chosen = random.choice(names, size=random.integers(1, 20), replace=False)
            await live.upsert_items([drawn(random, name) for name in chosen], deadline=1e9)
        elif kind == 5:
            await live.delete_items(random.choice(names, size=5).tolist())
        elif kind == 6:
            await live.upsert_users({user: {"likes": ("war", "love"), "age": int(random.integers(90))}})
        elif kind == 7 and random.random() < 0.3:
            await live.purge_user(user)
        elif kind == 7:
            shown = Impression(f"shown-{step}", f"visitor-{random.integers(USERS)}", step, b"{}")
            await live._write(AddImpressions([shown]))
        else:
            events = [
                StoredEvent(
                    f"event-{step}-{number}",
                    f"user-{random.integers(USERS)}",
                    str(random.choice(names)),
                    ["click", "hide"][random.integers(2)],
                    float(random.choice([1.0, 0.5, -1.0])),
                    int(random.integers(1, 10**15)),
                )
                for number in range(20)
            ]
            await live.write_events(events)


def known_of(live, engine):
    """All that can be asked for, by id."""
    generation, items, users = engine.generation, engine.items, engine.known.users
    catalogue = generation.catalogue
    rows = {catalogue.ids[row]: row for row in sorted(catalogue.live_positions())}
    ids = sorted(rows)
    places = [rows[name] for name in ids]
    found: dict[str, Any] = {
        "ids": ids,
        "items": [(items.item(row), items.written_ns(row), catalogue.titles[row]) for row in places],
        "domains": ([catalogue.domains[row] for row in places], catalogue.domain_counts),
        "live": sorted(catalogue.ids[row] for row in np.flatnonzero(items.live)),
        "vectors": generation.vectors[places].tolist(),
        "sequence vectors": generation.sequence.vectors[places].tolist(),
        "priors": generation.priors[:, places].tolist(),
        "seq": live.seq,
        "events": live.event_count,
    }
    for text in FILTERS:
        found[text] = [name for name in ids if engine.allowed(text)[rows[name]]]
    # What each item of the bundle says of all others, by B, T and text; of others there is nothing but their text.
    ranker = engine._serving.ranker
    for name in (f"item-{number}" for number in range(ITEMS)):
        if name in rows:
            scores, sources = ranker.score(places, history=History([rows[name]], [1.0], 0), attributes=[], asked=None)
            found[f"said by {name}"] = scores, sources
    found["users"] = sorted(name for slot in range(users.slots) if (name := users.user_id(slot)) is not None)
    for user in (f"user-{number}" for number in range(USERS)):
        past = engine.known.past(user)
        found[user] = [catalogue.ids[row] for row in past.positions], past.weights
        known = users.get(user, latest=1_000)
        if known is not None:
            found[user] += (
                known.profile,
                [(engine.known.numbers.item_id(event.number), *event[1:]) for event in known.latest],
            )
    return found


def trends_of(engine):
    numbers, scores = engine.trends.scores(10**15, engine.trends.half_lives_h[0])
    found = zip([engine.known.numbers.item_id(number) for number in numbers.tolist()], scores.tolist(), strict=True)
    return dict(sorted(found))


@pytest.mark.parametrize("seed", range(6))
async def test_a_restart_changes_nothing(started, seed):
    random = np.random.default_rng(seed)
    for _ in range(3):
        async with started() as (live, engine):
            await write(live, random, 25)
            known, trends = known_of(live, engine), trends_of(engine)
            assert any(name.startswith("new-") for name in known["ids"])
        async with started() as (live, engine):
            again = known_of(live, engine)
            assert again.keys() == known.keys()
            for name, value in known.items():
                assert again[name] == value, name
            # A sum, which is made in another order.
            assert trends_of(engine) == pytest.approx(trends, rel=1e-5)


def records(count, seed=0):
    random = np.random.default_rng(seed)
    return [ItemRecord(drawn(random, f"new-{number}"), 1_000 + number) for number in range(count)]


def append(items, some, vectors):
    own = [record.item for record in some]
    return items.append(own, list(map(item_bytes, some)), vectors, learned().parts(vectors, own))


@pytest.mark.parametrize("count", [1, 15, 64, 70])
def test_items_that_are_written_together_are_as_those_written_one_by_one(generation, count):
    together, alone = (LiveItems(generation()) for _ in range(2))
    head, other_head = together.generation.sequence, alone.generation.sequence
    assert head is not None
    assert other_head is not None
    some = records(count)
    vectors = np.stack([vector_of(record.item.text) for record in some])
    expected = learned()
    first = append(together, some, vectors)
    for place, (record, vector) in enumerate(zip(some, vectors, strict=True)):
        own = record.item
        figures = expected.figures(vector, domain=own.domain, categories=own.categories, attributes=own.attributes)
        assert alone.put(Written(own, record.written_ns, vector, figures)) == first + place
    for one, other in (
        (together.generation.vectors, alone.generation.vectors),
        (together.generation.priors, alone.generation.priors),
        (head.vectors, other_head.vectors),
        (together.live, alone.live),
        (together.view().exact, alone.view().exact),
    ):
        np.testing.assert_array_equal(one, other)
    assert (together.unindexed, together.room) == (alone.unindexed, alone.room) == (count, ROOM - count)
    assert [together.item(row) for row in range(first, first + count)] == [record.item for record in some]
    for text in (*FILTERS, 'id = "new-0"', "used = true", 'domain = "even"', 'categories:"new here"'):
        assert allowed(together, text) == allowed(alone, text), text


def allowed(items, text):
    """Positions that a filter allows; None where it names what no item has."""
    try:
        return np.flatnonzero(items.mask(text)()).tolist()
    except InvalidRequestError:
        return None


def test_what_has_no_room_is_not_written_at_all(generation):
    items = LiveItems(generation())
    some = records(ROOM + 1)
    vectors = np.stack([vector_of(record.item.text) for record in some])
    with pytest.raises(NoRoomError, match="no room for 91 items"):
        append(items, some, vectors)
    assert (items.room, items.unindexed, len(items.generation.catalogue)) == (ROOM, 0, ITEMS)
