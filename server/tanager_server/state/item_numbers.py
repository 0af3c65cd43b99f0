"""Small numbers for item ids, by which histories and trends keep them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray


class ItemNumbers:
    """Numbers of item ids, from 0, whether a catalogue has the items or not. A number is never given again."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._ids: list[str] = []

    def __len__(self) -> int:
        return len(self._ids)

    def number(self, item_id: str) -> int:
        """The number of an id; a new one, if it has none yet."""
        found = self._numbers.get(item_id)
        if found is None:
            found = self._numbers[item_id] = len(self._ids)
            self._ids.append(item_id)
        return found

    def numbers(self, item_ids: Iterable[str]) -> NDArray[np.int32]:
        """(ids,) int32: the same for many."""
        return np.fromiter(map(self.number, item_ids), dtype=np.int32)

    def find(self, item_id: str) -> int | None:
        """The number of an id, if it has one."""
        return self._numbers.get(item_id)

    def item_id(self, number: int) -> str:
        """The id that has the number."""
        return self._ids[number]
