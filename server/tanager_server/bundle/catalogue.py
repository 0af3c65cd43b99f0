"""The catalogue of a bundle: `items.jsonl`."""

from __future__ import annotations

import os
import weakref
from collections import Counter
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tanager_server.errors import BundleError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

AttributeValue = str | int | float | bool | list[str]

_NO_ATTRIBUTES: Mapping[str, AttributeValue] = MappingProxyType({})


class Item(BaseModel):
    """One line of `items.jsonl`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(min_length=1)
    title: str
    text: str = Field(description="what the encoder read")
    domain: str
    categories: tuple[str, ...]
    attributes: dict[str, AttributeValue]
    popularity: float = Field(ge=0, allow_inf_nan=False, description="number of users who took it up")


class Catalogue:
    """What the server keeps of the items, by position: row i of the vectors is item i.

    Items can be written and removed. A position is never given to another item; the one of a removed item is its own
    again if it is written anew.

    Attributes:
        ids: item ids.
        titles: display titles, empty where there is none.
        domains: domains, empty where there is none.
        categories: names of all categories, by number.
        category_rows: (items + 1,) int64 and (entries,) int32: item i of those it was made of has the categories of the
            numbers that lie in the second array at first[i] : first[i + 1].
        popularity: (items,) float32: of those it was made of, the number of users who took each up; a fact to show, no
            part of the score.
        attributes: of those it was made of, what else is known of each; not to be changed.
    """

    def __init__(self, items: Iterable[Item]) -> None:
        self.ids: list[str] = []
        self.titles: list[str] = []
        self.domains: list[str] = []
        self._interned: dict[str, str] = {}
        self._numbers: dict[str, int] = {}
        popularity, attributes = [], []
        starts, entries = [0], []
        for item in items:
            entries += self.category_numbers(item.categories)
            starts.append(len(entries))
            self._append(item)
            popularity.append(item.popularity)
            attributes.append(_interned(item.attributes, self._interned) if item.attributes else _NO_ATTRIBUTES)
        self.attributes: tuple[Mapping[str, AttributeValue], ...] = tuple(attributes)
        self.category_rows = np.asarray(starts, dtype=np.int64), np.asarray(entries, dtype=np.int32)
        self.popularity: NDArray[np.float32] = np.asarray(popularity, dtype=np.float32)
        self._positions = {item_id: position for position, item_id in enumerate(self.ids)}
        self._removed: dict[str, int] = {}
        self._lines: _Lines | None = None
        self._watchers: list[Callable[[int], None]] = []
        self.domain_counts = dict(Counter(self.domains))
        """Number of items in each domain."""

    def __len__(self) -> int:
        return len(self._positions)

    @property
    def rows(self) -> int:
        """Positions that were given out, those of removed items included."""
        return len(self.ids)

    @property
    def categories(self) -> tuple[str, ...]:
        """Names of all categories, by number."""
        return tuple(self._numbers)

    def category_numbers(self, names: Iterable[str]) -> list[int]:
        """Numbers of some categories, ascending; a name that has none is given one."""
        return sorted({self._numbers.setdefault(name, len(self._numbers)) for name in names})

    def position(self, item_id: str) -> int | None:
        """Row of the item, or None if the catalogue does not have it."""
        return self._positions.get(item_id)

    def positions(self, item_ids: Iterable[str]) -> list[int | None]:
        """Row of each of the items, None for those that the catalogue does not have."""
        return list(map(self._positions.get, item_ids))

    def live_positions(self) -> Iterable[int]:
        """Rows of all items, in no order."""
        return self._positions.values()

    def former_position(self, item_id: str) -> int | None:
        """Row of an item that was removed."""
        return self._removed.get(item_id)

    def put(self, item: Item) -> int:
        """Writes an item in place of the one with its id, if there is one.

        Returns:
            Its position.
        """
        position = self._positions.get(item.id)
        if position is not None:
            self._count(self.domains[position], -1)
        else:
            position = self._removed.pop(item.id, None)
        if position is None:
            position = self._append(item)
        else:
            self.titles[position], self.domains[position] = item.title, self._one(item.domain)
        self._positions[item.id] = position
        self._count(item.domain, 1)
        for told in self._watchers:
            told(position)
        return position

    def watch(self, told: Callable[[int], None]) -> None:
        """Has every position told at which an item is written."""
        self._watchers.append(told)

    def unwatch(self, told: Callable[[int], None]) -> None:
        """Ends that."""
        self._watchers.remove(told)

    def remove(self, item_id: str) -> int | None:
        """Forgets an item.

        Returns:
            Where it was, or None if the catalogue does not have it.
        """
        position = self._positions.pop(item_id, None)
        if position is not None:
            self._removed[item_id] = position
            self._count(self.domains[position], -1)
        return position

    def _append(self, item: Item) -> int:
        self.ids.append(item.id)
        self.titles.append(item.title)
        self.domains.append(self._one(item.domain))
        return len(self.ids) - 1

    def _one(self, domain: str) -> str:
        return self._interned.setdefault(domain, domain)

    def _count(self, domain: str, more: int) -> None:
        count = self.domain_counts.get(domain, 0) + more
        if count:
            self.domain_counts[domain] = count
        else:
            self.domain_counts.pop(domain, None)

    def item(self, position: int) -> Item:
        """An item of the file that the catalogue was read from, as it is there.

        Raises:
            BundleError: it cannot be read any more.
        """
        if self._lines is None:
            raise BundleError("the catalogue was not read from a file")
        return self._lines.item(position)

    @classmethod
    def read(cls, path: Path) -> Catalogue:
        """Reads `items.jsonl`, which must stay as it is.

        Raises:
            BundleError: a line is no item, or two items share an id.
        """
        starts = [0]

        def items() -> Iterable[Item]:
            with path.open("rb") as lines:
                for number, line in enumerate(lines, start=1):
                    starts.append(starts[-1] + len(line))
                    yield _read(path, number, line)

        catalogue = cls(items())
        if len(catalogue._positions) != len(catalogue.ids):
            raise BundleError(f"{path}: two items share an id; export the bundle again from a checked dataset")
        catalogue._lines = _Lines(path, np.asarray(starts, np.int64))
        return catalogue


class _Lines:
    """The lines of a file, which is kept open: whoever removes it takes nothing from who reads."""

    def __init__(self, path: Path, starts: NDArray[np.int64]) -> None:
        self._path, self._starts = path, starts
        self._file = path.open("rb", buffering=0)
        weakref.finalize(self, self._file.close)

    def item(self, position: int) -> Item:
        start, end = int(self._starts[position]), int(self._starts[position + 1])
        line = os.pread(self._file.fileno(), end - start, start)
        return _read(self._path, position + 1, line)


def _read(path: Path, number: int, line: bytes) -> Item:
    try:
        return Item.model_validate_json(line)
    except ValidationError as error:
        raise BundleError(f"{path}, line {number}: not an item: {error}") from error


def _interned(attributes: Mapping[str, AttributeValue], interned: dict[str, str]) -> dict[str, AttributeValue]:
    """The attributes with names and texts that items share kept once."""

    def once(text: str) -> str:
        return interned.setdefault(text, text)

    return {
        once(name): once(value)
        if isinstance(value, str)
        else list(map(once, value))
        if isinstance(value, list)
        else value
        for name, value in attributes.items()
    }
