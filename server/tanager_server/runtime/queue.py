"""The queue of texts that wait to be encoded, and the choice of the next batch. Synchronous; time is an argument.

The order is by urgency: a text's deadline, or the moment at which it has waited `max_age_s`, whichever is earlier; bulk
work yields `bulk_handicap_s` to interactive work. A text's urgency never changes and later ones have later moments, so
whatever waits comes first in the end: earliest deadline first, priorities with ageing, no starvation, in one number.

The most urgent text is always in the next batch; the rest of it is the longest run of texts around it, in order of
length, under the budget of padded tokens and with no more padding than a batch of its own for the padded texts would
cost. Where that would make urgent texts late, a smaller batch goes first, unless others would be late for it. What
cannot be done by its deadline is never encoded.
"""

from __future__ import annotations

import heapq
import itertools
import math
import operator
from collections import defaultdict
from typing import TYPE_CHECKING, Generic

from tanager_server.errors import DeadlineExpiredError, OverloadedError
from tanager_server.runtime.choice import BatchChooser
from tanager_server.runtime.job import Encoded, Entry, JobT, ResultT, Waiter

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Hashable, Iterator

    from tanager_server.runtime.choice import PaddedTokens
    from tanager_server.runtime.cost import CostModel
    from tanager_server.runtime.job import BatchPolicy

# Texts ahead of another are counted by urgency in steps this wide.
_STEP_S = 0.05
_MIN_RETRY_S = 0.05
# How much longer a queue is taken to be than it looks: a text that waits in vain costs more than one that is refused.
_CAUTION = 1.35
# Of texts whose deadlines seem too near, one in such a time is tried: the model may have become too pessimistic, and
# who is only ever refused teaches it nothing. More would let callers without time keep the encoder busy.
_PROBE_PAUSE_S = 1.0


