"""`tanager users`."""

import json

import pytest

from tanager.v1 import common_pb2, user_pb2

VALUE = common_pb2.AttributeValue


def test_get(server, run):
    events = [
        user_pb2.UserEvent(event_id="2", item_id="film-1", type="click", context={"device": "tv", "at": "home"}),
        user_pb2.UserEvent(event_id="1", item_id="b", type="rate", weight=-2),
    ]
    events[0].event_time.FromJsonString("2026-01-02T03:04:05Z")
    user = user_pb2.User(
        user_id="u",
        profile={"age": VALUE(number_value=25.5), "likes": VALUE(string_list=common_pb2.StringList(values=["x", "y"]))},
        event_count=1234,
        latest_events=events,
    )
    server.on("GetUser", user_pb2.GetUserResponse(user=user))
    assert run("users", "get", "u") == [
        "id      u",
        "age     25.5",
        "likes   x, y",
        "events  1,234",
        "",
        "time                     type   weight  item    context",
        "2026-01-02 03:04:05 UTC  click       -  film-1  at=home, device=tv",
        "-                        rate       -2  b",
    ]
    assert server.call.request == user_pb2.GetUserRequest(user_id="u")


def test_get_of_a_user_without_events(server, run):
    server.on("GetUser", user_pb2.GetUserResponse(user=user_pb2.User(user_id="u")))
    assert run("users", "get", "u") == ["id      u", "events  0"]


def test_put_users_and_those_of_a_dataset(server, run, tmp_path):
    server.on("UpsertUsers", user_pb2.UpsertUsersResponse(created_count=1, consistency_token="t"))
    file = tmp_path / "users.jsonl"
    file.write_text(
        '{"user_id": "u", "profile": {"age": 25}, "event_count": 3, "latest_events": []}\n'
        '{"id": "v", "attributes": {"gender": "female"}}\n',
        encoding="utf-8",
    )
    assert run("users", "put", str(file))[1:] == ["new           1 users", "token         t"]
    assert list(server.call.request.users) == [
        user_pb2.User(user_id="u", profile={"age": VALUE(number_value=25)}),
        user_pb2.User(user_id="v", profile={"gender": VALUE(string_value="female")}),
    ]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{}", "user_id: is missing"),
        ('{"user_id": "u", "profile": {"a": null}}', "profile.a: must be a string, a number, true, false or a list"),
        ('{"user_id": "u", "age": 3}', "age: is not known here; the fields are user_id, profile"),
    ],
)
def test_a_line_that_is_no_user_is_named(failing, tmp_path, line, problem):
    file = tmp_path / "users.jsonl"
    file.write_text(line, encoding="utf-8")
    status, said = failing("users", "put", str(file))
    assert status == 2
    assert said.startswith(f"{file}: line 1: {problem}")


def test_purge(server, run):
    response = user_pb2.PurgeUserResponse(profile_removed=True, event_count=1234, impression_count=5)
    server.on("PurgeUser", response)
    assert run("users", "purge", "u") == [
        "profile      removed",
        "events       1,234 removed",
        "shown lists  5 removed",
    ]
    assert server.call.request == user_pb2.PurgeUserRequest(user_id="u")
    answer = json.loads("\n".join(run("users", "purge", "u", "--format", "json")))
    assert answer["event_count"] == 1234


def test_a_user_id_is_named_as_on_the_command_line(failing):
    assert failing("users", "purge", "\udce9")[1].startswith("USER_ID: user_id has no UTF-8 form")
