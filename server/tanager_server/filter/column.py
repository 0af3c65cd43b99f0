"""One attribute of all items: densely, where many have it, else by the positions of those few."""

from __future__ import annotations

import math
from array import array
from enum import IntEnum
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from tanager_server.filter.dictionaries import Lists, Texts

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from tanager_server.bundle.catalogue import AttributeValue

    Value = AttributeValue | Sequence[str] | None

_ScalarT = TypeVar("_ScalarT", bound=np.generic)

# Of this many positions one at least has a value in a column that is dense, which takes 9 bytes for each position; it
# becomes sparse again when it is one of four times as many. No column is dense for fewer values than the second.
_DENSE_SHARE = 16
_LEAST_DENSE = 64


class Kind(IntEnum):
    """Of what type an item's value is."""

    MISSING = 0
    NUMBER = 1
    TEXT = 2
    BOOL = 3
    LIST = 4


_MISSING, _TEXT, _LIST = map(int, (Kind.MISSING, Kind.TEXT, Kind.LIST))  # members are slow to look up
_NOTHING = (_MISSING, 0.0)


class Column:
    """One attribute of all items; its type may differ from item to item.

    A number is a float64: integers beyond 2**53 are rounded, and what is no number (NaN) counts as missing, as an empty
    list does. A time is a number of seconds since the epoch, or a text like any other.

    Args:
        capacity: of how many positions there may be one.
        stays_dense: whether nearly all items have it.

    Attributes:
        texts: texts by code.
        lists: lists by code.
        counts: number of items by `Kind`; of MISSING it is not kept.
        had: whether any item ever had a value.
    """

    __slots__ = ("_capacity", "_dense", "_few", "_stays_dense", "counts", "had", "lists", "texts")

    def __init__(self, capacity: int, *, stays_dense: bool = False) -> None:
        self.texts = Texts()
        self.lists = Lists()
        self.counts = [0] * len(Kind)
        self.had = False
        self._capacity, self._stays_dense = capacity, stays_dense
        # The value's kind, and the number, 0 or 1, or the code of the text or of the list; by position.
        self._few: dict[int, tuple[int, float]] = {}
        self._dense: tuple[NDArray[np.uint8], NDArray[np.float64]] | None = _empty(capacity) if stays_dense else None

    @property
    def present(self) -> int:
        """Number of items that have a value."""
        return sum(self.counts[Kind.NUMBER :])

    def grow(self, capacity: int) -> None:
        """Makes room."""
        self._capacity = capacity
        if self._dense is not None:
            kinds, values = self._dense
            self._dense = grown(kinds, capacity), grown(values, capacity)
            self._thin_out()

    def read(self, count: int, at: NDArray[np.int64] | None = None) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
        """Kinds, and values: numbers, 0 or 1, or codes.

        Args:
            count: of the first positions.
            at: positions; None for all the first ones.
        """
        if self._dense is not None:
            kinds, values = self._dense[0][:count], self._dense[1][:count]
        elif at is not None and len(at) < len(self._few):
            kinds, values = _empty(len(at))
            for place, position in enumerate(at.tolist()):
                kinds[place], values[place] = self._few.get(position, _NOTHING)
            return kinds, values
        else:
            kinds, values = self._spread(count)
        return (kinds, values) if at is None else (kinds[at], values[at])

    def put(self, position: int, value: Value) -> None:
        """Sets the item's value, None for that it has none."""
        kind, number = self._coded(value)
        before_kind, before = self._replace(position, kind, number)
        if before_kind == _TEXT:
            self.texts.release(int(before))
        elif before_kind == _LIST:
            self.lists.release(int(before))
        self.counts[before_kind] -= 1
        self.counts[kind] += 1
        if kind:
            self.had = True
        elif before_kind:
            self._thin_out()

    def fill(self, values: Iterable[Value], first: int = 0) -> None:
        """Sets the values of items from a position on, of which none has one yet: for many that have one."""
        kinds, numbers = bytearray(), array("d")
        code = self.texts.code
        for value in values:
            if isinstance(value, str):  # the most frequent, without a call more
                kinds.append(_TEXT)
                numbers.append(code(value))
            else:
                kind, number = self._coded(value)
                kinds.append(kind)
                numbers.append(number)
        if self._dense is None:
            self._dense, self._few = self._spread(self._capacity), {}
        filled = slice(first, first + len(numbers))
        self._dense[0][filled] = new = np.frombuffer(kinds, np.uint8)
        self._dense[1][filled] = coded = np.frombuffer(numbers, np.float64)
        self.texts.hold(coded[new == _TEXT].astype(np.int64))
        added = np.bincount(new, minlength=len(Kind)).tolist()
        self.counts = [before + more for before, more in zip(self.counts, added, strict=True)]
        self.had |= self.present > 0
        self._thin_out()

    def _coded(self, value: Value) -> tuple[int, float]:
        if value is None:
            return _NOTHING
        if isinstance(value, str):
            return 2, self.texts.take(value)
        if isinstance(value, bool):
            return 3, value
        if isinstance(value, int | float):
            number = as_number(value)
            return _NOTHING if math.isnan(number) else (1, number)
        return (4, self.lists.take(value)) if value else _NOTHING

    def _replace(self, position: int, kind: int, number: float) -> tuple[int, float]:
        """Gives what was there before."""
        if self._dense is not None:
            kinds, values = self._dense
            before = int(kinds[position]), float(values[position])
            kinds[position], values[position] = kind, number
            return before
        before = self._few.pop(position, _NOTHING)
        if kind:
            self._few[position] = kind, number
            if len(self._few) > max(_LEAST_DENSE, self._capacity // _DENSE_SHARE):
                self._dense, self._few = self._spread(self._capacity), {}
        return before

    def _spread(self, count: int) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
        kinds, values = _empty(count)
        if self._few:
            at = np.fromiter(self._few, np.int64, len(self._few))
            kinds[at], values[at] = zip(*self._few.values(), strict=True)
        return kinds, values

    def _thin_out(self) -> None:
        """Makes it sparse, where too few have it."""
        if self._dense is None or self._stays_dense:
            return
        if self.present * 4 * _DENSE_SHARE < self._capacity:
            kinds, values = self._dense
            at = np.flatnonzero(kinds)
            found = zip(kinds[at].tolist(), values[at].tolist(), strict=True)
            self._dense, self._few = None, dict(zip(at.tolist(), found, strict=True))


def as_number(value: float) -> float:
    """The nearest float64; infinite beyond them."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def grown(values: NDArray[_ScalarT], capacity: int) -> NDArray[_ScalarT]:
    """With zeros behind them."""
    found = np.zeros(capacity, values.dtype)
    found[: len(values)] = values
    return found


def _empty(count: int) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    return np.zeros(count, np.uint8), np.zeros(count, np.float64)
