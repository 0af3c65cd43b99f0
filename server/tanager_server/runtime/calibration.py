"""How to run the encoder on this machine, measured at start: threads, batches at a time, tokens in a batch.

A saturated server has no core to spare, so what counts is the CPU time of a text. Threads that split the small matrices
of one batch wait for one another: for a small model, one core a batch and as many batches at a time as there are cores
serve the most texts. Only of a model whose single texts take long are the matrices worth splitting. How many tokens a
batch may have until it outgrows the caches is measured too. What is compared is CPU time, since the clock on the wall
also sees what else this machine does.
"""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tanager_server.runtime.cost import CostModel
from tanager_server.runtime.job import BatchPolicy

if TYPE_CHECKING:
    from collections.abc import Callable

    from tanager_server.runtime.encoder import Encoder
    from tanager_server.settings import BatchingSettings, EncoderSettings

_LENGTH = 16
_SIZES = {"cpu": (256, 512, 1024, 2048), "cuda": (2048, 8192, 32768)}
_COMPARED_COUNT = 16
_ROUNDS = 4
# A batch may cost so much more a token than the cheapest: larger ones also spread what a server's cold caches cost.
_TOLERABLE = 0.07
# A single text that takes no longer needs no more threads. More are taken as long as they make it quicker by a fifth,
# and a batch no dearer in CPU time by a tenth.
_QUICK_S = 0.005
_QUICKER = 0.8
_AFFORDABLE = 1.1


@dataclass(frozen=True, slots=True)
class Calibration:
    """How the encoder is run.

    Attributes:
        threads: of one batch.
        workers: batches at a time.
        max_batch_tokens: padded tokens in a batch.
        batch_cost_tokens: what a batch costs beyond its padded tokens, in tokens.
        samples: (padded tokens, seconds) measured; the first guess of the cost model.
        took_s: time that measuring took.
    """

    threads: int
    workers: int
    max_batch_tokens: int
    batch_cost_tokens: int
    samples: tuple[tuple[int, float], ...]
    took_s: float


def batch_policy(settings: BatchingSettings, calibration: Calibration) -> BatchPolicy:
    """The settings, with what was measured where they leave it open."""
    return BatchPolicy(
        **settings.model_dump(exclude={"max_batch_tokens", "batch_cost_tokens"}),
        max_batch_tokens=calibration.max_batch_tokens,
        batch_cost_tokens=calibration.batch_cost_tokens,
    )


def calibrate(
    open_encoder: Callable[[int], Encoder],
    *,
    encoder: EncoderSettings,
    batching: BatchingSettings,
    cores: int | None = None,
) -> tuple[Encoder, Calibration]:
    """Measures what the settings leave open (zero), and opens the encoder so.

    Args:
        open_encoder: opens the encoder with so many threads.
        encoder: settings; `threads` and `workers` are kept where they are given.
        batching: settings; `max_batch_tokens` and `batch_cost_tokens` are kept where they are given.
        cores: that may be used; None for those of this process.

    Returns:
        The encoder, warm, and how to run it.

    Raises:
        StartupError: a batch of the size that the settings ask for cannot be run.
    """
    began = time.perf_counter()
    cores = cores or len(os.sched_getaffinity(0))
    best = _choose_threads(open_encoder, encoder, cores)
    sizes = _SIZES[encoder.device]
    if batching.max_batch_tokens:
        sizes = (min(batching.max_batch_tokens, sizes[-1]),)
    padded_tokens = best.encoder.padded_tokens
    samples = [(padded_tokens(1, _LENGTH), _measure(best.encoder, 1).wall_s)]
    chosen, least = 0, math.inf
    for size in sizes:
        count = min(max(1, size // _LENGTH), batching.max_batch_size)
        while count > 1 and padded_tokens(count, _LENGTH) > size:  # such a batch will never be run
            count -= 1
        took = _measure(best.encoder, count)
        cost_s = (took.wall_s if encoder.device == "cuda" else took.cpu_s) / count
        if cost_s > (1 + _TOLERABLE) * least:
            break
        samples.append((padded_tokens(count, _LENGTH), took.wall_s))
        chosen, least = size, min(least, cost_s)
    # By the two smallest: beyond, a token costs the more the larger its batch.
    cost = CostModel(samples[:2])
    # Where tokens cost nothing measurable, any padding is better than another batch.
    cost_tokens = round(cost.fixed_s / cost.token_s) if cost.token_s else batching.max_batch_tokens or chosen
    max_batch_tokens = batching.max_batch_tokens or chosen
    best.encoder.warm(max_batch_tokens=max_batch_tokens, max_batch_size=batching.max_batch_size)
    return best.encoder, Calibration(
        threads=best.threads,
        workers=best.workers,
        max_batch_tokens=max_batch_tokens,
        batch_cost_tokens=cost_tokens if batching.batch_cost_tokens is None else batching.batch_cost_tokens,
        samples=tuple(samples),
        took_s=time.perf_counter() - began,
    )


@dataclass(frozen=True, slots=True)
class _Choice:
    encoder: Encoder
    threads: int
    workers: int


@dataclass(frozen=True, slots=True)
class _Took:
    wall_s: float
    cpu_s: float


def _choose_threads(open_encoder: Callable[[int], Encoder], settings: EncoderSettings, cores: int) -> _Choice:
    """One thread a batch, or more where single texts take long and threads shorten that at little cost."""
    threads = settings.threads or 1
    encoder = open_encoder(threads)
    if settings.device == "cuda":
        return _Choice(encoder, threads, settings.workers or 1)
    if not settings.threads:
        single_s = _measure(encoder, 1).wall_s
        while single_s > _QUICK_S and 2 * threads <= cores:
            other = open_encoder(2 * threads)
            other_s = _measure(other, 1).wall_s
            dearer = _measure(other, _COMPARED_COUNT).cpu_s > _AFFORDABLE * _measure(encoder, _COMPARED_COUNT).cpu_s
            if dearer or other_s > _QUICKER * single_s:
                break
            threads, encoder, single_s = 2 * threads, other, other_s
    # One batch more than the cores can run: it fills the time in which a batch that has ended waits for the event loop.
    return _Choice(encoder, threads, settings.workers or max(1, cores // threads) + 1)


def _measure(encoder: Encoder, count: int) -> _Took:
    """The least of some runs, after one to lay out memory: what disturbs a measurement only ever adds to it."""
    batch = [[1] * _LENGTH] * count
    encoder.encode(batch)
    wall_s = cpu_s = math.inf
    for _ in range(_ROUNDS):
        wall, cpu = time.perf_counter(), time.process_time()
        encoder.encode(batch)
        cpu_s = min(cpu_s, time.process_time() - cpu)
        wall_s = min(wall_s, time.perf_counter() - wall)
    return _Took(wall_s, cpu_s)
