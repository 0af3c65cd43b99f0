"""Memory that was freed goes back to the system; where that cannot be asked for, nothing happens."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tanager_server.runtime import memory
from tanager_server.runtime.memory import give_back


@pytest.fixture(autouse=True)
def look_anew():
    memory._trim.cache_clear()
    yield
    memory._trim.cache_clear()


def resident_bytes():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="only glibc can be asked for it"
)
def test_what_lies_freed_between_what_is_in_use_is_given_back():
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, (ctypes.c_size_t,)
    libc.free.argtypes, libc.memset.argtypes = (ctypes.c_void_p,), (ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t)
    size, count = 100_000, 1_000  # too small for a mapping of their own
    blocks = [libc.malloc(size) for _ in range(count)]
    for block in blocks:
        libc.memset(block, 1, size)
    kept = blocks[:: count // 10] + blocks[-1:]  # the top of the heap is in use: free alone gives nothing back
    for block in set(blocks) - set(kept):
        libc.free(block)
    before = resident_bytes()
    assert give_back()
    assert before - resident_bytes() > size * count // 2
    for block in kept:
        libc.free(block)


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_where_the_library_knows_no_such_thing_nothing_happens(monkeypatch, platform):
    monkeypatch.setattr("sys.platform", platform)
    monkeypatch.setattr("ctypes.CDLL", lambda _: SimpleNamespace())
    assert give_back() is False
