"""The servicers of what can be written: catalogue, users, events."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tanager.v1 import (
    catalog_pb2,
    catalog_pb2_grpc,
    common_pb2,
    event_pb2,
    event_pb2_grpc,
    user_pb2,
    user_pb2_grpc,
)
from tanager_server.errors import FieldViolation, InvalidRequestError, StatelessError
from tanager_server.rpc import write_validation as validation
from tanager_server.rpc.interceptor import deadline_s
from tanager_server.rpc.paging import Pages

if TYPE_CHECKING:
    from collections.abc import Mapping

    from google.protobuf.message import Message
    from grpc.aio import ServicerContext

    from tanager_server.bundle import Item
    from tanager_server.bundle.catalogue import AttributeValue
    from tanager_server.engine import Engine
    from tanager_server.live import Live, Served

_LATEST_EVENTS = 100
_DEFAULT_LISTED = 100
_MAX_LISTED = 1_000
_NANOS = 1_000_000_000


class CatalogServicer(catalog_pb2_grpc.CatalogServiceServicer):
    """CatalogService over what is served and what is written to it; None for a server without state."""

    def __init__(self, served: Served, live: Live | None) -> None:
        self._served, self._live = served, live
        self._pages = Pages()
        served.watch(self)

    @property
    def _engine(self) -> Engine:
        return self._served.engine

    def prepare(self, engine: Engine) -> None:
        """See `Watcher`: nothing is."""

    def swapped(self, engine: Engine) -> None:
        """See `Watcher`."""
        self._pages = Pages()

    def retired(self, engine: Engine) -> None:
        """See `Watcher`: nothing is kept."""

    async def UpsertItems(  # noqa: N802  # gRPC's name
        self, request: catalog_pb2.UpsertItemsRequest, context: ServicerContext[Message, Message]
    ) -> catalog_pb2.UpsertItemsResponse:
        """See the contract."""
        items, live = validation.upserted_items(request), _stateful(self._live)
        done = await live.upsert_items(items, deadline=self._engine.deadline(deadline_s()))
        return catalog_pb2.UpsertItemsResponse(
            created_count=done.created, encoded_count=done.encoded, consistency_token=live.token(done.seq)
        )

    async def DeleteItems(  # noqa: N802  # gRPC's name
        self, request: catalog_pb2.DeleteItemsRequest, context: ServicerContext[Message, Message]
    ) -> catalog_pb2.DeleteItemsResponse:
        """See the contract."""
        item_ids, live = validation.deleted_ids(request), _stateful(self._live)
        done = await live.delete_items(item_ids)
        return catalog_pb2.DeleteItemsResponse(deleted_count=done.deleted, consistency_token=live.token(done.seq))

    async def GetItem(  # noqa: N802  # gRPC's name
        self, request: catalog_pb2.GetItemRequest, context: ServicerContext[Message, Message]
    ) -> catalog_pb2.GetItemResponse:
        """See the contract."""
        position = self._engine.items.position(validation.required_id("item_id", request.item_id))
        return catalog_pb2.GetItemResponse(item=self._item(position))

    async def ListItems(  # noqa: N802  # gRPC's name
        self, request: catalog_pb2.ListItemsRequest, context: ServicerContext[Message, Message]
    ) -> catalog_pb2.ListItemsResponse:
        """See the contract."""
        page_size = request.page_size if request.HasField("page_size") else _DEFAULT_LISTED
        if not 1 <= page_size <= _MAX_LISTED:
            raise InvalidRequestError(FieldViolation("page_size", f"must be 1 to {_MAX_LISTED}, is {page_size}"))
        start = int(self._pages.read(request, request.page_token)[0]) if request.page_token else 0
        allowed = self._engine.allowed(request.filter)
        found = np.flatnonzero(allowed[start:])[: page_size + 1] + start
        token = ""
        if len(found) > page_size:
            token = self._pages.token(request, found[page_size:])
        return catalog_pb2.ListItemsResponse(
            items=[self._item(position) for position in found[:page_size].tolist()],
            next_page_token=token,
            total_size=int(np.count_nonzero(allowed)),
        )

    def _item(self, position: int) -> catalog_pb2.Item:
        items = self._engine.items
        message, written_ns = _item_message(items.item(position)), items.written_ns(position)
        if written_ns is not None:
            message.update_time.seconds, message.update_time.nanos = divmod(written_ns, _NANOS)
        return message


class UserServicer(user_pb2_grpc.UserServiceServicer):
    """UserService over what is written; None for a server without state."""

    def __init__(self, served: Served, live: Live | None) -> None:
        self._served, self._live = served, live

    async def UpsertUsers(  # noqa: N802  # gRPC's name
        self, request: user_pb2.UpsertUsersRequest, context: ServicerContext[Message, Message]
    ) -> user_pb2.UpsertUsersResponse:
        """See the contract."""
        profiles, live = validation.upserted_users(request), _stateful(self._live)
        done = await live.upsert_users(profiles)
        return user_pb2.UpsertUsersResponse(created_count=done.created, consistency_token=live.token(done.seq))

    async def GetUser(  # noqa: N802  # gRPC's name
        self, request: user_pb2.GetUserRequest, context: ServicerContext[Message, Message]
    ) -> user_pb2.GetUserResponse:
        """See the contract."""
        user_id = validation.required_id("user_id", request.user_id)
        found = _stateful(self._live).user(user_id, latest=_LATEST_EVENTS)
        numbers = self._served.engine.known.numbers
        user = user_pb2.User(user_id=user_id, event_count=found.event_count)
        for name, value in (found.profile or {}).items():
            _set_attribute(user.profile[name], value)
        for past in found.latest:
            event = user.latest_events.add(item_id=numbers.item_id(past.number), type=past.kind, weight=past.weight)
            event.event_time.seconds, event.event_time.nanos = divmod(past.time_ns, _NANOS)
        return user_pb2.GetUserResponse(user=user)

    async def PurgeUser(  # noqa: N802  # gRPC's name
        self, request: user_pb2.PurgeUserRequest, context: ServicerContext[Message, Message]
    ) -> user_pb2.PurgeUserResponse:
        """See the contract."""
        user_id, live = validation.required_id("user_id", request.user_id), _stateful(self._live)
        done = await live.purge_user(user_id)
        return user_pb2.PurgeUserResponse(
            profile_removed=done.had_profile,
            event_count=done.events,
            impression_count=done.impressions,
            consistency_token=live.token(done.seq),
        )


class EventServicer(event_pb2_grpc.EventServiceServicer):
    """EventService over what is written.

    Args:
        live: what is written; None for a server without state.
        weights: of the types of events that need not tell their own.
    """

    def __init__(self, live: Live | None, *, weights: Mapping[str, float]) -> None:
        self._live, self._weights = live, weights

    async def WriteEvents(  # noqa: N802  # gRPC's name
        self, request: event_pb2.WriteEventsRequest, context: ServicerContext[Message, Message]
    ) -> event_pb2.WriteEventsResponse:
        """See the contract."""
        events, live = validation.written_events(request, self._weights), _stateful(self._live)
        done = await live.write_events(events)
        return event_pb2.WriteEventsResponse(
            written_count=done.written,
            unknown_item_count=done.unknown_items,
            unattributed_count=done.unattributed,
            consistency_token=live.token(done.seq),
        )


def _stateful(live: Live | None) -> Live:
    if live is None:
        raise StatelessError
    return live


def _item_message(item: Item) -> catalog_pb2.Item:
    message = catalog_pb2.Item(
        item_id=item.id, text=item.text, title=item.title, domain=item.domain, categories=item.categories
    )
    for name, value in item.attributes.items():
        _set_attribute(message.attributes[name], value)
    return message


def _set_attribute(message: common_pb2.AttributeValue, value: AttributeValue | tuple[str, ...]) -> None:
    if isinstance(value, bool):
        message.bool_value = value
    elif isinstance(value, str):
        message.string_value = value
    elif isinstance(value, (list, tuple)):
        message.string_list.values.extend(value)
    else:
        message.number_value = value
