"""Who is measured, and what is asked of them, in one repetition of the comparison."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.bench.contenders.base import Contender
from tests.bench.contenders.tuning import Tuning
from tests.bench.figures import overlap
from tests.bench.load import BenchError, answers, closed_loop, counter, open_loop
from tests.bench.process import resident_mb
from tests.bench.request_files import read_texts

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.bench.contenders.base import Running
    from tests.bench.figures import Measured
    from tests.bench.request_files import RequestFiles

# How much of the right answer there must be: int8 takes one activation scale for a whole batch, so that what else is in
# a batch changes the tail of the list; and fp32 (FastAPI) agrees with int8 on 84 of 100 items.
LEAST_OVERLAP = 0.7
CHECKED_TEXTS = 128
ZIPF_EXPONENT = 1.1
OVERLOAD = 2.0
OVERLOAD_DEADLINE_S = 1.0

# Texts are encoded in the order they come, at most eight at a time, whatever their length. The batcher's window holds
# the most urgent texts: the earliest by deadline or age limit, and where all callers have the same timeout that is the
# order in which they came. A window of eight is all that is looked at for a batch, a batch holds eight, and the bounds
# on tokens and on padding are more than eight texts can come to (of 512 tokens, which is more than the bench sends): so
# what is in the window is the batch. That is the policy of text-embeddings-inference's queue: first come, first served,
# no sorting.
TEI_LIKE = (
    *("--batching.window", "8"),
    *("--batching.max-batch-size", "8"),
    *("--batching.max-batch-tokens", "4096"),
    *("--batching.batch-cost-tokens", "4096"),
)

TANAGER = Contender("tanager", "Tanager", "tanager")
UNBATCHED = Contender("unbatched", "Tanager, batching off", "tanager", ("--batching.max-batch-size", "1"))
TEI = Contender("tei", "Tanager, TEI-like batching", "tanager", TEI_LIKE)
UNCACHED = Contender("uncached", "Tanager, cache off", "tanager", ("--cache.max-mb", "0"))
QUIET = Contender(
    "quiet",
    "Tanager, no metrics, no logs",
    "tanager",
    ("--metrics.enabled", "false", "--log.level", "ERROR", "--log.calls", "false"),
)
ECHO = Contender("echo", "empty gRPC echo", "echo")
FASTAPI = Contender("fastapi", "FastAPI + sentence-transformers", "fastapi")

# Warm-ups of a contender whose answers depend on what it has met.
_LONG_WARM_UPS = 5
_CACHE_WARM_UPS = 15
# Overload comes from many clients: a server takes calls of several connections at a time, of one it takes them singly.
_OVERLOAD_CONNECTIONS = 16

# What each framework may be told. `--tune` measures them all; the first of each, which the comparison runs, took the
# least CPU a request or nearly so on two cores. Batches are encoded as they come, so that larger ones are padded more.
TUNINGS: dict[str, tuple[Tuning, ...]] = {
    "mosec": (
        Tuning(max_batch_size=8, max_wait_ms=2, workers=2, threads=1),
        Tuning(max_batch_size=4, max_wait_ms=1, workers=2, threads=1),
        Tuning(max_batch_size=16, max_wait_ms=5, workers=2, threads=1),
        Tuning(max_batch_size=32, max_wait_ms=10, workers=2, threads=1),
        Tuning(max_batch_size=8, max_wait_ms=2, workers=1, threads=2),
        Tuning(max_batch_size=16, max_wait_ms=5, workers=1, threads=2),
    ),
    "mosec-sorted": (
        Tuning(max_batch_size=64, max_wait_ms=5, workers=2, threads=1, run_size=8),
        Tuning(max_batch_size=32, max_wait_ms=5, workers=2, threads=1, run_size=8),
        Tuning(max_batch_size=64, max_wait_ms=5, workers=1, threads=2, run_size=16),
    ),
    "litserve": (
        Tuning(max_batch_size=16, max_wait_ms=5, workers=2, threads=1),
        Tuning(max_batch_size=8, max_wait_ms=2, workers=2, threads=1),
        Tuning(max_batch_size=8, max_wait_ms=2, workers=1, threads=2),
        Tuning(max_batch_size=16, max_wait_ms=5, workers=1, threads=2),
        Tuning(max_batch_size=32, max_wait_ms=10, workers=1, threads=2),
    ),
    # How long a batch waits BentoML learns by itself.
    "bentoml": (
        Tuning(max_batch_size=16, workers=2, threads=1),
        Tuning(max_batch_size=8, workers=2, threads=1),
        Tuning(max_batch_size=16, workers=1, threads=2),
        Tuning(max_batch_size=32, workers=1, threads=2),
    ),
}
MOSEC = Contender("mosec", "mosec", "mosec", tuning=TUNINGS["mosec"][0])
LITSERVE = Contender("litserve", "LitServe", "litserve", tuning=TUNINGS["litserve"][0])
BENTOML = Contender("bentoml", "BentoML", "bentoml", tuning=TUNINGS["bentoml"][0])
# What no framework does by itself, and its user can: see `Tuning.run_size`.
MOSEC_SORTED = Contender("mosec-sorted", "mosec, batches sorted", "mosec", tuning=TUNINGS["mosec-sorted"][0])


@dataclass(frozen=True, slots=True)
class Extent:
    """How much is measured.

    Attributes:
        concurrency: requests in flight where a server is to be saturated.
        duration_s: of each saturated run.
        warm_up_s: of what is sent before it.
        single: requests sent one at a time.
        overload_s: of the overload.
    """

    concurrency: int
    duration_s: float
    warm_up_s: float
    single: int
    overload_s: float


@dataclass(slots=True)
class Setting:
    """What every turn needs to know.

    Attributes:
        bundle: what is served.
        files: the requests.
        extent: how much is measured.
        scratch: for logs.
        expected: RAW's answers to the first texts, by which the others are checked.
        notes: what a reader of the figures should know.
    """

    bundle: Path
    files: RequestFiles
    extent: Extent
    scratch: Path
    expected: list[list[str]]
    notes: dict[str, None]


@dataclass(frozen=True, slots=True)
class Turn:
    """One contender, started, asked and ended.

    Attributes:
        name: what its quantities are named by.
        contender: who.
        steps: what is asked, one after the other.
    """

    name: str
    contender: Contender
    steps: tuple[Callable[[Setting, Running], Measured], ...]

    def run(self, setting: Setting) -> Measured:
        """The quantities, by "turn.quantity"."""
        measured: Measured = {}
        with self.contender.running(setting.bundle, setting.scratch) as running:
            for step in self.steps:
                measured |= step(setting, running)
        return {f"{self.name}.{quantity}": value for quantity, value in measured.items()}


def run_raw(setting: Setting) -> Measured:
    """RAW, in a process of its own; its first answers are what the others' are checked by."""
    extent = setting.extent
    options = ["--duration", str(extent.duration_s), "--single", str(extent.single), "--answers", str(CHECKED_TEXTS)]
    command = [sys.executable, "-m", "tests.bench.raw", str(setting.bundle), str(setting.files.texts), *options]
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if ended.returncode != 0:
        raise BenchError(f"RAW ended with {ended.returncode}")
    report = json.loads(ended.stdout)
    setting.expected = report.pop("answers")
    return {f"raw.{name}": value for name, value in report.items()}


