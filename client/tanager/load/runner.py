"""One run: sends calls in a closed or in an open loop, and takes down what comes back."""

from __future__ import annotations

import asyncio
import gc
import itertools
import select
import selectors
import sys
import time
from functools import partial
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError

from tanager.load.calls import INTERNAL, OK
from tanager.load.measurement import Measurement, Recorder, Window, measure
from tanager.load.workload import PARSERS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tanager.load.connections import Channel
    from tanager.load.workload import Pool

_NO_STAGES = (0, 0, 0, 0, 0, 0)
_TICK_S = 0.05
# Calls that were due before the generator came to them are sent so many at a time.
_MOST_TOGETHER = 16
# Connections up to which `select` is the cheapest way to wait.
_MOST_SELECTED = 64


def new_event_loop(connections: int) -> asyncio.AbstractEventLoop:
    """An event loop for so many connections that wakes on time.

    asyncio's usual one rounds its timers up to whole milliseconds where it waits by epoll. `select` does not, but takes
    longer with every descriptor, and only those below 1,024.
    """
    if connections <= _MOST_SELECTED:
        return asyncio.SelectorEventLoop(selectors.SelectSelector())
    if sys.platform == "linux":
        return asyncio.SelectorEventLoop(_PreciseEpoll())
    return asyncio.SelectorEventLoop()


if sys.platform == "linux":

    class _PreciseEpoll(selectors.EpollSelector):
        """Waits for the epoll descriptor itself, by `select`, and only then asks it what there is."""

        def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            if timeout is None or timeout > 0:
                select.select([self.fileno()], [], [], timeout)
            return super().select(0)


