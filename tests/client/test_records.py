"""Items, users, events and bundles: what is sent, and what is made of the answer. Every test runs with both clients."""

import datetime as dt
import math
import uuid

import grpc
import pytest

import tanager
from tanager.v1 import catalog_pb2, common_pb2, event_pb2, model_pb2, user_pb2

VALUE = common_pb2.AttributeValue
TIME = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
ITEM = catalog_pb2.Item(
    item_id="film-1",
    text="A linguist meets visitors.",
    title="降临",
    domain="film",
    categories=["drama", "science fiction"],
    attributes={
        "year": VALUE(number_value=2016),
        "language": VALUE(string_value="en"),
        "classic": VALUE(bool_value=False),
        "cast": VALUE(string_list=common_pb2.StringList(values=["Amy Adams", "Jeremy Renner"])),
    },
)
TYPED_ITEM = tanager.Item(
    item_id="film-1",
    text="A linguist meets visitors.",
    title="降临",
    domain="film",
    categories=("drama", "science fiction"),
    attributes={"year": 2016.0, "language": "en", "classic": False, "cast": ("Amy Adams", "Jeremy Renner")},
)


async def test_upsert_items(client, server):
    server.on("UpsertItems", catalog_pb2.UpsertItemsResponse(created_count=1, encoded_count=2, consistency_token="t"))
    answer = await client.upsert_items([TYPED_ITEM, tanager.Item(item_id="b", text="B")], request_id="r")
    assert answer == tanager.UpsertedItems(created_count=1, encoded_count=2, consistency_token="t", request_id="r")
    assert server.call.request == catalog_pb2.UpsertItemsRequest(items=[ITEM, catalog_pb2.Item(item_id="b", text="B")])


async def test_the_time_of_an_item_is_read_and_not_sent(client, server):
    stored = catalog_pb2.Item()
    stored.CopyFrom(ITEM)
    stored.update_time.FromDatetime(TIME)
    server.on("GetItem", catalog_pb2.GetItemResponse(item=stored))
    server.on("UpsertItems", catalog_pb2.UpsertItemsResponse())
    item = await client.get_item("film-1")
    assert item.update_time == TIME
    await client.upsert_items([item])
    assert server.calls[0].request == catalog_pb2.GetItemRequest(item_id="film-1")
    assert list(server.calls[1].request.items) == [ITEM]


async def test_get_item_of_the_bundle(client, server):
    server.on("GetItem", catalog_pb2.GetItemResponse(item=ITEM))
    assert await client.get_item("film-1") == TYPED_ITEM


async def test_an_attribute_of_a_newer_server_is_left_out(client, server):
    server.on("GetItem", catalog_pb2.GetItemResponse(item=catalog_pb2.Item(attributes={"a": VALUE()})))
    assert (await client.get_item("a")).attributes == {}


async def test_delete_items(client, server):
    server.on("DeleteItems", catalog_pb2.DeleteItemsResponse(deleted_count=1, consistency_token="t"))
    answer = await client.delete_items(iter(["a", "b"]), request_id="r")
    assert answer == tanager.DeletedItems(deleted_count=1, consistency_token="t", request_id="r")
    assert server.call.request == catalog_pb2.DeleteItemsRequest(item_ids=["a", "b"])


async def test_list_items(client, server):
    server.on("ListItems", catalog_pb2.ListItemsResponse(items=[ITEM], next_page_token="n", total_size=7))
    page = await client.list_items(filter="year > 2000", page_size=1, page_token="p", request_id="r")
    assert list(page) == [TYPED_ITEM]
    assert (len(page), page[0], page.next_page_token, page.total_size, page.request_id) == (1, TYPED_ITEM, "n", 7, "r")
    assert server.call.request == catalog_pb2.ListItemsRequest(filter="year > 2000", page_size=1, page_token="p")


async def test_list_items_sends_nothing_that_was_not_given(client, server):
    server.on("ListItems", catalog_pb2.ListItemsResponse())
    await client.list_items()
    assert server.call.request == catalog_pb2.ListItemsRequest()
    assert not server.call.request.HasField("page_size")


