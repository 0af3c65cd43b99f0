"""The durable state: items, users, events, impressions and settings, each write with its place in one order."""

from tanager_server.state.journal import Journal, JournalObserver, JournalPolicy
from tanager_server.state.reading import open_snapshot
from tanager_server.state.schema import Verified, verify
from tanager_server.state.sqlite import SqliteStore, Survives
from tanager_server.state.store import Snapshot, Store
from tanager_server.state.stored import (
    STATE_ID,
    BriefEventRow,
    EventRow,
    Impression,
    StoredEvent,
    StoredItem,
    StoredUser,
    StoredVector,
)
from tanager_server.state.writes import (
    AddEvents,
    AddImpressions,
    DeleteItems,
    DropVectors,
    ExpireImpressions,
    Outcome,
    PurgeUser,
    PutItems,
    PutMeta,
    PutUsers,
    PutVectors,
    Removed,
    Write,
    count_rows,
)

__all__ = [
    "STATE_ID",
    "AddEvents",
    "AddImpressions",
    "BriefEventRow",
    "DeleteItems",
    "DropVectors",
    "EventRow",
    "ExpireImpressions",
    "Impression",
    "Journal",
    "JournalObserver",
    "JournalPolicy",
    "Outcome",
    "PurgeUser",
    "PutItems",
    "PutMeta",
    "PutUsers",
    "PutVectors",
    "Removed",
    "Snapshot",
    "SqliteStore",
    "Store",
    "StoredEvent",
    "StoredItem",
    "StoredUser",
    "StoredVector",
    "Survives",
    "Verified",
    "Write",
    "count_rows",
    "open_snapshot",
    "verify",
]
