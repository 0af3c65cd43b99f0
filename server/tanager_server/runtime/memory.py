"""Memory that was freed, given back to the system."""

from __future__ import annotations

import ctypes
import functools
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def give_back() -> bool:
    """Gives back what was freed and lies between what is still in use; in any thread, for which it takes milliseconds.

    The C library keeps it for what comes next, in an arena for each thread or two. What a bundle takes is allocated by
    other threads each time: after some bundles, several times their memory would be kept.

    Returns:
        Whether anything could be given back; not so where the C library has no such function.
    """
    trim = _trim()
    return trim is not None and bool(trim(0))


@functools.cache
def _trim() -> Callable[[int], int] | None:
    """What glibc has for it, `malloc_trim`, which runs without Python's lock."""
    if sys.platform != "linux":
        return None
    function = getattr(ctypes.CDLL(None), "malloc_trim", None)  # others have none, musl for one
    if function is None:
        return None
    function.argtypes, function.restype = (ctypes.c_size_t,), ctypes.c_int

    def trim(pad: int) -> int:
        return int(function(pad))

    return trim
