"""Dynamic batching with late binding. Knows neither gRPC nor ONNX Runtime: clock and encode function are injected.

A batch is formed only when a worker is free, from whatever waits then: an idle server adds no wait, a busy one fills
its batches by itself. What goes into it is `queue`'s choice. A batch that fails is halved and tried again, so that only
the guilty text fails; one that does not come back in time is given up.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Generic, Protocol

from tanager_server.errors import EncodeError, EncoderStuckError, OverloadedError
from tanager_server.runtime.cost import CostModel
from tanager_server.runtime.queue import Encoded, Entry, JobT, Queue, ResultT, Waiter

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable, Sequence

    from tanager_server.runtime.queue import BatchPolicy

_log = logging.getLogger(__name__)


class BatchObserver(Protocol):
    """Told what the batcher does; for metrics."""

    def observe_batch(self, *, size: int, tokens: int, padded_tokens: int, seconds: float, wasted: int) -> None:
        """A batch was encoded; for `wasted` of its texts nobody waited any more."""

    def observe_shed(self, reason: str) -> None:
        """A text was refused or dropped."""

    def observe_failed_batch(self, *, stuck: bool) -> None:
        """A batch failed, or did not come back."""


class Batcher(Generic[JobT, ResultT]):
    """Collects texts of concurrent calls into batches for one encoder.

    Args:
        encode: encodes one batch; a result for each job.
        policy: bounds.
        clock: monotonic seconds; deadlines are on the same clock.
        cost: what batches cost; it learns from each.
        workers: batches that are encoded at the same time.
        observe: told of every batch.

    Use as an async context manager: the workers run inside.
    """

    def __init__(
        self,
        encode: Callable[[Sequence[JobT]], Awaitable[Sequence[ResultT]]],
        *,
        policy: BatchPolicy,
        clock: Callable[[], float],
        cost: CostModel | None = None,
        workers: int = 1,
        observe: BatchObserver | None = None,
    ) -> None:
        self._encode = encode
        self._policy = policy
        self._clock = clock
        self._observe = observe
        self.cost = cost or CostModel()
        self._queue: Queue[JobT, ResultT] = Queue(
            policy=policy, cost=self.cost, workers=workers, shed=observe.observe_shed if observe else None
        )
        self._arrived = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._running: set[Entry[JobT, ResultT]] = set()
        self._workers = workers
        self._closed = False
        self.stuck = False
        """Whether the last batch that ended did so by being given up."""

    async def __aenter__(self) -> Batcher[JobT, ResultT]:
        self._tasks = [asyncio.create_task(self._work(), name=f"batcher-{n}") for n in range(self._workers)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closed = True
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._fail([*self._queue.clear(), *self._running], OverloadedError(_CLOSED, retry_after_s=1.0))

    @property
    def depth(self) -> int:
        """Texts that wait; those whose callers have all gone are not counted."""
        return len(self._queue)

    def check_room(self, count: int) -> None:
        """Checks whether so many texts more may wait.

        Raises:
            OverloadedError: they may not.
        """
        if self._closed:
            raise OverloadedError(_CLOSED, retry_after_s=1.0)
        self._queue.check_room(count)

    async def join(self, key: Hashable, *, deadline: float, bulk: bool = False) -> Encoded[ResultT] | None:
        """Waits for the job with this key, if one waits or is being encoded already; else None, at once.

        Raises:
            DeadlineExpiredError: the deadline passed first.
            EncodeError: the encoder failed over it.
        """
        entry = self._queue.find(key)
        if entry is None:
            return None
        future = asyncio.get_running_loop().create_future()
        waiter = self._queue.join(entry, future, now=self._clock(), deadline=deadline, bulk=bulk)
        (encoded,) = await self._wait([waiter])
        return encoded

    async def submit(
        self,
        jobs: Sequence[JobT],
        *,
        deadline: float,
        bulk: bool = False,
        keys: Sequence[Hashable] | None = None,
    ) -> list[Encoded[ResultT]]:
        """Encodes the jobs of one call, all or none.

        Cancelling the await drops what of them has not been encoded.

        Args:
            jobs: at least one.
            deadline: on the batcher's clock; what cannot be done by then is never encoded.
            bulk: whether interactive texts go first.
            keys: what others may `join` them by.

        Returns:
            What became of each, in their order.

        Raises:
            OverloadedError: the queue has no room for all of them, or would take too long; raised at once.
            DeadlineExpiredError: the deadline passed first.
            EncodeError: the encoder failed.
        """
        self.check_room(len(jobs))
        loop, now = asyncio.get_running_loop(), self._clock()
        waiters: list[Waiter[JobT, ResultT]] = []
        try:
            for number, job in enumerate(jobs):
                key = keys[number] if keys is not None else None
                waiters.append(
                    self._queue.add(job, loop.create_future(), now=now, deadline=deadline, bulk=bulk, key=key)
                )
        except BaseException:
            self._leave(waiters)
            raise
        self._arrived.set()
        return await self._wait(waiters)

    async def _wait(self, waiters: Sequence[Waiter[JobT, ResultT]]) -> list[Encoded[ResultT]]:
        try:
            return [await waiter.future for waiter in waiters]
        finally:
            self._leave(waiters)

    def _leave(self, waiters: Sequence[Waiter[JobT, ResultT]]) -> None:
        for waiter in waiters:
            if not waiter.future.done():
                waiter.future.cancel()
            if waiter.future.cancelled():
                self._queue.leave(waiter)
            else:
                waiter.future.exception()  # of a call that has failed for another of its texts: looked at, and let be

    async def _work(self) -> None:
        while True:
            await self._arrived.wait()
            try:
                batch = self._queue.take(self._clock())
            except Exception as error:  # a bug here must not leave every caller waiting for a worker that is gone
                _log.exception("no batch could be formed; all that wait are failed")
                self._fail(self._queue.clear(), EncodeError(f"no batch could be formed: {error}"))
                continue
            if not batch:
                self._arrived.clear()
                continue
            self._running.update(batch)
            await self._run(batch)
            self._running.difference_update(batch)

    async def _run(self, batch: Sequence[Entry[JobT, ResultT]]) -> None:
        began = self._clock()
        try:
            results = await self._call([entry.job for entry in batch])
        except EncoderStuckError as error:
            _log.error("a batch of %d texts was given up: %s", len(batch), error)
            self.stuck = True
            self._tell_failed(stuck=True)
            self._fail(batch, error)
            return
        except Exception as error:  # the worker outlives whatever the encode function raises
            self._tell_failed(stuck=False)
            await self._bisect(batch, error)
            return
        self.stuck = False
        self._answer(batch, results, began)

    async def _call(self, jobs: Sequence[JobT]) -> Sequence[ResultT]:
        """Encodes, for at most `stuck_after_s`."""
        task = asyncio.ensure_future(self._encode(jobs))
        try:
            done, _ = await asyncio.wait((task,), timeout=self._policy.stuck_after_s)
        except asyncio.CancelledError:
            task.cancel()
            raise
        if not done:
            task.add_done_callback(_look_at)
            raise EncoderStuckError(f"the encoder did not come back within {self._policy.stuck_after_s:g} s")
        results = task.result()
        if len(results) != len(jobs):
            raise EncodeError(f"the encoder returned {len(results)} vectors for {len(jobs)} texts")
        return results

    async def _bisect(self, batch: Sequence[Entry[JobT, ResultT]], error: Exception) -> None:
        """Tries the halves of a failed batch, down to the text that fails by itself."""
        if len(batch) == 1:
            _log.error("a text could not be encoded", exc_info=error)
            failure = error if isinstance(error, EncodeError) else EncodeError("the encoder could not be run")
            self._fail(batch, failure)
            return
        _log.warning("a batch of %d texts failed; trying its halves: %s", len(batch), error)
        middle = len(batch) // 2
        for half in (batch[:middle], batch[middle:]):
            wanted = [entry for entry in half if _live(entry, self._clock())]
            gone = [entry for entry in half if entry not in wanted]
            if gone:
                self._fail(gone, EncodeError("the encoder failed, and the deadline passed before another try"))
            if wanted:
                await self._run(wanted)

    def _answer(self, batch: Sequence[Entry[JobT, ResultT]], results: Sequence[ResultT], began: float) -> None:
        now = self._clock()
        seconds, size, wasted = now - began, len(batch), 0
        for entry, result in zip(batch, results, strict=True):
            self._queue.finish(entry)
            wasted += not _live(entry, now)
            for waiter in entry.waiters:
                if not waiter.future.done():
                    queue_s = max(began - waiter.submitted, 0.0)
                    waiter.future.set_result(Encoded(result, queue_s, seconds, size))
        tokens, longest = sum(entry.length for entry in batch), max(entry.length for entry in batch)
        self.cost.observe(tokens=tokens, padded_tokens=size * longest, seconds=seconds)
        if self._observe is None:
            return
        try:
            self._observe.observe_batch(
                size=size, tokens=tokens, padded_tokens=size * longest, seconds=seconds, wasted=wasted
            )
        except Exception:  # metrics that fail must not stop the worker: every later call would wait for ever
            _log.exception("the observer of batches failed")

    def _tell_failed(self, *, stuck: bool) -> None:
        if self._observe is not None:
            self._observe.observe_failed_batch(stuck=stuck)

    def _fail(self, entries: Sequence[Entry[JobT, ResultT]], error: Exception) -> None:
        for entry in entries:
            self._queue.finish(entry)
            for waiter in entry.waiters:
                if not waiter.future.done():
                    waiter.future.set_exception(error)


_CLOSED = "the server is shutting down"


def _live(entry: Entry[JobT, ResultT], now: float) -> bool:
    return any(not waiter.future.done() and waiter.deadline > now for waiter in entry.waiters)


def _look_at(task: asyncio.Future[object]) -> None:
    """What a batch that was given up came to in the end."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("a batch that had been given up failed", exc_info=error)
