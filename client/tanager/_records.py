"""What a server keeps, as callers write it and as it comes back: items, users and events."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tanager._values import Attribute, check_time, check_weight

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """Something that can be recommended.

    Attributes:
        item_id: Unique.
        text: What the encoder reads.
        title: Display title; empty for none.
        domain: Domain, for example "film"; empty for none.
        categories: Categories, without repetition.
        attributes: What else is known, by name, for filters: texts, numbers, true and false, or several texts.
        update_time: When it was last written to this server, in UTC; None for an item as the bundle has it. Not sent.
    """

    item_id: str
    text: str
    title: str = ""
    domain: str = ""
    categories: Sequence[str] = ()
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    update_time: dt.datetime | None = None


def new_event_id() -> str:
    """An id that no other event has."""
    return uuid.uuid4().hex


@dataclass(frozen=True, slots=True, kw_only=True)
class UserEvent:
    """Something that a user did with an item, for the server to keep.

    An event belongs to its id, which is made here and not when it is sent: however often the same event is written, it
    counts once.

    Attributes:
        user_id: Who. Need not have been written before.
        item_id: With which item. Need not be in the catalogue yet.
        type: What the user did, for example "click".
        weight: How much that says that the user likes the item, negative for dislike; None leaves it to the server's
            settings for the type.
        time: When it happened, with a time zone; None leaves it to the server, which takes the time of the call.
        context: Where the user was, in words by name.
        attribution_token: That of the answer that showed the item; empty if none did.
        event_id: Unique; a new one (UUID 4) if not given.

    Raises:
        TypeError: `weight` is not a number.
        ValueError: `time` has no time zone.
    """

    user_id: str
    item_id: str
    type: str
    weight: float | None = None
    time: dt.datetime | None = None
    context: Mapping[str, str] = field(default_factory=dict)
    attribution_token: str = ""
    event_id: str = field(default_factory=new_event_id)

    def __post_init__(self) -> None:
        check_weight("UserEvent.weight", self.weight)
        check_time("UserEvent.time", self.time)


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Someone of whom something is known.

    Attributes:
        user_id: Unique.
        profile: Attributes by name, for example `{"gender": "female", "age": 25}`.
        event_count: Number of events. Not sent.
        latest_events: The latest of them, up to 100, latest first. Not sent.
    """

    user_id: str
    profile: Mapping[str, Attribute] = field(default_factory=dict)
    event_count: int = 0
    latest_events: Sequence[UserEvent] = ()
