"""Bundles that change under load: failed calls, and the 99th percentile while they do beside the steady one.

    python -m tests.bench.swaps BUNDLE OTHER [--swaps 100] [--rate 200] [--state] [--items 0]

The load is wishes, histories and similar items at a steady rate, whatever the answers take. Steady stretches and
swaps alternate, so that both see the same machine.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tests.support import ServerProcess

from tanager import AsyncClient, Item, TanagerError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    Ask = Callable[[int], Awaitable[object]]

_TEXTS = 500
_TIMEOUT_S = 60.0
_CONNECTIONS = 4


class Load:
    """Calls at a steady rate, with the time each took; late answers do not slow it down."""

    def __init__(self, asks: Sequence[Ask], rate: float) -> None:
        self._asks, self._rate = asks, rate
        self.seconds: dict[str, list[float]] = {"steady": [], "swap": []}
        self.failed: Counter[str] = Counter()
        self.phase = "steady"
        self._calls: set[asyncio.Task[None]] = set()
        self._pacer = asyncio.create_task(self._pace())

    async def _pace(self) -> None:
        began, number = time.perf_counter(), 0
        while True:
            number += 1
            due = began + number / self._rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            call = asyncio.create_task(self._one(number, due))
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)

    async def _one(self, number: int, due: float) -> None:
        phase = self.phase
        try:
            await self._asks[number % len(self._asks)](number)
        except TanagerError as error:
            self.failed[f"{type(error).__name__}: {error}"] += 1
        self.seconds[phase].append(time.perf_counter() - due)

    async def close(self) -> None:
        """Ends the load when all are answered."""
        self._pacer.cancel()
        await asyncio.gather(*self._calls)


async def _measure(server: ServerProcess, names: Sequence[str], options: argparse.Namespace) -> None:
    clients = [AsyncClient(server.address, timeout_s=_TIMEOUT_S, retry=None) for _ in range(_CONNECTIONS)]
    main = clients[0]
    page = await main.list_items(page_size=200) if options.state else await main.recommend(page_size=200)
    ids = [item.item_id for item in page]
    for start in range(0, options.items, 200):
        stop = min(start + 200, options.items)
        await main.upsert_items(
            [Item(item_id=f"new-{n}", text=f"a story of {n} ships", title=f"New {n}") for n in range(start, stop)]
        )

    def client(number: int) -> AsyncClient:
        return clients[number % _CONNECTIONS]

    asks: list[Ask] = [
        lambda n: client(n).recommend(text=f"a story of {n % _TEXTS} friends at sea"),
        lambda n: client(n).recommend(history=[ids[(n * step) % len(ids)] for step in (1, 7, 13, 29)]),
        lambda n: client(n).similar_items(ids[n % len(ids)]),
    ]
    load = Load(asks, options.rate)
    took: list[float] = []
    resident: list[float] = []
    await asyncio.sleep(options.pause_s)  # the first calls find cold caches
    load.seconds = {"steady": [], "swap": []}
    for swap in range(options.swaps):
        load.phase = "steady"
        began = time.perf_counter()
        await asyncio.sleep(took[-1] if took else options.pause_s)
        load.phase, began = "swap", time.perf_counter()
        await main.activate_bundle(names[(swap + 1) % 2])
        took.append(time.perf_counter() - began)
        resident.append(server.metrics()["process_resident_memory_bytes"] / 1e6)
    await load.close()
    for each in clients:
        await each.close()
    print(
        f"{options.swaps} swaps, median {np.median(took):.2f} s; {options.rate:g} calls/s, {options.items} live items"
    )
    quantiles = {}
    for phase, seconds in load.seconds.items():
        quantiles[phase] = np.quantile(np.array(seconds) * 1e3, (0.5, 0.99, 0.999))
        p50, p99, p999 = quantiles[phase]
        print(f"  {phase:6} {len(seconds):7} calls  p50 {p50:6.2f} ms  p99 {p99:6.2f} ms  p99.9 {p999:6.2f} ms")
    print(f"  p99 while a bundle is activated / steady: {quantiles['swap'][1] / quantiles['steady'][1]:.2f}")
    print(f"  failed calls: {load.failed.total()} {dict(load.failed) or ''}")
    first, last = resident[min(3, len(resident) - 1)], resident[-1]
    print(f"  resident memory after a few swaps {first:.0f} MB, after all {last:.0f} MB")


def main() -> None:
    """Runs the bench."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("other", type=Path)
    parser.add_argument("--swaps", type=int, default=100)
    parser.add_argument("--rate", type=float, default=200.0, help="calls a second (%(default)s)")
    parser.add_argument("--pause-s", type=float, default=3.0, help="of the first steady stretch (%(default)s)")
    parser.add_argument("--items", type=int, default=0, help="items written beforehand; needs --state")
    parser.add_argument("--state", action="store_true", help="whether the server keeps state")
    options = parser.parse_args()
    if options.items and not options.state:
        parser.error("--items needs --state")
    with tempfile.TemporaryDirectory(prefix="swaps-") as scratch:
        bundles = Path(scratch) / "bundles"
        names = ("one", "other")
        for name, source in zip(names, (options.bundle, options.other), strict=True):
            shutil.copytree(source, bundles / name)
        state = ["--state", f"{scratch}/state"] if options.state else []
        with ServerProcess(bundles / names[0], "--bundles", str(bundles), "--log.calls", "false", *state) as server:
            asyncio.run(_measure(server, names, options))


if __name__ == "__main__":
    main()
