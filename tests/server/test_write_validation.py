"""Requests that write: what is taken, what is refused, and which field is named."""

from __future__ import annotations

import math

import pytest

from tanager.v1 import catalog_pb2, common_pb2, event_pb2, user_pb2
from tanager_server.engine.records import ItemRecord, item_bytes, profile_bytes, read_item, read_profile
from tanager_server.errors import InvalidRequestError
from tanager_server.rpc import write_validation as validation

WEIGHTS = {"click": 1.0, "dislike": -1.0}
SECONDS = 1_700_000_000


def attribute(value):
    kinds = {bool: "bool_value", str: "string_value", float: "number_value"}
    if isinstance(value, tuple):
        return common_pb2.AttributeValue(string_list=common_pb2.StringList(values=value))
    return common_pb2.AttributeValue(**{kinds[type(value)]: value})


ATTRIBUTES = {"year": 1999.0, "dubbed": True, "studio": "Toho", "cast": ("Ann", "Bo")}


def item(**fields):
    return catalog_pb2.Item(**({"item_id": "a", "text": "words"} | fields))


def event(**fields):
    fields = {"event_id": "e", "user_id": "u", "item_id": "i", "type": "click"} | fields
    time = fields.pop("event_time", None)
    message = user_pb2.UserEvent(**fields)
    if time is not None:
        message.event_time.seconds, message.event_time.nanos = time
    return message


def fields_of(error):
    return [violation.field for violation in error.value.violations]


def test_an_item_is_taken_as_it_is_and_kept_as_it_is():
    message = item(
        title="T",
        domain="film",
        categories=["b", "a"],
        attributes={name: attribute(value) for name, value in ATTRIBUTES.items()},
    )
    (taken,) = validation.upserted_items(catalog_pb2.UpsertItemsRequest(items=[message]))
    assert (taken.id, taken.text, taken.title, taken.domain, taken.categories) == (
        "a",
        "words",
        "T",
        "film",
        ("b", "a"),
    )
    assert taken.attributes == ATTRIBUTES | {"cast": ["Ann", "Bo"]}
    record = read_item(item_bytes(ItemRecord(taken, 5)))
    assert record == ItemRecord(taken, 5)
    kept = record.item
    assert {name: type(value) for name, value in kept.attributes.items()} == {
        name: type(value) for name, value in taken.attributes.items()
    }