async def test_upsert_users(client, server):
    server.on("UpsertUsers", user_pb2.UpsertUsersResponse(created_count=1, consistency_token="t"))
    users = [tanager.User(user_id="u", profile={"age": 25, "likes": ["go"]}), tanager.User(user_id="v")]
    answer = await client.upsert_users(users, request_id="r")
    assert answer == tanager.UpsertedUsers(created_count=1, consistency_token="t", request_id="r")
    likes = VALUE(string_list=common_pb2.StringList(values=["go"]))
    assert server.call.request == user_pb2.UpsertUsersRequest(
        users=[
            user_pb2.User(user_id="u", profile={"age": VALUE(number_value=25), "likes": likes}),
            user_pb2.User(user_id="v"),
        ]
    )


async def test_get_user(client, server):
    events = [
        user_pb2.UserEvent(event_id="e2", user_id="u", item_id="b", type="click", context={"device": "tv"}),
        user_pb2.UserEvent(event_id="e1", user_id="u", item_id="a", type="rate", weight=0, attribution_token="x"),
    ]
    events[1].event_time.FromDatetime(TIME)
    stored = user_pb2.User(user_id="u", profile={"age": VALUE(number_value=25)}, event_count=2, latest_events=events)
    server.on("GetUser", user_pb2.GetUserResponse(user=stored))
    user = await client.get_user("u")
    assert server.call.request == user_pb2.GetUserRequest(user_id="u")
    assert user == tanager.User(
        user_id="u",
        profile={"age": 25},
        event_count=2,
        latest_events=(
            tanager.UserEvent(event_id="e2", user_id="u", item_id="b", type="click", context={"device": "tv"}),
            tanager.UserEvent(
                event_id="e1", user_id="u", item_id="a", type="rate", weight=0, time=TIME, attribution_token="x"
            ),
        ),
    )


async def test_what_the_server_counts_of_a_user_is_not_sent(client, server):
    server.on("UpsertUsers", user_pb2.UpsertUsersResponse())
    event = tanager.UserEvent(user_id="u", item_id="a", type="click")
    await client.upsert_users([tanager.User(user_id="u", event_count=3, latest_events=[event])])
    assert list(server.call.request.users) == [user_pb2.User(user_id="u")]


async def test_purge_user(client, server):
    response = user_pb2.PurgeUserResponse(
        profile_removed=True, event_count=3, impression_count=4, consistency_token="t"
    )
    server.on("PurgeUser", response)
    answer = await client.purge_user("u", request_id="r")
    assert server.call.request == user_pb2.PurgeUserRequest(user_id="u")
    assert answer == tanager.PurgedUser(
        profile_removed=True, event_count=3, impression_count=4, consistency_token="t", request_id="r"
    )


async def test_write_events(client, server):
    response = event_pb2.WriteEventsResponse(
        written_count=2, unknown_item_count=1, unattributed_count=3, consistency_token="t"
    )
    server.on("WriteEvents", response)
    full = tanager.UserEvent(
        user_id="u",
        item_id="a",
        type="rate",
        weight=-1,
        time=TIME.astimezone(dt.timezone(dt.timedelta(hours=8))),
        context={"place": "sea"},
        attribution_token="x",
        event_id="mine",
    )
    plain = tanager.UserEvent(user_id="u", item_id="b", type="click")
    answer = await client.write_events([full, plain], request_id="r")
    assert answer == tanager.WrittenEvents(
        written_count=2, unknown_item_count=1, unattributed_count=3, consistency_token="t", request_id="r"
    )
    first, second = server.call.request.events
    expected = user_pb2.UserEvent(
        event_id="mine",
        user_id="u",
        item_id="a",
        type="rate",
        weight=-1,
        context={"place": "sea"},
        attribution_token="x",
    )
    expected.event_time.FromDatetime(TIME)
    assert first == expected
    assert second == user_pb2.UserEvent(event_id=plain.event_id, user_id="u", item_id="b", type="click")
    assert not second.HasField("weight")
    assert not second.HasField("event_time")


def test_an_event_without_an_id_gets_one_that_no_other_has():
    ids = {tanager.UserEvent(user_id="u", item_id="a", type="click").event_id for _ in range(100)}
    assert len(ids) == 100
    assert all(uuid.UUID(event_id).version == 4 for event_id in ids)


async def test_an_event_is_tried_again_with_the_same_id(client, server):
    failures = [grpc.StatusCode.UNAVAILABLE] * 2

    def answer(request, context):
        if failures:
            context.abort(failures.pop(), "draining")
        return event_pb2.WriteEventsResponse(written_count=1)

    server.on("WriteEvents", answer)
    event = tanager.UserEvent(user_id="u", item_id="a", type="click")
    assert (await client.write_events([event])).written_count == 1
    assert [call.request.events[0].event_id for call in server.calls] == [event.event_id] * 3


