"""Columns: what is kept of items, and what it takes to write one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from tests.server.filter.test_planner import Changes, columns_of, found, put

from tanager_server.bundle import Catalogue, Item
from tanager_server.filter import Columns, Predicates
from tanager_server.filter import column as column_module

BUILT_IN = ["categories", "domain", "id", "title"]


def told(name="x", **attributes):
    return {"id": name, "title": "", "domain": "", "categories": [], "attributes": attributes}


class ChangesOfFew(Changes):
    """The same, with columns that become dense and sparse again all the while."""

    def __init__(self):
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(column_module, "_LEAST_DENSE", 2)
        self.patch.setattr(column_module, "_DENSE_SHARE", 200)

    def teardown(self):
        self.patch.undo()


TestChangesOfFew = ChangesOfFew.TestCase
TestChangesOfFew.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


class NotLookedThrough(dict[str, Any]):
    """Columns, one of which may be asked for, not all of them."""

    def items(self):
        raise AssertionError("all columns are looked at")

    __iter__ = keys = values = items


def test_a_write_looks_at_no_columns_but_those_of_the_item():
    columns = columns_of(*({"attributes": {f"own-{number}": number}} for number in range(50)))
    columns._columns = NotLookedThrough(columns._columns)
    put(columns, 3, told(year=1990))
    put(columns, 50, told(year=1991))
    columns.remove(4)
    columns._columns = dict(dict.items(columns._columns))
    assert found(columns, "year > 0") == [3, 50]
    assert not columns.has_attribute("own-3")
    assert not columns.has_attribute("own-4")
    assert found(columns, '"own-5":*') == [5]


def test_columns_that_no_item_has_any_more_are_dropped():
    columns = columns_of(*({"attributes": {f"own-{number}": number, "year": 1}} for number in range(20)))
    assert columns.attribute_count == 21
    for number in range(10):
        put(columns, number, told(year=2))
    assert columns.attribute_count == 11
    for number in range(20):
        columns.remove(number)
    assert columns.attribute_count == 0
    assert columns.names() == []


def test_a_column_of_few_takes_no_memory_for_the_others():
    count, rare = 2_000, 500
    items = [
        Item.model_construct(**told(f"i{at}", year=at, **({f"own-{at}": "t"} if at < rare else {})))
        for at in range(count)
    ]
    appended = Columns()
    appended.append(items)
    for columns in (Columns.of(Catalogue(each.model_copy(update={"popularity": 0.0}) for each in items)), appended):
        dense = [name for name, column in columns._columns.items() if column._dense is not None]
        assert sorted(dense) == ["attributes.year", *BUILT_IN]
        assert columns.attribute_count == 1 + rare
        assert found(columns, '"own-7" = t') == [7]
        assert found(columns, "year < 2") == [0, 1]
        assert found(columns, '"own-7" = t OR "own-499":*') == [7, 499]
        columns.remove(7)
        assert not columns.has_attribute("own-7")


def test_a_column_is_dense_while_many_have_it():
    columns = Columns()
    predicates = Predicates(columns)
    for at in range(200):
        put(columns, at, told(f"i{at}", year=at))
        assert predicates.compile("year >= 0").count == at + 1
    column = columns.column("year")
    assert column is not None
    assert column._dense is not None
    for at in range(195):
        columns.remove(at)
    assert column._dense is None
    assert predicates.compile("year >= 0").positions.tolist() == found(columns, "year:*") == list(range(195, 200))
    assert column.read(200, np.array([3, 196]))[1].tolist() == [0, 196]
    for at in range(200):
        put(columns, at, told(f"i{at}", year=at))
    assert column._dense is not None
    assert found(columns, "year >= 0") == list(range(200))


def texts_of(columns):
    """All that its dictionaries hold."""
    found = []
    for column in columns._columns.values():
        for dictionary in (column.texts, column.lists):
            found += [getattr(dictionary, name) for name in type(dictionary).__slots__]
    return repr(found)


def test_no_text_stays_of_what_was_removed_or_replaced():
    columns = Columns()
    secret = {"title": "Secret", "domain": "secret-d", "categories": ["both", "secret-c"]}
    attributes = {"text": "secret-t", "list": ["secret-l", "both"], "both": "both"}
    put(columns, 0, secret | {"id": "secret-id", "attributes": attributes})
    put(columns, 1, {"id": "a", "title": "both", "domain": "", "categories": ["both"], "attributes": {"both": "both"}})
    assert found(columns, "secret") == [0]  # casefolded
    assert texts_of(columns).lower().count("secret") >= 7
    put(columns, 0, told("secret-b", text="secret-e", list=["both", "secret-f"]))
    texts = texts_of(columns)
    assert [each for each in ("id", "d", "c", "t", "l", "b", "e", "f") if f"'secret-{each}'" in texts] == [
        "b",
        "e",
        "f",
    ]
    columns.remove(0)
    columns.remove(0)
    assert "secret" not in texts_of(columns).lower()
    assert found(columns, "both = both AND categories:both AND title = both") == [1]


def test_codes_are_given_again_to_other_texts():
    columns = Columns()
    for turn in range(50):
        for at in range(3):
            put(columns, at, told(f"i{turn}-{at}", text=f"t{turn}", list=[f"l{turn % 5}", f"m{at}", f"n{turn}-{at}"]))
        assert found(columns, f"text = t{turn} AND list:l{turn % 5}") == [0, 1, 2]
        assert found(columns, f"list:m1 AND list:'n{turn}-*'") == [1]
        if turn:
            assert found(columns, f"text = t{turn - 1} OR list:l{(turn - 1) % 5} OR list:'n{turn - 1}-*'") == []
    for name in ("text", "list"):
        column = columns.column(name)
        assert column is not None
        assert len(column.texts._texts) + len(column.lists._lists) <= 6
