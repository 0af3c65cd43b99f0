"""A server's state as a dataset: all that was written, as it is now."""

from __future__ import annotations

import csv
import gzip
import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.export.test_dataset_commands import run

from tanager_export.atomic import TargetError
from tanager_export.dataset import DatasetError, check_dataset, export_state, load_dataset
from tanager_export.dataset.checks.finding import Severity
from tanager_server.bundle import Item
from tanager_server.engine.records import ItemRecord, item_bytes, profile_bytes
from tanager_server.errors import StateError
from tanager_server.state import (
    AddEvents,
    AddImpressions,
    DeleteItems,
    Impression,
    PurgeUser,
    PutItems,
    PutUsers,
    SqliteStore,
    StoredEvent,
    StoredItem,
    StoredUser,
)
from tanager_server.state.schema import FILE

NANOS = 10**9
START_S = 1_700_000_000


def stored(item_id, **fields):
    values = {"title": "New", "text": "space film", "domain": "film", "categories": ("space",), "attributes": {}}
    return StoredItem(item_id, item_bytes(ItemRecord(Item(id=item_id, popularity=0.0, **(values | fields)), 0)))


def event(number, user_id, item_id, seconds=0.0, **fields):
    values = {"kind": "click", "weight": 1.0, "time_ns": START_S * NANOS + round(seconds * NANOS)}
    return StoredEvent(f"event-{number}", user_id, item_id, **(values | fields))


@pytest.fixture
def store(tmp_path):
    with SqliteStore(tmp_path / "state", survives="process") as opened:
        yield opened


@pytest.fixture
def export(store, tiny_bundle, tmp_path):
    """Exports the state, which its server has open."""

    def to(name="out", **options):
        return export_state(tmp_path / "state", tiny_bundle, tmp_path / name, **options)

    return to