async def test_a_write_larger_than_grpc_keeps_by_default_is_tried_again(client, server):
    failures = [grpc.StatusCode.UNAVAILABLE]

    def answer(request, context):
        if failures:
            context.abort(failures.pop(), "draining")
        return catalog_pb2.UpsertItemsResponse(created_count=len(request.items))

    server.on("UpsertItems", answer)
    items = [tanager.Item(item_id=str(n), text="x" * 8192) for n in range(500)]  # 4 MiB
    assert (await client.upsert_items(items)).created_count == 500


METHODS = {
    "UpsertItems": ("upsert_items", ([],), catalog_pb2.UpsertItemsResponse()),
    "DeleteItems": ("delete_items", (["a"],), catalog_pb2.DeleteItemsResponse()),
    "GetItem": ("get_item", ("a",), catalog_pb2.GetItemResponse()),
    "ListItems": ("list_items", (), catalog_pb2.ListItemsResponse()),
    "UpsertUsers": ("upsert_users", ([],), user_pb2.UpsertUsersResponse()),
    "GetUser": ("get_user", ("u",), user_pb2.GetUserResponse()),
    "PurgeUser": ("purge_user", ("u",), user_pb2.PurgeUserResponse()),
    "WriteEvents": ("write_events", ([],), event_pb2.WriteEventsResponse()),
    "ListBundles": ("list_bundles", (), model_pb2.ListBundlesResponse()),
    "BackUpState": ("back_up_state", ("b",), model_pb2.BackUpStateResponse()),
    "StartTrial": ("start_trial", ("b", 0.5), model_pb2.StartTrialResponse()),
    "EndTrial": ("end_trial", (), model_pb2.EndTrialResponse()),
    "ActivateBundle": ("activate_bundle", ("b",), model_pb2.ActivateBundleResponse()),
}


@pytest.mark.parametrize("method", METHODS)
async def test_what_may_be_done_twice_is_tried_again(client, server, method):
    name, arguments, response = METHODS[method]
    failures = [grpc.StatusCode.UNAVAILABLE]

    def answer(request, context):
        if failures:
            context.abort(failures.pop(), "draining")
        return response

    server.on(method, answer)
    await getattr(client, name)(*arguments)
    assert len(server.calls) == 2


async def test_a_rollback_is_never_tried_again(client, server):
    server.fail("RollbackBundle", grpc.StatusCode.UNAVAILABLE, "draining")
    with pytest.raises(tanager.UnavailableError, match="draining"):
        await client.rollback_bundle()
    assert len(server.calls) == 1


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda c: c.upsert_items(["a"]), TypeError, r"items\[0\] must be an Item, not str"),
        (lambda c: c.upsert_items({"item_id": "a"}), TypeError, "items must be an iterable such as a list, not dict"),
        (lambda c: c.upsert_items(TYPED_ITEM), TypeError, "items must be an iterable such as a list, not Item"),
        (
            lambda c: c.upsert_items([TYPED_ITEM, tanager.Item(item_id="a", text=None)]),  # type: ignore[arg-type]
            TypeError,
            r"items\[1\].text must be a str, not NoneType",
        ),
        (
            lambda c: c.upsert_items([tanager.Item(item_id="a", text="a", categories="drama")]),
            TypeError,
            r"items\[0\].categories must be an iterable such as a list, not str",
        ),
        (
            lambda c: c.upsert_items([tanager.Item(item_id="a", text="a", attributes={"n": 10**400})]),
            ValueError,
            r"items\[0\].attributes\['n'\] is too large a number",
        ),
        (lambda c: c.delete_items("abc"), TypeError, "item_ids must be an iterable such as a list, not str"),
        (lambda c: c.get_item(3), TypeError, "item_id must be a str, not int"),
        (lambda c: c.list_items(filter=None), TypeError, "filter must be a str, not NoneType"),
        (lambda c: c.upsert_users([{}]), TypeError, r"users\[0\] must be a User, not dict"),
        (
            lambda c: c.upsert_users([tanager.User(user_id="u", profile={"a": None})]),  # type: ignore[dict-item]
            TypeError,
            r"users\[0\].profile\['a'\] must be a str, a number, a bool or a list of str, not NoneType",
        ),
        (lambda c: c.get_user(None), TypeError, "user_id must be a str"),
        (lambda c: c.purge_user(b"u"), TypeError, "user_id must be a str"),
        (lambda c: c.write_events([tanager.Event("a")]), TypeError, r"events\[0\] must be a UserEvent, not Event"),
        (
            lambda c: c.write_events([tanager.UserEvent(user_id="\ud800", item_id="a", type="t")]),
            ValueError,
            r"events\[0\].user_id has no UTF-8 form",
        ),
        (
            lambda c: c.write_events([tanager.UserEvent(user_id="u", item_id="a", type="t", context={"a": 1})]),  # type: ignore[dict-item]
            TypeError,
            r"events\[0\].context\['a'\] must be a str, not int",
        ),
        (lambda c: c.activate_bundle(3), TypeError, "name must be a str, not int"),
    ],
)
async def test_what_cannot_be_sent_is_refused_by_name(client, server, call, error, message):
    with pytest.raises(error, match=f"^{message}"):
        await call(client)
    assert server.calls == []


