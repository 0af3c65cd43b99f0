"""A thread for native work, driven from an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import sys
import threading
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    _Task = Callable[[], None]

P = ParamSpec("P")
T = TypeVar("T")


class WorkerThread:
    """Runs functions one after the other. A daemon: a function that never returns does not keep the process alive.

    Lighter on the event loop than `run_in_executor`, which makes two futures and takes three locks for each call.

    Args:
        name: of the thread.
        niceness: how far the thread lets others of this process go first, 0 to 19.
    """

    def __init__(self, name: str, *, niceness: int = 0) -> None:
        self._niceness = niceness
        self._closed = False
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        """Runs the function in the thread; must be called from an event loop, which gets the result.

        Raises:
            RuntimeError: the thread was told to end.
        """
        if self._closed:
            raise RuntimeError(f"{self._thread.name} was closed")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def task() -> None:
            if future.done():  # its caller has gone
                return
            try:
                result = function(*args, **kwargs)
            except BaseException as error:  # whatever it is, it belongs to whoever waits
                with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile: nobody waits
                    loop.call_soon_threadsafe(_fail, future, error)
            else:
                with contextlib.suppress(RuntimeError):
                    loop.call_soon_threadsafe(_set, future, result)

        self._tasks.put(task)
        return future

    def close(self) -> None:
        """Ends the thread when it has done what it was given; does not wait for that."""
        self._closed = True
        self._tasks.put(None)

    def _work(self) -> None:
        if self._niceness and sys.platform == "linux":  # where a thread has a niceness of its own
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), self._niceness)
        while (task := self._tasks.get()) is not None:
            task()
            del task  # or what it holds would live until the next one comes


def _set(future: asyncio.Future[T], result: T) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[T], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
