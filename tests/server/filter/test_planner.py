"""Filters over columns: what the naive evaluator finds, after any sequence of changes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.server.filter.naive import filters, items, matches

from tanager_server.bundle import Catalogue, Item
from tanager_server.filter import Columns, FilterError, Predicates
from tanager_server.filter import checks as checks_module
from tanager_server.filter import columns as columns_module
from tanager_server.filter.checks import check
from tanager_server.filter.parser import parse
from tanager_server.filter.planner import evaluate


def put(columns, position, item):
    fields = {key: item[key] for key in ("title", "domain", "categories", "attributes")}
    columns.put(position, item_id=item["id"], **fields)


def columns_of(*told):
    columns = Columns()
    for position, item in enumerate(told):
        defaults = {"id": f"i{position}", "title": "", "domain": "", "categories": [], "attributes": {}}
        put(columns, position, defaults | item)
    return columns


def found(columns, text):
    return Predicates(columns).compile(text).positions.tolist()


@settings(max_examples=400, deadline=None)
@given(node=filters(), told=st.lists(items, min_size=1, max_size=12))
def test_columns_find_what_a_look_at_each_item_finds(node, told):
    told = [item | {"id": f"i{position}"} for position, item in enumerate(told)]
    columns = columns_of(*told)
    expected = [matches(node, item) for item in told]
    assert evaluate(node, columns).tolist() == expected
    at = np.arange(len(told))[::2]
    assert evaluate(node, columns, at).tolist() == expected[::2]


class Changes(RuleBasedStateMachine):
    """Upserts, removals and appends, with filters asked in between."""

    @initialize(nodes=st.lists(filters(), min_size=1, max_size=4))
    def start(self, nodes):
        self.columns, self.items = Columns(), {}
        self.filters = {str(node): node for node in nodes}
        self.predicates = Predicates(self.columns, capacity=max(1, len(self.filters) - 1))
        self.given = []

    @rule(position=st.integers(0, 12), item=items)
    def upsert(self, position, item):
        item = item | {"id": f"i{position}"}
        put(self.columns, position, item)
        self.items[position] = item

    @rule(item=items)
    def append(self, item):
        self.upsert(len(self.columns), item)

    @rule(which=st.integers(0, 20))
    def remove(self, which):
        if len(self.columns):
            self.columns.remove(which % len(self.columns))
            self.items.pop(which % len(self.columns), None)

    @rule(which=st.integers(0, 3))
    def ask(self, which):
        text = list(self.filters)[which % len(self.filters)]
        try:
            predicate = self.predicates.compile(text)
        except FilterError as error:
            assert "no item has" in str(error) or "holds lists" in str(error)  # noqa: PT017
            return
        expected = [
            position in self.items and matches(self.filters[text], self.items[position])
            for position in range(len(self.columns))
        ]
        assert predicate.mask.tolist() == expected
        assert predicate.count == sum(expected)
        assert predicate.positions.tolist() == np.flatnonzero(expected).tolist()
        self.given.append((predicate, expected))

    @invariant()
    def what_was_given_out_stays(self):
        for predicate, expected in getattr(self, "given", []):
            assert predicate.mask.tolist() == expected

    @invariant()
    def counts_are_right(self):
        if hasattr(self, "columns"):
            assert np.flatnonzero(self.columns.live).tolist() == sorted(self.items)
            for name in self.columns.names():
                column = self.columns.column(name)
                assert column is not None
                assert column.present == evaluate(parse(f'"{name}":*'), self.columns).sum()


TestChanges = Changes.TestCase
TestChanges.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@pytest.fixture
def forgetful(monkeypatch):
    """Few changes are remembered."""
    monkeypatch.setattr(columns_module, "_LEAST_LOG", 3)


def test_changes_that_are_long_past_and_texts_that_nobody_has(forgetful):
    random, columns, told = np.random.default_rng(0), Columns(), {}
    predicates = Predicates(columns)
    texts = ["mixed:t1*", "mixed < t5", "NOT mixed = t11", "mixed:*"]
    for turn in range(300):
        position = int(random.integers(8))
        value = f"t{turn}" if turn % 3 else [f"t{turn}", "t1", f"t{turn // 2}"]
        told[position] = {"id": "x", "title": "", "domain": "", "categories": [], "attributes": {"mixed": value}}
        put(columns, position, told[position])
        for text in texts[: 1 + turn % 4]:
            try:
                mask = predicates.compile(text).mask.tolist()
            except FilterError:
                continue
            node = parse(text)
            assert mask == [at in told and matches(node, told[at]) for at in range(len(columns))]
    column = columns.column("mixed")
    assert column is not None
    assert len(column.texts) + len(column.lists) <= column.present


def test_only_what_changed_is_evaluated_anew(monkeypatch):
    columns = columns_of(*({"attributes": {"year": 1990 + number}} for number in range(50)))
    predicates = Predicates(columns)
    first = predicates.compile("year >= 2000")
    looked_at = []

    def noted(node, columns, at=None):
        looked_at.append(at)
        return evaluate(node, columns, at)

    monkeypatch.setattr("tanager_server.filter.planner.evaluate", noted)
    assert predicates.compile(" year>=2000 ") is first
    put(columns, 3, {"id": "x", "title": "", "domain": "", "categories": [], "attributes": {"year": 2020}})
    columns.remove(20)
    assert predicates.compile("year >= 2000").count == first.count
    assert [at.tolist() for at in looked_at] == [[3, 20]]


def test_masks_beyond_the_capacity_go():
    columns = columns_of({"attributes": {"year": 1}})
    predicates = Predicates(columns, capacity=2)
    first = predicates.compile("year = 1")
    for text in ("year = 2", "year = 1", "year = 3"):
        predicates.compile(text)
    assert len(predicates) == 2
    assert predicates.compile("year = 1") is first
    with pytest.raises(ValueError, match="capacity=0"):
        Predicates(columns, capacity=0)


def test_masks_cannot_be_changed():
    predicate = Predicates(columns_of({})).compile("")
    with pytest.raises(ValueError, match="read-only"):
        predicate.mask[0] = 0


def test_values_of_different_types_and_none():
    columns = columns_of(
        {"attributes": {"year": 1990}},
        {"attributes": {"year": "1990"}},
        {"attributes": {"year": True}},
        {"attributes": {"year": ["1990"]}},
        {"attributes": {"year": []}},
        {},
    )
    assert found(columns, "year = 1990") == [0]
    assert found(columns, "year != 1991") == [0]
    assert found(columns, "year = '1990'") == [1]
    assert found(columns, "year != '1991'") == [1]
    assert found(columns, "year = true") == [2]
    assert found(columns, "year:'1990'") == [1, 3]
    assert found(columns, "year:*") == [0, 1, 2, 3]
    assert found(columns, "NOT year = 1990") == [1, 2, 3, 4, 5]
    assert found(columns, "") == [0, 1, 2, 3, 4, 5]


def test_times_are_compared_with_seconds_and_with_texts():
    columns = columns_of(
        {"attributes": {"released": 1577836800}},
        {"attributes": {"released": 1577836799.5}},
        {"attributes": {"released": "2020-06-01T00:00:00Z"}},
        {"attributes": {"released": "2019"}},
    )
    assert found(columns, "released >= '2020-01-01T00:00:00Z'") == [0, 2]
    assert found(columns, "released < '2020-01-01T01:00:00+01:00'") == [1, 3]


def test_titles_in_any_case():
    columns = columns_of({"title": "Die große STRASSE"}, {"title": "straße"}, {"title": ""}, {"title": "Weg"})
    assert found(columns, "Straße") == [0, 1]
    assert found(columns, "-weg") == [0, 1, 2]
    assert found(columns, "title:*") == [0, 1, 3]


def test_attributes_that_are_called_like_what_is_built_in():
    columns = columns_of({"title": "a", "attributes": {"title": "b", "attributes.x": 1}}, {"attributes": {"x": 2}})
    assert found(columns, "title = a") == [0]
    assert found(columns, "attributes.title = b") == [0]
    assert found(columns, "attributes.attributes.x = 1") == [0]
    assert found(columns, "attributes.x = 1") == [0]
    assert found(columns, "x = 2") == [1]
    assert columns.names() == ["attributes.title", "attributes.x", "id", "title", "x"]


def test_a_name_comes_to_mean_another_attribute():
    columns = columns_of({"attributes": {"title": "w"}}, {"attributes": {"title": "w"}}, {}, {})
    predicates = Predicates(columns)
    assert predicates.compile("attributes.title = w").positions.tolist() == [0, 1]
    put(columns, 2, {"id": "x", "title": "", "domain": "", "categories": [], "attributes": {"attributes.title": "w"}})
    assert predicates.compile("attributes.title = w").positions.tolist() == [2]
    columns.remove(2)
    assert predicates.compile("attributes.title = w").positions.tolist() == [0, 1]
    columns.remove(0)
    columns.remove(1)
    assert predicates.compile("attributes.title = w").positions.tolist() == []
    put(columns, 3, {"id": "x", "title": "", "domain": "", "categories": [], "attributes": {"attributes.title": "w"}})
    assert predicates.compile("attributes.title = w").positions.tolist() == [3]


@pytest.mark.parametrize(
    ("text", "position", "problem"),
    [
        ("a = 1 OR yeer = 1990", 9, "no item has an attribute 'yeer'; did you mean year"),
        ("Year = 1990", 0, "did you mean year"),
        ("zzz:*", 0, r"there are a, categories, id, year$"),
        ("NOT (categories = horror)", 5, "write categories:…"),
        ("categories:1990", 0, "put the value in quotes"),
        ("domain = film", 0, "no item has an attribute 'domain'"),
    ],
)
def test_what_no_item_could_match_is_refused(text, position, problem):
    columns = columns_of({"attributes": {"year": 1990, "a": 1}, "categories": ["x"]})
    with pytest.raises(FilterError, match=problem) as caught:
        Predicates(columns).compile(text)
    assert caught.value.position == position


def test_an_attribute_that_the_last_item_lost_is_missing_everywhere():
    columns = columns_of({"attributes": {"year": 1}, "domain": "film"}, {"attributes": {"x": 1}})
    predicates = Predicates(columns)
    assert predicates.compile("year = 1").count == 1
    columns.remove(0)
    for asked in (predicates, Predicates(columns)):
        assert asked.compile("year = 1").count == 0
        assert asked.compile("attributes.year >= 0 OR domain = film OR x = 1").positions.tolist() == [1]
        assert asked.compile("NOT year = 1").positions.tolist() == [1]
    with pytest.raises(FilterError, match="no item has an attribute 'categories'"):
        predicates.compile("categories:a")
    with pytest.raises(IndexError, match="position 2 of 2"):
        columns.remove(2)


def test_of_names_that_are_gone_the_latest_are_known(monkeypatch):
    monkeypatch.setattr(columns_module, "_MOST_GONE", 2)
    columns, item = columns_of({"attributes": {"a": 1, "empty": []}}), {"title": "", "domain": "", "categories": []}
    for name in ("b", "a", "c", "d"):
        put(columns, 0, item | {"id": "x", "attributes": {name: 1}})
    assert [name for name in ("a", "b", "c", "d", "empty") if columns.knew(name)] == ["a", "c", "d"]


def test_what_was_compiled_is_asked_again_whatever_names_there_are(monkeypatch):
    monkeypatch.setattr(columns_module, "_MOST_GONE", 0)
    columns = columns_of({"attributes": {"year": 1}}, {"attributes": {"year": 2, "x": 1}})
    predicates = Predicates(columns, capacity=1)
    first = predicates.compile("year >= 1")
    columns.remove(0)
    predicates.compile("x = 1")
    assert predicates.again(first).positions.tolist() == [1]
    columns.remove(1)
    assert predicates.again(first).count == 0
    assert first.count == 2
    with pytest.raises(FilterError, match="no item has an attribute 'year'"):
        predicates.compile("year >= 1")


def test_an_empty_catalogue():
    columns = Columns()
    assert Predicates(columns).compile("").mask.shape == (0,)
    with pytest.raises(FilterError, match="the catalogue is empty"):
        check(parse("year = 1"), columns)


@settings(max_examples=50, deadline=None)
@given(node=filters(), told=st.lists(items, min_size=1, max_size=8))
def test_the_items_of_a_bundle(node, told):
    told = [item | {"id": f"i{position}"} for position, item in enumerate(told)]
    catalogue = Catalogue(Item(text="", popularity=0, **item) for item in told)
    columns = Columns.of(catalogue)
    assert evaluate(node, columns).tolist() == [matches(node, item) for item in told]
    put(columns, 0, told[-1])
    columns.remove(len(told) - 1)
    again = [told[-1], *told[1:-1]] if len(told) > 1 else []
    assert evaluate(node, columns).tolist() == [*(matches(node, item) for item in again), False]
    assert columns.version == 2


def costly_columns():
    return columns_of(*({"title": f"t{number}", "attributes": {"tags": [f"g{number}", "a"]}} for number in range(10)))


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ('title = "*1" OR id = "*2"', False),
        ('title = "*1" OR NOT (id < i3 AND "t4")', True),
        ('title = "*1" AND tags:"g*"', True),
        ('title = "*1" AND "*2"', False),
        ("title = t1 OR id != i3 OR tags:g4 OR id:* OR title = 3", False),
    ],
)
def test_what_takes_too_long_is_refused(monkeypatch, text, refused):
    monkeypatch.setattr(checks_module, "MOST_LOOKS", 20)
    columns = costly_columns()
    predicates = Predicates(columns)
    if refused:
        with pytest.raises(FilterError, match="wildcards, words of titles or texts in order, to look for in"):
            predicates.compile(text)
        assert not len(predicates)
    else:
        predicates.compile(text)


def test_one_look_at_all_is_always_taken_and_what_was_taken_stays(monkeypatch):
    columns = costly_columns()
    predicates = Predicates(columns)
    assert predicates.compile('id = "*2" OR id = "*3"').count == 2
    monkeypatch.setattr(checks_module, "MOST_LOOKS", 5)
    assert predicates.compile('id = "*4"').count == 1
    columns.remove(3)
    assert predicates.compile('id = "*2" OR id = "*3"').count == 1
    with pytest.raises(
        FilterError, match=r"at character 14: with this the filter has 2 wildcards.* 18 texts, at most 5"
    ):
        predicates.compile('id = "*4" OR id = "*3"')
