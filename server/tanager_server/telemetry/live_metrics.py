"""Metrics of what changes while the server serves: writes, the state, the index, and which bundle is served."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from prometheus_client import Counter, Gauge, Histogram

from tanager_server.errors import StorageCorruptError, StorageError, StorageFullError, StorageReadOnlyError

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client import CollectorRegistry

_COMMIT_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_WRITES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_LONG_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0)

# The narrower error first. What is none of them is the fault of what was to be written.
_CAUSES: tuple[tuple[type[Exception], str], ...] = (
    (StorageFullError, "full"),
    (StorageReadOnlyError, "read_only"),
    (StorageCorruptError, "corrupt"),
    (StorageError, "disk"),
)
_REFUSED = "refused"


class LiveReadings(NamedTuple):
    """What is read at each scrape, on the scraper's thread: each gives a number that is there already.

    Attributes:
        waiting_rows: rows whose callers wait for their commit.
        posted_rows: rows that wait for it without a caller, as impressions do.
        sequence_number: of the last write that calls know of.
        users: of whom anything is known.
        events: of all users.
        items: that can be recommended.
        file_bytes: of the state's file.
        log_bytes: of its write-ahead log.
        room_items: new items that fit until the index is made anew.
    """

    waiting_rows: Callable[[], int]
    posted_rows: Callable[[], int]
    sequence_number: Callable[[], int]
    users: Callable[[], int]
    events: Callable[[], int]
    items: Callable[[], int]
    file_bytes: Callable[[], int]
    log_bytes: Callable[[], int]
    room_items: Callable[[], int]


_GAUGES = {
    "waiting_rows": ("tanager_journal_waiting_rows", "Rows whose callers wait until they are committed."),
    "posted_rows": ("tanager_journal_posted_rows", "Rows that wait to be committed without a caller: impressions."),
    "sequence_number": ("tanager_state_sequence_number", "The last write that calls know of."),
    "users": ("tanager_state_users", "Users of whom anything is known."),
    "events": ("tanager_state_events", "Events of all users."),
    "items": ("tanager_state_items", "Items that can be recommended, the bundle's and what was written since."),
    "file_bytes": ("tanager_state_file_bytes", "Size of the state's file."),
    "log_bytes": ("tanager_state_log_bytes", "Size of its write-ahead log, which a backup lets grow."),
    "room_items": ("tanager_index_room_items", "New items that fit until the index is made anew."),
}


class LiveMetrics:
    """Told on the event loop what the journal, the indexers and activations do.

    Args:
        registry: what is scraped.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._commit_writes = Histogram(
            "tanager_commit_writes", "Writes that share a commit.", buckets=_WRITES, registry=registry
        )
        self._commit_seconds = Histogram(
            "tanager_commit_seconds",
            "Time until a commit is on the disk.",
            buckets=_COMMIT_SECONDS,
            registry=registry,
        )
        self._committed = Counter("tanager_committed_rows", "Rows committed.", registry=registry)
        self._failed = Counter("tanager_failed_commits", "Commits that failed, by cause.", ["cause"], registry=registry)
        for cause in (*(cause for _, cause in _CAUSES), _REFUSED):
            self._failed.labels(cause)  # from 0 on: a rise from nothing is no rise to an alert
        self._dropped = Counter(
            "tanager_dropped_rows", "Rows without a caller that were not written.", registry=registry
        )
        self._unindexed = Gauge("tanager_index_unindexed_items", "Items that are scored one by one.", registry=registry)
        self._index_seconds = Histogram(
            "tanager_index_seconds", "Time to make an index anew.", buckets=_LONG_SECONDS, registry=registry
        )
        self._failed_indexes = Counter("tanager_failed_indexes", "Indexes that could not be made.", registry=registry)
        self._activations = Histogram(
            "tanager_activation_seconds",
            "Time to activate or roll back to a bundle, by outcome.",
            ["outcome"],
            buckets=_LONG_SECONDS,
            registry=registry,
        )

    def watch(self, readings: LiveReadings) -> None:
        """Reads these at each scrape; once is enough. They are not scraped before."""
        for field, read in readings._asdict().items():
            name, documentation = _GAUGES[field]
            Gauge(name, documentation, registry=self._registry).set_function(read)

    def observe_commit(self, *, writes: int, rows: int, seconds: float) -> None:
        """See `JournalObserver`."""
        self._commit_writes.observe(writes)
        self._commit_seconds.observe(seconds)
        self._committed.inc(rows)

    def observe_failed_commit(self, error: Exception) -> None:
        """See `JournalObserver`."""
        cause = next((cause for kind, cause in _CAUSES if isinstance(error, kind)), _REFUSED)
        self._failed.labels(cause).inc()

    def observe_dropped(self, rows: int) -> None:
        """See `JournalObserver`."""
        self._dropped.inc(rows)

    def set_unindexed(self, items: int) -> None:
        """So many items are scored one by one: counting them takes time by all items, so it is not done at a scrape."""
        self._unindexed.set(items)

    def observe_index(self, seconds: float) -> None:
        """See `IndexObserver`."""
        self._index_seconds.observe(seconds)

    def observe_failed_index(self) -> None:
        """See `IndexObserver`."""
        self._failed_indexes.inc()

    def observe_activation(self, outcome: str, seconds: float) -> None:
        """See `ActivationObserver`."""
        self._activations.labels(outcome).observe(seconds)
