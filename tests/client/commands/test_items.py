"""`tanager items`."""

import json

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from tanager import cli
from tanager.v1 import catalog_pb2, common_pb2

VALUE = common_pb2.AttributeValue
ITEM = catalog_pb2.Item(
    item_id="film-1",
    text="A linguist\nmeets visitors.",
    title="降临",
    domain="film",
    categories=["drama", "sf"],
    attributes={"year": VALUE(number_value=2016), "classic": VALUE(bool_value=False), "lang": VALUE(string_value="en")},
)
ITEM.update_time.FromJsonString("2026-01-02T03:04:05Z")


@pytest.fixture
def written(server):
    """What was written, in the order of the calls."""
    items: list[catalog_pb2.Item] = []

    def answer(request, context):
        items.extend(request.items)
        return catalog_pb2.UpsertItemsResponse(created_count=len(request.items), encoded_count=1, consistency_token="t")

    server.on("UpsertItems", answer)
    return items


def test_get(server, run):
    server.on("GetItem", catalog_pb2.GetItemResponse(item=ITEM))
    assert run("items", "get", "film-1") == [
        "id          film-1",
        "title       降临",
        "domain      film",
        "categories  drama, sf",
        "classic     false",
        "lang        en",
        "year        2016",
        "written     2026-01-02 03:04:05 UTC",
        "text        A linguist meets visitors.",
    ]
    answer = json.loads("\n".join(run("items", "get", "film-1", "--format", "json")))
    assert answer["attributes"] == {"classic": False, "lang": "en", "year": 2016.0}
    assert answer["update_time"] == "2026-01-02T03:04:05+00:00"


def test_get_of_what_is_not_there(server, failing):
    server.fail("GetItem", grpc.StatusCode.NOT_FOUND, "no item 'a'")
    status, said = failing("items", "get", "a")
    assert status == 1
    assert said.startswith("no item 'a' (request ")


def test_list(server, run):
    plain = catalog_pb2.Item(item_id="b", text="B")
    server.on("ListItems", catalog_pb2.ListItemsResponse(items=[ITEM, plain], next_page_token="n", total_size=1234))
    assert run("items", "list", "--filter", "year > 2000", "-n", "2", "--page-token", "p") == [
        "id      title  domain  categories  written",
        "film-1  降临   film    drama, sf   2026-01-02 03:04:05 UTC",
        "b       -      -       -           -",
        "",
        "items      2 of 1,234",
        "next page  --page-token n",
    ]
    assert server.call.request == catalog_pb2.ListItemsRequest(filter="year > 2000", page_size=2, page_token="p")


def test_list_of_nothing(server, run):
    server.on("ListItems", catalog_pb2.ListItemsResponse())
    assert run("items", "list") == ["no items", "", "items  0 of 0"]


def test_all_items_can_be_put_again(server, run, written, tmp_path):
    pages = {"": ([ITEM], "n"), "n": ([catalog_pb2.Item(item_id="b", text="B")], "")}

    def answer(request, context):
        items, token = pages[request.page_token]
        return catalog_pb2.ListItemsResponse(items=items, next_page_token=token)

    server.on("ListItems", answer)
    lines = run("items", "list", "--all", "--filter", "f")
    assert len(lines) == 2
    assert [call.request.page_size for call in server.calls] == [1000, 1000]
    (tmp_path / "items.jsonl").write_text("\n".join(lines), encoding="utf-8")
    run("items", "put", str(tmp_path / "items.jsonl"))
    expected = catalog_pb2.Item()
    expected.CopyFrom(ITEM)
    expected.ClearField("update_time")
    assert written == [expected, catalog_pb2.Item(item_id="b", text="B")]


def test_all_items_are_no_page(failing):
    assert failing("items", "list", "--all", "--page-token", "p")[0] == 2


def test_put_a_dataset(run, written, tmp_path):
    file = tmp_path / "items.jsonl"
    file.write_text(
        '\ufeff{"id": "a", "text": "A b.", "title": "A", "domain": "film", "categories": ["x"], '
        '"attributes": {"year": 1990, "ok": true, "lang": "en", "cast": ["p", "q"]}}\n'
        "\n"
        '{"id": "b", "text": " ", "title": "B", "domain": null}\n',
        encoding="utf-8",
    )
    lines = run("items", "put", str(file))
    assert written == [
        catalog_pb2.Item(
            item_id="a",
            text="A b.",
            title="A",
            domain="film",
            categories=["x"],
            attributes={
                "year": VALUE(number_value=1990),
                "ok": VALUE(bool_value=True),
                "lang": VALUE(string_value="en"),
                "cast": VALUE(string_list=common_pb2.StringList(values=["p", "q"])),
            },
        ),
        catalog_pb2.Item(item_id="b", text="B", title="B"),
    ]
    assert lines[0].startswith("acknowledged  2 in ")
    assert lines[1:] == ["new           2 items", "encoded       1 texts", "token         t"]


