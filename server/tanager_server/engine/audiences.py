"""Whom an item is for: `FindAudience` over the users and the items of this moment."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tanager_server.engine.audience_index import AudienceIndex
from tanager_server.engine.audience_tables import AudienceItem, AudienceTables, Column, Items
from tanager_server.runtime.worker import WorkerThread

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from numpy.typing import NDArray

    from tanager_server.engine.audience_index import Members
    from tanager_server.engine.items import LiveItems
    from tanager_server.engine.known import KnownUsers
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
    """Whom an item is for.

    Attributes:
        position: of the item.
        members: users, best first.
        explanations: one for each, or none at all.
    """

    position: int
    members: Members
    explanations: Sequence[Explanation] = ()


class Audiences:
    """Finds audiences of items; one at a time, while other calls are answered.

    Args:
        items: what can be recommended.
        known: to whom.
        sequence: reads histories, where the generation has a sequence head.
    """

    def __init__(self, items: LiveItems, known: KnownUsers, sequence: SequenceHead | None) -> None:
        self._items, self._known, self._sequence = items, known, sequence
        self._turn = asyncio.Lock()
        self._index: AudienceIndex | None = None
        self._moved: list[int] = []
        """Positions of items that moved while the tables are made."""

    def load(self) -> None:
        """Reads all users at once: at a start, before anybody else calls."""
        self._moved.clear()
        tables, items = self._new_tables(), self._placed
        for part in self._known.users.snapshots(events=tables.reads_histories):
            tables.read(part, items)
        self._publish(tables)
        for _ in self._known.filter.follow():
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
        for part in self._known.users.snapshots(events=tables.reads_histories):
            await worker.run(tables.read, part, self._placed)
        self._publish(tables)

    def _new_tables(self) -> AudienceTables:
        generation = self._items.generation
        head = None if self._sequence is None else self._sequence.over(generation.sequence_vectors)
        return AudienceTables(generation, head, self._placed)

    def _publish(self, tables: AudienceTables) -> None:
        if self._moved:
            tables.put_items(np.unique(self._moved), self._placed)
        self._index = AudienceIndex(self._known.users, tables)

    @property
    def _placed(self) -> Items:
        return Items(self._known.positions, self._items.generation.vectors)

    def moved(self, positions: list[int]) -> None:
        """Items came to be at some positions, or were encoded anew."""
        if self._index is not None:
            self._index.tables.put_items(np.array(positions, np.int64), self._placed)
        else:
            self._moved.extend(positions)

    async def find(self, query: AudienceQuery) -> FoundAudience:
        """The users who are likeliest to want an item, not explained.

        Raises:
            ItemNotFoundError: the catalogue does not have it.
            InvalidRequestError: the filter cannot be read.
        """
        self._items.position(query.item_id)
        async with self._turn:
            if self._index is None:  # of an engine that was not prepared
                worker = WorkerThread("audience", niceness=_NICENESS)
                try:
                    await self._prepare(worker)
                finally:
                    worker.close()
            assert self._index is not None
            position = self._items.position(query.item_id)  # others ran meanwhile
            search = self._search(self._index, query, position)
            while True:
                try:
                    next(search)
                except StopIteration as done:
                    return FoundAudience(position, done.value)
                await asyncio.sleep(0)

    def _search(self, index: AudienceIndex, query: AudienceQuery, position: int) -> Generator[None, None, Members]:
        by = self._known.filter

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
            items=self._placed,
            allowed=allowed if query.filter else None,
            include_seen=query.include_seen,
        )
        return members

    def _item(self, position: int, item_id: str, tables: AudienceTables) -> AudienceItem:
        items, generation = self._items, self._items.generation
        number = self._known.numbers.number(item_id)
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