def rows(directory):
    with (directory / "interactions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_all_that_was_written_comes_back(store, export, tmp_path, tiny_dataset):
    attributes = {"year": 2001, "price": 2.5, "new": True, "tags": ["a", "b"], "studio": "X"}
    changed = stored("film-war-1", title="Changed", categories=())
    store.commit(
        [
            PutItems([stored("new-1", attributes=attributes), changed, stored("gone")]),
            DeleteItems(["film-war-2", "gone"]),
            PutUsers([StoredUser("ann", profile_bytes({"age": 30.0, "likes": ("war", "space"), "new": False}))]),
            PutUsers([StoredUser("eve", profile_bytes({"age": 99.0}))]),
            AddEvents(
                [
                    event(1, "ann", "film-war-1", 10.5),
                    event(2, "ann", "new-1", 10.25, kind="skip", weight=-0.3),
                    event(3, "bob", "book-love-1", -5.0, weight=0.1, context=b'{"place":"home","device":"tv"}'),
                    event(4, "bob", "film-war-2", 0.0),
                    event(5, "bob", "not yet", 0.0),
                    event(6, "eve", "film-war-1", 0.0),
                ]
            ),
            PurgeUser("eve"),
        ]
    )
    written = export()
    before, dataset = load_dataset(tiny_dataset), load_dataset(tmp_path / "out")
    items = {item.id: item for item in dataset.items}
    assert len(items) == len(before.items) == written.items  # one more, one less
    assert items.keys() ^ {item.id for item in before.items} == {"new-1", "film-war-2"}
    assert items["new-1"].attributes == attributes | {"tags": ("a", "b")}
    assert (items["film-war-1"].title, items["film-war-1"].categories) == ("Changed", ())
    assert [items[item.id] for item in before.items if item.id not in ("film-war-1", "film-war-2")] == [
        item for item in before.items if item.id not in ("film-war-1", "film-war-2")
    ]
    assert [(user.id, user.attributes) for user in dataset.users] == [
        ("ann", {"age": 30.0, "likes": ("war", "space"), "new": False})
    ]
    done = dataset.interactions
    assert [dataset.items[item].id for item in done.item] == ["book-love-1", "new-1", "film-war-1"], "by time"
    assert [done.user_ids[user] for user in done.user] == ["bob", "ann", "ann"]
    assert done.timestamp.tolist() == [START_S - 5, START_S + 10, START_S + 10]
    assert np.array_equal(done.weight, np.array([0.1, -0.3, 1.0], np.float32))
    first, second, _ = rows(tmp_path / "out")
    assert (first["event"], first["place"], first["device"]) == ("click", "home", "tv")
    assert (second["event"], second["place"], "propensity" in second) == ("skip", "", False)
    assert (written.users, written.interactions) == (2, 3)
    assert written.notes == ("2 events left out: their items are not in the catalogue any more, or not yet",)


def test_propensities_are_told_where_the_list_is_known(store, export, tmp_path):
    shown = b'{"items":["film-war-1","film-war-3"],"first_rank":1,"propensities":[1.0,0.0125]}'
    plain = b'{"items":["film-war-1"],"first_rank":1}'
    names = ["film-war-1", "film-war-3", "film-war-5", "film-war-1", "film-war-1", "film-war-1"]
    tokens = ["list", "list", "list", "plain", "expired", ""]
    store.commit(
        [
            AddImpressions([Impression("list", "ann", 1, shown), Impression("plain", "", 1, plain)]),
            AddEvents(
                [
                    event(number, "ann", name, number, attribution=token)
                    for number, (name, token) in enumerate(zip(names, tokens, strict=True))
                ]
            ),
        ]
    )
    export()
    assert [row["propensity"] for row in rows(tmp_path / "out")] == ["1", "0.0125", "", "1", "", ""]
    assert len(load_dataset(tmp_path / "out").interactions) == 6


def test_names_of_contexts_that_would_mean_something_else_are_changed(store, export, tmp_path):
    context = b'{"event":"party","weight":"heavy","split":"second","a\\nb":"c\\nd","context_event":"e"}'
    store.commit([AddEvents([event(1, "ann", "film-war-1", context=context)])])
    notes = export().notes
    (row,) = rows(tmp_path / "out")
    found = {name: row[name] for name in list(row)[5:]}
    assert found == {
        "a b": "c d",
        "context_event": "e",
        "context_context_event": "party",
        "context_split": "second",
        "context_weight": "heavy",
    }
    assert "context 'split' is in the column 'context_split'" in notes
    assert len(load_dataset(tmp_path / "out").interactions) == 1


def test_rare_names_of_contexts_are_left_out(store, export, tmp_path):
    rare = [event(n, "ann", "film-war-1", context=f'{{"rare-{n:02}":"x","common":"y"}}'.encode()) for n in range(60)]
    store.commit([AddEvents(rare)])
    assert "11 of 61 names of contexts left out: rare ones" in export().notes
    header = list(rows(tmp_path / "out")[0])
    assert len(header) == 5 + 50
    assert "common" in header


def test_what_a_dataset_refuses_is_mended_or_left_out(store, export, tmp_path):
    store.commit(
        [
            PutItems([stored("new", title="a\x00b", text="x\x7fy\nz", attributes={"a\nb": "c\x01", "d": ["e\nf"]})]),
            PutItems([stored("bad\nid")]),
            PutUsers([StoredUser("bad\x00user", profile_bytes({"age": 1.0}))]),
            PutUsers([StoredUser("ann", profile_bytes({"about": "x\x02y"}))]),
            AddEvents([event(1, "ann", "bad\nid"), event(2, "bad\x00user", "new"), event(3, "ann", "new")]),
        ]
    )
    written = export()
    dataset = load_dataset(tmp_path / "out")
    item = next(item for item in dataset.items if item.id == "new")
    assert (item.title, item.text, item.attributes) == ("a b", "x y\nz", {"a b": "c ", "d": ("e f",)})
    assert [(user.id, user.attributes) for user in dataset.users] == [("ann", {"about": "x y"})]
    assert len(dataset.interactions) == 1
    assert any("items left out" in note for note in written.notes)


@pytest.mark.parametrize("odd", ["\n", "\r\n", "\t", "\x00", "\x1f", "\x7f", "\x85", "\u2028", '"', ","], ids=repr)
def test_what_the_server_takes_in_a_check_accepts(store, export, tmp_path, odd):
    several = f"a{odd}b"
    context = json.dumps({several: several, f"c{odd}": odd, "split": odd}).encode()
    store.commit(
        [
            PutItems(
                [
                    stored(several, title=several, text=several),
                    stored("odd", title=several, text=odd, domain=several, categories=(several, odd)),
                    stored("blank", title="", text=odd, attributes={several: several, odd: odd, "list": [several]}),
                    stored("blank too", title=odd, text=odd),
                ]
            ),
            PutUsers([StoredUser(several, profile_bytes({several: (several, odd)}))]),
            PutUsers([StoredUser("ann", profile_bytes({several: several, odd: odd}))]),
            AddEvents(
                [
                    event(number, user, item, kind=several, context=context)
                    for number, (user, item) in enumerate(
                        itertools.product([several, "ann"], [several, "odd", "blank", "film-war-1"])
                    )
                ]
            ),
        ]
    )
    written = export()
    report = check_dataset(tmp_path / "out")
    assert [finding for finding in report.findings if finding.severity is Severity.ERROR] == []
    assert (report.items, report.interactions) == (written.items, written.interactions)
    items = {item.id: item for item in load_dataset(tmp_path / "out").items}
    assert "odd" in items
    left_out = {"blank", "blank too"} - items.keys()
    assert left_out == (set() if odd in '",' else {"blank", "blank too"})
    assert any("2 items left out: neither text nor title" in note for note in written.notes) == bool(left_out)


def test_a_state_that_leaves_no_items_makes_no_dataset(store, export, tmp_path, tiny_dataset):
    store.commit([DeleteItems([item.id for item in load_dataset(tiny_dataset).items])])
    with pytest.raises(DatasetError, match="no items: all of them are deleted"):
        export()
    assert not (tmp_path / "out").exists()


def test_a_state_in_which_nothing_was_written_gives_the_catalogue(store, export, tmp_path, tiny_dataset):
    written = export()
    assert load_dataset(tmp_path / "out").items == load_dataset(tiny_dataset).items
    assert (written.users, written.interactions, written.notes) == (0, 0, ())
    with pytest.raises(TargetError):
        export()
    export(overwrite=True)


@pytest.mark.parametrize("end", ["closed", "killed", "backup"])
def test_a_state_that_no_server_has_open_is_read_too(tmp_path, tiny_bundle, capsys, end):
    state = tmp_path / "state"
    program = (
        "import os, sys; from pathlib import Path; from tanager_server.state import *\n"
        "store = SqliteStore(Path(sys.argv[1]))\n"
        "store.commit([AddEvents([StoredEvent('1', 'ann', 'film-war-1', 'click', 1.0, 1)])])\n"
        "if sys.argv[2] == 'closed': store.close()\n"
        "if sys.argv[2] == 'backup': store.backup(Path(sys.argv[3]))\n"
        "os._exit(0)\n"
    )
    backup = tmp_path / "backup"
    subprocess.run([sys.executable, "-c", program, state, end, backup], check=True)
    source = backup if end == "backup" else state
    assert run("from-state", source, tmp_path / "out", "--bundle", tiny_bundle) == 0
    assert "tiny: 120 items, 1 user, 1 interaction\n" in capsys.readouterr().out
    with SqliteStore(state) as store:
        assert store.seq == 1


def test_what_is_no_state_is_refused(tmp_path, tiny_bundle):
    with pytest.raises(StateError, match="no such file"):
        export_state(tmp_path, tiny_bundle, tmp_path / "out")
    old = Path(__file__).parents[1] / "server" / "state" / "version-1.sqlite3.gz"
    (tmp_path / FILE).write_bytes(gzip.decompress(old.read_bytes()))
    with pytest.raises(StateError, match=r"schema version 1.*start tanager-server with it once"):
        export_state(tmp_path, tiny_bundle, tmp_path / "out")
    assert not (tmp_path / "out").exists()
