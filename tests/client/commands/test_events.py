"""`tanager events`."""

import datetime as dt
import json
import uuid

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from tanager.v1 import event_pb2, user_pb2


@pytest.fixture
def written(server):
    """What was written, in the order of the calls."""
    events: list[user_pb2.UserEvent] = []

    def answer(request, context):
        events.extend(request.events)
        return event_pb2.WriteEventsResponse(written_count=len(request.events), consistency_token="t")

    server.on("WriteEvents", answer)
    return events


def test_one_event(server, run, written):
    lines = run(
        *["events", "write", "--user", "u", "--item", "a", "--type", "rate", "--weight", "-2"],
        *["--time", "2026-01-02T11:04:05+08:00", "--context", "place=by the sea", "--attribution", "x"],
        *["--event-id", "e"],
    )
    expected = user_pb2.UserEvent(
        event_id="e",
        user_id="u",
        item_id="a",
        type="rate",
        weight=-2,
        context={"place": "by the sea"},
        attribution_token="x",
    )
    expected.event_time.FromJsonString("2026-01-02T03:04:05Z")
    assert written == [expected]
    assert lines == ["new    1 events", "token  t"]


def test_one_event_that_says_little(server, run, written):
    run("events", "write", "--user", "u", "--item", "a", "--type", "click")
    (event,) = written
    assert uuid.UUID(event.event_id).version == 4
    assert event == user_pb2.UserEvent(event_id=event.event_id, user_id="u", item_id="a", type="click")


def test_what_came_of_events_is_told(server, run):
    server.on("WriteEvents", event_pb2.WriteEventsResponse(written_count=3, unknown_item_count=2, unattributed_count=1))
    assert run("events", "write", "--user", "u", "--item", "a", "--type", "click") == [
        "new          3 events",
        "unknown      2 of them with items not in the catalogue",
        "attribution  1 of them not what their list showed",
    ]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "--user: is required where no FILE is given"),
        (["--user", "u"], "--item: is required where no FILE is given"),
        (["--user", "u", "--item", "a"], "--type: is required where no FILE is given"),
        (["f.csv", "--user", "u"], "--user: belongs to one event, and f.csv has its own"),
        (["f.csv", "--context", "a=b"], "--context: belongs to one event, and f.csv has its own"),
        (["f.csv", "--weight", "0"], "--weight: belongs to one event, and f.csv has its own"),
        (["--user", "u", "--item", "a", "--type", "t", "--time", "noon"], "--time: must be a time such as 2026-"),
        (
            ["--user", "u", "--item", "a", "--type", "t", "--time", "2026-01-01"],
            "--time: must have a time zone, for example 2026-",
        ),
        (["--user", "u", "--item", "a", "--type", "t", "--context", "sea"], "--context: 'sea' is no NAME=VALUE"),
        (["--user", "\udce9", "--item", "a", "--type", "t"], "--user: events[0].user_id has no UTF-8 form"),
        (["--user", "u", "--item", "\udce9", "--type", "t"], "--item: events[0].item_id has no UTF-8 form"),
    ],
)
def test_one_event_that_makes_no_sense(server, failing, argv, message):
    status, said = failing("events", "write", *argv)
    assert status == 2
    assert said.startswith(message)
    assert server.calls == []


def test_a_refused_field_of_one_event_is_named_with_its_option(server, failing):
    violation = error_details_pb2.BadRequest.FieldViolation(field="events[0].weight", description="must be set")
    details = status_pb2.Status()
    details.details.add().Pack(error_details_pb2.BadRequest(field_violations=[violation]))
    server.fail("WriteEvents", grpc.StatusCode.INVALID_ARGUMENT, "bad", details.SerializeToString())
    assert failing("events", "write", "--user", "u", "--item", "a", "--type", "t") == (
        2,
        "--weight: events[0].weight: must be set",
    )


def test_json_lines(server, run, written, tmp_path):
    file = tmp_path / "events.jsonl"
    file.write_text(
        '{"event_id": "e", "user_id": "u", "item_id": "a", "type": "rate", "weight": 4, "time": 1767323045.5, '
        '"context": {"place": "sea"}, "attribution_token": "x"}\n'
        '{"user_id": "u", "item_id": "b", "event": "click", "time": "2026-01-02T03:04:05Z"}\n'
        '{"user_id": "u", "item_id": "c", "weight": null}\n',
        encoding="utf-8",
    )
    lines = run("events", "write", str(file), "--type", "view")
    first, second, third = written
    assert first.event_id == "e"
    assert (first.weight, first.context, first.attribution_token) == (4, {"place": "sea"}, "x")
    assert first.event_time.ToJsonString() == "2026-01-02T03:04:05.500Z"
    assert (second.type, second.event_time.ToJsonString()) == ("click", "2026-01-02T03:04:05Z")
    assert (third.type, third.HasField("weight"), third.HasField("event_time")) == ("view", False, False)
    assert lines[0].startswith("acknowledged  3 in ")
    assert lines[1:] == ["new           3 events", "token         t"]


