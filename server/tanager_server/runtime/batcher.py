"""Dynamic batching with late binding. Knows neither gRPC nor ONNX Runtime: clock and encode function are injected.

A batch is formed only when the encoder is free, from whatever waits then: an idle server adds no wait, a busy one fills
its batches by itself. What goes into it is `queue`'s choice. A batch that fails is halved and tried again, so that only
the guilty text fails; one that does not come back in time is given up.

It is driven by callbacks, without tasks of its own: each turn of the event loop that a text need not wait for is a
tenth of a millisecond of its latency.
"""

from __future__ import annotations

import asyncio
import collections
import logging
import math
import operator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, Protocol, TypeAlias

from tanager_server.errors import DeadlineExpiredError, DrainingError, EncodeError, EncoderStuckError, HungTextError
from tanager_server.runtime.cost import CostModel
from tanager_server.runtime.job import Encoded, Entry, JobT, ResultT, Waiter
from tanager_server.runtime.queue import Queue
from tanager_server.runtime.suspects import Suspects

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence

    from tanager_server.runtime.choice import PaddedTokens
    from tanager_server.runtime.job import BatchPolicy

_log = logging.getLogger(__name__)


Batch: TypeAlias = "Sequence[Entry[JobT, ResultT]]"


@dataclass(slots=True, eq=False)
class _Run(Generic[JobT, ResultT]):
    """A batch that is being encoded."""

    batch: Batch[JobT, ResultT]
    began: float
    was_stuck: bool
    future: asyncio.Future[Sequence[ResultT]]
    timer: asyncio.TimerHandle = field(init=False)


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
        spare_workers: that take the place of those whose batches hang.
        padded: tokens that a batch of so many texts, the longest so long, takes when it is run.
        observe: told of every batch.

    Use as an async context manager: what waits at its end is failed.
    """

    def __init__(
        self,
        encode: Callable[[Sequence[JobT]], Awaitable[Sequence[ResultT]]],
        *,
        policy: BatchPolicy,
        clock: Callable[[], float],
        cost: CostModel | None = None,
        workers: int = 1,
        spare_workers: float = math.inf,
        padded: PaddedTokens = operator.mul,
        observe: BatchObserver | None = None,
    ) -> None:
        self._encode = encode
        self._padded = padded
        self._policy = policy
        self._clock = clock
        self._observe = observe
        self.cost = cost or CostModel()
        self._queue: Queue[JobT, ResultT] = Queue(
            policy=policy, cost=self.cost, workers=workers, shed=self._tell_shed, padded=padded
        )
        self._retries: collections.deque[Batch[JobT, ResultT]] = collections.deque()
        self._running: set[_Run[JobT, ResultT]] = set()
        self._given_up: set[_Run[JobT, ResultT]] = set()
        self._suspects = Suspects()
        self._succeeded = -math.inf
        self._workers = workers
        self._spare_workers = spare_workers
        self._dispatch_is_due = False
        self._closed = False
        self.stuck = False
        """Whether the last batch that ended did so by being given up, or none can be begun any more."""

    async def __aenter__(self) -> Batcher[JobT, ResultT]:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closed = True
        runs, retries = [*self._running], [*self._retries]
        self._running.clear()
        self._retries.clear()
        for run in runs:
            run.timer.cancel()
            run.future.cancel()
        shutting_down = DrainingError(_CLOSED)
        for batch in (*(run.batch for run in runs), *retries, self._queue.clear()):
            self._fail(batch, shutting_down)

    @property
    def depth(self) -> int:
        """Texts that wait; those whose callers have all gone are not counted."""
        return len(self._queue)

    def check_room(self, count: int, *, deadline: float, bulk: bool = False) -> None:
        """Checks whether so many texts more may wait, before anything is spent on them.

        Raises:
            OverloadedError: they may not.
            DrainingError: the batcher is closed.
            EncoderStuckError: no worker is left.
        """
        if self._closed:
            raise DrainingError(_CLOSED)
        if not self._usable_workers():
            raise EncoderStuckError(_NO_WORKER)
        self._queue.check_room(count, now=self._clock(), deadline=deadline, bulk=bulk)

    def check_keys(self, keys: Iterable[Hashable]) -> None:
        """Checks that the encoder did not hang at any of these lately.

        Raises:
            HungTextError: it did.
        """
        if self._suspects and any(self._suspects.is_guilty(key, now=self._clock()) for key in keys):
            raise HungTextError("the encoder did not come back from it lately; it is refused for ten minutes")

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
        """Encodes the jobs of one call, all or none; what another call brought already is encoded once for both.

        Cancelling the await drops what of them has not been encoded.

        Args:
            jobs: at least one.
            deadline: on the batcher's clock; what cannot be done by then is never encoded.
            bulk: whether interactive texts go first.
            keys: by which jobs are known to be the same; None for jobs that share with none and are not remembered.

        Returns:
            What became of each, in their order.

        Raises:
            OverloadedError: the queue has no room for all of them, or would take too long; raised at once.
            DrainingError: the batcher is closed.
            DeadlineExpiredError: the deadline passed first.
            EncodeError: the encoder failed, or hung at one of them lately.
            EncoderStuckError: the encoder did not come back, or no worker is left.
        """
        self.check_keys(keys or ())
        known = sum(self._queue.find(key) is not None for key in keys or ())
        if known < len(jobs):
            self.check_room(len(jobs) - known, deadline=deadline, bulk=bulk)
        loop, now = asyncio.get_running_loop(), self._clock()
        waiters: list[Waiter[JobT, ResultT]] = []
        try:
            for number, job in enumerate(jobs):
                key, future = keys[number] if keys is not None else None, loop.create_future()
                entry = self._queue.find(key) if key is not None else None
                if entry is not None:
                    waiter = self._queue.join(entry, future, now=now, deadline=deadline, bulk=bulk)
                else:
                    alone = key in self._suspects
                    waiter = self._queue.add(job, future, now=now, deadline=deadline, bulk=bulk, key=key, alone=alone)
                waiters.append(waiter)
        except BaseException:
            self._leave(waiters)
            raise
        self._dispatch_soon()
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

    def _dispatch_soon(self) -> None:
        """In the loop's next turn, so that texts which arrive together share a batch."""
        if not self._dispatch_is_due:
            self._dispatch_is_due = True
            asyncio.get_running_loop().call_soon(self._dispatch)

    def _dispatch(self) -> None:
        """Starts batches as long as there are free workers and texts."""
        self._dispatch_is_due = False
        while len(self._running) < self._usable_workers() and not self._closed:
            batch = self._next_batch()
            if not batch:
                return
            self._start(batch)

    def _usable_workers(self) -> float:
        return min(self._workers, self._workers + self._spare_workers - len(self._given_up))

    def _next_batch(self) -> Batch[JobT, ResultT]:
        now = self._clock()
        while self._retries:
            batch = self._retries.popleft()
            wanted = [entry for entry in batch if _live(entry, now)]
            late = [entry for entry in batch if entry not in wanted]
            self._fail(late, DeadlineExpiredError("the encoder failed, and there was no time for another try"))
            if wanted:
                return wanted
        try:
            return self._queue.take(now)
        except Exception as error:  # a bug here must not leave every caller waiting for what never comes
            _log.exception("no batch could be formed; all that wait are failed")
            self._fail(self._queue.clear(), EncodeError(f"no batch could be formed: {error}"))
            return []

    def _start(self, batch: Batch[JobT, ResultT]) -> None:
        loop = asyncio.get_running_loop()
        began = self._clock()
        future: asyncio.Future[Sequence[ResultT]]
        try:
            future = asyncio.ensure_future(self._encode([entry.job for entry in batch]))
        except Exception as error:  # whatever the encode function raises
            future = loop.create_future()
            future.set_exception(error)
        run = _Run(batch, began, self.stuck, future)
        run.timer = loop.call_later(self._policy.stuck_after_s, self._give_up, run, loop.time())
        self._running.add(run)
        future.add_done_callback(lambda _: self._finish(run))

    def _finish(self, run: _Run[JobT, ResultT]) -> None:
        if run not in self._running:  # given up, or the end has come
            self._given_up.discard(run)
            if run.future.cancelled():
                return
            if (error := run.future.exception()) is not None:
                _log.error("a batch that had been given up failed", exc_info=error)
            else:  # who is told that it is stuck sends no more calls: nothing else would show that it has recovered
                self.stuck = False
                self._clear_of_suspicion(run.batch)
            self._dispatch_soon()  # with one worker more
            return
        self._running.discard(run)
        run.timer.cancel()
        batch, error = run.batch, _error(run)
        if error is None:
            self.stuck = False
            self._clear_of_suspicion(batch)
            # The encoder goes on with the next batch while the callers of this one are answered.
            ended = self._succeeded = self._clock()
            self._dispatch()
            self._answer(batch, run.future.result(), began=run.began, ended=ended)
            return
        if isinstance(error, EncoderStuckError):
            self.stuck = True
            self._tell_failed(stuck=True)
            self._fail(batch, error)
        else:
            self._tell_failed(stuck=False)
            self._bisect(batch, error)
        self._dispatch_soon()  # after those who were told: a call that has failed takes back what it has waiting

    def _give_up(self, run: _Run[JobT, ResultT], started: float) -> None:
        """The encoder did not come back: its callers are answered, and its worker is free for the next batch."""
        loop = asyncio.get_running_loop()
        if loop.time() - started > _STOOD_STILL * self._policy.stuck_after_s:
            # This process itself stood still, and the batch with it.
            run.timer = loop.call_later(self._policy.stuck_after_s, self._give_up, run, loop.time())
            return
        self._running.discard(run)
        self._given_up.add(run)
        self._remember(run)
        self.stuck = True
        error = EncoderStuckError(f"the encoder did not come back within {self._policy.stuck_after_s:g} s")
        _log.error("a batch of %d texts was given up: %s", len(run.batch), error)
        self._tell_failed(stuck=True)
        self._fail(run.batch, error)
        if not self._usable_workers():
            _log.error("no worker is left: %s", _NO_WORKER)
            waiting = [*self._retries, self._queue.clear()]
            self._retries.clear()
            for batch in waiting:
                self._fail(batch, EncoderStuckError(_NO_WORKER))
        self._dispatch_soon()

    def _remember(self, run: _Run[JobT, ResultT]) -> None:
        """What hung by itself is not tried again, unless the encoder as a whole was not known to be well."""
        guilty = len(run.batch) == 1 and (not run.was_stuck or self._succeeded >= run.began)
        keys = [entry.key for entry in run.batch if entry.key is not None]
        self._suspects.add(keys, now=self._clock(), guilty=guilty)

    def _clear_of_suspicion(self, batch: Batch[JobT, ResultT]) -> None:
        if self._suspects:
            for entry in batch:
                self._suspects.clear(entry.key)

    def _bisect(self, batch: Batch[JobT, ResultT], error: BaseException) -> None:
        """Has the halves of a failed batch tried next, down to the text that fails by itself."""
        if len(batch) == 1:
            _log.error("a text could not be encoded", exc_info=error)
            failure = error if isinstance(error, EncodeError) else EncodeError("the encoder could not be run")
            self._fail(batch, failure)
            return
        _log.warning("a batch of %d texts failed; trying its halves: %s", len(batch), error)
        middle = len(batch) // 2
        self._retries.extendleft((batch[middle:], batch[:middle]))

    def _answer(self, batch: Batch[JobT, ResultT], results: Sequence[ResultT], *, began: float, ended: float) -> None:
        seconds, size, wasted = ended - began, len(batch), 0
        for entry, result in zip(batch, results, strict=True):
            self._queue.finish(entry)
            wasted += not _live(entry, ended)
            for waiter in entry.waiters:
                if not waiter.future.done():
                    queue_s = max(began - waiter.submitted, 0.0)
                    waiter.future.set_result(Encoded(result, queue_s, seconds, size))
            entry.waiters.clear()  # they refer to it: such a cycle would hold what was found for long
        tokens = sum(entry.length for entry in batch)
        padded_tokens = self._padded(size, max(entry.length for entry in batch))
        if batch[0].probe:
            self.cost.observe_probe(padded_tokens=padded_tokens, seconds=seconds)
        else:
            self.cost.observe(tokens=tokens, padded_tokens=padded_tokens, seconds=seconds)
        self._tell(
            lambda observer: observer.observe_batch(
                size=size, tokens=tokens, padded_tokens=padded_tokens, seconds=seconds, wasted=wasted
            )
        )

    def _tell_failed(self, *, stuck: bool) -> None:
        self._tell(lambda observer: observer.observe_failed_batch(stuck=stuck))

    def _tell_shed(self, reason: str) -> None:
        self._tell(lambda observer: observer.observe_shed(reason))

    def _tell(self, what: Callable[[BatchObserver], object]) -> None:
        if self._observe is None:
            return
        try:
            what(self._observe)
        except Exception:  # metrics that fail must not change an answer, nor keep callers waiting for ever
            _log.exception("the observer of batches failed")

    def _fail(self, entries: Batch[JobT, ResultT], error: Exception) -> None:
        for entry in entries:
            self._queue.finish(entry)
            for waiter in entry.waiters:
                if not waiter.future.done():
                    waiter.future.set_exception(error)
            entry.waiters.clear()


# A timer so many times later than it was set for tells of a process that was stopped.
_STOOD_STILL = 1.5
_NO_WORKER = "the encoder hangs; the server must be restarted"
_CLOSED = "the server is shutting down; try again"


def _live(entry: Entry[JobT, ResultT], now: float) -> bool:
    return any(not waiter.future.done() and waiter.deadline > now for waiter in entry.waiters)


def _error(run: _Run[JobT, ResultT]) -> BaseException | None:
    if run.future.cancelled():
        return EncodeError("the encoder was stopped")
    if (error := run.future.exception()) is not None:
        return error
    try:
        found = len(run.future.result())
    except TypeError as not_sized:
        return not_sized
    if found != len(run.batch):
        return EncodeError(f"the encoder returned {found} vectors for {len(run.batch)} texts")
    return None
