"""Items, users and events as messages of the contract, there and back, and the requests and answers around them."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from tanager import _wire
from tanager._records import Item, User, UserEvent
from tanager._writes import DeletedItems, ItemPage, PurgedUser, UpsertedItems, UpsertedUsers, WrittenEvents
from tanager.v1 import catalog_pb2, common_pb2, event_pb2, user_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tanager._values import Attribute


def item_message(name: str, value: Item) -> catalog_pb2.Item:
    """An item as it is sent; `name` is what messages call it."""
    if not isinstance(value, Item):
        raise TypeError(f"{name} must be an Item, not {type(value).__name__}")
    return catalog_pb2.Item(
        item_id=_wire.text(f"{name}.item_id", value.item_id),
        text=_wire.text(f"{name}.text", value.text),
        title=_wire.text(f"{name}.title", value.title),
        domain=_wire.text(f"{name}.domain", value.domain),
        categories=_wire.texts(f"{name}.categories", value.categories),
        attributes=_wire.attributes(f"{name}.attributes", value.attributes),
    )


def user_message(name: str, value: User) -> user_pb2.User:
    """A user as it is sent; `name` is what messages call it."""
    if not isinstance(value, User):
        raise TypeError(f"{name} must be a User, not {type(value).__name__}")
    return user_pb2.User(
        user_id=_wire.text(f"{name}.user_id", value.user_id),
        profile=_wire.attributes(f"{name}.profile", value.profile),
    )


def event_message(name: str, value: UserEvent) -> user_pb2.UserEvent:
    """An event as it is sent; `name` is what messages call it."""
    if not isinstance(value, UserEvent):
        raise TypeError(f"{name} must be a UserEvent, not {type(value).__name__}")
    message = user_pb2.UserEvent(
        event_id=_wire.text(f"{name}.event_id", value.event_id),
        user_id=_wire.text(f"{name}.user_id", value.user_id),
        item_id=_wire.text(f"{name}.item_id", value.item_id),
        type=_wire.text(f"{name}.type", value.type),
        weight=value.weight,
        context=_wire.named_texts(f"{name}.context", value.context),
        attribution_token=_wire.text(f"{name}.attribution_token", value.attribution_token),
    )
    if value.time is not None:
        message.event_time.FromDatetime(value.time)
    return message


def upsert_items_request(items: Iterable[Item]) -> catalog_pb2.UpsertItemsRequest:
    """The request of `Client.upsert_items`."""
    messages = [item_message(f"items[{n}]", value) for n, value in enumerate(_wire.many("items", items))]
    return catalog_pb2.UpsertItemsRequest(items=messages)


def delete_items_request(item_ids: Iterable[str]) -> catalog_pb2.DeleteItemsRequest:
    """The request of `Client.delete_items`."""
    return catalog_pb2.DeleteItemsRequest(item_ids=_wire.texts("item_ids", item_ids))


def get_item_request(item_id: str) -> catalog_pb2.GetItemRequest:
    """The request of `Client.get_item`."""
    return catalog_pb2.GetItemRequest(item_id=_wire.text("item_id", item_id))


def list_items_request(
    *,
    page_size: int | None,
    page_token: str,
    filter: str,  # noqa: A002 - the contract's name
) -> catalog_pb2.ListItemsRequest:
    """The request of `Client.list_items`."""
    return catalog_pb2.ListItemsRequest(
        page_size=_wire.integer("page_size", page_size),
        page_token=_wire.text("page_token", page_token),
        filter=_wire.text("filter", filter),
    )


def upsert_users_request(users: Iterable[User]) -> user_pb2.UpsertUsersRequest:
    """The request of `Client.upsert_users`."""
    messages = [user_message(f"users[{n}]", value) for n, value in enumerate(_wire.many("users", users))]
    return user_pb2.UpsertUsersRequest(users=messages)


def get_user_request(user_id: str) -> user_pb2.GetUserRequest:
    """The request of `Client.get_user`."""
    return user_pb2.GetUserRequest(user_id=_wire.text("user_id", user_id))


def purge_user_request(user_id: str) -> user_pb2.PurgeUserRequest:
    """The request of `Client.purge_user`."""
    return user_pb2.PurgeUserRequest(user_id=_wire.text("user_id", user_id))


def write_events_request(events: Iterable[UserEvent]) -> event_pb2.WriteEventsRequest:
    """The request of `Client.write_events`."""
    messages = [event_message(f"events[{n}]", value) for n, value in enumerate(_wire.many("events", events))]
    return event_pb2.WriteEventsRequest(events=messages)


def upserted_items(response: catalog_pb2.UpsertItemsResponse, request_id: str) -> UpsertedItems:
    """The answer of `Client.upsert_items`."""
    return UpsertedItems(
        created_count=response.created_count,
        encoded_count=response.encoded_count,
        consistency_token=response.consistency_token,
        request_id=request_id,
    )


def deleted_items(response: catalog_pb2.DeleteItemsResponse, request_id: str) -> DeletedItems:
    """The answer of `Client.delete_items`."""
    return DeletedItems(
        deleted_count=response.deleted_count, consistency_token=response.consistency_token, request_id=request_id
    )


def item(response: catalog_pb2.GetItemResponse, _request_id: str) -> Item:
    """The answer of `Client.get_item`."""
    return _item(response.item)


def item_page(response: catalog_pb2.ListItemsResponse, request_id: str) -> ItemPage:
    """The answer of `Client.list_items`."""
    return ItemPage(
        items=tuple(map(_item, response.items)),
        next_page_token=response.next_page_token,
        total_size=response.total_size,
        request_id=request_id,
    )


def upserted_users(response: user_pb2.UpsertUsersResponse, request_id: str) -> UpsertedUsers:
    """The answer of `Client.upsert_users`."""
    return UpsertedUsers(
        created_count=response.created_count, consistency_token=response.consistency_token, request_id=request_id
    )


def user(response: user_pb2.GetUserResponse, _request_id: str) -> User:
    """The answer of `Client.get_user`."""
    return User(
        user_id=response.user.user_id,
        profile=_attributes(response.user.profile),
        event_count=response.user.event_count,
        latest_events=tuple(map(_event, response.user.latest_events)),
    )


def purged_user(response: user_pb2.PurgeUserResponse, request_id: str) -> PurgedUser:
    """The answer of `Client.purge_user`."""
    return PurgedUser(
        profile_removed=response.profile_removed,
        event_count=response.event_count,
        impression_count=response.impression_count,
        consistency_token=response.consistency_token,
        request_id=request_id,
    )


def written_events(response: event_pb2.WriteEventsResponse, request_id: str) -> WrittenEvents:
    """The answer of `Client.write_events`."""
    return WrittenEvents(
        written_count=response.written_count,
        unknown_item_count=response.unknown_item_count,
        unattributed_count=response.unattributed_count,
        consistency_token=response.consistency_token,
        request_id=request_id,
    )


def _item(message: catalog_pb2.Item) -> Item:
    return Item(
        item_id=message.item_id,
        text=message.text,
        title=message.title,
        domain=message.domain,
        categories=tuple(message.categories),
        attributes=_attributes(message.attributes),
        update_time=message.update_time.ToDatetime(tzinfo=dt.UTC) if message.HasField("update_time") else None,
    )


def _event(message: user_pb2.UserEvent) -> UserEvent:
    return UserEvent(
        user_id=message.user_id,
        item_id=message.item_id,
        type=message.type,
        weight=message.weight if message.HasField("weight") else None,
        time=message.event_time.ToDatetime(tzinfo=dt.UTC) if message.HasField("event_time") else None,
        context=dict(message.context),
        attribution_token=message.attribution_token,
        event_id=message.event_id,
    )


def _attributes(values: Mapping[str, common_pb2.AttributeValue]) -> dict[str, Attribute]:
    """The values by name; of a kind that this version of the client does not know they are left out."""
    attributes: dict[str, Attribute] = {}
    for name, value in sorted(values.items()):  # protobuf's maps have no order
        match value.WhichOneof("value"):
            case "string_value":
                attributes[name] = value.string_value
            case "number_value":
                attributes[name] = value.number_value
            case "bool_value":
                attributes[name] = value.bool_value
            case "string_list":
                attributes[name] = tuple(value.string_list.values)
    return attributes
