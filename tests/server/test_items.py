"""The items that are served, one write at a time; what any order of them comes to is in test_live_properties.py."""

from __future__ import annotations

import numpy as np
import pytest

from tanager_server.bundle import Item, ItemFigures
from tanager_server.bundle.expected import Column
from tanager_server.engine import Events, RecommendQuery
from tanager_server.engine.items import LiveItems, NoRoomError, Written
from tanager_server.engine.serving import Serving
from tanager_server.errors import InvalidRequestError

ITEMS, ROWS = 20, 24
NOTHING = Column(np.empty(0, np.int32), np.empty(0, np.float32))


@pytest.fixture
def generation(make_generation):
    return make_generation(ITEMS, priors=np.zeros((2, ITEMS))).with_room(ROWS)


@pytest.fixture
def items(generation):
    return LiveItems(generation)


def item(name, title="", categories=(), domain=""):
    return Item(id=name, title=title, text="", domain=domain, categories=categories, attributes={}, popularity=0.0)


def written(name, vector=None, prior=0.0, **more):
    figures = ItemFigures(NOTHING, NOTHING, np.array([prior, 0.0], np.float32), None)
    return Written(item(name, **more), 0, vector, figures)


def indexed_anew(items, tmp_path):
    positions = items.begin_indexing()
    generation = items.generation
    return generation.extended(
        positions, items=generation.catalogue.rows, rows=len(generation.vectors), scratch=tmp_path / "index"
    )


def test_a_new_item_is_behind_those_of_the_bundle_and_looked_at_one_by_one(items, unit_vectors):
    vector = unit_vectors(1, seed=5)[0]
    position = items.put(written("new", vector, title="New", domain="film"))
    assert position == ITEMS
    assert (items.unindexed, items.room) == (1, ROWS - ITEMS - 1)
    view = items.view()
    assert view.exact.tolist() == [position]
    assert view.allowed is None
    assert items.item(position).title == "New"
    assert items.live.tolist() == [1] * (ITEMS + 1)
    np.testing.assert_array_equal(items.generation.vectors[position], vector)


@pytest.mark.parametrize(("same", "unindexed"), [(True, 0), (False, 1)])
def test_only_another_text_takes_an_item_out_of_the_index(items, unit_vectors, same, unindexed):
    vector = items.generation.vectors[3].copy() if same else unit_vectors(1, seed=5)[0]
    assert items.put(written("item-3", vector, prior=9.0)) == 3
    assert items.put(written("item-4", title="another")) == 4
    assert items.unindexed == unindexed
    assert items.generation.priors[0, 3] == 0.0, "what was learned of an item of the bundle stays"
    assert items.generation.catalogue.titles[4] == "another"


def test_a_removed_item_is_in_no_view_and_has_its_place_again_when_it_comes_back(items, unit_vectors):
    assert items.remove("item-3")
    assert not items.remove("item-3")
    assert not items.remove("nothing")
    view = items.view()
    assert not view.allowed[3]
    assert view.share == pytest.approx((ITEMS - 1) / ITEMS)
    assert items.put(written("item-3", unit_vectors(1, seed=5)[0])) == 3
    assert items.view().exact.tolist() == [3]
    items.remove("item-3")
    assert items.unindexed == 0


def test_a_filter_that_allows_little_is_looked_at_one_by_one(items):
    mask = np.zeros(ROWS, np.uint8)
    mask[[2, 5]] = 1
    items.remove("item-5")
    view = items.view(mask)
    assert (view.allowed is None, view.exact.tolist(), view.share) == (False, [], 1 / ITEMS)
    mask[2] = 0
    view = items.view(mask)
    assert (view.allowed, view.exact.tolist(), view.share) == (None, [], 0.0)


def test_what_a_filter_allows_is_kept_until_something_is_written(items, unit_vectors):
    mask = items.mask('domain = "odd"')
    first = items.view(mask())
    assert items.mask('domain = "odd"')() is mask()
    assert items.view(mask()) is first
    assert first.allowed[1]
    assert not first.allowed[0]
    items.put(written("new", unit_vectors(1, seed=5)[0], domain="odd"))
    after = items.view(mask())
    assert after.exact.tolist() == [ITEMS]
    items.remove("item-1")
    assert not items.view(mask()).allowed[1]
    assert not items.view(items.mask("", ["odd"])()).allowed[1]


async def test_what_is_removed_before_the_index_has_it_is_not_found_by_its_neighbours(
    generation, make_engine, unit_vectors
):
    engine, _ = make_engine(generation)
    column = Column(np.array([1, 2], np.int32), np.array([9.0, 9.0], np.float32))
    figures = ItemFigures(column, column, np.zeros(2, np.float32), None)
    engine.items.put(Written(item("new"), 0, unit_vectors(1, seed=5)[0], figures))
    query = RecommendQuery(5, events=Events(["item-1"], [1.0]))
    assert (await engine.recommend(query, deadline=0)).items[0].item_id == "new"
    mask = np.ones(ROWS, np.uint8)
    mask[ITEMS] = 0
    assert engine.items.view(mask).allows(ITEMS) is False, "nor what a filter leaves out"
    engine.items.remove("new")
    assert "new" not in [found.item_id for found in (await engine.recommend(query, deadline=0)).items]


