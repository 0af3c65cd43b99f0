"""What the clients answer with for reads and writes of what a server keeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tanager._rows import Rows

if TYPE_CHECKING:
    from tanager._records import Item


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemPage(Rows["Item"]):
    """A page of the catalogue: a sequence of `Item`.

    Attributes:
        items: The items themselves, in the order in which they came into the catalogue.
        next_page_token: What `list_items` takes as `page_token` for the next page; empty if this is the last.
        total_size: Number of items that the filter allows, at that moment.
        request_id: What to look for in the server's logs.
    """

    items: tuple[Item, ...]
    next_page_token: str
    total_size: int
    request_id: str

    def _rows(self) -> tuple[Item, ...]:
        return self.items


@dataclass(frozen=True, slots=True, kw_only=True)
class _Write:
    """What every write answers."""

    consistency_token: str
    request_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UpsertedItems(_Write):
    """What came of writing items.

    Attributes:
        created_count: Items that were not in the catalogue before.
        encoded_count: Texts that were encoded.
        consistency_token: Stands for the state after this write: see `min_consistency_token` of `Client.recommend`.
        request_id: What to look for in the server's logs.
    """

    created_count: int
    encoded_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletedItems(_Write):
    """What came of deleting items.

    Attributes:
        deleted_count: Items that were in the catalogue before.
        consistency_token: Stands for the state after this write.
        request_id: What to look for in the server's logs.
    """

    deleted_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UpsertedUsers(_Write):
    """What came of writing users.

    Attributes:
        created_count: Users of whom nothing was known before.
        consistency_token: Stands for the state after this write.
        request_id: What to look for in the server's logs.
    """

    created_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PurgedUser(_Write):
    """What was removed of a user.

    Attributes:
        profile_removed: Whether there was a profile.
        event_count: Number of events removed.
        impression_count: Number of shown lists removed.
        consistency_token: Stands for the state after this write.
        request_id: What to look for in the server's logs.
    """

    profile_removed: bool
    event_count: int
    impression_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenEvents(_Write):
    """What came of writing events.

    Attributes:
        written_count: Events that are new.
        unknown_item_count: New events whose item the catalogue does not have.
        unattributed_count: New events whose attribution token is that of a list without their item, or of none.
        consistency_token: Stands for the state after this write.
        request_id: What to look for in the server's logs.
    """

    written_count: int
    unknown_item_count: int
    unattributed_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Import:
    """What every import answers."""

    record_count: int = 0
    consistency_token: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedItems(_Import):
    """What came of `import_items`, or has come of it so far.

    Attributes:
        record_count: Items that were acknowledged.
        created_count: Those that were not in the catalogue before.
        encoded_count: Texts that were encoded.
        consistency_token: Stands for the state after all of it; empty until all is written.
    """

    created_count: int = 0
    encoded_count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedUsers(_Import):
    """What came of `import_users`, or has come of it so far.

    Attributes:
        record_count: Users that were acknowledged.
        created_count: Those of whom nothing was known before.
        consistency_token: Stands for the state after all of it; empty until all is written.
    """

    created_count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedEvents(_Import):
    """What came of `import_events`, or has come of it so far.

    Attributes:
        record_count: Events that were acknowledged.
        written_count: Those that are new.
        unknown_item_count: New events whose item the catalogue does not have.
        unattributed_count: New events whose attribution token is that of a list without their item, or of none.
        consistency_token: Stands for the state after all of it; empty until all is written.
    """

    written_count: int = 0
    unknown_item_count: int = 0
    unattributed_count: int = 0