def check(setting: Setting, running: Running) -> Measured:
    """Whether the contender answers as RAW does."""
    texts = read_texts(setting.files.texts)[:CHECKED_TEXTS]
    share = overlap(answers(running, texts, concurrency=32), setting.expected)
    if share < LEAST_OVERLAP:
        raise BenchError(
            f"{running.contender.name} answers wrongly: {share:.2f} of RAW's items, {LEAST_OVERLAP} needed"
        )
    return {"overlap": share}


def _saturate(
    setting: Setting,
    running: Running,
    requests: Path,
    *,
    warm_up: Path,
    warm_ups: int = 1,
) -> Measured:
    extent = setting.extent
    concurrency = extent.concurrency
    closed_loop(running, warm_up, concurrency=concurrency, duration_s=warm_ups * extent.warm_up_s)
    load = closed_loop(running, requests, concurrency=concurrency, duration_s=extent.duration_s)
    return {
        "throughput_rps": load.throughput_rps,
        "cpu_ms": load.server_cpu_ms,
        "p50_ms": load.p50_ms,
        "p99_ms": load.p99_ms,
        "generator_cpu_ms": load.generator_cpu_ms,
        "other_cores": load.other_cores,
        "resident_mb": resident_mb(running.group.pid),
    }


def texts(setting: Setting, running: Running) -> Measured:
    """Saturated with texts as long as the catalogue's."""
    return _saturate(setting, running, setting.files.texts, warm_up=setting.files.warm_up)


