"""Dynamic batching with late binding. Knows neither gRPC nor ONNX Runtime: clock and encode function are injected.

A batch is formed only when the encoder is free, from whatever waits then: an idle server adds no wait, a busy one
fills its batches by itself. The most urgent text (earliest deadline first) is always in the batch; the rest of it is
the longest run of texts around it, in order of length, under the padded-token budget `count * longest` and with no more
padding than a batch of its own for the padded texts would cost.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from tanager_server.errors import DeadlineExpiredError, EncodeError, OverloadedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from tanager_server.runtime.encoder import Tokens
    from tanager_server.settings import BatchingSettings


_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Encoded:
    """Vectors of one call, in the order of its texts.

    Attributes:
        vectors: one (dim,) float32 for each text.
        queue_s: from submission until the last of its batches began.
        encode_s: run time of that batch.
        batch_size: texts in that batch, other callers' included.
    """

    vectors: list[NDArray[np.float32]]
    queue_s: float
    encode_s: float
    batch_size: int


class BatchObserver(Protocol):
    """Told of every batch; for metrics."""

    def __call__(self, *, size: int, tokens: int, padded_tokens: int, encode_s: float) -> None:
        """A batch was encoded."""


@dataclass(slots=True, eq=False)
class _Call:
    texts: Sequence[Tokens]
    deadline: float
    submitted: float
    done: asyncio.Future[Encoded]
    waiting: int
    missing: int
    vectors: list[NDArray[np.float32] | None] = field(default_factory=list)


@dataclass(slots=True, order=True)
class _Entry:
    """One text of a call, ordered by urgency; equal deadlines in order of arrival."""

    deadline: float
    number: int
    position: int = field(compare=False)
    length: int = field(compare=False)
    call: _Call = field(compare=False)


class Batcher:
    """Collects texts of concurrent calls into batches for one encoder.

    Args:
        encode: encodes one batch, (batch, dim); awaited for one batch at a time.
        policy: bounds.
        clock: monotonic seconds; deadlines are on the same clock.
        observe: told of every batch.

    Use as an async context manager: the worker runs inside.
    """

    def __init__(
        self,
        encode: Callable[[Sequence[Tokens]], Awaitable[NDArray[np.float32]]],
        *,
        policy: BatchingSettings,
        clock: Callable[[], float],
        observe: BatchObserver | None = None,
    ) -> None:
        self._encode = encode
        self._policy = policy
        self._clock = clock
        self._observe = observe
        self._queue: list[_Entry] = []
        self._numbers: Iterator[int] = itertools.count()
        self._waiting = 0
        self._unanswered: set[_Call] = set()
        self._arrived = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None
        self._closed = False

    async def __aenter__(self) -> Batcher:
        self._worker = asyncio.create_task(self._work(), name="batcher")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._worker is not None
        self._closed = True
        self._worker.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._worker
        self._fail_all(OverloadedError("the server is shutting down", retry_after_s=1.0))

    @property
    def depth(self) -> int:
        """Texts that wait; those of callers who have gone are not counted."""
        return self._waiting

    def check_room(self, count: int) -> None:
        """Checks whether so many texts more may wait.

        Raises:
            OverloadedError: they may not.
        """
        if self._closed:
            raise OverloadedError("the server is shutting down", retry_after_s=1.0)
        if self._waiting + count > self._policy.max_queue:
            raise OverloadedError(f"the queue of {self._policy.max_queue} texts is full", retry_after_s=0.1)

    async def submit(self, texts: Sequence[Tokens], *, deadline: float) -> Encoded:
        """Encodes the texts of one call, all or none.

        Cancelling the await drops what of it has not been encoded.

        Args:
            texts: token ids of each text, at least one text.
            deadline: on the batcher's clock; what has not begun by then is never encoded.

        Raises:
            OverloadedError: the queue has no room for all of them; raised at once.
            DeadlineExpiredError: the deadline passed first.
            EncodeError: the encoder failed.
        """
        count = len(texts)
        self.check_room(count)
        call = _Call(
            texts=texts,
            deadline=deadline,
            submitted=self._clock(),
            done=asyncio.get_running_loop().create_future(),
            waiting=count,
            missing=count,
            vectors=[None] * count,
        )
        for position, tokens in enumerate(texts):
            heapq.heappush(self._queue, _Entry(deadline, next(self._numbers), position, len(tokens), call))
        self._waiting += count
        self._arrived.set()
        self._unanswered.add(call)
        try:
            return await call.done
        finally:
            self._unanswered.discard(call)
            self._forget(call)

    async def _work(self) -> None:
        while True:
            await self._arrived.wait()
            try:
                batch = self._next_batch()
            except Exception as error:  # a bug here must not leave every caller waiting for a worker that is gone
                _log.exception("no batch could be formed; all that wait are failed")
                self._fail_all(EncodeError(f"no batch could be formed: {error}"))
                continue
            if not batch:
                self._arrived.clear()
                continue
            await self._run(batch)

    def _next_batch(self) -> list[_Entry]:
        """Takes the next batch out of the queue; empty when nothing waits."""
        window: list[_Entry] = []
        now = self._clock()
        while self._queue and len(window) < self._policy.window:
            entry = heapq.heappop(self._queue)
            if entry.call.done.done():  # answered with an error, or its caller has gone
                continue
            if entry.deadline <= now:
                self._fail(entry.call, DeadlineExpiredError("the deadline passed before the text was encoded"))
                continue
            window.append(entry)
        if not window:
            return []
        # In order of length; of texts equally long the more urgent ones lie nearer to the most urgent of all.
        length = window[0].length
        shorter = sorted((e for e in reversed(window) if e.length < length), key=lambda entry: entry.length)
        window = shorter + sorted((e for e in window if e.length >= length), key=lambda entry: entry.length)
        start, stop = self._choose(window, len(shorter))
        batch = window[start:stop]
        for entry in itertools.chain(window[:start], window[stop:]):
            heapq.heappush(self._queue, entry)
        for entry in batch:
            entry.call.waiting -= 1
        self._waiting -= len(batch)
        return batch

    def _choose(self, window: list[_Entry], first: int) -> tuple[int, int]:
        """The longest run of the sorted window that holds `first`, keeps the budget, and is not better split in two.

        To split a batch costs a batch more, and saves at most its padding: so that may come to the cost of a batch.
        """
        policy = self._policy
        tokens = [0, *itertools.accumulate(entry.length for entry in window)]

        def fits(start: int, last: int) -> bool:
            count, longest = last + 1 - start, window[last].length
            padding = count * longest - (tokens[last + 1] - tokens[start])
            return (
                count * longest <= policy.max_batch_tokens
                and count <= policy.max_batch_size
                and padding <= policy.batch_cost_tokens
            )

        start = first
        while start > 0 and fits(start - 1, first):
            start -= 1
        best = (start, first + 1)
        for last in range(first + 1, len(window)):
            while start < first and not fits(start, last):  # a longer text makes room for fewer shorter ones
                start += 1
            if not fits(start, last):
                break
            if last + 1 - start > best[1] - best[0]:
                best = (start, last + 1)
        return best

    async def _run(self, batch: list[_Entry]) -> None:
        began = self._clock()
        try:
            vectors = await self._encode([entry.call.texts[entry.position] for entry in batch])
            if len(vectors) != len(batch):
                raise EncodeError(f"the encoder returned {len(vectors)} vectors for {len(batch)} texts")
        except BaseException as error:
            failure = error if isinstance(error, EncodeError) else EncodeError("the encoder could not be run")
            for entry in batch:
                self._fail(entry.call, failure)
            if isinstance(error, Exception):  # the worker outlives whatever the encode function raises
                _log.exception("a batch of %d texts failed", len(batch))
                return
            raise
        encode_s = self._clock() - began
        for entry, vector in zip(batch, vectors, strict=True):
            call = entry.call
            call.vectors[entry.position] = vector
            call.missing -= 1
            if call.missing == 0 and not call.done.done():
                complete = [v for v in call.vectors if v is not None]
                call.done.set_result(Encoded(complete, began - call.submitted, encode_s, len(batch)))
        self._report(batch, encode_s)

    def _report(self, batch: list[_Entry], encode_s: float) -> None:
        if self._observe is None:
            return
        lengths = [entry.length for entry in batch]
        try:
            self._observe(
                size=len(batch), tokens=sum(lengths), padded_tokens=len(batch) * max(lengths), encode_s=encode_s
            )
        except Exception:  # metrics that fail must not stop the worker: every later call would wait for ever
            _log.exception("the observer of batches failed")

    def _fail(self, call: _Call, error: Exception) -> None:
        if not call.done.done():
            call.done.set_exception(error)
        self._forget(call)

    def _fail_all(self, error: Exception) -> None:
        self._queue.clear()
        for call in tuple(self._unanswered):
            self._fail(call, error)

    def _forget(self, call: _Call) -> None:
        """Takes the call's texts out of the count; `_next_batch` drops them when it comes upon them."""
        self._waiting -= call.waiting
        call.waiting = 0
        # Texts of callers who have gone lie in the queue until their deadline comes up, which on a busy server may be
        # never: they must not pile up.
        if len(self._queue) > 2 * self._waiting + self._policy.max_queue:
            self._queue = [entry for entry in self._queue if not entry.call.done.done()]
            heapq.heapify(self._queue)