def test_a_profile_is_kept_as_it_is():
    message = user_pb2.User(user_id="u", profile={name: attribute(value) for name, value in ATTRIBUTES.items()})
    profiles = validation.upserted_users(user_pb2.UpsertUsersRequest(users=[message]))
    assert profiles == {"u": ATTRIBUTES}
    assert read_profile(profile_bytes(profiles["u"])) == ATTRIBUTES


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"item_id": ""}, "items[1].item_id"),
        ({"item_id": " "}, "items[1].item_id"),
        ({"item_id": "é" * 501}, "items[1].item_id"),
        ({"item_id": "first"}, "items[1]"),
        ({"text": ""}, "items[1].text"),
        ({"text": "x" * 8_193}, "items[1].text"),
        ({"title": "x" * 1_001}, "items[1].title"),
        ({"domain": "x" * 101}, "items[1].domain"),
        ({"categories": ["x"] * 2}, "items[1].categories[1]"),
        ({"categories": [""]}, "items[1].categories[0]"),
        ({"categories": [str(n) for n in range(101)]}, "items[1].categories"),
        ({"attributes": {"a": attribute(math.nan)}}, "items[1].attributes['a']"),
        ({"attributes": {"a": common_pb2.AttributeValue()}}, "items[1].attributes['a']"),
        ({"attributes": {"": attribute("x")}}, "items[1].attributes"),
        ({"attributes": {"a": attribute(("x", " "))}}, "items[1].attributes['a'][1]"),
        ({"attributes": {str(n): attribute(1.0) for n in range(101)}}, "items[1].attributes"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_an_item_out_of_bounds_is_named(wrong, field):
    request = catalog_pb2.UpsertItemsRequest(items=[item(item_id="first"), item(item_id="second")])
    request.items[1].MergeFrom(catalog_pb2.Item(**wrong))
    for name in ("item_id", "text"):
        if name in wrong:
            setattr(request.items[1], name, wrong[name])
    with pytest.raises(InvalidRequestError) as error:
        validation.upserted_items(request)
    assert field in fields_of(error)


@pytest.mark.parametrize(
    ("convert", "request_of", "most", "field"),
    [
        (
            validation.upserted_items,
            lambda n: catalog_pb2.UpsertItemsRequest(items=[item(item_id=str(k)) for k in range(n)]),
            1_000,
            "items",
        ),
        (
            validation.deleted_ids,
            lambda n: catalog_pb2.DeleteItemsRequest(item_ids=map(str, range(n))),
            10_000,
            "item_ids",
        ),
        (
            validation.upserted_users,
            lambda n: user_pb2.UpsertUsersRequest(users=[user_pb2.User(user_id=str(k)) for k in range(n)]),
            1_000,
            "users",
        ),
        (
            lambda request: validation.written_events(request, WEIGHTS),
            lambda n: event_pb2.WriteEventsRequest(events=[event()] * n),
            10_000,
            "events",
        ),
    ],
    ids=["items", "deletes", "users", "events"],
)
def test_a_request_holds_one_at_least_and_not_too_many(convert, request_of, most, field):
    assert len(convert(request_of(most))) == most
    for count in (0, most + 1):
        with pytest.raises(InvalidRequestError) as error:
            convert(request_of(count))
        assert fields_of(error) == [field]


def test_an_event_is_taken_as_it_is():
    message = event(weight=0.0, event_time=(SECONDS, 7), attribution_token="shown", context={"b": "x", "a": "y"})
    (taken,) = validation.written_events(event_pb2.WriteEventsRequest(events=[message]), WEIGHTS)
    assert taken[:4] == ("e", "u", "i", "click")
    assert taken.weight == 0.0, "a weight of 0 is one"
    assert taken.time_ns == SECONDS * 10**9 + 7
    assert (taken.attribution, taken.context) == ("shown", b'{"a":"y","b":"x"}')


def test_an_event_without_weight_and_time_gets_those_of_its_type_and_of_the_call():
    request = event_pb2.WriteEventsRequest(events=[event(), event(type="dislike")])
    first, second = validation.written_events(request, WEIGHTS)
    assert (first.weight, second.weight) == (1.0, -1.0)
    assert first.time_ns == second.time_ns > SECONDS * 10**9


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"event_id": ""}, "events[0].event_id"),
        ({"user_id": ""}, "events[0].user_id"),
        ({"item_id": "x" * 1_001}, "events[0].item_id"),
        ({"type": ""}, "events[0].type"),
        ({"type": "stares"}, "events[0].weight"),
        ({"weight": math.nan}, "events[0].weight"),
        ({"weight": -101.0}, "events[0].weight"),
        ({"event_time": (SECONDS, -1)}, "events[0].event_time"),
        ({"event_time": (1 << 40, 0)}, "events[0].event_time"),
        ({"event_time": (10_000_000_000, 0)}, "events[0].event_time"),
        ({"event_time": (-10_000_000_000, 0)}, "events[0].event_time"),
        ({"context": {"mood": " "}}, "events[0].context['mood']"),
        ({"context": {str(n): "x" for n in range(51)}}, "events[0].context"),
        ({"attribution_token": "x" * 10_001}, "events[0].attribution_token"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_an_event_out_of_bounds_is_named(wrong, field):
    with pytest.raises(InvalidRequestError) as error:
        validation.written_events(event_pb2.WriteEventsRequest(events=[event(**wrong)]), WEIGHTS)
    assert field in fields_of(error)


def test_not_every_one_of_many_is_named():
    request = event_pb2.WriteEventsRequest(events=[event(user_id="")] * 10_000)
    with pytest.raises(InvalidRequestError) as error:
        validation.written_events(request, WEIGHTS)
    assert 1 <= len(error.value.violations) <= 20


@pytest.mark.parametrize("value", ["", " ", "x" * 1_001])
def test_an_id_that_is_asked_for_is_there(value):
    assert validation.required_id("user_id", "u") == "u"
    with pytest.raises(InvalidRequestError, match="user_id"):
        validation.required_id("user_id", value)