async def test_bounds_are_left_to_the_server(client, server):
    server.on("WriteEvents", event_pb2.WriteEventsResponse())
    event = tanager.UserEvent(user_id="", item_id=" ", type="", weight=math.inf, event_id="")
    await client.write_events([event])
    assert server.call.request.events[0].weight == math.inf


def test_an_event_needs_a_number_and_a_time_zone():
    with pytest.raises(TypeError, match=r"UserEvent\.weight must be a number, not str"):
        tanager.UserEvent(user_id="u", item_id="a", type="t", weight="1")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"UserEvent\.time must have a time zone"):
        tanager.UserEvent(user_id="u", item_id="a", type="t", time=dt.datetime(2026, 1, 1))  # noqa: DTZ001


async def test_the_state_of_a_server(client, server):
    state = model_pb2.State(consistency_token="t", item_count=5, user_count=6, event_count=7, unindexed_item_count=8)
    server.on("GetStatus", model_pb2.GetStatusResponse(state=state))
    assert (await client.status()).state == tanager.State(
        consistency_token="t", item_count=5, user_count=6, event_count=7, unindexed_item_count=8
    )
    server.on("GetStatus", model_pb2.GetStatusResponse())
    assert (await client.status()).state is None


async def test_list_bundles(client, server):
    found = [
        model_pb2.AvailableBundle(name="new", bundle=model_pb2.Bundle(bundle_id="abc", item_count=3), active=True),
        model_pb2.AvailableBundle(name="old", problem="manifest.json is missing"),
    ]
    server.on("ListBundles", model_pb2.ListBundlesResponse(bundles=found))
    bundles = await client.list_bundles(request_id="r")
    new, old = bundles
    assert (new.name, new.active, new.problem, bundles.request_id) == ("new", True, "", "r")
    assert new.bundle is not None
    assert (new.bundle.bundle_id, new.bundle.item_count) == ("abc", 3)
    assert old == tanager.AvailableBundle(name="old", bundle=None, active=False, problem="manifest.json is missing")


async def test_bundles_are_changed_with_a_deadline_of_their_own(connect, server):
    client = connect(server.target, timeout_s=1)
    bundle = model_pb2.Bundle(bundle_id="abc")
    server.on("ActivateBundle", model_pb2.ActivateBundleResponse(bundle=bundle, encoded_count=3))
    server.on("RollbackBundle", model_pb2.RollbackBundleResponse(bundle=bundle, encoded_count=4))
    activated = await client.activate_bundle("new", request_id="r")
    rolled_back = await client.rollback_bundle()
    await client.activate_bundle("new", timeout_s=20)
    assert (activated.bundle.bundle_id, activated.encoded_count, activated.request_id) == ("abc", 3, "r")
    assert rolled_back.encoded_count == 4
    assert server.calls[0].request == model_pb2.ActivateBundleRequest(name="new")
    patient, as_patient, own = (call.time_remaining_s for call in server.calls)
    assert patient > 300
    assert as_patient > 300
    assert own < 30


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (grpc.StatusCode.ABORTED, tanager.AbortedError),
        (grpc.StatusCode.NOT_FOUND, tanager.NotFoundError),
        (grpc.StatusCode.FAILED_PRECONDITION, tanager.FailedPreconditionError),
    ],
)
async def test_a_bundle_that_cannot_be_served(client, server, code, error):
    server.fail("ActivateBundle", code, "what happened")
    with pytest.raises(error, match="what happened"):
        await client.activate_bundle("new")
    assert len(server.calls) == 1
