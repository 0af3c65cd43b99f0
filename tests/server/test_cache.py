"""The cache of texts: bounded in bytes, the least recently used going first."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tanager_server.runtime.cache import TextCache

ENTRY = 600  # what an entry takes at the least


@dataclass(frozen=True)
class Value:
    nbytes: int
    name: str = ""


def test_what_was_put_is_found():
    cache: TextCache[Value] = TextCache(10_000)
    assert cache.get("a") is None
    cache.put("a", Value(100))
    assert cache.get("a") == Value(100)
    assert len(cache) == 1


def test_the_least_recently_used_goes_first():
    cache: TextCache[Value] = TextCache(3 * (ENTRY + 600))
    for text in "abc":
        cache.put(text, Value(500))
    assert cache.get("a") is not None
    cache.put("d", Value(500))
    assert [text for text in "abcd" if cache.get(text)] == ["a", "c", "d"]


def test_a_value_put_again_replaces_the_old_one_and_its_bytes():
    cache: TextCache[Value] = TextCache(10_000)
    for size in (100, 5000, 200):
        cache.put("a", Value(size))
        assert ENTRY + size < cache.nbytes < ENTRY + size + 200
    assert (len(cache), cache.get("a")) == (1, Value(200))


def test_what_is_larger_than_all_of_it_is_not_kept_and_drives_nothing_out():
    cache: TextCache[Value] = TextCache(5000)
    cache.put("a", Value(100))
    cache.put("b", Value(5000))
    cache.put("c" * 10_000, Value(1))  # the text counts too
    assert [text for text in ("a", "b", "c" * 10_000) if cache.get(text)] == ["a"]


@pytest.mark.parametrize("size", [0, 1])
def test_a_cache_of_no_size_keeps_nothing(size):
    cache: TextCache[Value] = TextCache(size)
    cache.put("a", Value(0))
    assert cache.get("a") is None
    assert (len(cache), cache.nbytes) == (0, 0)


def test_look_ups_are_told_unless_there_is_no_cache():
    told: list[bool] = []
    cache: TextCache[Value] = TextCache(10_000, told.append)
    cache.get("a")
    cache.put("a", Value(1))
    cache.get("a")
    assert told == [False, True]
    off: TextCache[Value] = TextCache(0, told.append)
    off.get("a")
    assert told == [False, True]


def test_peeking_is_no_use_and_no_look_up():
    told: list[bool] = []
    cache: TextCache[Value] = TextCache(2 * (ENTRY + 600), told.append)
    for text in "ab":
        cache.put(text, Value(500))
    assert cache.peek("a") == Value(500)
    assert cache.peek("c") is None
    cache.put("c", Value(500))
    assert cache.peek("a") is None  # it went first all the same
    assert told == []


@given(
    max_bytes=st.integers(0, 8000),
    actions=st.lists(st.tuples(st.booleans(), st.integers(0, 8), st.integers(0, 3000)), max_size=60),
)
def test_it_never_takes_more_than_it_may_and_is_what_an_ideal_one_would_be(max_bytes, actions):
    cache: TextCache[Value] = TextCache(max_bytes)
    ideal: OrderedDict[str, Value] = OrderedDict()

    def size(text: str) -> int:
        # What `put` counts for an entry, as seen from outside.
        probe: TextCache[Value] = TextCache(1 << 30)
        probe.put(text, ideal[text])
        return probe.nbytes

    for number, (putting, name, nbytes) in enumerate(actions):
        text = str(name)
        if not putting:
            assert cache.get(text) == ideal.get(text)
            if text in ideal:
                ideal.move_to_end(text)
            continue
        value = Value(nbytes, str(number))
        cache.put(text, value)
        before = ideal.get(text)
        ideal[text] = value
        if size(text) > max_bytes:
            del ideal[text]
            if before is not None:
                ideal[text] = before
                ideal.move_to_end(text, last=True)
            assert cache.get(text) == before
            continue
        ideal.move_to_end(text)
        while sum(map(size, ideal)) > max_bytes:
            ideal.popitem(last=False)
        assert cache.nbytes == sum(map(size, ideal)) <= max_bytes
        assert len(cache) == len(ideal)
