"""Group commit: from the event loop to the store and back.

One thread commits. All writes that wait when it is free share a transaction, and so a sync of the disk. What is
committed is then applied to memory, on the event loop and in the order of the commits, before its callers go on: who is
answered finds what he wrote.
"""

from __future__ import annotations

import asyncio
import collections
import copy
import logging
import queue
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self

from tanager_server.errors import DrainingError, OverloadedError, StorageError
from tanager_server.state.writes import count_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from tanager_server.state.store import Store
    from tanager_server.state.writes import Outcome, Write

_log = logging.getLogger(__name__)

_APPLY_S = 0.0005
_RETRY_AFTER_S = 0.1
_CLOSED = "the server is shutting down; it takes no more writes"


class JournalObserver(Protocol):
    """Told, on the event loop, what the journal does; for metrics."""

    def observe_commit(self, *, writes: int, rows: int, seconds: float) -> None:
        """A transaction was committed."""

    def observe_failed_commit(self, error: Exception) -> None:
        """A transaction failed; what it held is tried again one by one, if not the disk is to blame."""

    def observe_dropped(self, rows: int) -> None:
        """Posted rows were dropped: there was no room, or they could not be written."""


@dataclass(frozen=True, slots=True)
class JournalPolicy:
    """Bounds of the journal.

    Attributes:
        max_rows: rows that may wait for their commit; a caller whose rows do not fit is refused.
        max_posted_rows: rows that may wait of those posted; more are dropped.
        max_commit_rows: rows in a transaction; one caller's rows are never parted, however many.
        post_delay_s: how long posted writes wait for others, to share their commit.
    """

    max_rows: int = 100_000
    max_posted_rows: int = 10_000
    max_commit_rows: int = 10_000
    post_delay_s: float = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    """The writes of one caller: all are kept or none. Without a future nobody waits for them."""

    writes: Sequence[Write]
    rows: int
    future: asyncio.Future[Sequence[Outcome]] | None


@dataclass(frozen=True, slots=True, eq=False)
class _Ended:
    """A job that is committed, or has failed."""

    job: _Job
    outcomes: Sequence[Outcome] = ()
    error: Exception | None = None


