"""The attributes of items, column by column, for filters to be evaluated on all of them at once."""

from __future__ import annotations

import itertools
import math
from array import array
from enum import IntEnum
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from tanager_server.filter.dictionaries import Lists, Texts

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from tanager_server.bundle import Catalogue, Item
    from tanager_server.bundle.catalogue import AttributeValue

_ScalarT = TypeVar("_ScalarT", bound=np.generic)

ID, TITLE, DOMAIN, CATEGORIES = "id", "title", "domain", "categories"
BUILT_IN = (ID, TITLE, DOMAIN, CATEGORIES)
PREFIX = "attributes."
"""What names an attribute that is called like something built in: `attributes.title`."""

_LEAST_CAPACITY = 1024
# Texts and lists that nothing has any more are dropped when they are as many as those that are had, and this many.
_SPARE_CODES = 4096
# Changes that are remembered at least; at most it is a quarter of the items.
_LEAST_LOG = 4096


class Kind(IntEnum):
    """Of what type an item's value is."""

    MISSING = 0
    NUMBER = 1
    TEXT = 2
    BOOL = 3
    LIST = 4


_MISSING = int(Kind.MISSING)  # a member of the enumeration is looked up by Python code, which shows in `put`


class Column:
    """One attribute of all items; its type may differ from item to item.

    A number is a float64: integers beyond 2**53 are rounded, and what is no number (NaN) counts as missing, as an empty
    list does. A time is a number of seconds since the epoch, or a text like any other.

    Attributes:
        kinds: (capacity,) uint8: `Kind` by position.
        values: (capacity,) float64: the number, 0 or 1, or the code of the text or of the list.
        texts: texts by code.
        lists: lists by code.
        counts: number of items by `Kind`; of MISSING it is not kept.
    """

    def __init__(self, capacity: int) -> None:
        self.kinds: NDArray[np.uint8] = np.zeros(capacity, np.uint8)
        self.values: NDArray[np.float64] = np.zeros(capacity, np.float64)
        self.texts = Texts()
        self.lists = Lists()
        self.counts = [0] * len(Kind)

    @property
    def present(self) -> int:
        """Number of items that have a value."""
        return sum(self.counts[Kind.NUMBER :])

    def grow(self, capacity: int) -> None:
        """Makes room."""
        self.kinds = _grown(self.kinds, capacity)
        self.values = _grown(self.values, capacity)

    def put(self, position: int, value: AttributeValue | Sequence[str] | None) -> None:
        """Sets the item's value, None for that it has none."""
        kind, number = self._coded(value)
        self.counts[self.kinds[position]] -= 1
        self.counts[kind] += 1
        self.kinds[position], self.values[position] = kind, number
        codes = len(self.texts) + len(self.lists)
        if codes > _SPARE_CODES and codes > 2 * self.present + _SPARE_CODES:
            self._drop_unused()

    def fill(self, values: Iterable[AttributeValue | Sequence[str] | None], first: int = 0) -> None:
        """Sets the values of items from a position on, of which none has one yet."""
        kinds, numbers = bytearray(), array("d")
        code, text = self.texts.code, int(Kind.TEXT)
        for value in values:
            if isinstance(value, str):  # the most frequent, without a call more
                kinds.append(text)
                numbers.append(code(value))
            else:
                kind, number = self._coded(value)
                kinds.append(kind)
                numbers.append(number)
        filled = slice(first, first + len(numbers))
        self.kinds[filled] = np.frombuffer(kinds, np.uint8)
        self.values[filled] = np.frombuffer(numbers, np.float64)
        added = np.bincount(self.kinds[filled], minlength=len(Kind)).tolist()
        self.counts = [before + more for before, more in zip(self.counts, added, strict=True)]

    def _coded(self, value: AttributeValue | Sequence[str] | None) -> tuple[int, float]:
        if value is None:
            return 0, 0.0
        if isinstance(value, str):
            return 2, self.texts.code(value)
        if isinstance(value, bool):
            return 3, value
        if isinstance(value, int | float):
            number = as_number(value)
            return (0, 0.0) if math.isnan(number) else (1, number)
        return (4, self.lists.code(value)) if value else (0, 0.0)

    def _drop_unused(self) -> None:
        for kind, dictionary in ((Kind.TEXT, self.texts), (Kind.LIST, self.lists)):
            at = np.flatnonzero(self.kinds == kind)
            used, codes = np.unique(self.values[at].astype(np.int64), return_inverse=True)
            dictionary.keep(used.tolist())
            self.values[at] = codes


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
        for name in BUILT_IN:
            self._columns[name] = Column(self._capacity)

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
        for name in dict.fromkeys(name for each in catalogue.attributes for name in each):
            columns._own(name).fill(each.get(name) for each in catalogue.attributes)
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
        keys = (name,) if name in BUILT_IN else (PREFIX + name, name)  # the second, where it has the prefix already
        for key in keys:
            column = self._columns.get(key)
            if column is not None and column.present:
                return column
        return None

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
        self._columns[ID].put(position, item_id)
        self._columns[TITLE].put(position, title or None)
        self._columns[DOMAIN].put(position, domain or None)
        self._columns[CATEGORIES].put(position, categories)
        for name, value in attributes.items():
            self._own(name).put(position, value)
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
        for name in dict.fromkeys(name for item in items for name in item.attributes):
            self._own(name).fill((item.attributes.get(name) for item in items), first)
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
        self._clear(position)
        self._live[position] = 0
        self._note(position)

    def _clear(self, position: int, *, but: Collection[str] | None = None) -> None:
        """Forgets the item's values; not so those of some attributes and of what is built in, which are set next."""
        for key, column in self._columns.items():
            set_next = but is not None and (key in BUILT_IN or key.removeprefix(PREFIX) in but)
            if column.kinds[position] and not set_next:  # MISSING is 0; to look it up would take longer than this
                column.put(position, None)

    def _own(self, name: str) -> Column:
        column = self._columns.get(PREFIX + name)
        if column is None:
            column = self._columns[PREFIX + name] = Column(self._capacity)
        return column

    def _reserve(self, length: int) -> None:
        if length <= self._capacity:
            return
        self._capacity = max(length, self._capacity * 3 // 2)
        self._live = _grown(self._live, self._capacity)
        for column in self._columns.values():
            column.grow(self._capacity)

    def _note(self, position: int) -> None:
        self._log.append(position)
        if len(self._log) > max(_LEAST_LOG, self._length // 4):
            dropped = len(self._log) // 2
            del self._log[:dropped]
            self._log_start += dropped


def as_number(value: float) -> float:
    """The nearest float64; infinite beyond them."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _grown(values: NDArray[_ScalarT], capacity: int) -> NDArray[_ScalarT]:
    grown = np.zeros(capacity, values.dtype)
    grown[: len(values)] = values
    return grown
