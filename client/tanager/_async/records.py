"""The methods of `AsyncClient` that read and write what a server keeps: items, users and events."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tanager import _record_messages
from tanager._async.caller import AsyncCaller
from tanager._paging import next_token

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from tanager._records import Item, User, UserEvent
    from tanager._writes import DeletedItems, ItemPage, PurgedUser, UpsertedItems, UpsertedUsers, WrittenEvents
    from tanager.v1 import catalog_pb2


class AsyncRecordCalls(AsyncCaller):
    """Items, users and events."""

    async def upsert_items(
        self, items: Iterable[Item], *, timeout_s: float | None = None, request_id: str | None = None
    ) -> UpsertedItems:
        """Creates items, or replaces them as a whole; see `Client.upsert_items`."""
        rpc, request = self._stubs.catalog.UpsertItems, _record_messages.upsert_items_request(items)
        return await self._call(rpc, request, _record_messages.upserted_items, timeout_s, request_id)

    async def delete_items(
        self, item_ids: Iterable[str], *, timeout_s: float | None = None, request_id: str | None = None
    ) -> DeletedItems:
        """Deletes items; see `Client.delete_items`."""
        rpc, request = self._stubs.catalog.DeleteItems, _record_messages.delete_items_request(item_ids)
        return await self._call(rpc, request, _record_messages.deleted_items, timeout_s, request_id)

    async def get_item(self, item_id: str, *, timeout_s: float | None = None, request_id: str | None = None) -> Item:
        """Reads one item; see `Client.get_item`."""
        rpc, request = self._stubs.catalog.GetItem, _record_messages.get_item_request(item_id)
        return await self._call(rpc, request, _record_messages.item, timeout_s, request_id)

    async def list_items(
        self,
        *,
        filter: str = "",  # noqa: A002 - the contract's name
        page_size: int | None = None,
        page_token: str = "",
        timeout_s: float | None = None,
        request_id: str | None = None,
    ) -> ItemPage:
        """Reads a page of the catalogue; see `Client.list_items`."""
        request = _record_messages.list_items_request(page_size=page_size, page_token=page_token, filter=filter)
        rpc = self._stubs.catalog.ListItems
        return await self._call(rpc, request, _record_messages.item_page, timeout_s, request_id)

    def iter_items(
        self,
        *,
        filter: str = "",  # noqa: A002 - the contract's name
        page_size: int | None = 1000,
        timeout_s: float | None = None,
    ) -> AsyncIterator[Item]:
        """Reads the catalogue, asking for each page when it is wanted; see `Client.iter_items`."""
        request = _record_messages.list_items_request(page_size=page_size, page_token="", filter=filter)
        return self._items(request, timeout_s)

    async def _items(self, request: catalog_pb2.ListItemsRequest, timeout_s: float | None) -> AsyncIterator[Item]:
        rpc = self._stubs.catalog.ListItems
        while True:
            page = await self._call(rpc, request, _record_messages.item_page, timeout_s, None)
            for item in page:
                yield item
            request.page_token = next_token(request.page_token, page.next_page_token, page.request_id)
            if not request.page_token:
                return

    async def upsert_users(
        self, users: Iterable[User], *, timeout_s: float | None = None, request_id: str | None = None
    ) -> UpsertedUsers:
        """Creates users, or replaces their profiles as a whole; see `Client.upsert_users`."""
        rpc, request = self._stubs.user.UpsertUsers, _record_messages.upsert_users_request(users)
        return await self._call(rpc, request, _record_messages.upserted_users, timeout_s, request_id)

    async def get_user(self, user_id: str, *, timeout_s: float | None = None, request_id: str | None = None) -> User:
        """Reads what is known of a user; see `Client.get_user`."""
        rpc, request = self._stubs.user.GetUser, _record_messages.get_user_request(user_id)
        return await self._call(rpc, request, _record_messages.user, timeout_s, request_id)

    async def purge_user(
        self, user_id: str, *, timeout_s: float | None = None, request_id: str | None = None
    ) -> PurgedUser:
        """Removes everything that is known of a user; see `Client.purge_user`."""
        rpc, request = self._stubs.user.PurgeUser, _record_messages.purge_user_request(user_id)
        return await self._call(rpc, request, _record_messages.purged_user, timeout_s, request_id)

    async def write_events(
        self, events: Iterable[UserEvent], *, timeout_s: float | None = None, request_id: str | None = None
    ) -> WrittenEvents:
        """Writes events, all of them or none; see `Client.write_events`."""
        rpc, request = self._stubs.event.WriteEvents, _record_messages.write_events_request(events)
        return await self._call(rpc, request, _record_messages.written_events, timeout_s, request_id)
