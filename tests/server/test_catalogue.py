"""The catalogue: items by position, id and popularity; a broken line is named by its number."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tanager_server.bundle import Catalogue
from tanager_server.errors import BundleError

if TYPE_CHECKING:
    from pathlib import Path

ITEM = {"id": "a", "title": "", "text": "", "domain": "", "categories": [], "attributes": {}, "popularity": 0}


@pytest.fixture
def items_file(tmp_path):
    def write(*lines: object) -> Path:
        path: Path = tmp_path / "items.jsonl"
        path.write_bytes(b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines))
        return path

    return write


def test_two_items_with_one_id(items_file):
    with pytest.raises(BundleError, match=r"items\.jsonl: two items share an id"):
        Catalogue.read(items_file(ITEM, ITEM))


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"",
        b"[]",
        b'{"id": "\xff"}',
        b'{"id": "\\ud800"}',
        ITEM | {"id": ""},
        ITEM | {"popularity": -1},
        ITEM | {"popularity": float("inf")},
        ITEM | {"extra": 1},
        {key: value for key, value in ITEM.items() if key != "title"},
    ],
    ids=str,
)
def test_a_broken_line_is_named_by_its_number(items_file, line):
    with pytest.raises(BundleError, match=r"items\.jsonl, line 2: not an item"):
        Catalogue.read(items_file(ITEM, line, ITEM | {"id": "b"}))


def test_items_by_position_id_and_popularity(items_file):
    users = {"三体": 3.0, "b": 0.0, "c": 15.0, "d": 3.0}
    catalogue = Catalogue.read(
        items_file(*(ITEM | {"id": name, "popularity": count, "domain": name[:1]} for name, count in users.items()))
    )
    assert catalogue.ids == list(users)
    assert (catalogue.position("c"), catalogue.position("nothing")) == (2, None)
    assert catalogue.positions(["d", "nothing", "三体", "d"]) == [3, None, 0, 3]
    assert catalogue.popularity.tolist() == [3, 0, 15, 3]
    assert catalogue.domain_counts == {"三": 1, "b": 1, "c": 1, "d": 1}


def test_categories_by_item(items_file):
    told = {"a": ["x", "y"], "b": [], "c": ["z", "x", "z"]}
    catalogue = Catalogue.read(items_file(*(ITEM | {"id": name, "categories": each} for name, each in told.items())))
    starts, entries = catalogue.category_rows
    assert catalogue.categories == ("x", "y", "z")
    assert (starts.tolist(), entries.tolist()) == ([0, 2, 2, 4], [0, 1, 0, 2])


def test_attributes_by_item(items_file):
    told = {
        "a": {"year": 1990, "tags": ["x", "y"]},
        "b": {},
        "c": {"tags": ["y"], "seen": True, "mean": 1.5, "by": "y"},
    }
    catalogue = Catalogue.read(items_file(*(ITEM | {"id": name, "attributes": each} for name, each in told.items())))
    assert [dict(each) for each in catalogue.attributes] == list(told.values())
    first, _, last = catalogue.attributes
    assert isinstance(first["tags"], list)
    assert first["tags"][1] is last["by"]
    assert [type(value) for value in last.values()] == [list, bool, float, str]
