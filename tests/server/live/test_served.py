"""One engine in the place of another, and what becomes of the one before."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import TYPE_CHECKING, Any
from unittest.mock import AsyncMock

from tanager_server.engine import KnownUsers
from tanager_server.live import Lineage, Served

if TYPE_CHECKING:
    from collections.abc import Callable

    from tanager_server.index import Generation


class Noted:
    """A watcher that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, object]] = []

    def prepare(self, engine: object) -> None:
        self.told.append(("prepare", engine))

    def swapped(self, engine: object) -> None:
        self.told.append(("swapped", engine))

    def retired(self, engine: object) -> None:
        self.told.append(("retired", engine))


class Closing:
    """Stands in for an engine."""

    closed = False

    async def close(self) -> None:
        self.closed = True


async def test_an_engine_is_closed_when_the_last_call_has_left_it():
    before: Any = Closing()
    after: Any = Closing()
    served, noted, calls = Served(before), Noted(), asyncio.Event()

    served.watch(noted)
    served.end_calls_by(calls.wait)
    served.prepare(after)
    swapped: list[Any] = [served.swap(after), served.engine]
    assert swapped == [before, after]
    retiring = asyncio.create_task(served.retire(before, served.calls_end()))
    await asyncio.sleep(0)
    assert not before.closed
    calls.set()
    await retiring
    assert before.closed
    assert not after.closed
    assert noted.told == [("prepare", after), ("swapped", after), ("retired", before)]


async def test_an_engine_that_was_closed_is_let_go_at_once(
    make_generation: Callable[..., Generation], make_engine: Callable[..., Any]
):
    """Its catalogue is large, and the garbage collector comes by seldom."""
    engine, texts = make_engine(make_generation(5))
    texts.close = AsyncMock()
    engine.audiences.load()
    items = weakref.ref(engine.items)
    gc.disable()
    try:
        await engine.close()
        del engine
        assert items() is None
    finally:
        gc.enable()


def test_users_are_the_same_over_another_catalogue(make_generation: Callable[..., Generation]):
    small, large = make_generation(10), make_generation(20)
    before = KnownUsers(small.catalogue)
    for item_id in ("item-3", "item-15"):
        before.users.add_event("ann", before.numbers.number(item_id), "click", 1.0, 0)
    after = KnownUsers(large.catalogue, of=before)
    assert before.past("ann").positions == [3]
    assert after.past("ann").positions == [3, 15]
    after.users.add_event("ann", after.numbers.number("item-4"), "click", 1.0, 1)
    assert before.past("ann").positions == [3, 4]


def test_a_lineage_is_what_it_was_after_a_restart():
    for lineage in (Lineage(), Lineage("second", "", "f"), Lineage("", "second", "g"), Lineage("a", "b", "c")):
        meta = {name: value for name, value in lineage.meta().items() if value is not None}
        assert Lineage.of_meta(meta) == lineage
