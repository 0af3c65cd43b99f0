"""What is taken up lately: for each item the number of users who took it up, fading with the time since.

A user counts once for an item: the last time, by its weight, halved with every half-life that has passed since. The sum
of an item is kept as of the latest of those times, so that a number says all and nothing is ever swept:
sum(now) = sum(as of t) * 2 ** -((now - t) / half-life). Differences are rounded as float64 is, relative to the largest
weight in the sum.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tanager_server.state.ragged import longer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tanager_server.state.user_records import TakeUp, TakeUps

_NS_PER_H = 3600 * 10**9
_NEVER = -(1 << 63)


class Trends:
    """Fading counts of those who took items up, by number of the item. Not thread-safe.

    A time in the future counts as now, and what came before it as if it was that much older.

    Args:
        half_lives_h: for each of these counts are kept.

    Raises:
        ValueError: a half-life is not positive and finite, comes twice, or there is none.
    """

    def __init__(self, half_lives_h: Sequence[float]) -> None:
        sound = all(0.0 < half_life < math.inf for half_life in half_lives_h)
        if not half_lives_h or not sound or len(set(half_lives_h)) != len(half_lives_h):
            raise ValueError("half_lives_h: one or more, positive and finite, none twice")
        self.half_lives_h = tuple(float(half_life) for half_life in half_lives_h)
        self._half_lives_ns = [half_life * _NS_PER_H for half_life in self.half_lives_h]
        self._count = 0
        self._takers: NDArray[np.int32] = np.zeros(0, np.int32)
        self._as_of: NDArray[np.int64] = np.zeros(0, np.int64)
        self._sums: list[NDArray[np.float64]] = [np.zeros(0) for _ in half_lives_h]
        self._make_room(1024)

    def _make_room(self, count: int) -> None:
        before = len(self._as_of)
        self._takers, self._as_of = longer(self._takers, count), longer(self._as_of, count)
        self._as_of[before:] = _NEVER
        self._sums = [longer(sums, count) for sums in self._sums]
        # The same memory: single numbers are read and written several times faster through these.
        self._takers_of, self._time_of = self._takers.data, self._as_of.data
        self._sum_of: list[Any] = [sums.data for sums in self._sums]

    def _extend(self, count: int) -> None:
        if count > len(self._takers):
            self._make_room(max(count, 2 * len(self._takers)))
        self._count = max(self._count, count)

    def add(self, number: int, weight: float, time_ns: int, before: TakeUp | None) -> None:
        """Counts an event.

        Args:
            number: of the item.
            weight: of the event; counts if it is positive.
            time_ns: of the event.
            before: the last time that the user took the item up, without this event.
        """
        if weight <= 0.0 or (before is not None and before.time_ns > time_ns):
            return
        self._extend(number + 1)
        as_of, first = self._time_of[number], not self._takers_of[number]
        if time_ns < as_of or first:
            if first:
                self._time_of[number] = time_ns
            self._change(number, weight, time_ns)
            if before is not None:
                self._change(number, -before.weight, before.time_ns)
        else:  # the usual case, in one go
            self._time_of[number] = time_ns
            for sums, half_life in zip(self._sum_of, self._half_lives_ns, strict=True):
                fresh = sums[number] * 2.0 ** ((as_of - time_ns) / half_life) + weight
                if before is not None:
                    fresh -= before.weight * 2.0 ** ((before.time_ns - time_ns) / half_life)
                sums[number] = fresh
        if before is None:
            self._takers_of[number] += 1

    def _change(self, number: int, weight: float, time_ns: int) -> None:
        age = self._time_of[number] - time_ns
        for sums, half_life in zip(self._sum_of, self._half_lives_ns, strict=True):
            sums[number] += weight * 2.0 ** (-age / half_life)

    def remove(self, taken: TakeUps) -> None:
        """Takes back what was counted of a user."""
        numbers, weights, times = (column.tolist() for column in taken)
        for number, weight, time_ns in zip(numbers, weights, times, strict=True):
            self._takers_of[number] -= 1
            if self._takers_of[number]:
                self._change(number, -weight, time_ns)
            else:
                self._time_of[number] = _NEVER
                for sums in self._sum_of:
                    sums[number] = 0.0

    def load(self, taken: TakeUps) -> None:
        """Counts what all users took up, in place of all that was counted before."""
        count = int(taken.numbers.max(initial=-1)) + 1
        self._extend(count)
        self._count = count
        self._takers[:] = 0
        self._as_of[:] = _NEVER
        for sums in self._sums:
            sums[:] = 0.0
        np.maximum.at(self._as_of, taken.numbers, taken.times_ns)
        self._takers[:count] = np.bincount(taken.numbers, minlength=count)
        ages = _ages(self._as_of[taken.numbers], taken.times_ns)
        for sums, half_life in zip(self._sums, self._half_lives_ns, strict=True):
            sums[:count] = np.bincount(
                taken.numbers, taken.weights * np.exp2(ages * (-1.0 / half_life)), minlength=count
            )

    def takers(self, number: int) -> int:
        """How many users took an item up, whenever that was."""
        return self._takers_of[number] if number < self._count else 0

    def scores(self, now_ns: int, half_life_h: float) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Numbers of the items that users took up, in ascending order, and the counts of them as of now.

        Raises:
            ValueError: no counts are kept for this half-life.
        """
        if half_life_h not in self.half_lives_h:
            kept = ", ".join(f"{half_life:g}" for half_life in self.half_lives_h)
            raise ValueError(f"half_life_h: counts are kept for {kept}")
        which = self.half_lives_h.index(half_life_h)
        numbers = np.flatnonzero(self._takers[: self._count])
        ages = _ages(now_ns, np.minimum(self._as_of[: self._count], now_ns))
        scores = np.exp2((ages * (-1.0 / self._half_lives_ns[which])).astype(np.float32))
        scores *= self._sums[which][: self._count]
        # What is left of a difference may be less than nothing by its rounding.
        np.maximum(scores, 0.0, out=scores)
        return numbers, scores if len(numbers) == self._count else scores[numbers]


def _ages(later: NDArray[np.int64] | int, earlier: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Differences, none negative: centuries do not fit into int64, but modulo 2 ** 64 they are right all the same."""
    return (later - earlier).view(np.uint64)
