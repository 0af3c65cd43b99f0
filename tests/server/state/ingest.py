"""Writes until it is killed, several callers at a time, with a backup always running; for the tests that kill it.

    python -m tests.server.state.ingest STATE BACKUPS

Prints the number of each step when it is acknowledged. What a step writes follows from its number.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import sys
import threading
import traceback
from pathlib import Path

from tanager_server.state import (
    AddEvents,
    AddImpressions,
    DeleteItems,
    Impression,
    Journal,
    PurgeUser,
    PutItems,
    PutMeta,
    PutUsers,
    SqliteStore,
    StoredEvent,
    StoredItem,
    StoredUser,
    StoredVector,
    Write,
    user_writer,
)

CALLERS = 4
STEP = "step"
_USERS, _ITEMS = 29, 53


def step_writes(step: int) -> list[Write]:
    """What one caller writes: all of it, or nothing."""
    user, item = f"user-{step % _USERS}", f"item-{step % _ITEMS}"
    events = [
        StoredEvent(f"{number}-{n}", f"user-{number % _USERS}", item, "view", float(n), number, "", b"{}")
        for number in (step - 1, step)  # the first half again
        for n in range(10)
    ]
    batch: list[Write] = [
        PutMeta({STEP: str(step)}),
        PutItems([StoredItem(item, b"%d" % step * 300)], [StoredVector(item, "e1", b"%04d" % step * 96)]),
        PutUsers([StoredUser(user, b"%d" % step)]),
        AddEvents(events),
        AddImpressions([Impression(f"shown-{step}", user, step, b"")]),
    ]
    if step % 3 == 0:
        batch.append(PurgeUser(f"user-{step // 3 % _USERS}"))
    if step % 5 == 0:
        batch.append(DeleteItems([f"item-{step // 5 % _ITEMS}"]))
    return batch


def _back_up_always(store: SqliteStore, backups: Path) -> None:
    try:
        _back_up(store, backups)
    except BaseException:
        traceback.print_exc()
        os._exit(1)  # the parent sees that it did not die by its hand


def _back_up(store: SqliteStore, backups: Path) -> None:
    store.backup(backups / "0")
    for number in itertools.count(1):
        store.backup(backups / str(number))
        # Killed half-way through its removal it must not look like a backup.
        old = (backups / str(number - 1)).rename(backups / ".old")
        shutil.rmtree(old)


async def _write_always(store: SqliteStore) -> None:
    with store.load() as snapshot:
        step = int(snapshot.meta().get(STEP, 0))
    applied: list[int] = []

    async def write(step: int) -> None:
        outcomes = await journal.write(*step_writes(step))
        assert outcomes[-1].seq in applied
        print(step, flush=True)

    async with Journal(store, apply=lambda _, outcome: applied.append(outcome.seq)) as journal:
        while True:
            await asyncio.gather(*(write(step + n) for n in range(1, CALLERS + 1)))
            step += CALLERS
            applied.clear()


def main() -> None:
    """Writes until it is killed."""
    state, backups = map(Path, sys.argv[1:])
    user_writer._UNINDEXED_EVENTS = 100  # so that what is rare happens often
    print("opening", flush=True)
    store = SqliteStore(state)
    store._connection.execute("PRAGMA wal_autocheckpoint = 40")
    threading.Thread(target=_back_up_always, args=(store, backups), daemon=True).start()
    asyncio.run(_write_always(store))


if __name__ == "__main__":
    main()
