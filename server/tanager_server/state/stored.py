"""What is kept: the records of a state, of which `data` and `context` are bytes that mean nothing here."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

STATE_ID = "state_id"
"""The setting that names a state, drawn when it is created and anew in each backup; `PutMeta` cannot change it."""


class StoredItem(NamedTuple):
    """An item as it was last written; `seq` is of that write, and is not read when one is written."""

    item_id: str
    data: bytes
    deleted: bool = False
    seq: int = 0


class StoredVector(NamedTuple):
    """An item's vector by the encoder with this fingerprint; float32, little-endian."""

    item_id: str
    fingerprint: str
    vector: bytes


class StoredUser(NamedTuple):
    """A user's profile as it was last written; `seq` is of that write, and is not read when one is written."""

    user_id: str
    data: bytes
    seq: int = 0


class StoredEvent(NamedTuple):
    """What a user did with an item, whether or not either is known; `seq` is not read when one is written."""

    event_id: str
    user_id: str
    item_id: str
    kind: str
    weight: float
    time_ns: int
    attribution: str = ""
    context: bytes = b""
    seq: int = 0


class Impression(NamedTuple):
    """What was shown under an attribution id; `user_id` is empty for nobody known."""

    attribution_id: str
    user_id: str
    time_ns: int
    data: bytes


EventRow: TypeAlias = tuple[int, int, int, float, int, str, bytes, int]
"""An event without its id: keys of user, item and kind, weight, time_ns, attribution, context, seq."""

BriefEventRow: TypeAlias = tuple[int, int, int, float, int]
"""An event for a rebuild: keys of user, item and kind, weight, time_ns."""
