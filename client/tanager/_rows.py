"""What the answers that hold rows have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TypeVar, overload

_Row = TypeVar("_Row")


class Rows(Sequence[_Row]):
    """An answer that is the sequence of its rows."""

    __slots__ = ()

    @abstractmethod
    def _rows(self) -> tuple[_Row, ...]:
        """The rows."""

    def __len__(self) -> int:
        return len(self._rows())

    @overload
    def __getitem__(self, index: int) -> _Row: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[_Row, ...]: ...
    def __getitem__(self, index: int | slice) -> _Row | tuple[_Row, ...]:
        return self._rows()[index]
