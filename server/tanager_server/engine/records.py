"""Items and profiles as the store keeps them: canonical JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from pydantic import BaseModel

from tanager_server.bundle import Item

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tanager_server.bundle import ProfileValue


class ItemRecord(NamedTuple):
    """An item as it was written.

    Attributes:
        item: the item.
        written_ns: when, since the epoch.
    """

    item: Item
    written_ns: int


class _Stored(BaseModel):
    """What `item_bytes` makes of a record."""

    item: Item
    written_ns: int


def item_bytes(record: ItemRecord) -> bytes:
    """An item as bytes."""
    return f'{{"written_ns":{record.written_ns},"item":{record.item.model_dump_json()}}}'.encode()


def read_item(data: bytes) -> ItemRecord:
    """The record of `item_bytes`.

    Raises:
        ValueError: they are not of an item.
    """
    stored = _Stored.model_validate_json(data)
    return ItemRecord(stored.item, stored.written_ns)


def profile_bytes(profile: Mapping[str, ProfileValue]) -> bytes:
    """A profile as bytes."""
    return json.dumps(profile, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def read_profile(data: bytes) -> dict[str, ProfileValue]:
    """The profile of `profile_bytes`."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in json.loads(data).items()}
