"""One run: sends calls in a closed or in an open loop, and takes down what comes back."""

from __future__ import annotations

import asyncio
import gc
import itertools
import selectors
import time
from typing import TYPE_CHECKING

import grpc
from google.protobuf.message import DecodeError

from tanager.load.measurement import Measurement, Recorder, Window, measure
from tanager.load.workload import PARSERS

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator, Sequence

    from tanager.load.connections import Rpc
    from tanager.load.workload import Pool

_NO_STAGES = (0, 0, 0, 0, 0, 0)
_INTERNAL: int = grpc.StatusCode.INTERNAL.value[0]
_TICK_S = 0.05
# A sender so late gives way to everything else after each call.
_YIELD_LATE_S = 0.005


def new_event_loop() -> asyncio.AbstractEventLoop:
    """An event loop that wakes on time: asyncio's usual one rounds its timers up to whole milliseconds.

    `select` does not, and has two or three descriptors to look at here: gRPC polls its sockets by itself.
    """
    return asyncio.SelectorEventLoop(selectors.SelectSelector())


class Run:
    """Calls sent for some time, or so many of them, after a warm-up that does not count.

    In a closed loop `concurrency` callers each wait for their answer before they ask again. In an open loop (`gaps`)
    calls are sent when they are due, whether or not earlier ones were answered, and their latency counts from when they
    were due: a server that stalls cannot make the generator look away.

    Args:
        rpcs: By connection, by number of the method.
        pool: The requests.
        draws: Which of them is sent next.
        concurrency: Callers of a closed loop; None for an open one.
        gaps: Seconds from one call of an open loop to the next; None for a closed one.
        duration_s: How long calls count; None if `count` says it.
        count: How many calls count; None if `duration_s` says it.
        warm_up_s: How long calls are sent before any counts.
        timeout_s: Deadline of a call.

    Attributes:
        recorder: The calls that ended so far.
        in_flight: Calls sent and not yet answered.
        interrupted: Whether it was ended early.
    """

    def __init__(
        self,
        rpcs: Sequence[tuple[Rpc, ...]],
        pool: Pool,
        draws: Iterator[int],
        *,
        concurrency: int | None = None,
        gaps: Iterator[float] | None = None,
        duration_s: float | None = None,
        count: int | None = None,
        warm_up_s: float = 0.0,
        timeout_s: float = 5.0,
    ) -> None:
        if (concurrency is None) == (gaps is None) or (duration_s is None) == (count is None):
            raise ValueError("a run takes either concurrency or gaps, and either duration_s or count")
        self.recorder = Recorder()
        self.in_flight = 0
        self.interrupted = False
        self._rpcs = rpcs
        self._requests = pool.requests
        self._draws = draws
        self._drawn = bytearray(len(pool.requests))
        self._concurrency = concurrency
        self._gaps = gaps
        self._duration_s = duration_s
        self._left = count
        self._warm_up_s = warm_up_s
        self._timeout_s = timeout_s
        self._tasks: set[asyncio.Task[None]] = set()
        self._pacer: asyncio.Task[None] | None = None
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
        loop = asyncio.get_running_loop()
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
        if self._end_s == float("inf"):
            self._end_s = max(self.recorder.ended_s, default=self._begin_s)
        self._note_cpu_end()

    def interrupt(self) -> None:
        """Sends no more; calls count that were due until now."""
        now = time.perf_counter()
        if now < self._end_s:
            self.interrupted = True
            self._end_s = max(now, self._begin_s)
            self._note_cpu_end()
        self._stop()

    def abandon(self) -> None:
        """Ends where it is, if it has not ended: for when the event loop is gone."""
        if not self._finished.is_set():
            self.interrupt()

    def measurement(self) -> Measurement:
        """The figures: of the whole run, or of what there is if it was abandoned."""
        cpu_begin_s, cpu_end_s = self._cpu_begin_s, self._cpu_end_s
        cpu_s = 0.0 if cpu_begin_s is None or cpu_end_s is None else cpu_end_s - cpu_begin_s
        return measure(
            self.recorder,
            Window(self._begin_s, self._end_s, cpu_s),
            open_loop=self._gaps is not None,
            interrupted=self.interrupted,
            unanswered=self._dropped,
            distinct_requests=sum(self._drawn),
        )

    def _start(self) -> None:
        if self._gaps is None:
            assert self._concurrency is not None
            for number in range(self._concurrency):
                self._spawn(self._caller(self._rpcs[number % len(self._rpcs)]))
        else:
            self._pacer = self._spawn(self._send_when_due(self._gaps))

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fault = error
            self._stop()
        if not self._tasks:
            self._finished.set()

    def _stop(self) -> None:
        self._sending = False
        if self._pacer is not None:
            self._pacer.cancel()

    async def _caller(self, rpcs: tuple[Rpc, ...]) -> None:
        while self._admit(due_s := time.perf_counter()):
            await self._call(rpcs, due_s)

    async def _send_when_due(self, gaps: Iterator[float]) -> None:
        """Sends each call when it is due; what fell due meanwhile goes out at once: the plan never waits."""
        rpcs = itertools.cycle(self._rpcs)
        due_s = time.perf_counter()
        while self._admit(due_s):
            if (early_s := due_s - time.perf_counter()) > 0:
                await asyncio.sleep(early_s)
            elif -early_s > _YIELD_LATE_S:  # what is under way, the end of the run and Ctrl-C need a turn too
                await asyncio.sleep(0)
            self._spawn(self._call(next(rpcs), due_s))
            due_s += next(gaps)

    def _admit(self, due_s: float) -> bool:
        if not self._sending or due_s >= self._end_s:
            return False
        if self._left is not None and due_s >= self._begin_s:
            if self._left == 0:
                return False
            self._left -= 1
        return True

    async def _call(self, rpcs: tuple[Rpc, ...], due_s: float) -> None:
        draw = next(self._draws)
        self._drawn[draw] = 1
        method, request = self._requests[draw]
        self.in_flight += 1
        sent_s = time.perf_counter()
        status, results, stages = 0, 0, _NO_STAGES
        try:
            answer = await rpcs[method](request, timeout=self._timeout_s)
            ended_s = time.perf_counter()
            # The whole answer is parsed, by upb, in microseconds: an OK that holds none is no OK.
            message = PARSERS[method](answer)
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
        except grpc.aio.AioRpcError as error:
            ended_s = time.perf_counter()
            status = error.code().value[0]
        except DecodeError:
            status = _INTERNAL
        except asyncio.CancelledError:
            self._dropped += 1
            raise
        finally:
            self.in_flight -= 1
        recorder = self.recorder
        recorder.ended_s.append(ended_s)
        recorder.latency_s.append(ended_s - due_s)
        recorder.lag_s.append(sent_s - due_s)
        recorder.status.append(status)
        recorder.results.append(results)
        recorder.stages_us.extend(stages)

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
