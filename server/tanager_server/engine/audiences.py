"""Whom an item is for: `FindAudience` over the users and the items of this moment."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tanager_server.engine.audience_index import AudienceIndex
from tanager_server.engine.audience_tables import AudienceItem, AudienceTables, Column, Items
from tanager_server.runtime.worker import WorkerThread

if TYPE_CHECKING:
    from collections.abc import Generator

    from numpy.typing import NDArray

    from tanager_server.engine.audience_index import Members
    from tanager_server.engine.engine import Engine
    from tanager_server.engine.request import Explanation
    from tanager_server.runtime import SequenceHead

_NICENESS = 8  # as the threads that encode: the event loop goes first
_NO_ENTRIES = Column(np.empty(0, np.int32), np.empty(0, np.float32))


class AudienceQuery(NamedTuple):
    """A valid request for an audience.

    Attributes:
        item_id: what for.
        page_size: how many users.
        include_seen: whether users who did something with the item may be among them.
        filter: which users, in the filter language; empty for all.
        reasons: how many reasons to tell of each at most.
    """

    item_id: str
    page_size: int
    include_seen: bool = False
    filter: str = ""
    reasons: int = 0


class FoundAudience(NamedTuple):
    """Users, best first.

    Attributes:
        user_ids: who.
        scores: what the item scores for each.
        candidates: how many users might have been among them.
        explanations: one for each, or none at all.
    """

    user_ids: list[str]
    scores: list[float]
    candidates: int
    explanations: list[Explanation]


class Audiences:
    """Finds audiences of an engine's items; one at a time, while other calls are answered.

    Args:
        engine: whose items and users.
        sequence: reads histories, where the generation has a sequence head.
    """

    def __init__(self, engine: Engine, sequence: SequenceHead | None) -> None:
        self._engine, self._sequence = engine, sequence
        self._turn = asyncio.Lock()
        self._index: AudienceIndex | None = None
        self._moved: list[int] = []
        """Positions of items that moved while the tables are made."""

    def load(self) -> None:
        """Reads all users at once: at a start, before anybody else calls."""
        self._moved.clear()
        tables, items = self._new_tables(), self._items
        for part in self._engine.known.users.snapshots(events=tables.reads_histories):
            tables.read(part, items)
        self._publish(tables)
        for _ in self._engine.known.filter.follow():
            pass

    async def prepare(self, worker: WorkerThread) -> None:
        """Reads all users in another thread, while they change: for an engine that is to be served. Once is enough.

        Args:
            worker: the thread.
        """
        async with self._turn:
            await self._prepare(worker)

    async def _prepare(self, worker: WorkerThread) -> None:
        if self._index is not None:
            return
        self._moved.clear()
        tables = await worker.run(self._new_tables)
        # Part by part: what is read is copied here, between two calls, and looked at there. What has changed since is
        # taken in by the next search.
        for part in self._engine.known.users.snapshots(events=tables.reads_histories):
            await worker.run(tables.read, part, self._items)
        self._publish(tables)

    def _new_tables(self) -> AudienceTables:
        generation = self._engine.generation
        head = None if self._sequence is None else self._sequence.over(generation.sequence_vectors)
        return AudienceTables(generation, head, self._items)

    def _publish(self, tables: AudienceTables) -> None:
        if self._moved:
            tables.put_items(np.unique(self._moved), self._items)
        self._index = AudienceIndex(self._engine.known.users, tables)

    @property
    def _items(self) -> Items:
        return Items(self._engine.known.positions, self._engine.generation.vectors)

    def moved(self, positions: list[int]) -> None:
        """Items came to be at some positions, or were encoded anew."""
        if self._index is not None:
            self._index.tables.put_items(np.array(positions, np.int64), self._items)
        else:
            self._moved.extend(positions)

    async def find(self, query: AudienceQuery) -> FoundAudience:
        """The users who are likeliest to want an item.

        Raises:
            ItemNotFoundError: the catalogue does not have it.
            InvalidRequestError: the filter cannot be read.
        """
        engine = self._engine
        engine.position(query.item_id)
        async with self._turn:
            if self._index is None:  # of an engine that was not prepared
                worker = WorkerThread("audience", niceness=_NICENESS)
                try:
                    await self._prepare(worker)
                finally:
                    worker.close()
            assert self._index is not None
            position = engine.position(query.item_id)  # others ran meanwhile
            search = self._search(self._index, query, position)
            while True:
                try:
                    next(search)
                except StopIteration as done:
                    members: Members = done.value
                    break
                await asyncio.sleep(0)
        explanations = []
        for user_id in members.user_ids if query.reasons else ():
            explanations.append(await engine.explain_item(position, user_id, count=query.reasons))
            await asyncio.sleep(0)
        return FoundAudience(members.user_ids, members.scores, members.candidates, explanations)

    def _search(self, index: AudienceIndex, query: AudienceQuery, position: int) -> Generator[None, None, Members]:
        by = self._engine.known.filter

        def allowed() -> NDArray[np.uint8]:
            for _ in by.follow():  # what little has changed since
                pass
            return by.allowed(query.filter)

        if query.filter:
            yield from by.follow()
            by.allowed(query.filter)  # or it is refused before the rest is done
        members = yield from index.search(
            self._item(position, query.item_id, index.tables),
            query.page_size,
            items=self._items,
            allowed=allowed if query.filter else None,
            include_seen=query.include_seen,
        )
        return members

    def _item(self, position: int, item_id: str, tables: AudienceTables) -> AudienceItem:
        generation, items = self._engine.generation, self._engine.items
        number = self._engine.known.numbers.number(item_id)
        vector, sequence = generation.vectors[position], generation.sequence_vectors[position]
        priors = float(generation.priors[0, position]), float(generation.priors[1, position])
        if items.of_bundle(position):
            return tables.item(position, number)._replace(vector=vector, sequence=sequence, priors=priors)
        item = items.item(position)
        figures = generation.new_items.figures(
            vector, domain=item.domain, categories=item.categories, attributes=item.attributes
        )
        together, follows = Column(*figures.neighbours), Column(*figures.transitions)
        return AudienceItem(number, vector, together, follows, priors, _NO_ENTRIES, sequence)