def test_there_is_no_more_room_than_there_is(items, unit_vectors):
    vectors = unit_vectors(ROWS, seed=5)
    for number in range(ROWS - ITEMS):
        items.put(written(f"new-{number}", vectors[number]))
    with pytest.raises(NoRoomError, match="one more"):
        items.put(written("one more", vectors[-1]))
    assert items.put(written("new-0", vectors[-1])) == ITEMS
    assert items.generation.catalogue.position("one more") is None
    items.remove("new-1")
    assert items.put(written("new-1", vectors[-2])) == ITEMS + 1


def test_what_changes_while_the_index_is_made_anew_is_looked_at_one_by_one(items, unit_vectors, tmp_path):
    vectors = unit_vectors(4, seed=5)
    items.put(written("new", vectors[0]))
    generation = indexed_anew(items, tmp_path)
    items.put(written("item-3", vectors[1]))
    items.put(written("newer", vectors[2]))
    items.remove("item-4")
    items.end_indexing(generation)
    assert sorted(items.view().exact.tolist()) == [3, ITEMS + 1]
    assert not items.view().allowed[4]
    items.end_indexing(None)
    assert items.unindexed == 2


def test_into_larger_arrays_what_was_written_meanwhile_is_brought_along(items, unit_vectors, tmp_path):
    vector = unit_vectors(1, seed=5)[0]
    positions, before = items.begin_indexing(), items.generation
    larger = before.extended(positions, items=ITEMS, rows=ROWS + 10, scratch=tmp_path / "index")
    position = items.put(written("new", vector, prior=0.5))
    items.end_indexing(larger)
    assert items.room == ROWS + 10 - ITEMS - 1
    np.testing.assert_array_equal(items.generation.vectors[position], vector)
    assert items.generation.priors[0, position] == 0.5


async def test_priors_that_change_when_the_item_is_in_the_index_count_at_once(
    generation, make_engine, unit_vectors, tmp_path
):
    """The order by priors is made with the index; attributes that change change the priors, and no vector."""
    engine, wishes = make_engine(generation)
    wishes.retrieve_by = lambda search: None
    vectors = unit_vectors(2, seed=5)
    engine.items.put(written("high", vectors[0], prior=1.0))
    engine.items.put(written("low", vectors[1], prior=-1.0))
    engine.serve(Serving(indexed_anew(engine.items, tmp_path)))
    assert engine.items.unindexed == 0

    async def best():
        answer = await engine.recommend(RecommendQuery(1), deadline=0)
        return [(found.item_id, found.score) for found in answer.items]

    assert await best() == [("high", 1.0)]
    engine.items.put(written("low", prior=2.0))
    assert await best() == [("low", 2.0)]
    engine.items.put(written("low", prior=-2.0))
    assert await best() == [("high", 1.0)]
    engine.items.put(written("high", prior=1.0))
    assert engine.items.unindexed == 1, "what says the same stays in the index"


def test_attributes_have_so_many_names_in_all(items, monkeypatch, unit_vectors):
    monkeypatch.setattr("tanager_server.engine.attribute_names.MOST", 3)
    has_two = item("has two").model_copy(update={"attributes": {"a": 1, "b": [], "title": "x"}})
    another = item("another").model_copy(update={"attributes": {"c": 1}})
    items.check_names([another, has_two.model_copy(update={"attributes": {"c": 2, "a": 1}})])
    with pytest.raises(InvalidRequestError, match=r"items\[1\].attributes: .* more than 3 names"):
        items.check_names([has_two, another])
    figures = ItemFigures(NOTHING, NOTHING, np.zeros(2, np.float32), None)
    items.put(Written(has_two, 0, unit_vectors(1, seed=5)[0], figures))
    items.check_names([has_two, item("none")])
    with pytest.raises(InvalidRequestError, match=r"items\[0\].attributes"):
        items.check_names([another])
    items.remove("has two")
    items.check_names([another])


async def test_a_call_goes_on_when_the_last_item_with_its_attribute_goes(
    generation, make_engine, unit_vectors, monkeypatch
):
    monkeypatch.setattr("tanager_server.filter.columns._MOST_GONE", 0)
    engine, wishes = make_engine(generation, wish=unit_vectors(1, seed=6)[0])
    figures = ItemFigures(NOTHING, NOTHING, np.zeros(2, np.float32), None)
    promoted = item("promoted").model_copy(update={"attributes": {"promo": 1}})
    engine.items.put(Written(promoted, 0, unit_vectors(1, seed=5)[0], figures))
    encode = wishes.encode_texts

    async def meanwhile(*args, **more):
        engine.items.remove("promoted")
        return await encode(*args, **more)

    wishes.encode_texts = meanwhile
    query = RecommendQuery(3, text="wish", filter="promo = 1")
    assert not (await engine.recommend(query, deadline=0)).items
    with pytest.raises(InvalidRequestError, match="no item has an attribute 'promo'"):
        await engine.recommend(query, deadline=0)