class Journal:
    """Writes to a store from the event loop that it is made on.

    Args:
        store: only this journal writes to it.
        apply: told of every write that is committed, in the order of their sequence numbers, on the event loop. Where
            it gives steps, others may have the event loop after each; the next write comes after the last.
        policy: bounds.
        observe: told of every transaction.

    Use as an async context manager, or `close` it: what waits is written first.
    """

    def __init__(
        self,
        store: Store,
        *,
        apply: Callable[[Write, Outcome], Iterable[None] | None],
        policy: JournalPolicy | None = None,
        observe: JournalObserver | None = None,
    ) -> None:
        self._store, self._apply, self._observe = store, apply, observe
        self._policy = policy or JournalPolicy()
        self._loop = asyncio.get_running_loop()
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._posted: list[Write] = []
        self._posting: asyncio.TimerHandle | None = None
        self._ended: collections.deque[_Ended] = collections.deque()
        self._steps: Iterator[None] | None = None
        self._rows, self._posted_rows = 0, 0
        self._closing: asyncio.Future[None] | None = None
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def rows(self) -> int:
        """Rows that are not acknowledged yet, those posted left out."""
        return self._rows

    @property
    def posted_rows(self) -> int:
        """Rows that were posted and are not written yet."""
        return self._posted_rows

    async def write(self, *writes: Write) -> Sequence[Outcome]:
        """Makes writes durable and applies them, in their order, all or none.

        Cancelling the await takes nothing back: they are written and applied all the same.

        Returns:
            What became of each.

        Raises:
            OverloadedError: too much waits already; raised at once.
            DrainingError: the journal is closed.
            StorageError: the disk failed, is full or takes no writes; nothing of it was kept.
            Exception: what a write holds cannot be stored; nothing of it was kept.
        """
        if self._closing is not None:
            raise DrainingError(_CLOSED)
        rows = sum(map(count_rows, writes))
        if self._rows and self._rows + rows > self._policy.max_rows:
            raise OverloadedError(f"{self._rows} rows wait to be written already", retry_after_s=_RETRY_AFTER_S)
        self._flush_posted()  # what was shown is known before what was done with it
        future: asyncio.Future[Sequence[Outcome]] = self._loop.create_future()
        self._rows += rows
        self._jobs.put(_Job(writes, rows, future))
        return await future

    def post(self, write: Write) -> bool:
        """Writes when there is time, and tells nobody: for what may be lost, as impressions may.

        It is on its way before any later `write`, and applied like those.

        Returns:
            Whether it was taken; if not, it is dropped and counted.
        """
        rows = count_rows(write)
        if self._closing is not None or self._posted_rows + rows > self._policy.max_posted_rows:
            self._drop(rows)
            return False
        self._posted.append(write)
        self._posted_rows += rows
        if self._posting is None:
            self._posting = self._loop.call_later(self._policy.post_delay_s, self._flush_posted)
        return True

    async def close(self) -> None:
        """Writes and applies what waits, and ends the thread. Later writes are refused; the store stays open."""
        if self._closing is None:
            self._flush_posted()
            self._closing = self._loop.create_future()
            self._jobs.put(None)
        await asyncio.shield(self._closing)

    def _flush_posted(self) -> None:
        if self._posting is not None:
            self._posting.cancel()
            self._posting = None
        if self._posted:
            self._jobs.put(_Job(self._posted, sum(map(count_rows, self._posted)), None))
            self._posted = []

    # On the thread.

    def _run(self) -> None:
        kept: _Job | None = None
        while (first := kept or self._jobs.get()) is not None:
            batch, kept = self._gather(first)
            self._commit(batch)
        self._tell(self._end)

    def _gather(self, first: _Job) -> tuple[list[_Job], _Job | None]:
        """What shares a transaction with a job; and the next one, if it is there and does not fit."""
        batch, rows = [first], first.rows
        while True:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return batch, None
            if job is None:
                self._jobs.put(None)  # found again when the batch is committed
                return batch, None
            if rows + job.rows > self._policy.max_commit_rows:
                return batch, job
            batch.append(job)
            rows += job.rows

    def _commit(self, batch: Sequence[_Job]) -> None:
        writes = [write for job in batch for write in job.writes]
        began = time.perf_counter()
        try:
            outcomes = iter(self._store.commit(writes))
        except Exception as error:  # whatever it is, the callers must hear of it
            if self._observe is not None:
                self._tell(self._observe.observe_failed_commit, error)
            if isinstance(error, StorageError) or len(batch) == 1:
                self._tell(self._finish, [_Ended(job, error=error) for job in batch])
            else:
                for job in batch:
                    self._commit([job])
            return
        if self._observe is not None:
            seconds, rows = time.perf_counter() - began, sum(job.rows for job in batch)
            self._tell(
                lambda observe: observe(writes=len(writes), rows=rows, seconds=seconds), self._observe.observe_commit
            )
        self._tell(self._finish, [_Ended(job, [next(outcomes) for _ in job.writes]) for job in batch])

    def _tell(self, function: Callable[..., None], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            _log.warning(
                "the event loop ended before the journal was closed; what it was given is written all the same"
            )

    # On the event loop.

    def _finish(self, ended: Sequence[_Ended]) -> None:
        idle = not self._ended
        self._ended.extend(ended)
        if idle:
            self._apply_some()

    def _apply_some(self) -> None:
        """For a while, then lets others have the event loop: a large commit must not delay every call."""
        until = time.perf_counter() + _APPLY_S
        while self._ended:
            if self._steps is None:
                self._steps = self._apply_one(self._ended[0])
            for _ in self._steps:
                if time.perf_counter() > until:
                    self._loop.call_soon(self._apply_some)
                    return
            self._steps = None
            self._ended.popleft()
            if self._ended and time.perf_counter() > until:
                self._loop.call_soon(self._apply_some)
                return

    def _apply_one(self, ended: _Ended) -> Iterator[None]:
        job, error = ended.job, ended.error
        try:
            for write, outcome in zip(job.writes, ended.outcomes, strict=False):
                yield from self._apply(write, outcome) or ()
        except Exception as failed:  # a bug: the rest goes on, and the caller must not take it for done
            _log.exception("a committed write could not be applied; memory lacks it until a restart")
            error = failed
        if job.future is None:
            self._posted_rows -= job.rows
            if ended.error is not None:
                _log.warning("posted writes are dropped: %s", ended.error)
                self._drop(job.rows)
            return
        self._rows -= job.rows
        if job.future.done():
            return  # cancelled
        if error is None:
            job.future.set_result(ended.outcomes)
        else:
            # A copy for each: what raises it adds to its traceback.
            job.future.set_exception(copy.copy(error) if isinstance(error, StorageError) else error)

    def _drop(self, rows: int) -> None:
        if self._observe is not None:
            self._observe.observe_dropped(rows)

    def _end(self) -> None:
        if self._ended:
            self._loop.call_soon(self._end)
        elif self._closing is not None and not self._closing.done():
            self._closing.set_result(None)