CSV = """\
user_id,item_id,timestamp,event,weight,place
u,a,1767323045,rate,4.5,"by
the sea"

u,b,1767323046,,,
"""


def test_csv_of_a_dataset(server, run, written, tmp_path):
    file = tmp_path / "interactions.CSV"
    file.write_text(CSV, encoding="utf-8-sig")
    run("events", "write", str(file), "--type", "view")
    first, second = written
    assert (first.user_id, first.item_id, first.type, first.weight) == ("u", "a", "rate", 4.5)
    assert first.event_time.ToDatetime(tzinfo=dt.UTC) == dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
    assert first.context == {"place": "by\nthe sea"}
    assert (second.type, second.HasField("weight"), dict(second.context)) == ("view", False, {})


def test_csv_from_standard_input(run, written, stdin):
    stdin(CSV)
    answer = json.loads("\n".join(run("events", "write", "-", "--csv", "--type", "view", "--format", "json")))
    assert answer["record_count"] == len(written) == 2


def test_events_with_a_time_have_the_same_id_each_time(run, written, tmp_path):
    file = tmp_path / "events.csv"
    file.write_text("user_id,item_id,type,time\nu,a,click,1\nu,a,click,2\nu,b,click,1\nu,a,click,\n", encoding="utf-8")
    run("events", "write", str(file))
    run("events", "write", str(file))
    ids = [event.event_id for event in written]
    assert ids[:3] == ids[4:7]
    assert len(set(ids[:4])) == 4
    assert ids[3] != ids[7]  # nothing tells it from another click


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: has no header"),
        ("user_id,user_id\n", "line 1: the header has the column 'user_id' twice"),
        ("user_id,item_id,type\nu,a\n", "line 2: has 2 columns, and the header 3"),
        ("user_id,item_id,type\nu,,click\n", "line 2: item_id: is missing"),
        ("user_id,item_id\nu,a\n", "line 2: type: is missing"),
        ("user_id,item_id,type,weight\nu,a,t,1\nu,a,t,much\n", "line 3: weight: must be a number, not a string"),
        ("user_id,item_id,type,weight\nu,a,t,nan\n", "line 2: weight: must be a finite number"),
        ("user_id,item_id,type,time\nu,a,t,noon\n", "line 2: time: must be a time such as 2026-01-02T03:04:05Z"),
        ("user_id,item_id,type,time\nu,a,t,1e300\n", "line 2: time: must be a time such as"),
        ("user_id,item_id,type,time\nu,a,t,2026-01-02\n", "line 2: time: must have a time zone"),
        ('user_id,item_id,type,x\nu,a,t,"1\n2"\nu,a\n', "line 4: has 2 columns"),
        ('user_id,item_id,type\nu,a,"t', "line 2: is no CSV: "),
    ],
)
def test_a_row_that_is_no_event_is_named(failing, written, tmp_path, text, message):
    file = tmp_path / "events.csv"
    file.write_text(text, encoding="utf-8")
    status, said = failing("events", "write", str(file))
    assert status == 2
    assert said.startswith(f"{file}: {message}")
    assert written == []


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"user_id": "u", "item_id": "a", "type": "t", "weight": "1"}', "weight: must be a number, not a string"),
        ('{"user_id": "u", "item_id": "a", "type": "t", "weight": true}', "weight: must be a number, not a boolean"),
        ('{"user_id": "u", "item_id": "a", "type": "t", "time": true}', "time: must be a time such as"),
        ('{"user_id": "u", "item_id": "a", "type": "t", "context": "sea"}', "context: must be an object, not a string"),
        ('{"user_id": "u", "item_id": "a", "type": "t", "context": {"n": 1}}', "context.n: must be a string"),
        ('{"user_id": "u", "item_id": "a", "type": "t", "wieght": 1}', "wieght: is not known here; the fields are"),
        ('{"user_id": "u", "item_id": "a", "type": "t", "event": "t"}', "event: says the same as type"),
    ],
)
def test_a_line_that_is_no_event_is_named(failing, written, tmp_path, line, problem):
    file = tmp_path / "events.jsonl"
    file.write_text(line, encoding="utf-8")
    status, said = failing("events", "write", str(file))
    assert status == 2
    assert said.startswith(f"{file}: line 1: {problem}")
