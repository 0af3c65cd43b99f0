"""Puts what was written into the index, while the index is searched."""

from __future__ import annotations

import asyncio
import logging
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tanager_server.engine.serving import Serving
from tanager_server.runtime.worker import WorkerThread

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tanager_server.engine.engine import Engine
    from tanager_server.index import Generation
    from tanager_server.runtime import SequenceHead

_log = logging.getLogger(__name__)

_NICENESS = 12  # below the threads that encode
_LEAST_UNINDEXED = 1_000
_UNINDEXED_SHARE = 0.05
_LEAST_ROOM = 4_096
_ROOM_SHARE = 0.25
_PAUSE_AFTER_FAILURE_S = 60.0
_SCRATCH = "index-"


def rows_for(items: int) -> int:
    """How many rows a generation of so many items has, those for items to come included."""
    return items + max(_LEAST_ROOM, int(_ROOM_SHARE * items))


def remove_leftovers(directory: Path) -> None:
    """Removes what indexers of a process that was killed left in their directory."""
    for left in directory.glob(f"{_SCRATCH}*"):
        shutil.rmtree(left, ignore_errors=True)


class IndexObserver(Protocol):
    """Told, on the event loop, what becomes of indexes; for metrics."""

    def observe_index(self, seconds: float) -> None:
        """An index was made anew, and is served."""

    def observe_failed_index(self) -> None:
        """It could not be made."""


class Indexer:
    """Makes a larger index when too many items are scored one by one, or there is little room for more.

    Args:
        engine: whose items.
        sequence: as the engine has it.
        directory: for a file as large as the index; no other process may use it.
        observe: told of every index that is made beside calls.
    """

    def __init__(
        self, engine: Engine, sequence: SequenceHead | None, directory: Path, observe: IndexObserver | None = None
    ) -> None:
        self._engine, self._sequence, self._directory = engine, sequence, directory
        self._worker = WorkerThread("index", niceness=_NICENESS)
        self._task: asyncio.Task[None] | None = None
        self._observe = observe
        self._not_before = 0.0
        self._too_small = False
        self.done = 0
        """Indexes made so far."""

    @property
    def due(self) -> bool:
        """Whether it is time."""
        items = self._engine.items
        indexed = len(self._engine.generation.index)
        most = max(_LEAST_UNINDEXED, int(_UNINDEXED_SHARE * indexed))
        return self._too_small or items.unindexed > most or items.room < (rows_for(indexed) - indexed) // 8

    def make_room(self) -> None:
        """Begins, as soon as nothing is under way: there are items that do not fit."""
        self._too_small = True
        self.look()

    def look(self) -> None:
        """Begins, if it is time and nothing is under way."""
        idle = self._task is None or self._task.done()
        if idle and self.due and time.monotonic() >= self._not_before:
            self._task = asyncio.create_task(self.run(), name="index")

    async def run(self) -> None:
        """Makes an index of all that there is now, and serves it. A failure is logged; what was served is served on."""
        engine, self._too_small = self._engine, False
        began = time.monotonic()
        positions = engine.items.begin_indexing()
        used = engine.generation.catalogue.rows
        try:
            serving = await self._worker.run(self._make, engine.generation, positions, used)
        except Exception:
            self._not_before = time.monotonic() + _PAUSE_AFTER_FAILURE_S
            engine.items.end_indexing(None)
            _log.exception("the index could not be made anew", extra={"items": used})
            if self._observe is not None:
                self._observe.observe_failed_index()
            return
        engine.serve(serving)
        self.done += 1
        took = round(time.monotonic() - began, 3)
        if self._observe is not None:
            self._observe.observe_index(took)
        _log.info("indexed", extra={"items": used, "added": len(positions), "took_s": took})

    def make_now(self) -> None:
        """The same at once and in the caller's thread, if it is time: for items that nobody is answered from yet."""
        if self.due:
            engine = self._engine
            positions, used = engine.items.begin_indexing(), engine.generation.catalogue.rows
            engine.serve(self._make(engine.generation, positions, used))

    def _make(self, generation: Generation, positions: NDArray[np.int64], items: int) -> Serving:
        with tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=self._directory) as scratch:
            path = Path(scratch) / "index.hnsw"
            rows = max(len(generation.vectors), rows_for(items))
            extended = generation.extended(positions, items=items, rows=rows, scratch=path)
        return Serving(extended, self._sequence)

    async def close(self) -> None:
        """Waits for what is under way, and ends the thread."""
        if self._task is not None:
            await self._task
        self._worker.close()
