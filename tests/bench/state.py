"""What durability costs: events acknowledged a second through the journal, and seconds to read a state back.

    python -m tests.bench.state [--directory DIR] [--events N] [--runs N] [--load-events N]

One client on an event loop sends batches of new events and waits for each to be acknowledged, by turns with a state
that survives a loss of power and one that survives the end of the process. Ids are random, users and items 100,000 each
and new at first. The disk decides, so before each run it is asked how long it takes to sync a small write: a batch that
is to survive a loss of power waits for one. Prints a line for each run, and the medians.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import random
import statistics
import tempfile
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from tanager_server.state import AddEvents, Journal, SqliteStore, StoredEvent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tanager_server.state import Survives

_MODES: tuple[Survives, ...] = ("power", "process")
_USERS = _ITEMS = 100_000
_KINDS = ("view", "click", "like", "hide")
_BATCH = 100
_FILL_BATCH = 10_000
_SYNCS, _SYNC_BYTES = 200, 16 << 10


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--directory", type=Path, help="on the disk to measure; a temporary one is made in it")
    parser.add_argument("--events", type=int, default=100_000, help="of each run")
    parser.add_argument("--runs", type=int, default=5, help="of each mode")
    parser.add_argument("--load-events", type=int, default=1_000_000, help="in the state that is read back; 0: none")
    arguments = parser.parse_args()
    found: dict[Survives, list[float]] = {mode: [] for mode in _MODES}
    with tempfile.TemporaryDirectory(dir=arguments.directory) as directory:
        for run in range(arguments.runs):
            for mode in _MODES if run % 2 == 0 else reversed(_MODES):
                batches = list(_batches(arguments.events, _BATCH, seed=run))
                sync_ms = _sync_s(Path(directory) / "sync") * 1e3
                with SqliteStore(Path(directory) / f"{mode}-{run}", survives=mode) as store:
                    seconds = asyncio.run(_ingest(store, batches))
                rate = arguments.events / sum(seconds)
                found[mode].append(rate)
                p50, p99 = statistics.median(seconds) * 1e3, statistics.quantiles(seconds, n=100)[-1] * 1e3
                print(
                    f"survives {mode:<8} {rate:>8,.0f} events/s   batch of {_BATCH}: p50 {p50:.1f} ms, p99 {p99:.1f} ms"
                    f"   a sync: {sync_ms:.2f} ms"
                )
        for mode in _MODES:
            print(f"survives {mode:<8} {statistics.median(found[mode]):>8,.0f} events/s acknowledged, median")
        if arguments.load_events:
            _load(Path(directory) / "load", arguments.load_events, arguments.runs)


async def _ingest(store: SqliteStore, batches: list[list[StoredEvent]]) -> list[float]:
    """Seconds until each batch was acknowledged."""
    seconds = []
    async with Journal(store, apply=lambda _, __: None) as journal:
        for batch in batches:
            began = time.perf_counter()
            (outcome,) = await journal.write(AddEvents(batch))
            seconds.append(time.perf_counter() - began)
            assert all(outcome.new)
    return seconds


def _sync_s(path: Path) -> float:
    """The median of many syncs, each after a write of 16 KiB to a file that has its size already."""
    seconds = []
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        os.pwrite(descriptor, bytes(_SYNCS * _SYNC_BYTES), 0)
        os.fsync(descriptor)
        for n in range(_SYNCS):
            os.pwrite(descriptor, os.urandom(_SYNC_BYTES), n * _SYNC_BYTES)
            began = time.perf_counter()
            os.fdatasync(descriptor)
            seconds.append(time.perf_counter() - began)
    finally:
        os.close(descriptor)
    return statistics.median(seconds)


def _load(directory: Path, events: int, runs: int) -> None:
    with SqliteStore(directory, survives="process") as store:
        for batch in _batches(events, _FILL_BATCH, seed=-1):
            store.commit([AddEvents(batch)])
    opened, read, in_full = [], [], []
    for _ in range(runs):
        gc.collect()
        began = time.perf_counter()
        with SqliteStore(directory) as store, store.load() as snapshot:
            opened.append(time.perf_counter() - began)
            began = time.perf_counter()
            users = sum(map(len, snapshot.user_keys()))
            items = sum(map(len, snapshot.item_keys()))
            count = sum(map(len, snapshot.event_rows()))
            read.append(time.perf_counter() - began)
            assert count == events
            began = time.perf_counter()
            assert sum(1 for _ in snapshot.events()) == events
            in_full.append(time.perf_counter() - began)
    size_mb = sum(file.stat().st_size for file in directory.iterdir()) / 1e6
    print(f"{events:,} events, {users:,} users, {items:,} items, {size_mb:,.0f} MB; medians of {runs}")
    print(f"open {statistics.median(opened):.3f} s, read as rows with keys {statistics.median(read):.2f} s,")
    print(f"in full, as for an export, {statistics.median(in_full):.2f} s")


def _batches(events: int, size: int, *, seed: int) -> Iterator[list[StoredEvent]]:
    draw = random.Random(seed)
    for start in range(0, events, size):
        yield [
            StoredEvent(
                str(uuid.UUID(int=draw.getrandbits(128), version=4)),
                f"user-{draw.randrange(_USERS)}",
                f"item-{draw.randrange(_ITEMS)}",
                draw.choice(_KINDS),
                1.0,
                1_700_000_000_000_000_000 + start,
            )
            for _ in range(min(size, events - start))
        ]


if __name__ == "__main__":
    main()
