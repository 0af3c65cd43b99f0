"""The worker thread: what an event loop gets back from it, and that it outlives what goes wrong."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import weakref

import pytest

from tanager_server.runtime.worker import WorkerThread


@pytest.fixture
def worker():
    thread = WorkerThread("work")
    yield thread
    thread.close()
    thread._thread.join()


async def test_results_come_back_to_the_loop(worker):
    def where(number, *, factor):
        return threading.current_thread().name, number * factor

    assert await worker.run(where, 3, factor=2) == ("work", 6)


async def test_functions_run_one_after_the_other_in_their_order(worker):
    done: list[int] = []
    await asyncio.gather(*(worker.run(done.append, number) for number in range(100)))
    assert done == list(range(100))


@pytest.mark.parametrize("error", [ValueError("x"), MemoryError(), SystemExit(3)])
async def test_whatever_is_raised_belongs_to_who_waits_and_the_thread_goes_on(worker, error):
    def fail():
        raise error

    future = worker.run(fail)
    await asyncio.wait((future,))  # not awaited itself: a SystemExit that passes through a task ends the loop
    assert future.exception() is error
    assert await worker.run(len, "abc") == 3


async def test_who_stops_waiting_disturbs_nothing(worker):
    go = threading.Event()
    future = worker.run(go.wait)
    future.cancel()
    go.set()
    assert await worker.run(len, "abc") == 3
    assert future.cancelled()


def test_a_result_that_comes_after_the_end_of_the_loop_is_let_go(worker):
    go, done = threading.Event(), threading.Event()

    async def begin():
        worker.run(go.wait)
        worker.run(go.wait).cancel()

    asyncio.run(begin())
    go.set()
    worker._tasks.put(done.set)  # behind the two
    assert done.wait(10)


async def test_what_was_done_is_not_held_until_the_next_comes(worker):
    class Large:
        pass

    large, gone = Large(), threading.Event()
    weakref.finalize(large, gone.set)
    await worker.run(id, large)
    del large
    assert gone.wait(10)


@pytest.mark.skipif(sys.platform != "linux", reason="threads have no niceness of their own")
async def test_niceness_is_the_threads_own():
    def niceness():
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    before = niceness()
    nice = WorkerThread("nice", niceness=before + 3)
    assert await nice.run(niceness) == before + 3
    assert niceness() == before
    nice.close()
    nice._thread.join()


async def test_closing_lets_what_was_given_be_done_first():
    done: list[int] = []
    worker = WorkerThread("work")
    futures = [worker.run(done.append, number) for number in range(10)]
    worker.close()
    await asyncio.gather(*futures)
    worker._thread.join()
    assert done == list(range(10))


def test_a_thread_that_hangs_does_not_keep_the_process_alive(worker):
    assert worker._thread.daemon
