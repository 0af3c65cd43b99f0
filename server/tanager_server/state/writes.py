"""What can be written to a store.

All that is kept changes by these few writes. A write takes a sequence number when it is committed, one counter for all
kinds, and is answered by an `Outcome`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from tanager_server.state.stored import STATE_ID

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tanager_server.state.stored import Impression, StoredEvent, StoredItem, StoredUser, StoredVector


@dataclass(frozen=True, slots=True)
class PutItems:
    """Writes items, over those with the same ids, and vectors of theirs.

    Vectors come with a new text: an item that has one here loses those that are not here. An item without one keeps
    what it has.
    """

    items: Sequence[StoredItem]
    vectors: Sequence[StoredVector] = ()


@dataclass(frozen=True, slots=True)
class DeleteItems:
    """Marks items as deleted, also such as were never written; their data and vectors go."""

    item_ids: Sequence[str]


@dataclass(frozen=True, slots=True)
class PutVectors:
    """Writes vectors of items whose text stays: a new bundle has encoded them.

    A vector is left out if its item is deleted, was never put, or was written after `as_of_seq`: it may be of a text
    that is no more.
    """

    vectors: Sequence[StoredVector]
    as_of_seq: int


@dataclass(frozen=True, slots=True)
class DropVectors:
    """Removes up to `limit` vectors of an encoder that is no longer needed."""

    fingerprint: str
    limit: int = 10_000


@dataclass(frozen=True, slots=True)
class PutUsers:
    """Writes profiles, over those of the same users."""

    users: Sequence[StoredUser]


@dataclass(frozen=True, slots=True)
class PurgeUser:
    """Removes all that is kept of a user: profile, events, impressions, and the id itself. Backups keep theirs."""

    user_id: str


@dataclass(frozen=True, slots=True)
class AddEvents:
    """Adds events; one whose id is known already is ignored."""

    events: Sequence[StoredEvent]


@dataclass(frozen=True, slots=True)
class AddImpressions:
    """Adds impressions; one whose attribution id is known already is ignored."""

    impressions: Sequence[Impression]


@dataclass(frozen=True, slots=True)
class ExpireImpressions:
    """Removes up to `limit` impressions of before a time, the oldest first, and users of whom nothing else is kept."""

    before_ns: int
    limit: int = 10_000


@dataclass(frozen=True, slots=True)
class PutMeta:
    """Writes settings; None removes one."""

    values: Mapping[str, str | None]

    def __post_init__(self) -> None:
        if STATE_ID in self.values:
            raise ValueError(f"{STATE_ID} is given when a state is created and stays")


Write: TypeAlias = (
    PutItems
    | DeleteItems
    | PutVectors
    | DropVectors
    | PutUsers
    | PurgeUser
    | AddEvents
    | AddImpressions
    | ExpireImpressions
    | PutMeta
)


def count_rows(write: Write) -> int:
    """How much a write asks for, in rows; at least 1."""
    match write:
        case PutItems():
            rows = len(write.items) + len(write.vectors)
        case DeleteItems():
            rows = len(write.item_ids)
        case PutVectors():
            rows = len(write.vectors)
        case DropVectors() | ExpireImpressions():
            rows = write.limit
        case PutUsers():
            rows = len(write.users)
        case AddEvents():
            rows = len(write.events)
        case AddImpressions():
            rows = len(write.impressions)
        case PurgeUser():
            rows = 1
        case PutMeta():
            rows = len(write.values)
    return max(1, rows)


class Removed(NamedTuple):
    """How many rows of each kind a write removed."""

    profiles: int = 0
    events: int = 0
    impressions: int = 0
    vectors: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a write.

    Attributes:
        seq: the write's place in the order of all writes.
        existed: for each row of the write in turn, earlier rows of the same write counted: whether the item was there
            and not deleted, the user had a profile, the event or impression was known (so this one was ignored), the
            item of a vector was there unchanged (so the vector was kept), anything was kept of the user to purge. Empty
            for DropVectors and ExpireImpressions.
        removed: rows that PurgeUser, DropVectors or ExpireImpressions removed.
    """

    seq: int
    existed: tuple[bool, ...] = ()
    removed: Removed = field(default=Removed())

    @property
    def new(self) -> tuple[bool, ...]:
        """The rows that did not exist: for AddEvents, those that were added."""
        return tuple(not existed for existed in self.existed)
