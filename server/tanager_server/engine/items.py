"""The items that are served: those of the bundle, and what was written since.

An item that was written has a position behind those of the bundle. As long as the index does not have it, or has it by
another text, it is scored one by one; a removed one is not looked at. All of it happens between two calls, on the
thread that answers them, so that the next call sees it.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tanager_server.engine.attribute_names import check_names
from tanager_server.engine.records import ItemRecord, item_bytes, read_item
from tanager_server.errors import FieldViolation, InvalidRequestError, ItemNotFoundError
from tanager_server.filter import Columns, FilterError, Predicates
from tanager_server.filter.syntax import Comparison, Not, Present, Text
from tanager_server.index import View

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from numpy.typing import NDArray

    from tanager_server.bundle import FiguresOfMany, Item, ItemFigures
    from tanager_server.index import Generation

    Mask = Callable[[], NDArray[np.uint8]]
    """(rows,) of a filter, as the items are when it is called: 0 for those that it leaves out."""

_SELECTIVE_SHARE = 0.02
"""Of the index: a filter that allows no more is answered by looking at every item that it allows."""
_MOST_KEPT = 32
"""Filters whose masks and views are kept until something is written; each takes two bytes for every item."""
_SHOWN_ID_CHARS = 100
_NO_POSITIONS = np.empty(0, np.int64)


class NoRoomError(Exception):
    """There is no row for another item until a larger generation takes the place of this one."""


class Written(NamedTuple):
    """An item to write, with what was computed of it.

    Attributes:
        item: as it is to be.
        written_ns: when it was written, since the epoch.
        vector: (dim,) float32 of its text; None if that is what it was.
        figures: what is expected of it, of which only an item that is not of the bundle has need.
    """

    item: Item
    written_ns: int
    vector: NDArray[np.float32] | None
    figures: ItemFigures | None


class LiveItems:
    """What can be recommended at this moment.

    Args:
        generation: to be added to; with no room to spare, nothing can be.
    """

    def __init__(self, generation: Generation) -> None:
        self._made_of = generation.catalogue.rows
        """Positions below are the bundle's own items."""
        # As bytes, of which they take a quarter of the memory; they are read one by one.
        self._records: dict[int, bytes] = {}
        self._columns = Columns.of(generation.catalogue)
        self._predicates = Predicates(self._columns)
        self._changed: set[int] | None = None
        self._begin(generation)

    def _begin(self, generation: Generation) -> None:
        rows = len(generation.vectors)
        self.generation = generation
        self._live = np.zeros(rows, np.uint8)
        self._live[list(generation.catalogue.live_positions())] = 1
        self._indexed = np.zeros(rows, np.uint8)
        self._indexed[: len(generation.index)] = 1
        # Until something is written: a mailing asks for the same thousands of times.
        self._masks: dict[tuple[str, frozenset[str]], NDArray[np.uint8]] = {}
        self._views: dict[int, tuple[NDArray[np.uint8], View]] = {}

    @property
    def unindexed(self) -> int:
        """Items that are scored one by one until they are in the index."""
        return int(np.count_nonzero(self._live & (self._indexed ^ 1)))

    @property
    def room(self) -> int:
        """How many items more can be added."""
        return len(self._live) - self.generation.catalogue.rows

    def check_names(self, items: Sequence[Item], under_way: Collection[str] = ()) -> set[str]:
        """Looks whether attributes would have too many names, if some items were written: see `check_names`.

        Raises:
            InvalidRequestError: they would.
        """
        return check_names(
            (item.attributes for item in items),
            field="items[{}].attributes",
            whose="the attributes of all items",
            has=self._columns.has_attribute,
            count=self._columns.attribute_count,
            under_way=under_way,
        )

    def position(self, item_id: str) -> int:
        """Where an item is.

        Raises:
            ItemNotFoundError: the catalogue does not have it.
        """
        position = self.generation.catalogue.position(item_id)
        if position is None:
            shown = item_id[:_SHOWN_ID_CHARS]  # a status message travels in a header, which has little room
            raise ItemNotFoundError(f"item_id: the catalogue has no item {shown!r}")
        return position

    def item(self, position: int) -> Item:
        """An item as it was last written.

        Raises:
            BundleError: its bundle cannot be read any more.
        """
        stored = self._records.get(position)
        return self.generation.catalogue.item(position) if stored is None else read_item(stored).item

    def written_ns(self, position: int) -> int | None:
        """When an item was last written; None for one as the bundle has it."""
        stored = self._records.get(position)
        return None if stored is None else read_item(stored).written_ns

    def of_bundle(self, position: int) -> bool:
        """Whether the bundle has the item, whatever was written over it."""
        return position < self._made_of

    @property
    def first_written(self) -> int:
        """Position from which on items are not the bundle's own."""
        return self._made_of

    @property
    def live(self) -> NDArray[np.uint8]:
        """(positions,) uint8: 1 for what can be recommended."""
        return self._live[: self.generation.catalogue.rows]

    def mask(self, text: str, domains: Collection[str] = ()) -> Mask | None:
        """What a filter and some domains allow; None if that is everything.

        Raises:
            InvalidRequestError: the filter cannot be read, or names what no item has.
        """
        if not text and not domains:
            return None

        key = text, frozenset(domains)
        try:
            compiled = self._predicates.compile(text)
        except FilterError as error:
            raise InvalidRequestError(FieldViolation("filter", str(error))) from error

        def allowed() -> NDArray[np.uint8]:
            if (kept := self._masks.get(key)) is not None:
                return kept
            found = self._predicates.again(compiled).mask
            if domains:
                found = found & self._of_domains(domains)
            mask = np.zeros(len(self._live), np.uint8)
            mask[: len(found)] = found
            mask.flags.writeable = False
            if len(self._masks) < _MOST_KEPT:
                self._masks[key] = mask
            return mask

        return allowed

    def _of_domains(self, domains: Collection[str]) -> NDArray[np.uint8]:
        found = np.zeros(len(self._columns), np.uint8)
        for domain in domains:
            node = Comparison("domain", "=", Text(domain)) if domain else Not(Present("domain"))
            with contextlib.suppress(FilterError):  # no item has any domain
                found |= self._predicates.compile(str(node)).mask
        return found

    def view(self, mask: NDArray[np.uint8] | None = None) -> View:
        """The items that an answer may be made of.

        Args:
            mask: (rows,) uint8, 0 for items that a filter leaves out; None for no filter.
        """
        of = self._live if mask is None else mask
        if (kept := self._views.get(id(of))) is not None:
            return kept[1]
        view = self._look(self._live if mask is None else self._live & (mask != 0))
        fixed = mask is None or not mask.flags.writeable
        if fixed and len(self._views) <= _MOST_KEPT:
            self._views[id(of)] = of, view  # which is kept, so nothing else can have its id
        return view

    def _look(self, allowed: NDArray[np.uint8]) -> View:
        indexed = len(self.generation.index)
        found = allowed & self._indexed
        exact = np.flatnonzero(allowed & (self._indexed ^ 1))
        count = int(np.count_nonzero(found))
        if count == indexed and len(exact) == self.generation.catalogue.rows - indexed:
            return View(None, exact, 1.0)  # or what B and T tell of is taken, that is in neither
        if count <= _SELECTIVE_SHARE * indexed:
            return View(None, np.flatnonzero(allowed), 0.0)
        return View(found, exact, count / indexed)

    def put(self, written: Written) -> int:
        """Writes an item.

        Returns:
            Its position.

        Raises:
            NoRoomError: there is none for a new item.
        """
        item, generation, catalogue = written.item, self.generation, self.generation.catalogue
        known = catalogue.position(item.id) is not None or catalogue.former_position(item.id) is not None
        if not known and self.room <= 0:
            raise NoRoomError(f"no room for {item.id!r}")
        position = catalogue.put(item)
        generation.growth.set_categories(position, catalogue.category_numbers(item.categories))
        if written.vector is not None and not np.array_equal(generation.vectors[position], written.vector):
            generation.vectors[position] = written.vector
            self._indexed[position] = 0
        if written.figures is not None and position >= self._made_of and self._give(position, written.figures):
            self._indexed[position] = 0
        self._records[position] = item_bytes(ItemRecord(item, written.written_ns))
        self._live[position] = 1
        self._columns.put(
            position,
            item_id=item.id,
            title=item.title,
            domain=item.domain,
            categories=item.categories,
            attributes=item.attributes,
        )
        self._note(position)
        return position

    def append(
        self,
        items: Sequence[Item],
        stored: Sequence[bytes],
        vectors: NDArray[np.float32],
        figures: Iterable[FiguresOfMany],
    ) -> int:
        """Writes items that the catalogue never had, as `put` would one after the other.

        Args:
            items: as they are to be.
            stored: their records, see `item_bytes`.
            vectors: (items, dim) float32 of their texts.
            figures: what is expected of them, of some at a time in their order.

        Returns:
            The position of the first; those of the others follow.

        Raises:
            NoRoomError: there is none for so many; nothing is written.
        """
        generation, catalogue = self.generation, self.generation.catalogue
        if len(items) > self.room:
            raise NoRoomError(f"no room for {len(items)} items")
        first = start = catalogue.rows
        for position, (item, data) in enumerate(zip(items, stored, strict=True), start=first):
            catalogue.put(item)
            generation.growth.set_categories(position, catalogue.category_numbers(item.categories))
            self._records[position] = data
            self._note(position)
        end = catalogue.rows
        generation.vectors[first:end] = vectors
        for part in figures:
            positions = np.arange(start, start + len(part.priors))
            generation.priors[:, positions] = part.priors.T
            generation.growth.set_neighbours_of(positions, *part.neighbours)
            generation.growth.set_transitions_of(positions, *part.transitions)
            if generation.sequence is not None and part.sequence is not None:
                generation.sequence.vectors[positions] = part.sequence
            start += len(positions)
        self._indexed[first:end], self._live[first:end] = 0, 1
        self._columns.append(items)
        return first

    def _give(self, position: int, figures: ItemFigures) -> bool:
        """Tells whether what is put in order when an index is made says something else now."""
        generation = self.generation
        changed = not np.array_equal(generation.priors[:, position], figures.priors)
        generation.priors[:, position] = figures.priors
        rows, weights = figures.neighbours
        generation.growth.set_neighbours(position, rows, weights)
        rows, weights = figures.transitions
        generation.growth.set_transitions(position, rows, weights)
        if generation.sequence is not None and figures.sequence is not None:
            changed |= not np.array_equal(generation.sequence.vectors[position], figures.sequence)
            generation.sequence.vectors[position] = figures.sequence
        return changed

    def remove(self, item_id: str) -> bool:
        """Removes an item; tells whether there was one."""
        position = self.generation.catalogue.remove(item_id)
        if position is None:
            return False
        self._live[position] = 0
        self._columns.remove(position)
        self._note(position)
        return True

    def _note(self, position: int) -> None:
        self._masks.clear()
        self._views.clear()
        if self._changed is not None:
            self._changed.add(position)

    # Making the index anew, while this one is served

    def begin_indexing(self) -> NDArray[np.int64]:
        """From here on what changes is noted.

        Returns:
            (n,) int64, positions whose vectors an index has to take in to have all that there is now.
        """
        self._changed = set()
        used = self.generation.catalogue.rows
        return np.flatnonzero(self._indexed[:used] == 0)

    def end_indexing(self, generation: Generation | None) -> None:
        """Goes on with a generation whose index has what `begin_indexing` told of.

        Args:
            generation: made of the one of then; None if it could not be made.
        """
        changed, self._changed = self._changed, None
        if generation is None:
            return
        before, indexed = self.generation, self._indexed
        positions = np.array(sorted(changed or ()), np.int64)
        if generation.vectors is not before.vectors and len(positions):
            generation.vectors[positions] = before.vectors[positions]
            generation.priors[:, positions] = before.priors[:, positions]
            if generation.sequence is not None and before.sequence is not None:
                generation.sequence.vectors[positions] = before.sequence.vectors[positions]
        self._begin(generation)
        stale = positions[indexed[positions] == 0] if len(positions) else _NO_POSITIONS
        self._indexed[stale] = 0