class Run:
    """Calls sent for some time, or so many of them, after a warm-up that does not count.

    In a closed loop `concurrency` callers each wait for their answer before they ask again. In an open loop (`gaps`)
    calls are sent when they are due, whether or not earlier ones were answered, and their latency counts from when they
    were due: a server that stalls cannot make the generator look away.

    Args:
        channels: Where calls are sent in turn.
        pool: The requests.
        draws: Which of them is sent next.
        concurrency: Callers of a closed loop; None for an open one.
        gaps: Seconds from one call of an open loop to the next; None for a closed one.
        duration_s: How long calls count; None if `count` says it.
        count: How many calls count; None if `duration_s` says it.
        warm_up_s: How long calls are sent before any counts.

    Attributes:
        recorder: The calls that ended so far.
        in_flight: Calls sent and not yet answered.
        interrupted: Whether it was ended early.
    """

    def __init__(
        self,
        channels: Sequence[Channel],
        pool: Pool,
        draws: Iterator[int],
        *,
        concurrency: int | None = None,
        gaps: Iterator[float] | None = None,
        duration_s: float | None = None,
        count: int | None = None,
        warm_up_s: float = 0.0,
    ) -> None:
        if (concurrency is None) == (gaps is None) or (duration_s is None) == (count is None):
            raise ValueError("a run takes either concurrency or gaps, and either duration_s or count")
        self.recorder = Recorder()
        self.in_flight = 0
        self.interrupted = False
        self._channels = channels
        self._requests = pool.requests
        self._draws = draws
        self._drawn = bytearray(len(pool.requests))
        self._concurrency = concurrency
        self._gaps = gaps
        self._duration_s = duration_s
        self._left = count
        # Of the calls that count, those that have not ended yet; and when the last of the others did.
        self._awaited = count or 0
        self._last_s = 0.0
        self._warm_up_s = warm_up_s
        self._pacer: asyncio.TimerHandle | None = None
        self._due_s = 0.0
        # Whether a call of an open loop is still to be sent.
        self._planned = False
        self._finished = asyncio.Event()
        self._fault: BaseException | None = None
        self._sending = False
        self._dropped = 0
        self._begin_s = self._end_s = 0.0
        self._cpu_begin_s: float | None = None
        self._cpu_end_s: float | None = None

    @property
    def elapsed_s(self) -> float:
        """Seconds since calls began to count; negative during the warm-up."""
        return time.perf_counter() - self._begin_s

    async def run(self) -> None:
        """Runs to the end. When cancelled it sends no more, and waits for the answers that are due."""
        self._loop = loop = asyncio.get_running_loop()
        # What lives now is no garbage during the run: looking it through over and over would be wasted.
        gc.collect()
        gc.freeze()
        self._begin_s = time.perf_counter() + self._warm_up_s
        self._end_s = float("inf") if self._duration_s is None else self._begin_s + self._duration_s
        self._sending = True
        timers = [loop.call_later(self._warm_up_s, self._note_cpu_begin)]
        if self._duration_s is not None:
            timers.append(loop.call_later(self._warm_up_s + self._duration_s, self._note_cpu_end))
        ticker = loop.create_task(self._tick())
        try:
            self._start()
            try:
                await self._finished.wait()
            except asyncio.CancelledError:
                if (task := asyncio.current_task()) is not None:
                    task.uncancel()
                self.interrupt()
                await self._finished.wait()
        finally:
            gc.unfreeze()
            ticker.cancel()
            for timer in timers:
                timer.cancel()
        if self._fault is not None:
            raise self._fault
        self._note_cpu_end()

    def interrupt(self) -> None:
        """Sends no more; calls count that were due until now."""
        now = time.perf_counter()
        if now < self._end_s or self._planned:
            self.interrupted = True
            self._end_s = max(min(now, self._end_s), self._begin_s)
            self._note_cpu_end()
        self._stop()

    def abandon(self) -> None:
        """Ends where it is, if it has not ended: for when the event loop is gone."""
        if not self._finished.is_set():
            self.interrupt()
            self._dropped = self.in_flight

    def measurement(self) -> Measurement:
        """The figures: of the whole run, or of what there is if it was abandoned."""
        cpu_begin_s, cpu_end_s = self._cpu_begin_s, self._cpu_end_s
        cpu_s = 0.0 if cpu_begin_s is None or cpu_end_s is None else cpu_end_s - cpu_begin_s
        return measure(
            self.recorder,
            Window(self._begin_s, self._end_s, cpu_s),
            open_loop=self._gaps is not None,
            by_count=self._duration_s is None,
            interrupted=self.interrupted,
            unanswered=self._dropped,
            distinct_requests=sum(self._drawn),
        )

    def _start(self) -> None:
        if self._gaps is None:
            assert self._concurrency is not None
            for number in range(self._concurrency):
                channel = self._channels[number % len(self._channels)]
                if self._admit(now_s := time.perf_counter()):
                    self._send(channel, now_s, now_s)
            for channel in self._channels:
                channel.flush()
        else:
            self._due_s = time.perf_counter()
            self._planned = self._admit(self._due_s)
            self._send_due(itertools.cycle(self._channels), self._gaps)
        self._finish_if_all_ended()

    def _send_due(self, channels: Iterator[Channel], gaps: Iterator[float]) -> None:
        """Sends what is due, together, and comes back when the next call is: the plan waits for nothing."""
        try:
            sent_on = []
            while self._planned and self._due_s <= (now_s := time.perf_counter()):
                channel = next(channels)
                self._send(channel, self._due_s, now_s)
                sent_on.append(channel)
                self._due_s += next(gaps)
                self._planned = self._admit(self._due_s)
                # What is under way, the end of the run and Ctrl-C need a turn too.
                if len(sent_on) == _MOST_TOGETHER:
                    break
            for channel in sent_on:
                channel.flush()
            if self._planned:
                early_s = max(0.0, self._due_s - time.perf_counter())
                self._pacer = self._loop.call_later(early_s, self._send_due, channels, gaps)
            else:
                self._finish_if_all_ended()
        except Exception as error:  # run() raises it
            self._fail(error)

    def _admit(self, due_s: float) -> bool:
        if not self._sending or due_s >= self._end_s:
            return False
        if self._left is not None and due_s >= self._begin_s:
            if self._left == 0:
                return False
            self._left -= 1
        return True

    def _send(self, channel: Channel, due_s: float, sent_s: float) -> None:
        draw = next(self._draws)
        self._drawn[draw] = 1
        method, request = self._requests[draw]
        self.in_flight += 1
        channel.call(method, request, sent_s, partial(self._ended, channel, method, due_s, sent_s))

    def _ended(
        self,
        channel: Channel,
        method: int,
        due_s: float,
        sent_s: float,
        status: int,
        answer: bytes | bytearray,
        ended_s: float,
    ) -> None:
        """Takes down a call, and in a closed loop sends the next: its caller has waited for this one only."""
        try:
            self.in_flight -= 1
            results, stages = 0, _NO_STAGES
            if status == OK:
                try:
                    # The whole answer is parsed, by upb, in microseconds: an OK that holds none is no OK.
                    message = PARSERS[method](bytes(answer))
                except DecodeError:
                    status = INTERNAL
                else:
                    results = len(message.results)
                    timing = message.timing
                    stages = (
                        timing.queue_us,
                        timing.tokenize_us,
                        timing.encode_us,
                        timing.search_us,
                        timing.rank_us,
                        timing.batch_size,
                    )
            recorder = self.recorder
            recorder.ended_s.append(ended_s)
            recorder.latency_s.append(ended_s - due_s)
            recorder.lag_s.append(sent_s - due_s)
            recorder.status.append(status)
            recorder.results.append(results)
            recorder.stages_us.extend(stages)
            if self._awaited and due_s >= self._begin_s:
                self._last_s = max(self._last_s, ended_s)
                self._awaited -= 1
                if not self._awaited:
                    # Calls of the warm-up may still be in flight: they are waited for, but are no part of the window.
                    self._end_s = min(self._end_s, self._last_s)
                    self._note_cpu_end()
            if self._gaps is None and self._admit(now_s := time.perf_counter()):
                self._send(channel, now_s, now_s)
            elif not self.in_flight:
                self._finish_if_all_ended()
        except Exception as error:  # run() raises it
            self._fail(error)

    def _finish_if_all_ended(self) -> None:
        if not self.in_flight and not self._planned:
            self._finished.set()

    def _fail(self, error: Exception) -> None:
        """Ends the run at once: nothing that it measured can be trusted."""
        self._fault = error
        self._stop()
        self._finished.set()

    def _stop(self) -> None:
        self._sending = self._planned = False
        if self._pacer is not None:
            self._pacer.cancel()
        self._finish_if_all_ended()

    async def _tick(self) -> None:
        """Notes how late the event loop comes to what is due."""
        while True:
            due_s = time.perf_counter() + _TICK_S
            await asyncio.sleep(_TICK_S)
            now = time.perf_counter()
            self.recorder.ticked_s.append(now)
            self.recorder.loop_lag_s.append(max(0.0, now - due_s))

    def _note_cpu_begin(self) -> None:
        self._cpu_begin_s = time.process_time()

    def _note_cpu_end(self) -> None:
        if self._cpu_end_s is None:
            self._cpu_end_s = time.process_time()