def test_put_from_standard_input_in_batches(server, run, written, stdin):
    stdin("".join(f'{{"item_id": "{n}", "text": "x"}}\n' for n in range(5)))
    answer = json.loads("\n".join(run("items", "put", "-", "--batch-size", "2", "--format", "json")))
    assert answer == {"record_count": 5, "consistency_token": "t", "created_count": 5, "encoded_count": 3}
    assert len(server.calls) == 3


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"id": "a"}', "text: is missing"),
        ('{"text": "x"}', "item_id: is missing"),
        ('{"id": "a", "item_id": "a", "text": "x"}', "id: says the same as item_id: keep one of them"),
        ('{"id": 3, "text": "x"}', "id: must be a string, not a number"),
        ('{"id": "a", "text": ["x"]}', "text: must be a string, not a list"),
        ('{"id": "a", "text": "\\ud800"}', "text: has no UTF-8 form"),
        ('{"id": "a", "text": "x", "categories": "y"}', "categories: must be a list of strings, not a string"),
        ('{"id": "a", "text": "x", "categories": ["y", 1]}', "categories[1]: must be a string, not a number"),
        ('{"id": "a", "text": "x", "attributes": []}', "attributes: must be an object, not a list"),
        ('{"id": "a", "text": "x", "attributes": {"y": {}}}', "attributes.y: must be a string, a number, true, false"),
        ('{"id": "a", "text": "x", "attributes": {"y": 1e999}}', "attributes.y: must be a finite number"),
        ('{"id": "a", "text": "x", "attributes": {"y": 1' + "0" * 400 + "}}", "attributes.y: must be a finite number"),
        ('{"id": "a", "text": "x", "titel": "A"}', "titel: is not known here; the fields are title, text, item_id"),
        ('{"id": "a", "text": "x",}', "is no JSON: "),
        ('{"id": "a", "text": NaN}', "is no JSON: NaN is no JSON number"),
        ("[" * 100_000, "is nested too deeply"),
        ('["a"]', "must be a JSON object"),
        ("3", "must be a JSON object"),
    ],
)
def test_a_line_that_is_no_item_is_named(failing, written, tmp_path, line, problem):
    file = tmp_path / "items.jsonl"
    file.write_text(f'{{"id": "0", "text": "x"}}\n\n{line}\n', encoding="utf-8")
    status, said = failing("items", "put", str(file))
    assert status == 2
    assert said.startswith(f"{file}: line 3: {problem}")
    assert said.endswith("; 0 items are written, line 1 not")
    assert written == []


def test_bytes_that_are_no_text_are_named(failing, tmp_path):
    file = tmp_path / "items.jsonl"
    file.write_bytes(b'{"id": "a\xff", "text": "x"}\n')
    assert failing("items", "put", str(file)) == (2, f"{file}: line 1: is not UTF-8: byte 10; 0 items are written")


def test_a_refused_item_is_named_by_its_line(server, failing, tmp_path):
    """The server names it by its position in the call, which holds the third and the fourth item."""

    def answer(request, context):
        if request.items[0].item_id == "2":
            violation = error_details_pb2.BadRequest.FieldViolation(field="items[1].title", description="is too long")
            details = status_pb2.Status()
            details.details.add().Pack(error_details_pb2.BadRequest(field_violations=[violation]))
            context.set_trailing_metadata((("grpc-status-details-bin", details.SerializeToString()),))
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "bad")
        return catalog_pb2.UpsertItemsResponse(created_count=2)

    server.on("UpsertItems", answer)
    file = tmp_path / "items.jsonl"
    file.write_text("\n\n" + "".join(f'{{"id": "{n}", "text": "x"}}\n\n' for n in range(4)), encoding="utf-8")
    assert failing("items", "put", str(file), "--batch-size", "2", "--in-flight", "1") == (
        2,
        f"{file}: line 9: title: is too long; 2 items are written, lines 7 to 9 not",
    )


def test_a_server_that_fails_is_not_the_files_fault(server, failing, tmp_path):
    server.fail("UpsertItems", grpc.StatusCode.FAILED_PRECONDITION, "the server keeps no state")
    file = tmp_path / "items.jsonl"
    file.write_text('{"id": "a", "text": "x"}', encoding="utf-8")
    status, said = failing("items", "put", str(file))
    assert status == 1
    assert said.startswith(f"{file}: the server keeps no state (request ")
    assert said.endswith("; 0 items are written, line 1 not")


def test_a_file_that_is_not_there(failing, tmp_path):
    assert failing("items", "put", str(tmp_path / "missing")) == (1, f"{tmp_path}/missing: No such file or directory")
    assert failing("items", "put", str(tmp_path)) == (1, f"{tmp_path}: Is a directory")


def test_a_name_without_a_utf_8_form_is_named(failing, tmp_path):
    file = tmp_path / "items.jsonl"
    file.write_text('{"id": "a", "text": "x", "attributes": {"\\ud800": 1}}', encoding="utf-8")
    status, said = failing("items", "put", str(file))
    assert status == 2
    assert said.startswith(f"{file}: line 1: attributes: a name has no UTF-8 form")


def test_options_that_make_no_sense(failing, tmp_path):
    assert failing("items", "put", "x", "--batch-size", "0") == (
        2,
        "--batch-size: batch_size must be at least 1, not 0",
    )


def test_an_interrupt_tells_what_is_written(server, written, tmp_path, monkeypatch, capsys):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tanager.commands.progress.Progress.update", interrupt)
    file = tmp_path / "items.jsonl"
    file.write_text('{"id": "a", "text": "x"}', encoding="utf-8")
    assert cli.main(["items", "put", str(file)]) == 130
    assert capsys.readouterr().err == "tanager: interrupted: 0 items are written\n"


def test_delete(server, run):
    server.on("DeleteItems", catalog_pb2.DeleteItemsResponse(deleted_count=1, consistency_token="t"))
    assert run("items", "delete", "a", "b") == ["deleted  1 items", "token    t"]
    assert server.call.request == catalog_pb2.DeleteItemsRequest(item_ids=["a", "b"])
