"""Writes of items: those under way, held up while another engine is brought up to them, and noted for it."""

from __future__ import annotations

import asyncio
import collections
import contextlib
from typing import TYPE_CHECKING, NamedTuple

from tanager_server.live.carried import carried

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Coroutine, Sequence

    from tanager_server.live.replica import Replica
    from tanager_server.state import DeleteItems, Outcome, PutItems


class _Noted(NamedTuple):
    """A write of items, and the number it was committed under."""

    seq: int
    write: PutItems | DeleteItems


class ItemGate:
    """Through which all writes of items go.

    Attributes:
        under_way: ids of items that wait to be written.
        names: of attributes of those.
    """

    def __init__(self) -> None:
        self.under_way: collections.Counter[str] = collections.Counter()
        self.names: collections.Counter[str] = collections.Counter()
        self._writes: set[asyncio.Task[Outcome]] = set()
        self._noted: list[_Noted] | None = None
        self._open = asyncio.Event()
        self._open.set()

    async def until_open(self) -> None:
        """Waits while items are held."""
        while not self._open.is_set():
            await self._open.wait()

    @contextlib.asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Keeps items as they are: writes of them wait until it ends, those under way have been applied."""
        self._open.clear()
        try:
            while self._writes:
                await asyncio.wait(self._writes)
            yield
        finally:
            self._open.set()

    async def write(
        self,
        writing: Coroutine[None, None, Outcome],
        ids: Sequence[str],
        rows: Sequence[tuple[Replica, int]],
        names: Collection[str] = (),
    ) -> Outcome:
        """Has items written, whoever waits for it.

        Args:
            writing: writes them.
            ids: of items whose texts are not known until it is done.
            rows: that are theirs until then, in each engine.
            names: of the items' attributes.
        """
        self.under_way.update(ids)
        self.names.update(names)
        for replica, count in rows:
            replica.reserved += count
        # A task: whoever waits for all of them must also know those whose callers have gone.
        task = carried(writing, lambda: done())
        self._writes.add(task)

        def done() -> None:
            self._writes.discard(task)
            self.under_way -= collections.Counter(ids)
            self.names -= collections.Counter(names)
            for replica, count in rows:
                replica.reserved -= count

        return await asyncio.shield(task)

    # For another engine

    def follow(self) -> None:
        """From here on what is written is noted; see `since`."""
        self._noted = []

    def note(self, write: PutItems | DeleteItems, seq: int) -> None:
        """It was written, under a number."""
        if self._noted is not None:
            self._noted.append(_Noted(seq, write))

    def since(self, seq: int) -> list[PutItems | DeleteItems]:
        """What was written since a number, and was not asked for before."""
        assert self._noted is not None
        noted, self._noted = self._noted, []
        return [one.write for one in noted if one.seq > seq]

    @property
    def waiting(self) -> int:
        """Writes that `since` has not told of yet."""
        return len(self._noted or ())

    def forget(self) -> None:
        """Ends what `follow` began."""
        self._noted = None
