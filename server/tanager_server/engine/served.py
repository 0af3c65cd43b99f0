"""What calls are answered from, and how another bundle comes in its place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tanager_server.engine.engine import Engine


class Watcher(Protocol):
    """Keeps something for each engine that it makes answers of."""

    def prepare(self, engine: Engine) -> None:
        """An engine may be served soon; told on another thread than the event loop."""

    def swapped(self, engine: Engine) -> None:
        """From here on this engine is served; the one before still answers calls that began with it."""

    def retired(self, engine: Engine) -> None:
        """An engine that was prepared answers nothing any more, or never did."""


class Served:
    """One engine, which is all that belongs to one bundle, until another one takes its place between two calls.

    A call takes `engine` when it begins and stays with it. Users and trends are of no bundle: all engines share them.

    Args:
        engine: to begin with.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._watchers: list[Watcher] = []
        self._calls_end: Callable[[], Awaitable[None]] | None = None

    def watch(self, watcher: Watcher) -> None:
        """Has a watcher told of every engine after the present one."""
        self._watchers.append(watcher)

    def end_calls_by(self, calls_end: Callable[[], Awaitable[None]]) -> None:
        """Names what waits until all calls have ended that are in flight when it is called."""
        self._calls_end = calls_end

    def prepare(self, engine: Engine) -> None:
        """Does what takes time before an engine can be served; not on the event loop."""
        for watcher in self._watchers:
            watcher.prepare(engine)

    def swap(self, engine: Engine) -> Engine:
        """Serves an engine that was prepared.

        Returns:
            The one before: to be given to `retire`.
        """
        before, self.engine = self.engine, engine
        for watcher in self._watchers:
            watcher.swapped(engine)
        return before

    async def retire(self, engine: Engine) -> None:
        """Waits until no call stays with an engine that is not served any more, and gives back what it holds."""
        if self._calls_end is not None:
            await self._calls_end()
        await self.discard(engine)

    async def discard(self, engine: Engine) -> None:
        """The same for one that never was served."""
        for watcher in self._watchers:
            watcher.retired(engine)
        await engine.close()