class Queue(Generic[JobT, ResultT]):
    """Texts in order of urgency.

    Args:
        policy: bounds.
        cost: what batches cost.
        workers: batches that are encoded at the same time.
        shed: told the reason of every text that is refused or dropped.
        padded: tokens that a batch of so many texts, the longest so long, takes when it is run.
    """

    def __init__(
        self,
        *,
        policy: BatchPolicy,
        cost: CostModel,
        workers: int = 1,
        shed: Callable[[str], object] | None = None,
        padded: PaddedTokens = operator.mul,
    ) -> None:
        self._policy = policy
        self._cost = cost
        self._padded = padded
        self._chooser: BatchChooser[Entry[JobT, ResultT]] = BatchChooser(policy=policy, cost=cost, padded=padded)
        self._workers = workers
        self._on_shed = shed
        self._heap: list[tuple[float, int, Entry[JobT, ResultT]]] = []
        self._numbers: Iterator[int] = itertools.count()
        self._by_key: dict[Hashable, Entry[JobT, ResultT]] = {}
        self._depth = 0
        self._next_probe = math.inf
        self._tokens_by_step: defaultdict[int, int] = defaultdict(int)

    def __len__(self) -> int:
        """Texts that wait; those whose callers have all gone are not counted."""
        return self._depth

    def check_room(self, count: int, *, now: float, deadline: float, bulk: bool) -> None:
        """Checks whether so many texts more may wait, before anything is spent on them.

        Raises:
            OverloadedError: the queue is full, or takes longer than the deadline allows.
        """
        if self._depth + count > self._policy.max_queue:
            self._tell("queue_full")
            retry_after_s = max(_MIN_RETRY_S, self._seconds(sum(self._tokens_by_step.values())))
            raise OverloadedError(
                f"the queue of {self._policy.max_queue} texts is full", retry_after_s=min(retry_after_s, 1.0)
            )
        ahead_s = self._seconds_ahead(self._urgency(now, deadline, bulk=bulk))
        if ahead_s and now + ahead_s >= deadline:
            self._tell("backlog")
            raise OverloadedError(
                f"the texts that wait already take {ahead_s:.2f} s, longer than this call may", retry_after_s=ahead_s
            )

    def find(self, key: Hashable) -> Entry[JobT, ResultT] | None:
        """The text with this key that waits or is being encoded."""
        return self._by_key.get(key)

    def join(
        self,
        entry: Entry[JobT, ResultT],
        future: asyncio.Future[Encoded[ResultT]],
        *,
        now: float,
        deadline: float,
        bulk: bool,
    ) -> Waiter[JobT, ResultT]:
        """Waits for what another caller has asked for already."""
        waiter = Waiter(entry, future, deadline, now)
        entry.waiters.append(waiter)
        if entry.waiting:
            entry.deadline = max(entry.deadline, deadline)
            urgency = self._urgency(now, deadline, bulk=bulk)
            if urgency < entry.urgency:  # its place so far in the heap stays behind, and is passed over
                self._count(entry, -1)
                entry.urgency = urgency
                self._count(entry, 1)
                heapq.heappush(self._heap, (urgency, entry.number, entry))
        return waiter

    def add(
        self,
        job: JobT,
        future: asyncio.Future[Encoded[ResultT]],
        *,
        now: float,
        deadline: float,
        bulk: bool,
        key: Hashable | None,
        alone: bool = False,
    ) -> Waiter[JobT, ResultT]:
        """Puts a text into the queue, whatever its length; if it is to go alone, for a batch of its own.

        Raises:
            OverloadedError: what lies ahead of it takes longer than its deadline allows.
            DeadlineExpiredError: its deadline could not be met even if nothing lay ahead.
        """
        urgency = self._urgency(now, deadline, bulk=bulk)
        length = job.length
        own_s = self._cost.predict(self._padded(1, length))
        probe = False
        if now + own_s >= deadline:
            probe = now < deadline and now >= self._next_probe
            if not probe:
                self._next_probe = min(self._next_probe, now + _PROBE_PAUSE_S)
                self._tell("infeasible")
                raise DeadlineExpiredError(f"the deadline is too near: encoding the text alone takes {own_s:.3f} s")
            own_s = 0.0
        ahead_s = self._seconds_ahead(urgency)
        if now + ahead_s + own_s >= deadline:
            self._tell("backlog")
            raise OverloadedError(
                f"the texts that wait already take {ahead_s:.2f} s, longer than this call may", retry_after_s=ahead_s
            )
        if probe:
            self._next_probe = now + _PROBE_PAUSE_S
        entry: Entry[JobT, ResultT] = Entry(
            job, length, key, next(self._numbers), urgency, deadline, [], alone=alone or probe, probe=probe
        )
        waiter = Waiter(entry, future, deadline, now)
        entry.waiters.append(waiter)
        heapq.heappush(self._heap, (urgency, entry.number, entry))
        self._depth += 1
        self._count(entry, 1)
        if key is not None:
            self._by_key[key] = entry
        return waiter

    def leave(self, waiter: Waiter[JobT, ResultT]) -> None:
        """A caller has gone: what nobody waits for any more is not encoded."""
        entry = waiter.entry
        if not entry.waiting:
            return
        entry.waiters = [other for other in entry.waiters if other is not waiter and not other.future.done()]
        if entry.waiters:
            entry.deadline = max(other.deadline for other in entry.waiters)
            return
        self._drop(entry)
        # Its place in the heap lies there until it comes up, on a busy server maybe never: they must not pile up.
        if len(self._heap) > 2 * self._depth + self._policy.max_queue:
            self._heap = [place for place in self._heap if place[2].waiting and place[0] == place[2].urgency]
            heapq.heapify(self._heap)

    def take(self, now: float) -> list[Entry[JobT, ResultT]]:
        """Takes the next batch out of the queue; empty when nothing waits."""
        batch: list[Entry[JobT, ResultT]] = []
        while self._heap and not batch:  # all of a window can turn out to be too late
            batch = self._take_from_window(now)
        return batch

    def finish(self, entry: Entry[JobT, ResultT]) -> None:
        """The entry was encoded, or has failed: nobody can join it any more."""
        if entry.key is not None and self._by_key.get(entry.key) is entry:
            del self._by_key[entry.key]

    def clear(self) -> list[Entry[JobT, ResultT]]:
        """Takes out everything."""
        entries = [entry for _, _, entry in self._heap if entry.waiting]
        for entry in entries:
            if entry.waiting:
                self._drop(entry)
        self._heap.clear()
        return entries

    def _urgency(self, now: float, deadline: float, *, bulk: bool) -> float:
        handicap_s = self._policy.bulk_handicap_s if bulk else 0.0
        return min(deadline, now + self._policy.max_age_s) + handicap_s

    def _take_from_window(self, now: float) -> list[Entry[JobT, ResultT]]:
        window: list[Entry[JobT, ResultT]] = []
        try:
            while self._heap and len(window) < self._policy.window:
                entry = self._heap[0][2]
                wanted = entry.waiting and not entry.in_window and self._is_wanted(entry, now)
                heapq.heappop(self._heap)
                if wanted:
                    entry.in_window = True
                    window.append(entry)
            batch = self._choose(window, now)
            for entry in batch:
                self._remove(entry)
        finally:  # whatever happens, what is not taken waits on, where it is found
            for entry in window:
                entry.in_window = False
                if entry.waiting:
                    heapq.heappush(self._heap, (entry.urgency, entry.number, entry))
        return batch

    def _is_wanted(self, entry: Entry[JobT, ResultT], now: float) -> bool:
        """Drops callers who have gone or whose deadline cannot be met even by a batch of their own."""
        ready = now if entry.probe else now + self._cost.predict(self._padded(1, entry.length))
        for waiter in entry.waiters:
            if waiter.deadline <= ready and not waiter.future.done():
                self._fail_late(waiter, "expired")
        entry.waiters = [waiter for waiter in entry.waiters if not waiter.future.done()]
        if not entry.waiters:
            self._drop(entry)
            return False
        entry.deadline = max(waiter.deadline for waiter in entry.waiters)
        return True

    def _choose(self, window: list[Entry[JobT, ResultT]], now: float) -> list[Entry[JobT, ResultT]]:
        """The batch, of texts in order of urgency; drops those that it would make late and no smaller one saves."""
        if window and window[0].alone:
            return window[:1]
        window = [entry for entry in window if not entry.alone]
        while window:
            batch = self._chooser.fit(window)
            ready = now + self._chooser.bound(batch)
            late = [entry for entry in batch if entry.deadline < ready]
            if not late:
                return batch
            others_wait = len(batch) < self._depth
            if hurried := self._chooser.hurry(window, late, now, others_wait=others_wait):
                return hurried
            for entry in late:
                for waiter in entry.waiters:
                    self._fail_late(waiter, "late")
                self._drop(entry)
            window = [entry for entry in window if entry.waiting]
        return []

    def _fail_late(self, waiter: Waiter[JobT, ResultT], reason: str) -> None:
        if not waiter.future.done():
            self._tell(reason)
            waiter.future.set_exception(DeadlineExpiredError("the text could not be encoded before the deadline"))

    def _remove(self, entry: Entry[JobT, ResultT]) -> None:
        entry.waiting = False
        self._depth -= 1
        self._count(entry, -1)

    def _drop(self, entry: Entry[JobT, ResultT]) -> None:
        self._remove(entry)
        self.finish(entry)

    def _count(self, entry: Entry[JobT, ResultT], sign: int) -> None:
        step = math.floor(entry.urgency / _STEP_S)
        self._tokens_by_step[step] += sign * entry.length
        if not self._tokens_by_step[step]:
            del self._tokens_by_step[step]

    def _seconds_ahead(self, urgency: float) -> float:
        if not self._tokens_by_step:
            return 0.0
        last = math.floor(urgency / _STEP_S)
        return self._seconds(sum(tokens for step, tokens in self._tokens_by_step.items() if step <= last))

    def _seconds(self, tokens: int) -> float:
        """Time until so many waiting tokens are encoded, the batches that run now included."""
        running_s = self._cost.predict(min(tokens, self._policy.max_batch_tokens))  # as full as the queue is long
        return _CAUTION * tokens * self._cost.backlog_token_s / self._workers + running_s

    def _tell(self, reason: str) -> None:
        if self._on_shed is not None:
            self._on_shed(reason)
