"""A state, read at the start."""

from __future__ import annotations

import contextlib
import gc
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tanager_server.engine.records import read_profile
from tanager_server.live.folding import fold

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from tanager_server.engine.engine import Engine
    from tanager_server.engine.known import KnownUsers
    from tanager_server.live.folding import Encode
    from tanager_server.state import Snapshot, StoredVector
    from tanager_server.state.trends import Trends


class Loaded(NamedTuple):
    """What was read.

    Attributes:
        items: number of items that were written.
        encoded: vectors that had to be made for them.
        events: number of events.
    """

    items: int
    encoded: list[StoredVector]
    events: int


def load_state(engine: Engine, trends: Trends, snapshot: Snapshot, encode: Encode) -> Loaded:
    """Makes an engine, its users and its trends know what a state has.

    Args:
        engine: that has only what its bundle has.
        trends: that count nothing yet.
        snapshot: the state.
        encode: for items that have no vector by the engine's encoder.
    """
    with _uncollected():
        folded = fold(engine, snapshot, encode)
        events = _load_users(engine.known, trends, snapshot)
        engine.audiences.load()
    return Loaded(folded.items, folded.encoded, events)


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Keeps the garbage collector from looking for cycles, over and over, among what is made and stays."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class _Keys:
    """Names by the keys that stand for them in a snapshot."""

    def __init__(self, keys: Iterable[tuple[int, str]]) -> None:
        known = dict(keys)
        self.names = list(known.values())
        self._places = np.zeros(max(known, default=0) + 1, np.int64)
        self._places[list(known)] = np.arange(len(known))

    def places(self, keys: Sequence[int]) -> NDArray[np.int64]:
        """(keys,) int64: where in `names` each key's name is."""
        return self._places[np.array(keys, np.int64)]


def _load_users(known: KnownUsers, trends: Trends, snapshot: Snapshot) -> int:
    """Gives the number of events."""
    for user in snapshot.users():
        known.users.put_profile(user.user_id, read_profile(user.data))
    users = _Keys(key_and_name for block in snapshot.user_keys() for key_and_name in block)
    items = _Keys(key_and_name for block in snapshot.item_keys() for key_and_name in block)
    kinds = _Keys(snapshot.kinds().items())
    numbers = known.numbers.numbers(items.names)
    blocks = [
        (
            users.places(column[0]),
            numbers[items.places(column[1])],
            kinds.places(column[2]),
            np.array(column[3], np.float32),
            np.array(column[4], np.int64),
        )
        for block in snapshot.brief_event_rows()
        if (column := list(zip(*block, strict=True)))
    ]
    count = 0
    if blocks:
        by, of, kind, weight, time_ns = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
        known.users.load_events(users.names, by, of, kinds.names, kind, weight, time_ns)
        count = len(by)
    trends.load(known.users.take_ups())
    return count
