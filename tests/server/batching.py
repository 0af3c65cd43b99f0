"""What the tests of the batcher share: texts with a name, an encoder under control, and an event loop in which time
passes only when everything waits for it."""

from __future__ import annotations

import asyncio
import functools
import selectors
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tanager_server.runtime.job import BatchPolicy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence


@dataclass(frozen=True)
class Text:
    """A job: so many tokens, and a name by which its answer is known."""

    name: object
    length: int = 4


def policy(**changes: Any) -> BatchPolicy:
    """Bounds so wide that only those given matter."""
    bounds: dict[str, Any] = {
        "max_batch_tokens": 10_000,
        "batch_cost_tokens": 10_000,
        "max_batch_size": 100,
        "window": 100,
        "max_queue": 1000,
        "max_age_s": 1e6,
        "bulk_handicap_s": 1e6,
        "stuck_after_s": 1e6,
    }
    return BatchPolicy(**(bounds | changes))


# Simulated time


class _Selector(selectors.SelectSelector):
    """Where the event loop would wait, the clock is put forward."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            raise AssertionError("everything waits for something that never happens")
        self.now += max(timeout, 0.0)
        return super().select(0)


class SimulatedLoop(asyncio.SelectorEventLoop):
    """An event loop whose time begins at 0. Whoever sleeps for an hour waits for nobody but those who sleep less."""

    def __init__(self) -> None:
        self._simulated = _Selector()
        super().__init__(self._simulated)

    def time(self) -> float:
        return self._simulated.now


def simulate(scenario: Coroutine[Any, Any, Any]) -> Any:
    """Runs it in simulated time. What the loop's exception handler is told of is raised."""
    problems: list[dict[str, Any]] = []
    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        runner.get_loop().set_exception_handler(lambda _, context: problems.append(context))
        result = runner.run(scenario)
    assert not problems, problems
    return result


def simulated(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """A test that runs in simulated time."""

    @functools.wraps(test)
    def run(*arguments: Any, **fixtures: Any) -> None:
        simulate(test(*arguments, **fixtures))

    return run


def now() -> float:
    """Time of the running loop, which is the batcher's clock here."""
    return asyncio.get_running_loop().time()


async def until(moment: float) -> None:
    """Waits for a moment of simulated time."""
    await asyncio.sleep(moment - now())


async def settle() -> None:
    """Lets every task run until it waits for something. Nothing here waits for time or for I/O, so this is exact."""
    for _ in range(20):
        await asyncio.sleep(0)


# The encoder


class ScriptedEncoder:
    """An encode function that takes a second for a batch, unless told otherwise; a text's result is its name.

    Attributes:
        seconds: what a batch takes.
        guilty: names of texts at which a batch fails with an error.
        hanging: names of texts at which a batch never ends.
        batches: names of the texts of each batch so far, in the order in which they began.
        began: when each of them began.
        running: batches that run now.
        most: batches that ran at the same time, at the most.
    """

    def __init__(self, seconds: Callable[[Sequence[Text]], float] = lambda _: 1.0) -> None:
        self.seconds = seconds
        self.guilty: set[object] = set()
        self.hanging: set[object] = set()
        self.error: Exception = RuntimeError("the encoder is broken")
        self.batches: list[list[Any]] = []
        self.began: list[float] = []
        self.most = 0
        self.running = 0
        self._never: list[asyncio.Future[None]] = []  # or what waits for one of them would be garbage, and collected

    async def __call__(self, batch: Sequence[Text]) -> list[object]:
        names = [text.name for text in batch]
        self.batches.append(names)
        self.began.append(now())
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            if self.hanging & set(names):
                self._never.append(asyncio.get_running_loop().create_future())
                await self._never[-1]
            await asyncio.sleep(self.seconds(batch))
        finally:
            self.running -= 1
        if self.guilty & set(names):
            raise self.error
        return list(names)


class Seen:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.batches: list[dict[str, Any]] = []
        self.shed: list[str] = []
        self.failed: list[bool] = []
        self.looked_up: list[bool] = []

    def observe_batch(self, **batch: Any) -> None:
        self.batches.append(batch)

    def observe_shed(self, reason: str) -> None:
        self.shed.append(reason)

    def observe_failed_batch(self, *, stuck: bool) -> None:
        self.failed.append(stuck)

    def observe_cache(self, hit: bool) -> None:
        self.looked_up.append(hit)


async def outcomes(*calls: Awaitable[Any]) -> list[Any]:
    """What each came to: a result, or its exception."""
    return await asyncio.gather(*calls, return_exceptions=True)
