"""The attributes of items, column by column, for filters to be evaluated on all of them at once."""

from __future__ import annotations

import itertools
from array import array
from collections import Counter
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from tanager_server.filter.column import Column, grown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from tanager_server.bundle import Catalogue, Item
    from tanager_server.bundle.catalogue import AttributeValue

ID, TITLE, DOMAIN, CATEGORIES = "id", "title", "domain", "categories"
BUILT_IN = (ID, TITLE, DOMAIN, CATEGORIES)
PREFIX = "attributes."
"""What names an attribute that is called like something built in: `attributes.title`."""

_LEAST_CAPACITY = 1024
# One of so many items has an attribute at least that is set for all of them at once.
_FILL_SHARE = 16
# Names that no item has any more and filters may use all the same.
_MOST_GONE = 1000
# Items with the same attributes share a tuple of their names, as long as no more than so many are known.
_MOST_SHAPES = 4096
# Changes that are remembered at least; at most it is a quarter of the items.
_LEAST_LOG = 4096
_NO_ATTRIBUTES: Mapping[str, AttributeValue] = MappingProxyType({})


class Columns:
    """What filters know of the items, by position. Read and changed on one thread.

    `id`, `title`, `domain` and `categories` are built in, and an empty one counts as missing; the others are the items'
    attributes by their names.
    """

    def __init__(self) -> None:
        self._length = 0
        self._capacity = _LEAST_CAPACITY
        self._live: NDArray[np.uint8] = np.zeros(self._capacity, np.uint8)
        self._columns: dict[str, Column] = {}
        self._log = array("q")
        self._log_start = 0
        # What attributes each item has, so that only their columns are looked at when it goes.
        self._names: list[tuple[str, ...]] = []
        self._shapes: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._gone: dict[str, None] = {}  # keys of columns that were dropped, the latest last
        for name in BUILT_IN:
            self._columns[name] = Column(self._capacity, stays_dense=True)

    @classmethod
    def of(cls, catalogue: Catalogue) -> Columns:
        """The items of a bundle."""
        columns = cls()
        count = len(catalogue.attributes)
        columns._reserve(count)
        columns._length = count
        columns._live[:count] = 1
        starts, entries = catalogue.category_rows
        names, bounds = [catalogue.categories[entry] for entry in entries], starts.tolist()
        categories = [names[first:last] for first, last in itertools.pairwise(bounds)]
        columns._columns[ID].fill(catalogue.ids)
        columns._columns[TITLE].fill(title or None for title in catalogue.titles)
        columns._columns[TITLE].texts.fold()  # now, for a request would wait for it
        columns._columns[DOMAIN].fill(domain or None for domain in catalogue.domains)
        columns._columns[CATEGORIES].fill(categories)
        columns._append_attributes(catalogue.attributes, 0)
        return columns

    def __len__(self) -> int:
        """One more than the highest position that was ever put."""
        return self._length

    @property
    def live(self) -> NDArray[np.uint8]:
        """(items,) uint8: 0 where an item was removed, or never put."""
        return self._live[: self._length]

    @property
    def version(self) -> int:
        """Number of changes so far."""
        return self._log_start + len(self._log)

    def changed_since(self, version: int) -> NDArray[np.int64] | None:
        """Positions that changed after a version, ascending; None when it is too long ago to tell."""
        if version < self._log_start:
            return None
        return np.unique(np.asarray(self._log[version - self._log_start :], dtype=np.int64))

    def column(self, name: str) -> Column | None:
        """The column that a filter means, None if no item has a value there."""
        key = self.key(name)
        return None if key is None else self._columns[key]

    def key(self, name: str) -> str | None:
        """What stands for the column that a filter means; None if no item has a value there.

        Names may come to mean another one: `attributes.x` is the attribute `x`, as long as none is called just that.
        """
        keys = (name,) if name in BUILT_IN else (PREFIX + name, name)  # the second, where it has the prefix already
        for key in keys:
            column = self._columns.get(key)
            if column is not None and column.present:
                return key
        return None

    @property
    def attribute_count(self) -> int:
        """How many attributes the items have in all."""
        return len(self._columns) - len(BUILT_IN)

    def has_attribute(self, name: str) -> bool:
        """Whether an item has the attribute, which may be called like something built in."""
        return PREFIX + name in self._columns

    def knew(self, name: str) -> bool:
        """Whether an item has a value there, or had one lately: who asks for it again must not be told that it errs."""
        if name in BUILT_IN:
            return self._columns[name].had
        return any(
            key in self._gone or ((column := self._columns.get(key)) is not None and column.had)
            for key in (PREFIX + name, name)
        )

    def names(self) -> list[str]:
        """Names that a filter may use, of what some item has, in alphabetical order."""
        names = []
        for key, column in self._columns.items():
            if column.present:
                own = key.removeprefix(PREFIX)
                names.append(key if own in BUILT_IN else own)
        return sorted(names)

    def put(
        self,
        position: int,
        *,
        item_id: str,
        title: str,
        domain: str,
        categories: Sequence[str],
        attributes: Mapping[str, AttributeValue],
    ) -> None:
        """Sets all that is known of the item of a position, which may be beyond those that there are."""
        self._reserve(position + 1)
        self._length = max(self._length, position + 1)
        if self._live[position]:
            self._clear(position, but=attributes)
        else:
            self._names.extend(() for _ in range(len(self._names), position + 1))
        self._columns[ID].put(position, item_id)
        self._columns[TITLE].put(position, title or None)
        self._columns[DOMAIN].put(position, domain or None)
        self._columns[CATEGORIES].put(position, categories)
        for name, value in attributes.items():
            self._own(name).put(position, value)
        self._names[position] = self._shape(attributes)
        self._live[position] = 1
        self._note(position)

    def append(self, items: Sequence[Item]) -> None:
        """Sets all that is known of items, whose positions are those behind all that there are."""
        first = self._length
        self._reserve(first + len(items))
        self._length += len(items)
        columns = self._columns
        columns[ID].fill((item.id for item in items), first)
        columns[TITLE].fill((item.title or None for item in items), first)
        columns[TITLE].texts.fold()  # as in `of`
        columns[DOMAIN].fill((item.domain or None for item in items), first)
        columns[CATEGORIES].fill((item.categories for item in items), first)
        self._append_attributes([item.attributes for item in items], first)
        self._live[first : self._length] = 1
        for position in range(first, self._length):
            self._note(position)

    def remove(self, position: int) -> None:
        """Forgets the item of a position, which no filter matches from then on.

        Raises:
            IndexError: there never was such a position.
        """
        if not 0 <= position < self._length:
            raise IndexError(f"position {position} of {self._length}")
        if self._live[position]:
            for name in BUILT_IN:
                self._columns[name].put(position, None)
            self._clear(position)
        self._live[position] = 0
        self._note(position)

    def _append_attributes(self, attributes: Sequence[Mapping[str, AttributeValue]], first: int) -> None:
        counts = Counter(itertools.chain.from_iterable(attributes))
        for name, count in counts.items():
            if count * _FILL_SHARE >= len(attributes):
                self._own(name).fill((each.get(name) for each in attributes), first)
        rare = {name for name, count in counts.items() if count * _FILL_SHARE < len(attributes)}
        for position, each in enumerate(attributes if rare else (), start=first):
            for name in each:
                if name in rare:
                    self._own(name).put(position, each[name])
        self._names.extend(() for _ in range(len(self._names), first))
        self._names.extend(map(self._shape, attributes))

    def _shape(self, attributes: Mapping[str, AttributeValue]) -> tuple[str, ...]:
        if len(self._shapes) > _MOST_SHAPES:
            self._shapes.clear()
        names = tuple(attributes)
        return self._shapes.setdefault(names, names)

    def _clear(self, position: int, *, but: Mapping[str, AttributeValue] = _NO_ATTRIBUTES) -> None:
        """Forgets the item's attributes, but for some, which are set next; and those that no item has any more."""
        for name in self._names[position]:
            column = self._columns.get(PREFIX + name)  # none, where it is a list without a text, or no number
            if column is not None and name not in but:
                column.put(position, None)
                if not column.present:
                    self._drop(PREFIX + name)
        self._names[position] = ()

    def _drop(self, key: str) -> None:
        if self._columns.pop(key).had:
            self._gone.pop(key, None)
            self._gone[key] = None
            if len(self._gone) > _MOST_GONE:
                del self._gone[next(iter(self._gone))]
        self._shapes.clear()

    def _own(self, name: str) -> Column:
        column = self._columns.get(PREFIX + name)
        if column is None:
            column = self._columns[PREFIX + name] = Column(self._capacity)
        return column

    def _reserve(self, length: int) -> None:
        if length <= self._capacity:
            return
        self._capacity = max(length, self._capacity * 3 // 2)
        self._live = grown(self._live, self._capacity)
        for column in self._columns.values():
            column.grow(self._capacity)

    def _note(self, position: int) -> None:
        self._log.append(position)
        if len(self._log) > max(_LEAST_LOG, self._length // 4):
            dropped = len(self._log) // 2
            del self._log[:dropped]
            self._log_start += dropped
