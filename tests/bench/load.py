"""Load on a contender that runs: by `tanager load` or the HTTP generator, as a process of its own."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
from tests.bench.contenders.base import BIN
from tests.bench.http_load import ask
from tests.bench.process import cpu_s, machine_cpu_s
from tests.bench.request_files import TOP

from tanager.v1 import recommendation_pb2, recommendation_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.bench.contenders.base import Running

_CALL_TIMEOUT_S = 30.0
_GRACE_S = 60.0


class BenchError(Exception):
    """The bench cannot go on; the message says why."""


@dataclass(frozen=True, slots=True)
class Load:
    """What a generator and the server's process tree say of one run.

    Attributes:
        throughput_rps: good answers within the time, a second.
        p50_ms: of good answers.
        p99_ms: of good answers.
        server_cpu_ms: of the server's processes, a request sent.
        generator_cpu_ms: of the generator, a request sent.
        other_cores: cores that neither of them kept busy: other work on the machine, which disturbs the run.
        report: all that the generator says.
    """

    throughput_rps: float
    p50_ms: float
    p99_ms: float
    server_cpu_ms: float
    generator_cpu_ms: float
    other_cores: float
    report: dict[str, Any]


def closed_loop(
    running: Running,
    requests: Path,
    *,
    concurrency: int,
    duration_s: float | None = None,
    count: int | None = None,
    warm_up_s: float = 0.0,
    zipf: float | None = None,
) -> Load:
    """So many requests in flight, for some time or so often; with `zipf` some come again and again.

    The last two are for gRPC only, and CPU per request means nothing after a warm-up, which is counted in it.

    Raises:
        BenchError: the generator failed, or an answer was none.
    """
    extent = ["--duration", str(duration_s)] if count is None else ["--count", str(count)]
    limit_s = _GRACE_S + warm_up_s + (duration_s or 0)
    if running.contender.is_grpc:
        options = ["--concurrency", str(concurrency), *extent, "--timeout", str(_CALL_TIMEOUT_S)]
        options += ["--warm-up", str(warm_up_s)]
        options += [] if zipf is None else ["--zipf", str(zipf)]
        load = _tanager_load(running, requests, options, limit_s)
        if set(load.report["statuses"]) != {"OK"}:
            raise BenchError(f"{running.contender.name}: calls failed: {load.report['statuses']}")
        return load
    batched = ["--batched"] if running.contender.takes_lists else []
    command = [sys.executable, "-m", "tests.bench.http_load", running.target, str(requests)]
    return _measure(running, [*command, "--concurrency", str(concurrency), *extent, *batched], limit_s)


def open_loop(
    running: Running, requests: Path, *, rate_rps: float, duration_s: float, timeout_s: float, connections: int
) -> Load:
    """Poisson arrivals at a rate, whether or not the server keeps up.

    Raises:
        BenchError: the generator failed.
    """
    arrivals = ["--rate", f"{rate_rps:.1f}", "--arrivals", "poisson", "--duration", str(duration_s)]
    options = [*arrivals, "--warm-up", "0", "--timeout", str(timeout_s), "--connections", str(connections)]
    return _tanager_load(running, requests, options, _GRACE_S + duration_s)


def _tanager_load(running: Running, requests: Path, options: Sequence[str], limit_s: float) -> Load:
    command = [str(BIN / "tanager"), "load", running.target, "--requests-file", str(requests)]
    return _measure(running, [*command, *options, "--json", "-"], limit_s)


def _measure(running: Running, command: Sequence[str], limit_s: float) -> Load:
    began, busy_s, used_s, children_s = time.monotonic(), machine_cpu_s(), cpu_s(running.group.pid), _children_cpu_s()
    ended = subprocess.run(command, capture_output=True, text=True, timeout=limit_s, check=False)
    used_s = cpu_s(running.group.pid) - used_s
    other_s = machine_cpu_s() - busy_s - used_s - (_children_cpu_s() - children_s)
    other_cores = max(0.0, other_s) / (time.monotonic() - began)
    if ended.returncode != 0:
        raise BenchError(f"{running.contender.name}: {ended.stderr.strip()}; the server said: {running.group.tail()}")
    report = json.loads(ended.stdout)
    answered, sent = report["latency_ms"].get("OK", {}), report["sent"]
    if not answered:
        raise BenchError(f"{running.contender.name}: no good answer: {report['statuses']}")
    return Load(
        throughput_rps=report["throughput_rps"],
        p50_ms=answered["p50"],
        p99_ms=answered["p99"],
        server_cpu_ms=used_s / sent * 1e3,
        generator_cpu_ms=report["generator_cpu_s"] / sent * 1e3,
        other_cores=other_cores,
        report=report,
    )


def _children_cpu_s() -> float:
    """Of this process's children that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def answers(running: Running, texts: Sequence[str], *, concurrency: int) -> list[list[str]]:
    """Ids of the ten items for each text, asked for in parallel, so that batches are formed."""
    if not running.contender.is_grpc:
        return ask(running.target, texts, concurrency=concurrency, batched=running.contender.takes_lists)
    with grpc.insecure_channel(running.address) as channel, ThreadPoolExecutor(concurrency) as threads:
        stub = recommendation_pb2_grpc.RecommendationServiceStub(channel)

        def recommend(text: str) -> list[str]:
            request = recommendation_pb2.RecommendRequest(text=text, page_size=TOP)
            return [result.item_id for result in stub.Recommend(request, timeout=_CALL_TIMEOUT_S).results]

        return list(threads.map(recommend, texts))


def counter(running: Running, name: str) -> float:
    """A number of the server's Prometheus endpoint.

    Raises:
        BenchError: the server has none of this name.
    """
    with urllib.request.urlopen(f"http://127.0.0.1:{running.metrics_port}/metrics", timeout=10) as response:
        lines = response.read().decode().splitlines()
    values = [float(line.rpartition(" ")[2]) for line in lines if line.split("{")[0].split(" ")[0] == name]
    if not values:
        raise BenchError(f"the server has no metric {name}")
    return sum(values)
