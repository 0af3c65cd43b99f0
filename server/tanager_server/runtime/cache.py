"""A bounded cache from text to what was made of it, the least recently used going first."""

from __future__ import annotations

import itertools
import sys
from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable


class Sized(Protocol):
    """A value that knows what it takes."""

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""


V = TypeVar("V", bound=Sized)

# Of an entry beyond its text and arrays: the dictionary's slot, its link, and the objects around the arrays.
_ENTRY_BYTES = 600


class TextCache(Generic[V]):
    """Text to value, for as many bytes.

    Args:
        max_bytes: what texts and values may take together; 0 keeps nothing.
        observe: told of every look-up whether it was a hit.
    """

    def __init__(self, max_bytes: int, observe: Callable[[bool], object] | None = None) -> None:
        self._max_bytes = max_bytes
        self._observe = observe
        self._values: OrderedDict[str, V] = OrderedDict()
        self.nbytes = 0
        """Bytes taken."""

    def __len__(self) -> int:
        return len(self._values)

    def get(self, text: str) -> V | None:
        """The value, now the most recently used, or None."""
        value = self._values.get(text)
        if value is not None:
            self._values.move_to_end(text)
        if self._observe is not None and self._max_bytes:
            self._observe(value is not None)
        return value

    def latest(self, count: int) -> list[str]:
        """The texts used last, latest first."""
        return list(itertools.islice(reversed(self._values), count))

    def peek(self, text: str) -> V | None:
        """The value or None, without counting as a look-up or a use."""
        return self._values.get(text)

    def put(self, text: str, value: V) -> None:
        """Keeps the value, at the cost of those not used for longest."""
        size = _size(text, value)
        if size > self._max_bytes:
            return
        if (old := self._values.pop(text, None)) is not None:
            self.nbytes -= _size(text, old)
        self._values[text] = value
        self.nbytes += size
        while self.nbytes > self._max_bytes:
            self.nbytes -= _size(*self._values.popitem(last=False))


def _size(text: str, value: Sized) -> int:
    return _ENTRY_BYTES + sys.getsizeof(text) + value.nbytes
