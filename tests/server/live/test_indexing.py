"""When an index is made anew, beside what is served, and what becomes of it when that fails."""

from __future__ import annotations

import numpy as np
import pytest

from tanager_server.bundle import Item
from tanager_server.engine.items import Written
from tanager_server.errors import OverloadedError
from tanager_server.live import Indexer, remove_leftovers, rows_for
from tanager_server.live import indexing as indexing_module
from tanager_server.live.replica import Replica

ITEMS = 20


@pytest.fixture
def engine(make_generation, make_engine):
    found, wishes = make_engine(make_generation(ITEMS).with_room(rows_for(ITEMS)))
    wishes.retrieve_by = lambda search: None
    return found


def add(engine, vectors, first=0):
    for number, vector in enumerate(vectors, first):
        engine.items.put(Written(item(f"new-{number}"), 0, vector, None))


def item(item_id):
    return Item(id=item_id, title="", text="", domain="", categories=(), attributes={}, popularity=0.0)


async def test_nothing_is_made_until_there_is_enough(engine, unit_vectors, tmp_path):
    indexer = Indexer(engine, None, tmp_path)
    vectors = unit_vectors(1_001)
    add(engine, vectors[:1_000])
    assert not indexer.due
    indexer.look()
    await indexer.close()
    assert indexer.done == 0
    indexer = Indexer(engine, None, tmp_path)
    add(engine, vectors[1_000:], 1_000)
    assert indexer.due
    indexer.look()
    indexer.look()  # one is under way
    await indexer.close()
    assert (indexer.done, engine.items.unindexed, len(engine.generation.index)) == (1, 0, ITEMS + 1_001)
    assert not indexer.due
    assert list(tmp_path.iterdir()) == [], "what it worked with is gone"


async def test_room_is_made_before_there_is_none(make_generation, make_engine, unit_vectors, tmp_path, monkeypatch):
    monkeypatch.setattr(indexing_module, "_LEAST_ROOM", 64)
    engine, wishes = make_engine(make_generation(ITEMS).with_room(rows_for(ITEMS)))
    wishes.retrieve_by = lambda search: None
    indexer = Indexer(engine, None, tmp_path)
    add(engine, unit_vectors(56))
    assert (engine.items.room, indexer.due) == (8, False)
    add(engine, unit_vectors(1), 56)
    assert indexer.due
    await indexer.run()
    assert engine.items.room == 64
    assert not indexer.due


async def test_room_is_made_for_what_does_not_fit(make_generation, make_engine, unit_vectors, tmp_path, monkeypatch):
    monkeypatch.setattr(indexing_module, "_LEAST_ROOM", 64)
    engine, wishes = make_engine(make_generation(ITEMS).with_room(rows_for(ITEMS)))
    wishes.retrieve_by = lambda search: None
    indexer = Indexer(engine, None, tmp_path)
    replica = Replica(engine, indexer)
    add(engine, unit_vectors(50))
    many = [item(f"many-{number}") for number in range(20)]
    replica.check_room(many[:14])
    assert (engine.items.room, indexer.due) == (14, False)
    with pytest.raises(OverloadedError, match="try again"):
        replica.check_room(many)
    await indexer.close()
    replica.check_room(many)
    assert (indexer.done, engine.items.room, indexer.due) == (1, 64, False)


async def test_a_failure_leaves_what_was_served_and_is_tried_again_later(
    engine, unit_vectors, tmp_path, monkeypatch, caplog
):
    indexer = Indexer(engine, None, tmp_path)
    add(engine, unit_vectors(1_001))
    before = engine.generation

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(indexer, "_make", fail)
    await indexer.run()
    assert "could not be made anew" in caplog.text
    assert engine.generation is before
    assert (indexer.done, engine.items.unindexed) == (0, 1_001)
    indexer.look()
    assert indexer._task is None, "not at once"
    monkeypatch.undo()
    await indexer.run()
    assert (indexer.done, engine.items.unindexed) == (1, 0)


async def test_what_is_written_meanwhile_is_kept(engine, unit_vectors, tmp_path, monkeypatch):
    indexer, vectors = Indexer(engine, None, tmp_path), unit_vectors(1_003)
    add(engine, vectors[:1_001])
    make = indexer._make

    def make_while_written(*arguments):
        made = make(*arguments)
        add(engine, vectors[1_001:1_002], 5)  # another text
        add(engine, vectors[1_002:], 1_001)
        engine.items.remove("new-6")
        return made

    monkeypatch.setattr(indexer, "_make", make_while_written)
    await indexer.run()
    assert engine.items.unindexed == 2
    assert len(engine.generation.catalogue) == ITEMS + 1_001
    position = engine.generation.catalogue.position("new-5")
    np.testing.assert_array_equal(engine.generation.vectors[position], vectors[1_001])


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path):
    (tmp_path / "index-left").mkdir()
    (tmp_path / "index-left" / "index.hnsw").write_bytes(b"half")
    (tmp_path / "state.sqlite3").write_bytes(b"mine")
    remove_leftovers(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.sqlite3"]
