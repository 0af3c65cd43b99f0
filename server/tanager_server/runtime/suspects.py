"""Texts at which the encoder did not come back: each new try of one would cost another thread that hangs."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

_KEEP_S = 600.0
_MAX_KEYS = 1024


class Suspects:
    """Keys of texts that were in a batch when it was given up, for a while; the oldest go first when there are many.

    One that hung by itself is guilty. Of several in a batch nobody knows which it was: they are suspects, to be tried
    one by one.

    Args:
        keep_s: how long they are remembered.
        max_keys: how many.
    """

    def __init__(self, *, keep_s: float = _KEEP_S, max_keys: int = _MAX_KEYS) -> None:
        self._keep_s = keep_s
        self._max_keys = max_keys
        self._keys: OrderedDict[Hashable, tuple[float, bool]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, keys: Iterable[Hashable], *, now: float, guilty: bool) -> None:
        """These were in a batch that was given up; one that is guilty remains so."""
        for key in keys:
            guilty_before = self.is_guilty(key, now=now)
            self._keys[key] = now + self._keep_s, guilty or guilty_before
            self._keys.move_to_end(key)
        while len(self._keys) > self._max_keys:
            self._keys.popitem(last=False)

    def clear(self, key: Hashable) -> None:
        """This one was encoded."""
        self._keys.pop(key, None)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._keys

    def is_guilty(self, key: Hashable, *, now: float) -> bool:
        """Whether the text hung by itself lately."""
        expires, guilty = self._keys.get(key, (now, False))
        if expires <= now:
            self._keys.pop(key, None)
            return False
        return guilty
