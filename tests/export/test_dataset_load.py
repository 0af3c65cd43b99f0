"""Loading: what is accepted, and what is refused with file, line and mend."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tanager_export.dataset import DatasetError, load_dataset
from tanager_export.dataset import interactions as interactions_module

if TYPE_CHECKING:
    from pathlib import Path


def refused(directory: Path) -> str:
    with pytest.raises(DatasetError) as caught:
        load_dataset(directory)
    return str(caught.value)


def test_load_reads_every_field(make_dataset):
    directory = make_dataset(
        items=[
            {
                "id": "a",
                "title": "三体",
                "text": "First contact 👽",
                "domain": "book",
                "categories": ["science fiction"],
                "attributes": {"year": 2008, "rating": 4.5, "new": False, "by": ["Liu Cixin"], "note": "x"},
            },
            {"id": "b", "text": "Second"},
        ],
        interactions="user_id,item_id,timestamp,event,weight,place\nu,b,20,view,0.5,home\nv,a,10,like,2,\nu,a,-5,view,-1,\n",
        users='{"id": "v", "attributes": {"age": 30}}\n',
        metadata='{"name": "n", "description": "d", "source": "s", "licence": "l", "simulated_behaviour": true, '
        '"times": "order"}',
    )
    dataset = load_dataset(directory)
    first, second = dataset.items
    assert (first.id, first.title, first.text, first.domain) == ("a", "三体", "First contact 👽", "book")
    assert first.categories == ("science fiction",)
    assert first.attributes == {"year": 2008, "rating": 4.5, "new": False, "by": ("Liu Cixin",), "note": "x"}
    assert (second.title, second.domain, second.categories, dict(second.attributes)) == ("", "", (), {})
    columns = dataset.interactions
    assert columns.user_ids == ("u", "v")
    assert columns.user.tolist() == [0, 1, 0]
    assert columns.item.tolist() == [1, 0, 0]
    assert columns.timestamp.tolist() == [20, 10, -5]
    assert columns.weight.tolist() == [0.5, 2, -1]
    assert [column.dtype for column in (columns.user, columns.item, columns.timestamp, columns.weight)] == [
        np.int32,
        np.int32,
        np.int64,
        np.float32,
    ]
    assert [(user.id, dict(user.attributes)) for user in dataset.users] == [("v", {"age": 30})]
    assert (dataset.name, dataset.description, dataset.source, dataset.licence) == ("n", "d", "s", "l")
    assert dataset.simulated_behaviour
    assert dataset.times == "order"


def test_optional_files_and_columns_have_defaults(make_dataset):
    dataset = load_dataset(make_dataset(interactions=["u,i1,1"], name="plain"))
    assert (dataset.name, dataset.description, dataset.simulated_behaviour) == ("plain", "", False)
    assert dataset.times == "seconds"
    assert dataset.interactions.weight.tolist() == [1]
    assert dataset.users == ()


def test_a_cold_catalogue_has_no_interactions(make_dataset):
    interactions = load_dataset(make_dataset()).interactions
    assert len(interactions) == 0
    assert interactions.user_ids == ()


def test_columns_may_come_in_any_order_with_windows_line_ends_and_a_byte_order_mark(make_dataset):
    csv = b"\xef\xbb\xbftimestamp,weight,item_id,user_id\r\n7,3,i1,u\r\n\r\n8,4,i2,v"
    columns = load_dataset(make_dataset(interactions=csv)).interactions
    assert columns.timestamp.tolist() == [7, 8]
    assert columns.weight.tolist() == [3, 4]
    assert columns.item.tolist() == [1, 2]
    assert columns.user_ids == ("u", "v")


def test_an_empty_text_falls_back_to_the_title(make_dataset):
    (item,) = load_dataset(make_dataset([{"id": "a", "title": "Solaris", "text": " "}])).items
    assert item.encoder_text == "Solaris"


def test_a_text_of_a_megabyte_is_read_whole(make_dataset):
    text = "星" * (1 << 20)
    (item,) = load_dataset(make_dataset([{"id": "a", "text": text}])).items
    assert item.text == text


def test_blocks_join_without_a_seam(make_dataset, monkeypatch):
    monkeypatch.setattr(interactions_module, "_ROWS_A_BLOCK", 3)
    rows = [f"u{number % 5},i{number % 4},{number}" for number in range(20)]
    columns = load_dataset(make_dataset(interactions=rows)).interactions
    assert columns.timestamp.tolist() == list(range(20))
    assert [columns.user_ids[user] for user in columns.user] == [f"u{number % 5}" for number in range(20)]
    assert columns.item.tolist() == [number % 4 for number in range(20)]


ITEM = '{"id": "a", "text": "t"}\n'


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ("", "items.jsonl: no items: a dataset needs this file"),
        ("\n \n", "items.jsonl: no items"),
        (ITEM + "{", "items.jsonl, line 2: invalid JSON (Expecting property name"),
        (ITEM + "\n[1]\n", "items.jsonl, line 3: expected an object, found a list"),
        (ITEM + '{"id": "a", "text": "u"}', "items.jsonl, line 2: id 'a' is already on line 1: keep one"),
        ('{"text": "t"}', "line 1: no id"),
        ('{"id": "a", "title": "t"}', "line 1: no text"),
        ('{"id": " ", "text": "t"}', "line 1: blank id"),
        ('{"id": 7, "text": "t"}', "line 1: id must be a string, not a number"),
        ('{"id": "a", "text": null}', "line 1: text must be a string, not null"),
        ('{"id": "a", "text": "t", "title": ["x"]}', "line 1: title must be a string, not a list"),
        ('{"id": "a", "text": "t", "domain": true}', "line 1: domain must be a string, not a boolean"),
        ('{"id": "a", "text": "t", "categories": "x"}', "line 1: categories must be a list of strings, not a string"),
        ('{"id": "a", "text": "t", "categories": [1]}', "line 1: each of categories must be a string, not a number"),
        ('{"id": "a", "text": "t", "attributes": []}', "line 1: attributes must be an object, not a list"),
        ('{"id": "a", "text": "t", "attributes": {"x": null}}', "line 1: attribute 'x' must be a string, a number"),
        ('{"id": "a", "text": "t", "attributes": {"x": [1]}}', "line 1: each of attribute 'x' must be a string"),
        ('{"id": "a", "text": "t", "attributes": {"x": 1e999}}', "line 1: attribute 'x' is too large"),
        ('{"id": "a", "text": "t", "attributes": {"x": NaN}}', "line 1: invalid JSON (NaN"),
        ('{"id": "a", "text": "t", "genre": "x"}', "line 1: unknown key 'genre': the keys are id, title, text"),
        ('{"id": "a", "title": " ", "text": ""}', "line 1: item 'a' has neither text nor title"),
        ('{"id": "a\\u0000", "text": "t"}', "line 1: id contains the control character U+0000"),
        ('{"id": "a\\n", "text": "t"}', "line 1: id contains the control character U+000A"),
        ('{"id": "a", "text": "\\u0007"}', "line 1: text contains the control character U+0007"),
        ('{"id": "a", "text": "\\ud800"}', "line 1: text contains the control character U+D800"),
        (ITEM + '{"id": "b", "text": "\x00"}', "line 2: control character 0x00"),
        ("[" * 100_000, "line 1: invalid JSON (nested too deeply)"),
        (
            '{"id": "a", "text": "t", "attributes": {"x": ' + "9" * 5000 + "}}",
            "line 1: invalid JSON (Exceeds the limit",
        ),
    ],
)
def test_items_that_are_refused(make_dataset, items, message):
    assert message in refused(make_dataset(items))


def test_a_directory_without_items_is_refused(make_dataset, tmp_path):
    directory = make_dataset()
    (directory / "items.jsonl").unlink()
    assert refused(directory) == "items.jsonl: missing: a dataset needs this file: an object with id and text a line"
    assert refused(tmp_path / "nowhere").endswith("nowhere: no such directory")


def test_a_file_that_cannot_be_read_is_refused(make_dataset):
    directory = make_dataset()
    (directory / "interactions.csv").mkdir()
    assert refused(directory).startswith("interactions.csv: cannot be read (")


def test_text_that_is_no_utf_8_is_refused_with_line_and_byte(make_dataset):
    latin = ITEM.encode() + '{"id": "b", "text": "Amélie"}'.encode("latin-1")
    message = refused(make_dataset(latin))
    assert message == "items.jsonl, line 2: byte 24 of the line (0xe9) is not UTF-8: save the file as UTF-8"


def test_utf_8_is_checked_beyond_the_first_block(make_dataset):
    long = b"".join(b'{"id": "%d", "text": "%s"}\n' % (number, b"x" * 1000) for number in range(2000))
    assert "items.jsonl, line 2001: byte 3 " in refused(make_dataset(long + b'{"\xff'))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("u,i1", "expected 3 columns, found 2: keep the comma of an empty field"),
        ("u,i1,1,x", "expected 3 columns, found 4: quote fields that contain a comma"),
        (",i1,1", "blank user_id"),
        ('"u\tv",i1,1', "user_id contains a control character"),
        ("u,i1,", "timestamp '' is no integer"),
        ("u,i1,1.5", "timestamp '1.5' is no integer: give Unix seconds"),
        ("u,i1,yesterday", "timestamp 'yesterday' is no integer"),
        ("u,i1,1_000", "timestamp '1_000' is no integer"),
        ("u,i1,١٢", "timestamp '١٢' is no integer"),
        ("u,i1," + "9" * 19, "timestamp '9999999999999999999' is no integer"),
        ('"u"x,i1,1', "',' expected after '\"'"),
        ('u,"i1,1', "a quote that opens on this line is never closed"),
        ("u,i9,1", "item 'i9' is not in items.jsonl: add the items or drop these rows"),
        ("u,,1", "item '' is not in items.jsonl"),
        ("u\x01,i1,1", "control character 0x01"),
    ],
)
def test_rows_that_are_refused_by_line(make_dataset, row, message):
    directory = make_dataset(interactions=["u,i1,1", "", row, "u,i2,3"])
    assert f"interactions.csv, line 4: {message}" in refused(directory)


@pytest.mark.parametrize("weight", ["", "x", "nan", "inf", "-Infinity", "1e39"])
def test_weights_that_are_no_finite_numbers_are_refused(make_dataset, weight):
    csv = f"user_id,item_id,timestamp,weight\nu,i1,1,1\nu,i2,1,{weight}\n"
    assert f"interactions.csv, line 3: weight {weight!r} is no finite number" in refused(make_dataset(interactions=csv))


def test_a_part_that_no_split_has_is_refused(make_dataset):
    csv = "user_id,item_id,timestamp,split\nu,i1,1,train\nu,i1,1,\nu,i2,1,later\n"
    message = (
        "interactions.csv, line 4: split 'later' is none of train, valid, test: rename the column if it is something"
    )
    assert message in refused(make_dataset(interactions=csv))


def test_lines_are_counted_as_an_editor_does_where_fields_span_several(make_dataset):
    csv = 'user_id,item_id,timestamp,place\nu,i1,1,"a\nb\r\nc"\nu,i2,2,x\nu,i2,x,x\n'
    assert "interactions.csv, line 6: timestamp 'x'" in refused(make_dataset(interactions=csv))


def test_the_line_is_right_beyond_the_first_block(make_dataset, monkeypatch):
    monkeypatch.setattr(interactions_module, "_ROWS_A_BLOCK", 4)
    rows = [f"u,i1,{number}" for number in range(10)] + ["u,i1"]
    assert "interactions.csv, line 12: expected 3" in refused(make_dataset(interactions=rows))


def test_orphans_are_counted_and_the_first_is_named(make_dataset, monkeypatch):
    monkeypatch.setattr(interactions_module, "_ROWS_A_BLOCK", 2)
    directory = make_dataset(interactions=["u,i1,1", "u,gone,2", "u,i2,3", "v,gone,4", "v,lost,5"])
    assert refused(directory) == (
        "interactions.csv, line 3: item 'gone' is not in items.jsonl (3 interactions have such unknown items, this is "
        "the first): add the items or drop these rows"
    )


@pytest.mark.parametrize(
    ("csv", "message"),
    [
        ("", "no header: the first line is user_id,item_id,timestamp"),
        ("user_id,item_id\nu,i1\n", "no column timestamp"),
        ("u,i1,1\n", "no column user_id"),
        ("user_id,item_id,timestamp,x,x\n", "two columns are named 'x'"),
        ('"user_id\n', "the header is no CSV row"),
    ],
)
def test_headers_that_are_refused(make_dataset, csv, message):
    assert f"interactions.csv, line 1: {message}" in refused(make_dataset(interactions=csv))


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ("{", "invalid JSON"),
        ('{"licens": "x"}', "unknown key 'licens'"),
        ('{"simulated_behaviour": 1}', "simulated_behaviour must be true or false, not a number"),
        ('{"name": 1}', "name must be a string"),
        ('{"texts_until": "2016"}', "texts_until must be Unix seconds or null, not a string"),
        ('{"times": "days"}', 'times must be one of seconds, order, none, not "days"'),
        ('{"times": ["order"]}', 'times must be one of seconds, order, none, not ["order"]'),
    ],
)
def test_metadata_that_is_refused(make_dataset, metadata, message):
    assert refused(make_dataset(metadata=metadata)).startswith(f"dataset.json: {message}")


@pytest.mark.parametrize(
    ("users", "message"),
    [
        ('{"id": "u"}\n{"id": "u"}\n', "users.jsonl, line 2: id 'u' is already on line 1"),
        ('{"id": "u", "age": 3}', "users.jsonl, line 1: unknown key 'age': the keys are id, attributes"),
        ('{"id": ""}', "users.jsonl, line 1: blank id"),
    ],
)
def test_users_that_are_refused(make_dataset, users, message):
    assert message in refused(make_dataset(users=users))


def test_an_error_says_its_place_in_parts_too(make_dataset):
    directory = make_dataset(items=json.dumps({"id": "a"}))
    with pytest.raises(DatasetError) as caught:
        load_dataset(directory)
    assert (caught.value.file, caught.value.line, caught.value.problem.code) == ("items.jsonl", 1, "missing-field")
