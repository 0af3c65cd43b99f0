"""Many short rows that grow, in a few large columns.

A row lies in one piece, in a room of 4, 8, 16, … entries, within a block of memory that is never moved: so a row that
outgrows its room costs a copy of that row and nothing ever costs a copy of everything, and compiled code reads all rows
through the blocks. Rooms that are left are used again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import DTypeLike, NDArray

BLOCK_ENTRIES = 1 << 17
"""Entries of a block; a longer row has a block of its own."""

_ValueT = TypeVar("_ValueT", bound=np.generic)

_OFFSET_BITS = 32
_OFFSET = (1 << _OFFSET_BITS) - 1
_LEAST_ROOM = 4


class Ragged:
    """Rows of any length; an entry has one value in each column.

    Not thread-safe.

    Args:
        dtypes: of the columns.
        block_entries: entries of a block, a power of two.

    Attributes:
        blocks: by column, the blocks of its values; to be read only.
        starts: (rows or more,) int64: where a row lies, as block << 32 | offset.
        lengths: (rows or more,) int32.
    """

    def __init__(self, *dtypes: DTypeLike, block_entries: int = BLOCK_ENTRIES) -> None:
        if block_entries < _LEAST_ROOM or block_entries & (block_entries - 1):
            raise ValueError(f"block_entries: {block_entries} is no power of two from {_LEAST_ROOM}")
        self._dtypes, self._block_entries = tuple(np.dtype(dtype) for dtype in dtypes), block_entries
        self.blocks: list[list[NDArray[Any]]] = [[] for _ in dtypes]
        # The same memory: single numbers are read and written several times faster through these.
        self._views: list[list[Any]] = [[] for _ in dtypes]
        self._current, self._free_from = 0, block_entries  # block that is filled, and how far it is
        self._rooms: dict[int, list[int]] = {}  # starts of rooms that nothing lies in, by their size
        self.rows = 0
        self.starts: NDArray[np.int64] = np.zeros(0, np.int64)
        self.lengths: NDArray[np.int32] = np.zeros(0, np.int32)
        self._sizes: NDArray[np.int32] = np.zeros(0, np.int32)  # of the rooms
        self._make_rows(1024)

    def _make_rows(self, count: int) -> None:
        self.starts = longer(self.starts, count)
        self.lengths = longer(self.lengths, count)
        self._sizes = longer(self._sizes, count)
        self._start_of, self._length_of, self._size_of = self.starts.data, self.lengths.data, self._sizes.data

    def extend(self, rows: int) -> None:
        """Makes it so many rows at least; new ones are empty."""
        if rows > len(self.starts):
            self._make_rows(max(rows, 2 * len(self.starts)))
        self.rows = max(self.rows, rows)

    @property
    def nbytes(self) -> int:
        """Memory that is held."""
        of_blocks = sum(block.nbytes for blocks in self.blocks for block in blocks)
        return of_blocks + self.starts.nbytes + self.lengths.nbytes + self._sizes.nbytes

    def length(self, row: int) -> int:
        """Entries of a row."""
        return self._length_of[row]

    def none(self, column: int) -> NDArray[Any]:
        """No values of a column."""
        return np.empty(0, self._dtypes[column])

    def latest(self, row: int, column: int, count: int | None = None) -> NDArray[Any]:
        """The last `count` values of a row, or all of them: a copy."""
        length = self._length_of[row]
        if not length:
            return self.none(column)
        start = self._start_of[row]
        offset = start & _OFFSET
        first = offset if count is None else offset + length - min(count, length)
        return self.blocks[column][start >> _OFFSET_BITS][first : offset + length].copy()

    def value(self, row: int, column: int, place: int) -> int | float:
        """The value at a place that the row has."""
        start = self._start_of[row]
        value: int | float = self._views[column][start >> _OFFSET_BITS][(start & _OFFSET) + place]
        return value

    def append(self, row: int, values: Sequence[int | float]) -> None:
        """Puts an entry behind all others of a row."""
        length = self._length_of[row]
        if length == self._size_of[row]:
            self._move(row, length + 1)
        start = self._start_of[row]
        block, place = start >> _OFFSET_BITS, (start & _OFFSET) + length
        for views, value in zip(self._views, values, strict=True):
            views[block][place] = value
        self._length_of[row] = length + 1

    def insert(self, row: int, place: int, values: Sequence[int | float]) -> None:
        """Puts an entry at a place of a row, before what lies there."""
        length = self._length_of[row]
        if not 0 <= place <= length:
            raise IndexError(f"no such place: {place}")
        self.append(row, values)
        start = self._start_of[row]
        block, offset = start >> _OFFSET_BITS, start & _OFFSET
        for views, value in zip(self._views, values, strict=True):
            entries = views[block][offset : offset + length + 1]
            entries[place + 1 :] = entries[place:-1]  # moved as memmove does, as the two overlap
            entries[place] = value

    def replace(self, row: int, *columns: NDArray[Any]) -> None:
        """Gives a row other entries."""
        count = len(columns[0])
        if count > self._size_of[row]:
            self.clear(row)
            self._move(row, count)
        start = self._start_of[row]
        block, offset = start >> _OFFSET_BITS, start & _OFFSET
        if count:
            for blocks, values in zip(self.blocks, columns, strict=True):
                blocks[block][offset : offset + count] = values
        self._length_of[row] = count

    def clear(self, row: int) -> None:
        """Empties a row, leaves its room, and wipes what lay there."""
        size = self._size_of[row]
        if size:
            start = self._start_of[row]
            block, offset = start >> _OFFSET_BITS, start & _OFFSET
            for blocks in self.blocks:
                blocks[block][offset : offset + size] = 0
            self._rooms.setdefault(size, []).append(start)
        self._length_of[row] = self._size_of[row] = self._start_of[row] = 0

    def load(self, rows: NDArray[np.integer[Any]], *columns: NDArray[Any]) -> None:
        """Gives many rows their first entries, far faster than one by one.

        Args:
            rows: (entries,) row of each entry, in ascending order; none of them has entries yet.
            columns: (entries,) values.
        """
        if not len(rows):
            return
        firsts = np.flatnonzero(np.concatenate([[True], rows[1:] != rows[:-1]]))
        counts = np.diff(firsts, append=len(rows))
        distinct = rows[firsts]
        if (rows[1:] < rows[:-1]).any() or self.lengths[distinct].any():
            raise ValueError("rows: in ascending order, and empty before")
        for row in distinct[self._sizes[distinct] > 0].tolist():
            self.clear(row)
        sizes = np.maximum(_LEAST_ROOM, 1 << np.ceil(np.log2(counts)).astype(np.int64))
        long = sizes > self._block_entries
        for row, first, count, size in zip(
            *(array[long].tolist() for array in (distinct, firsts, counts, sizes)), strict=True
        ):
            self._place(row, size)
            self.replace(row, *(values[first : first + count] for values in columns))
        short = ~long
        distinct, firsts, counts, sizes = distinct[short], firsts[short], counts[short], sizes[short]
        ends = np.cumsum(sizes)
        at = 0
        while at < len(distinct):
            before = int(ends[at] - sizes[at])
            until = int(np.searchsorted(ends, before + self._block_entries - self._free_from, side="right"))
            if until == at:
                self._open_block()
                continue
            block = self._current
            offsets = ends[at:until] - sizes[at:until] - before + self._free_from
            within = _ranges(counts[at:until])
            taken = np.repeat(firsts[at:until], counts[at:until]) + within
            places = np.repeat(offsets, counts[at:until]) + within
            for blocks, values in zip(self.blocks, columns, strict=True):
                blocks[block][places] = values[taken]
            self.starts[distinct[at:until]] = (block << _OFFSET_BITS) + offsets
            self.lengths[distinct[at:until]] = counts[at:until]
            self._sizes[distinct[at:until]] = sizes[at:until]
            self._free_from += int(ends[until - 1]) - before
            at = until

    def _move(self, row: int, entries: int) -> None:
        """Gives a row a room for so many entries."""
        size = max(_LEAST_ROOM, 1 << (entries - 1).bit_length())
        old, length, old_size = self._start_of[row], self._length_of[row], self._size_of[row]
        self._place(row, size)
        if old_size:
            new = self._start_of[row]
            block, offset = old >> _OFFSET_BITS, old & _OFFSET
            into, to = new >> _OFFSET_BITS, new & _OFFSET
            for blocks in self.blocks:
                blocks[into][to : to + length] = blocks[block][offset : offset + length]
                blocks[block][offset : offset + old_size] = 0
            self._rooms.setdefault(old_size, []).append(old)

    def _place(self, row: int, size: int) -> None:
        rooms = self._rooms.get(size)
        if rooms:
            start = rooms.pop()
        elif size > self._block_entries:
            start = self._new_block(size) << _OFFSET_BITS
        else:
            if self._free_from + size > self._block_entries:
                self._open_block()
            start = self._current << _OFFSET_BITS | self._free_from
            self._free_from += size
        self._start_of[row], self._size_of[row] = start, size

    def _new_block(self, entries: int) -> int:
        for blocks, views, dtype in zip(self.blocks, self._views, self._dtypes, strict=True):
            blocks.append(np.zeros(entries, dtype))
            views.append(blocks[-1].data)
        return len(self.blocks[0]) - 1

    def _open_block(self) -> None:
        """Goes on in a new block. What is left of the present one becomes rooms."""
        offset = self._free_from
        while offset + _LEAST_ROOM <= self._block_entries:
            size = 1 << ((self._block_entries - offset).bit_length() - 1)
            self._rooms.setdefault(size, []).append(self._current << _OFFSET_BITS | offset)
            offset += size
        self._current, self._free_from = self._new_block(self._block_entries), 0


def longer(array: NDArray[_ValueT], count: int) -> NDArray[_ValueT]:
    """A longer array that begins with this one; behind it are zeros."""
    result = np.zeros(count, array.dtype)
    result[: len(array)] = array
    return result


def _ranges(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each count, one after the other, the numbers from 0 up to it."""
    ends = np.cumsum(counts)
    ranges: NDArray[np.int64] = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - counts, counts)
    return ranges
