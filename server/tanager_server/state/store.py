"""What a store promises. All that it keeps changes by what is in `writes`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from tanager_server.state.stored import BriefEventRow, EventRow, Impression, StoredEvent, StoredItem, StoredUser
    from tanager_server.state.writes import Outcome, Write


class Snapshot(Protocol):
    """The state as it was at one moment, read as often as one likes. Close it soon: the log grows meanwhile.

    Keys are small positive integers that stand for ids, with gaps, and only within one snapshot.
    """

    @property
    def seq(self) -> int:
        """The last write that the snapshot has."""

    def meta(self) -> Mapping[str, str]:
        """All settings."""

    def items(self, fingerprint: str | None = None) -> Iterator[tuple[StoredItem, bytes | None]]:
        """All items, those deleted too, each with its vector by this encoder if there is one; first written first."""

    def users(self) -> Iterator[StoredUser]:
        """All users with a profile."""

    def user_keys(self) -> Iterator[list[tuple[int, str]]]:
        """Blocks of (key, user id), all that event rows refer to and more, by ascending key."""

    def item_keys(self) -> Iterator[list[tuple[int, str]]]:
        """Blocks of (key, item id), all that event rows refer to and more, by ascending key."""

    def kinds(self) -> Mapping[int, str]:
        """Kinds of events by key."""

    def event_rows(self) -> Iterator[list[EventRow]]:
        """All events in blocks, in the order in which they were committed."""

    def brief_event_rows(self) -> Iterator[list[BriefEventRow]]:
        """The same with no more than memory keeps of them: the quick way to rebuild."""

    def events(self) -> Iterator[StoredEvent]:
        """All events in full, in the order in which they were committed."""

    def impressions(self) -> Iterator[Impression]:
        """All impressions, in the order in which they were committed."""

    def close(self) -> None:
        """Lets the moment go."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


class Store(Protocol):
    """Keeps the state. All methods may be called from any thread; only one commit runs at a time."""

    @property
    def seq(self) -> int:
        """The last committed write; 0 if there is none."""

    @property
    def state_id(self) -> str:
        """Names this state: a sequence number means nothing in another."""

    def commit(self, writes: Sequence[Write]) -> Sequence[Outcome]:
        """Makes the writes durable, in their order, all or none.

        Raises:
            StorageError: the disk failed, is full or takes no writes; none was kept.
            Exception: one of the writes holds what cannot be stored, such as a number of more than 64 bits; none was
                kept.
        """

    def load(self) -> Snapshot:
        """Opens a snapshot of what is committed.

        Raises:
            StorageError: it cannot be read; so do its iterators.
        """

    def lookup_impression(self, attribution_id: str) -> Impression | None:
        """What was shown under an id, if it is kept.

        Raises:
            StorageError: it cannot be read.
        """

    def backup(self, destination: Path, *, progress: Callable[[int, int], None] | None = None) -> None:
        """Copies the state, as it is at one moment, into a directory that a server can be started with.

        Commits go on meanwhile. The directory appears when it is complete.

        Args:
            destination: must not exist, or be empty.
            progress: told pages done and pages in all.

        Raises:
            StateError: there is something at the destination, or another backup to it is running.
            StorageError: it could not be read or written.
        """

    def close(self) -> None:
        """Lets go of the files. Snapshots must have been closed."""