def mixed(setting: Setting, running: Running) -> Measured:
    """Saturated with texts of all lengths."""
    return _saturate(setting, running, setting.files.mixed, warm_up=setting.files.mixed_warm_up)


def histories(setting: Setting, running: Running) -> Measured:
    """Saturated with histories: nothing is encoded. Long warmed, since items are met for the first time only once."""
    return _saturate(
        setting, running, setting.files.histories, warm_up=setting.files.histories, warm_ups=_LONG_WARM_UPS
    )


def zipf(setting: Setting, running: Running) -> Measured:
    """Saturated with texts that come again as people's do, after a warm-up that leaves a cache as traffic leaves it.

    The warm-up is the generator's own, since each draws anew which texts are frequent: CPU cannot be told apart.
    """
    extent = setting.extent
    load = closed_loop(
        running,
        setting.files.texts,
        concurrency=extent.concurrency,
        duration_s=extent.duration_s,
        warm_up_s=_CACHE_WARM_UPS * extent.warm_up_s,
        zipf=ZIPF_EXPONENT,
    )
    return {"throughput_rps": load.throughput_rps, "p50_ms": load.p50_ms, "p99_ms": load.p99_ms}


def single(setting: Setting, running: Running) -> Measured:
    """One request at a time."""
    load = closed_loop(running, setting.files.more_texts, concurrency=1, count=setting.extent.single)
    return {"single_p50_ms": load.p50_ms}


def overload(setting: Setting, running: Running) -> Measured:
    """Twice the requests that it answers at its peak, each with a deadline of a second."""
    peak_rps = texts(setting, running)["throughput_rps"]
    encoded, wasted = counter(running, "tanager_batch_texts_sum"), counter(running, "tanager_wasted_texts_total")
    load = open_loop(
        running,
        setting.files.more_texts,
        rate_rps=OVERLOAD * peak_rps,
        duration_s=setting.extent.overload_s,
        timeout_s=OVERLOAD_DEADLINE_S,
        connections=_OVERLOAD_CONNECTIONS,
    )
    if load.report["generator_limited"]:
        setting.notes["overload: the generator was a bottleneck too, on the same cores"] = None
    measured = {
        "peak_rps": peak_rps,
        "goodput_rps": load.throughput_rps,
        "ok_p50_ms": load.p50_ms,
        "ok_p99_ms": load.p99_ms,
        "encoded_texts": counter(running, "tanager_batch_texts_sum") - encoded,
        "wasted_texts": counter(running, "tanager_wasted_texts_total") - wasted,
        "offered_rps": OVERLOAD * peak_rps,
        "other_cores": load.other_cores,
    }
    rejected = load.report["latency_ms"].get("RESOURCE_EXHAUSTED")
    if rejected:
        measured["rejected_p99_ms"] = rejected["p99"]
    shares = {status: count / load.report["sent"] for status, count in load.report["statuses"].items()}
    return measured | {f"share_{status}": share for status, share in shares.items()}


def _answering(contender: Contender) -> Turn:
    # One at a time first: some learn from a crowd how long to wait for the next request, and wait on when it has gone.
    return Turn(contender.name, contender, (single, check, texts))


ANSWERING = (TANAGER, UNBATCHED, TEI, MOSEC, MOSEC_SORTED, LITSERVE, BENTOML, FASTAPI)
# Those that make a ratio stand together; RAW comes before them all.
TURNS = (
    _answering(TANAGER),
    Turn("quiet", QUIET, (texts,)),
    *(_answering(contender) for contender in ANSWERING if contender is not TANAGER),
    Turn("tanager-mixed", TANAGER, (mixed,)),
    Turn("tei-mixed", TEI, (mixed,)),
    Turn("tanager-history", TANAGER, (histories,)),
    Turn("echo", ECHO, (histories,)),
    Turn("cached", TANAGER, (zipf,)),
    Turn("uncached", UNCACHED, (zipf,)),
    Turn("overload", TANAGER, (overload,)),
)
