"""Items and profiles as the store keeps them: canonical JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tanager_server.bundle import Item

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tanager_server.bundle import ProfileValue


def item_bytes(item: Item) -> bytes:
    """An item as bytes."""
    return item.model_dump_json().encode()


def read_item(data: bytes) -> Item:
    """The item of `item_bytes`.

    Raises:
        ValueError: they are not of an item.
    """
    return Item.model_validate_json(data)


def profile_bytes(profile: Mapping[str, ProfileValue]) -> bytes:
    """A profile as bytes."""
    return json.dumps(profile, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def read_profile(data: bytes) -> dict[str, ProfileValue]:
    """The profile of `profile_bytes`."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in json.loads(data).items()}
