"""The last take-ups of users with long histories, found without reading a history through for each.

A history that was read through some times is indexed: what was taken up, by item, in arrays, and in a dictionary what
came since. So an index costs no more than the reading before it did, also where there are more long histories than
room, and one index gives way to another.
"""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING

import numpy as np

from tanager_server.state.user_records import TakeUp

if TYPE_CHECKING:
    from collections.abc import Callable

    from tanager_server.state.user_records import TakeUps

_LONG = 1024
"""Events from which a history is worth an index."""
_SCANS = 16
"""So often a history is read through first; about what an index costs."""
_MAX_ENTRIES = 1 << 21
"""Of all indexes: 32 MiB."""
_MAX_NEWER = 1024
_NEWER_SHARE = 8  # one in so many may be newer than the arrays


class TakeUpIndex:
    """Last take-ups by slot of the user and number of the item. Whoever changes a history tells it.

    Args:
        read: gives what a user took up, by slot, in ascending order of the numbers.
    """

    def __init__(self, read: Callable[[int], TakeUps]) -> None:
        self._read = read
        self._arrays: collections.OrderedDict[int, TakeUps] = collections.OrderedDict()
        self._newer: dict[int, dict[int, TakeUp]] = {}
        self._scans: dict[int, int] = {}
        self._entries = 0

    @property
    def nbytes(self) -> int:
        """Memory of the arrays."""
        return sum(column.nbytes for taken in self._arrays.values() for column in taken)

    def has(self, slot: int, length: int) -> bool:
        """Whether a history of this length is indexed, by now; if not, the caller reads it through."""
        if length < _LONG:
            return False
        if slot in self._arrays:
            return True
        scans = self._scans.get(slot, 0)
        if scans < _SCANS:
            self._scans[slot] = scans + 1
            return False
        self._index(slot)
        return True

    def find(self, slot: int, number: int) -> TakeUp | None:
        """The last time that the user took the item up; of a history that is indexed."""
        self._arrays.move_to_end(slot)
        newer = self._newer[slot].get(number)
        if newer is not None:
            return newer
        numbers, weights, times = self._arrays[slot]
        place = int(numbers.searchsorted(np.int32(number)))
        if place == len(numbers) or numbers[place] != number:
            return None
        return TakeUp(float(weights[place]), int(times[place]))

    def add(self, slot: int, number: int, weight: float, time_ns: int) -> None:
        """An event was added to a history."""
        if slot not in self._arrays:
            return
        weight = float(np.float32(weight))  # as it is kept
        if weight <= 0.0:
            return
        before = self.find(slot, number)
        if before is not None and before.time_ns > time_ns:
            return
        newer = self._newer[slot]
        newer[number] = TakeUp(weight, time_ns)
        if len(newer) > max(_MAX_NEWER, len(self._arrays[slot].numbers) // _NEWER_SHARE):
            self._drop(slot)
            self._index(slot)

    def forget(self, slot: int) -> None:
        """A history was changed in another way."""
        self._scans.pop(slot, None)
        self._drop(slot)

    def _index(self, slot: int) -> None:
        self._scans.pop(slot, None)
        taken = self._arrays[slot] = self._read(slot)
        self._newer[slot] = {}
        self._entries += len(taken.numbers)
        while self._entries > _MAX_ENTRIES and len(self._arrays) > 1:
            self._drop(next(iter(self._arrays)))

    def _drop(self, slot: int) -> None:
        taken = self._arrays.pop(slot, None)
        if taken is not None:
            self._entries -= len(taken.numbers)
            del self._newer[slot]
