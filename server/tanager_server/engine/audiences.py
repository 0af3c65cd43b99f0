"""Whom an item is for: `FindAudience` over the users and the items of this moment."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tanager_server.engine.audience_index import AudienceIndex, AudienceItem, AudienceTables, Column, Items
from tanager_server.errors import FieldViolation, InvalidRequestError
from tanager_server.filter import Columns, FilterError, Predicates

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tanager_server.engine.engine import Engine
    from tanager_server.engine.request import Explanation
    from tanager_server.runtime import SequenceHead

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
        self._columns = Columns()
        self._predicates = Predicates(self._columns)
        self._version = 0
        self._index: AudienceIndex | None = None

    def rebuild(self) -> None:
        """Reads all users anew: for a start, and for another generation."""
        generation, known = self._engine.generation, self._engine.known
        head = None if self._sequence is None else self._sequence.over(generation.sequence_vectors)
        snapshots = known.users.snapshots(events=head is not None)
        tables = AudienceTables.build(generation, snapshots, items=self._items, head=head)
        if self._index is None:
            self._index = AudienceIndex(known.users, tables)
        else:
            self._index.publish(tables)

    @property
    def _items(self) -> Items:
        return Items(self._engine.known.positions, self._engine.generation.vectors)

    def moved(self, positions: list[int]) -> None:
        """Items came to be at some positions, or were encoded anew."""
        if self._index is not None:
            self._index.tables.put_items(np.array(positions, np.int64), self._items)

    async def find(self, query: AudienceQuery) -> FoundAudience:
        """The users who are likeliest to want an item.

        Raises:
            ItemNotFoundError: the catalogue does not have it.
            InvalidRequestError: the filter cannot be read.
        """
        engine = self._engine
        position = engine.position(query.item_id)
        async with self._turn:
            if self._index is None:
                self.rebuild()
            assert self._index is not None
            item = self._item(position, query.item_id, self._index.tables)
            search = self._index.search(
                item,
                query.page_size,
                items=self._items,
                allowed=self._allowed(query.filter) if query.filter else None,
                include_seen=query.include_seen,
            )
            while True:
                try:
                    next(search)
                except StopIteration as done:
                    members = done.value
                    break
                await asyncio.sleep(0)
        explanations = []
        for user_id in members.user_ids if query.reasons else ():
            explanations.append(await engine.explain_item(position, user_id, count=query.reasons))
            await asyncio.sleep(0)
        return FoundAudience(members.user_ids, members.scores, members.candidates, explanations)

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

    def _allowed(self, text: str) -> NDArray[np.uint8]:
        users = self._engine.known.users
        for slot in users.profiles_changed_since(self._version).tolist():
            user_id = users.user_id(slot)
            if user_id is not None:
                profile = {
                    name: list(value) if isinstance(value, tuple) else value
                    for name, value in (users.profile(slot) or {}).items()
                }
                self._columns.put(slot, item_id=user_id, title="", domain="", categories=(), attributes=profile)
            elif slot < len(self._columns):
                self._columns.remove(slot)
        self._version = users.version
        try:
            found = self._predicates.compile(text).mask
        except FilterError as error:
            raise InvalidRequestError(FieldViolation("filter", str(error))) from error
        allowed = np.zeros(users.slots, np.uint8)
        allowed[: len(found)] = found
        return allowed
