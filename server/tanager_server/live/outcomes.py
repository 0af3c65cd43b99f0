"""What became of writes."""

from __future__ import annotations

from typing import NamedTuple


class UpsertedItems(NamedTuple):
    """What became of items; `seq` is of the write."""

    created: int
    encoded: int
    seq: int


class DeletedItems(NamedTuple):
    """What became of items to delete; `seq` is of the write."""

    deleted: int
    seq: int


class UpsertedUsers(NamedTuple):
    """What became of users; `seq` is of the write."""

    created: int
    seq: int


class WrittenEvents(NamedTuple):
    """What became of events; `seq` is of the write."""

    written: int
    unknown_items: int
    seq: int
    unattributed: int = 0


class PurgedUser(NamedTuple):
    """What was removed of a user; `seq` is of the write."""

    had_profile: bool
    events: int
    impressions: int
    seq: int
