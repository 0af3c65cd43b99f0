"""The methods of `Client` that read and write what a server keeps: items, users and events."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tanager import _record_messages
from tanager._paging import next_token
from tanager._sync.caller import Caller

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tanager._records import Item, User, UserEvent
    from tanager._writes import DeletedItems, ItemPage, PurgedUser, UpsertedItems, UpsertedUsers, WrittenEvents
    from tanager.v1 import catalog_pb2


class RecordCalls(Caller):
    """Items, users and events."""

    def upsert_items(
        self, items: Iterable[Item], *, timeout_s: float | None = None, request_id: str | None = None
    ) -> UpsertedItems:
        """Creates items, or replaces them as a whole. They can be recommended when the call returns.

        Args:
            items: The items, up to 1,000, no id twice; `import_items` takes any number. Many new texts, which are
                encoded, may need a longer `timeout_s`.
            timeout_s: See `Client`.
            request_id: See `Client`.
        """
        rpc, request = self._stubs.catalog.UpsertItems, _record_messages.upsert_items_request(items)
        return self._call(rpc, request, _record_messages.upserted_items, timeout_s, request_id)

    def delete_items(
        self, item_ids: Iterable[str], *, timeout_s: float | None = None, request_id: str | None = None
    ) -> DeletedItems:
        """Deletes items: none of them is recommended any more when the call returns.

        Args:
            item_ids: Their ids, up to 10,000. Those that the catalogue does not have are ignored.
            timeout_s: See `Client`.
            request_id: See `Client`.
        """
        rpc, request = self._stubs.catalog.DeleteItems, _record_messages.delete_items_request(item_ids)
        return self._call(rpc, request, _record_messages.deleted_items, timeout_s, request_id)

    def get_item(self, item_id: str, *, timeout_s: float | None = None, request_id: str | None = None) -> Item:
        """Reads one item.

        Args:
            item_id: Its id.
            timeout_s: See `Client`.
            request_id: See `Client`.

        Raises:
            NotFoundError: The catalogue has no such item.
        """
        rpc, request = self._stubs.catalog.GetItem, _record_messages.get_item_request(item_id)
        return self._call(rpc, request, _record_messages.item, timeout_s, request_id)

    def list_items(
        self,
        *,
        filter: str = "",  # noqa: A002 - the contract's name
        page_size: int | None = None,
        page_token: str = "",
        timeout_s: float | None = None,
        request_id: str | None = None,
    ) -> ItemPage:
        """Reads a page of the catalogue; `iter_items` reads all pages.

        Args:
            filter: Which items: see `recommend`; empty for all.
            page_size: How many items to return, up to 1,000; None leaves it to the server, which takes 100.
            page_token: `next_page_token` of the page before, for the same filter; empty for the first page.
            timeout_s: See `Client`.
            request_id: See `Client`.
        """
        request = _record_messages.list_items_request(page_size=page_size, page_token=page_token, filter=filter)
        rpc = self._stubs.catalog.ListItems
        return self._call(rpc, request, _record_messages.item_page, timeout_s, request_id)

    def iter_items(
        self,
        *,
        filter: str = "",  # noqa: A002 - the contract's name
        page_size: int | None = 1000,
        timeout_s: float | None = None,
    ) -> Iterator[Item]:
        """Reads the catalogue, asking for each page when it is wanted.

        What is there all the while comes once, whatever else is written between the pages.

        Args:
            filter: Which items: see `recommend`; empty for all.
            page_size: How many items to ask for at a time.
            timeout_s: The deadline of one page; see `Client`.
        """
        request = _record_messages.list_items_request(page_size=page_size, page_token="", filter=filter)
        return self._items(request, timeout_s)

    def _items(self, request: catalog_pb2.ListItemsRequest, timeout_s: float | None) -> Iterator[Item]:
        rpc = self._stubs.catalog.ListItems
        while True:
            page = self._call(rpc, request, _record_messages.item_page, timeout_s, None)
            yield from page
            request.page_token = next_token(request.page_token, page.next_page_token, page.request_id)
            if not request.page_token:
                return

    def upsert_users(
        self, users: Iterable[User], *, timeout_s: float | None = None, request_id: str | None = None
    ) -> UpsertedUsers:
        """Creates users, or replaces their profiles as a whole; their events stay.

        Args:
            users: The users, up to 1,000, no id twice; `import_users` takes any number.
            timeout_s: See `Client`.
            request_id: See `Client`.
        """
        rpc, request = self._stubs.user.UpsertUsers, _record_messages.upsert_users_request(users)
        return self._call(rpc, request, _record_messages.upserted_users, timeout_s, request_id)

    def get_user(self, user_id: str, *, timeout_s: float | None = None, request_id: str | None = None) -> User:
        """Reads what is known of a user.

        Args:
            user_id: The user's id.
            timeout_s: See `Client`.
            request_id: See `Client`.

        Raises:
            NotFoundError: Nothing is.
        """
        rpc, request = self._stubs.user.GetUser, _record_messages.get_user_request(user_id)
        return self._call(rpc, request, _record_messages.user, timeout_s, request_id)

    def purge_user(self, user_id: str, *, timeout_s: float | None = None, request_id: str | None = None) -> PurgedUser:
        """Removes everything that is known of a user: the profile, the events, and what the user was shown.

        Of a user of whom nothing is known it removes nothing, which is no error. Backups made before still hold it.
        Where the connection is lost the call is tried again, and what it counts is what the last try removed.

        Args:
            user_id: The user's id.
            timeout_s: See `Client`.
            request_id: See `Client`.
        """
        rpc, request = self._stubs.user.PurgeUser, _record_messages.purge_user_request(user_id)
        return self._call(rpc, request, _record_messages.purged_user, timeout_s, request_id)

    def write_events(
        self, events: Iterable[UserEvent], *, timeout_s: float | None = None, request_id: str | None = None
    ) -> WrittenEvents:
        """Writes events, all of them or none. An event that was written before is not written again.

        Args:
            events: The events, up to 10,000, in any order; `import_events` takes any number.
            timeout_s: See `Client`.
            request_id: See `Client`.
        """
        rpc, request = self._stubs.event.WriteEvents, _record_messages.write_events_request(events)
        return self._call(rpc, request, _record_messages.written_events, timeout_s, request_id)
