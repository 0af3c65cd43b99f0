"""How long a server takes to serve again what it had been told, and what that takes of memory.

    python -m tests.bench.restart BUNDLE [--events 1000000 --items 100000 --users 20000 --repetitions 3]

Makes a state by writing straight to the store what a server would have written: items with a vector of the bundle's
encoder each, near that of an item of the bundle, with its categories and attributes; and events of users with items of
the bundle and with new ones. Then starts servers by turns without that state and with it, and prints from the start of
the process until it says that it is SERVING, in seconds and in seconds of CPU: medians with the least and the most in
brackets, and the resident memory at that moment. Then, of the last one: what a list for a history takes before the new
items are in the index and after, how long that is made for, and what memory it leaves.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import grpc
import numpy as np
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.bench.live import quantiles_ms, spread
from tests.bench.process import cpu_s, resident_mb
from tests.support import ServerProcess

from tanager import Client
from tanager_server.bundle import Item, open_bundle
from tanager_server.engine.records import ItemRecord, item_bytes
from tanager_server.live.folding import fingerprint
from tanager_server.state import AddEvents, PutItems, SqliteStore, StoredEvent, StoredItem, StoredVector

if TYPE_CHECKING:
    from collections.abc import Iterator

_ITEMS_AT_A_TIME, _EVENTS_AT_A_TIME = 1_000, 10_000
_KINDS = ("view", "click", "like", "hide")
_BEGAN_NS = 1_750_000_000 * 10**9
_SPREAD = 0.5  # how far a new item's vector is from the one that it was made of
_TIMEOUT_S = 600.0
_HISTORY = 20
_CALLS = 100


def fill(directory: Path, bundle: Path, *, items: int, events: int, users: int) -> None:
    """Makes a state.

    Args:
        directory: where.
        bundle: whose encoder the vectors are to be of.
        items: that the bundle does not have.
        events: of all users.
        users: who have them.
    """
    opened = open_bundle(bundle)
    of, vectors = fingerprint(opened.manifest), opened.read_vectors()
    with (bundle / "items.jsonl").open("rb") as lines:
        own = [Item.model_validate_json(line) for line in lines]
    numbers, draw = np.random.default_rng(0), random.Random(0)

    def new(first: int, count: int) -> PutItems:
        sources = numbers.integers(len(own), size=count)
        noise = numbers.standard_normal((count, vectors.shape[1]), np.float32)
        found = vectors[sources] + _SPREAD * noise / np.linalg.norm(noise, axis=1, keepdims=True)
        found /= np.linalg.norm(found, axis=1, keepdims=True)
        stored, kept = [], []
        for place, source in enumerate(sources.tolist()):
            number = first + place
            item = own[source].model_copy(
                update={"id": f"new-{number}", "text": f"{own[source].text} {number}", "popularity": 0.0}
            )
            stored.append(StoredItem(item.id, item_bytes(ItemRecord(item, _BEGAN_NS + number))))
            kept.append(StoredVector(item.id, of, found[place].astype("<f4").tobytes()))
        return PutItems(stored, kept)

    ids = [item.id for item in own] + [f"new-{number}" for number in range(items)]

    def happened(first: int, count: int) -> AddEvents:
        return AddEvents(
            [
                StoredEvent(
                    f"event-{number}",
                    f"user-{draw.randrange(users)}",
                    ids[draw.randrange(len(own))] if draw.random() < 0.5 else draw.choice(ids),
                    draw.choice(_KINDS),
                    1.0,
                    _BEGAN_NS + number,
                )
                for number in range(first, first + count)
            ]
        )

    with SqliteStore(directory, survives="process") as store:
        for start in range(0, items, _ITEMS_AT_A_TIME):
            store.commit([new(start, min(_ITEMS_AT_A_TIME, items - start))])
        for start in range(0, events, _EVENTS_AT_A_TIME):
            store.commit([happened(start, min(_EVENTS_AT_A_TIME, events - start))])


def wait_until_serving(address: str) -> None:
    """Waits until a server says that it is."""
    with grpc.insecure_channel(address) as channel:
        said = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=_TIMEOUT_S)
        for answer in said:
            if answer.status == health_pb2.HealthCheckResponse.SERVING:
                said.cancel()
                return
    raise AssertionError("it ended before it served")


def lists(server: ServerProcess, bundle: Path) -> tuple[float, float]:
    """Median and 99th percentile, in milliseconds, of lists for histories of items of the bundle."""
    with (bundle / "items.jsonl").open("rb") as lines:
        ids = [Item.model_validate_json(line).id for line in lines]
    draw, seconds = random.Random(1), []
    with Client(server.address, timeout_s=_TIMEOUT_S) as client:
        for _ in range(_CALLS):
            history = draw.sample(ids, _HISTORY)
            began = time.perf_counter()
            client.recommend(history=history, page_size=10)
            seconds.append(time.perf_counter() - began)
    return quantiles_ms(seconds)


class Start(NamedTuple):
    """What it took a server until it served.

    Attributes:
        took_s: from the start of the process.
        cpu_s: of all its threads.
        resident_mb: at that moment.
    """

    took_s: float
    cpu_s: float
    resident_mb: float


@contextlib.contextmanager
def started(bundle: Path, *options: str) -> Iterator[tuple[ServerProcess, Start]]:
    """A server that serves; it is killed at the end."""
    began = time.perf_counter()
    server = ServerProcess(bundle, "--log.calls", "false", *options, timeout_s=_TIMEOUT_S)
    try:
        listening = server.wait_for("listening")
        server.port = listening["port"]
        wait_until_serving(server.address)
        took_s = time.perf_counter() - began
        yield server, Start(took_s, cpu_s(server.pid), resident_mb(server.pid))
    finally:
        server.kill()  # or it would wait for its index
        server.wait()


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--state", type=Path, help="where the state is, or is to be made and left")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tanager-restart-") as scratch:
        state = arguments.state or Path(scratch) / "state"
        if not state.exists():
            began = time.perf_counter()
            fill(state, arguments.bundle, items=arguments.items, events=arguments.events, users=arguments.users)
            size_mb = sum(file.stat().st_size for file in state.iterdir()) / 1e6
            print(f"made a state of {size_mb:,.0f} MB in {time.perf_counter() - began:.0f} s", flush=True)
        measure(arguments.bundle, state, arguments.repetitions)


def measure(bundle: Path, state: Path, repetitions: int) -> None:
    """Starts servers by turns."""
    kinds = {"without state": (), "with it": ("--state", str(state))}
    found: dict[str, list[Start]] = {kind: [] for kind in kinds}
    for repetition in range(repetitions):
        for kind, options in kinds.items():
            with started(bundle, *options) as (server, start):
                found[kind].append(start)
                print(f"{kind:<14} {start.took_s:.2f} s   CPU {start.cpu_s:.2f} s", flush=True)
                if repetition == repetitions - 1 and not options:
                    median, p99 = lists(server, bundle)
                    print(f"a list without state: p50 {median:.1f} ms, p99 {p99:.1f} ms", flush=True)
                if repetition == repetitions - 1 and options:
                    _look_on(server, bundle)
    for kind, all_of_it in found.items():
        took_s, used_s, resident = zip(*all_of_it, strict=True)
        print(f"{kind:<14} {spread(took_s)} s   CPU {spread(used_s)} s   {spread(resident, 0)} MB resident")


def _look_on(server: ServerProcess, bundle: Path) -> None:
    read = next(record for record in server.log if record["message"] == "state")
    told = ("items_written", "encoded", "users", "events", "took_s")
    print("the state: " + ", ".join(f"{name} {read[name]:,}" for name in told))
    median, p99 = lists(server, bundle)
    print(f"a list before the index has the new items: p50 {median:.1f} ms, p99 {p99:.1f} ms", flush=True)
    indexed = next((record for record in server.log if record["message"] == "indexed"), None)
    indexed = indexed or server.wait_for("indexed")
    median, p99 = lists(server, bundle)
    print(f"and after, {indexed['took_s']:.0f} s later: p50 {median:.1f} ms, p99 {p99:.1f} ms")
    print(f"resident then {resident_mb(server.pid):,.0f} MB")


if __name__ == "__main__":
    main()
