"""Served text-to-top-10 requests beside RAW, the same work in one process without a network.

RAW tokenises, sorts by length, encodes in batches and searches the same bundle's encoder and index. Served is a real
`tanager-server` process, called by the Python SDK from this process, on the same cores. All are measured in turn,
several times over, and reported as medians with their range: machines are shared, so the ratios are what counts.

    python -m tests.bench.served_vs_raw BUNDLE [--json FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tests.support import ServerProcess

from tanager import AsyncClient
from tanager_server.bundle import open_bundle
from tanager_server.index import Generation
from tanager_server.runtime import Encoder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CONCURRENCY = 64
REPETITIONS = 5
TEXTS = 2_000
SINGLE_TEXTS = 200
TOP = 10


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured quantity, over all repetitions."""

    name: str
    unit: str
    median: float
    least: float
    most: float

    @classmethod
    def of(cls, name: str, unit: str, values: Sequence[float]) -> Figure:
        """Sums repetitions up."""
        return cls(name, unit, statistics.median(values), min(values), max(values))


class Raw:
    """The same work without a server."""

    def __init__(self, path: Path) -> None:
        bundle = open_bundle(path)
        self._encoder = Encoder.from_bundle(bundle)
        self._index = Generation.load(bundle).index

    def batched(self, texts: Sequence[str]) -> None:
        """All of them, at full throughput."""
        self._index.search(self._encoder.encode_texts(texts), TOP)

    def single(self, text: str) -> None:
        """One, as soon as possible."""
        self._index.search(self._encoder.encode(self._encoder.tokenize([text])), TOP)

    def mean_tokens(self, texts: Sequence[str]) -> float:
        """Tokens of a text, on average."""
        return statistics.fmean(map(len, self._encoder.tokenize(texts)))


async def serve(client: AsyncClient, texts: Sequence[str], concurrency: int) -> list[float]:
    """Asks for each text once, so many at a time; gives the latencies in seconds."""
    pending = iter(texts)
    latencies: list[float] = []

    async def caller() -> None:
        for text in pending:
            began = time.perf_counter()
            answer = await client.recommend(text=text, page_size=TOP)
            latencies.append(time.perf_counter() - began)
            assert len(answer) == TOP, answer

    await asyncio.gather(*(caller() for _ in range(concurrency)))
    return latencies


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU time of this process for some work."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


async def measure(path: Path) -> tuple[list[Figure], dict[str, object]]:
    """Runs everything in turn."""
    lines = (path / "items.jsonl").read_text(encoding="utf-8").splitlines()
    catalogue = [json.loads(line)["text"] for line in lines]
    random = np.random.default_rng(0)
    raw = Raw(path)
    values: dict[tuple[str, str], list[float]] = {}

    def note(name: str, unit: str, value: float) -> None:
        values.setdefault((name, unit), []).append(value)

    began = time.perf_counter()
    with ServerProcess(path, "--log.calls", "false") as server:
        note("server: process start to listening", "s", time.perf_counter() - began)
        async with AsyncClient(server.address, timeout_s=60) as client:
            await serve(client, catalogue[:200], CONCURRENCY)
            raw.batched(catalogue[:200])
            for repetition in range(REPETITIONS):
                print(f"repetition {repetition + 1} of {REPETITIONS}", file=sys.stderr, flush=True)
                texts = [catalogue[i] for i in random.choice(len(catalogue), TEXTS, replace=len(catalogue) < TEXTS)]
                few = texts[:SINGLE_TEXTS]

                wall, cpu = seconds(lambda texts=texts: raw.batched(texts))  # type: ignore[misc]
                note("RAW throughput", "texts/s", TEXTS / wall)
                note("RAW CPU", "ms/text", cpu / TEXTS * 1e3)

                used, wall_began = cpu_seconds(server.pid), time.perf_counter()
                latencies = await serve(client, texts, CONCURRENCY)
                note(
                    f"served throughput at concurrency {CONCURRENCY}",
                    "req/s",
                    TEXTS / (time.perf_counter() - wall_began),
                )
                note("server CPU", "ms/req", (cpu_seconds(server.pid) - used) / TEXTS * 1e3)
                note(f"served p50 at concurrency {CONCURRENCY}", "ms", statistics.median(latencies) * 1e3)

                single = [seconds(lambda text=text: raw.single(text))[0] for text in few]  # type: ignore[misc]
                note("in-process p50, one at a time", "ms", statistics.median(single) * 1e3)
                alone = await serve(client, few, 1)
                note("served p50 at concurrency 1", "ms", statistics.median(alone) * 1e3)
        note("server: resident memory", "MB", _resident_mb(server.pid))
    figures = [Figure.of(name, unit, measured) for (name, unit), measured in values.items()]
    tokens = round(raw.mean_tokens(catalogue), 1)
    return figures, {"bundle": str(path), "items": len(catalogue), "mean_tokens": tokens, "cores": os.cpu_count()}


def ratios(figures: Sequence[Figure]) -> list[Figure]:
    """The comparisons, of medians of the same run."""
    by_name = {figure.name: figure.median for figure in figures}

    def ratio(name: str, above: str, below: str) -> Figure:
        value = by_name[above] / by_name[below]
        return Figure(name, "ratio", value, value, value)

    served = f"served throughput at concurrency {CONCURRENCY}"
    return [
        ratio("served throughput ÷ RAW", served, "RAW throughput"),
        ratio("server CPU per request ÷ RAW CPU per text", "server CPU", "RAW CPU"),
        ratio("served p50 ÷ in-process p50", "served p50 at concurrency 1", "in-process p50, one at a time"),
    ]


def _resident_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="bundle to serve")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    arguments = parser.parse_args()
    figures, about = asyncio.run(measure(arguments.bundle))
    figures += ratios(figures)
    print(
        "{items} items, {mean_tokens} tokens a text, {cores} cores".format(**about),
        f"medians of {REPETITIONS}",
        sep="; ",
    )
    for figure in figures:
        spread = "" if figure.least == figure.most else f"   ({figure.least:.2f} to {figure.most:.2f})"
        print(f"{figure.name:<46} {figure.median:>9.2f} {figure.unit}{spread}")
    if arguments.json:
        report = {"about": about, "figures": [asdict(figure) for figure in figures]}
        arguments.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
