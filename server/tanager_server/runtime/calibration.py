"""How to run the encoder on this machine, measured at start: threads, batches at a time, tokens in a batch.

A saturated server has no core to spare, so what counts is the CPU time of a text. Threads that split the small matrices
of one batch wait for one another: for a small model, one core a batch and as many batches at a time as there are cores
serve the most texts. Of a large model the matrices are worth splitting, and its single texts need it. How much larger
batches still gain depends on the caches. So it is measured, over a second or so: CPU time, since the clock on the wall
also sees what else this machine does.
"""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tanager_server.runtime.cost import CostModel
from tanager_server.runtime.queue import BatchPolicy

if TYPE_CHECKING:
    from collections.abc import Callable

    from tanager_server.runtime.encoder import Encoder
    from tanager_server.settings import BatchingSettings, EncoderSettings

_LENGTH = 16
_SIZES = {"cpu": (128, 256, 512, 1024, 2048), "cuda": (512, 2048, 8192, 32768)}
_COMPARED_COUNT = 16
_ROUNDS = 4
# CPU time that larger batches save, to be worth the wait for them; and that threads may cost, for quicker single texts.
_WORTHWHILE = 0.03
_AFFORDABLE = 0.10


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
    """
    began = time.perf_counter()
    cores = cores or len(os.sched_getaffinity(0))
    best = _choose_threads(open_encoder, encoder, cores)
    sizes = _SIZES[encoder.device]
    if batching.max_batch_tokens:
        sizes = (batching.max_batch_tokens,)
    samples = [(_LENGTH, _measure(best.encoder, 1).wall_s)]
    chosen, least_cpu_s = 0, math.inf
    for size in sizes:
        count = min(max(1, size // _LENGTH), batching.max_batch_size)
        took = _measure(best.encoder, count)
        samples.append((count * _LENGTH, took.wall_s))
        if took.cpu_s / count > (1 - _WORTHWHILE) * least_cpu_s:
            break
        chosen, least_cpu_s = size, took.cpu_s / count
    cost = CostModel(samples)
    cost_tokens = round(cost.fixed_s / cost.token_s) if cost.token_s else 0
    return best.encoder, Calibration(
        threads=best.threads,
        workers=best.workers,
        max_batch_tokens=batching.max_batch_tokens or chosen,
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
    """The quickest for a single text among those that take about the least CPU time for a text of many."""
    if settings.device == "cuda":
        return _Choice(open_encoder(settings.threads or 1), settings.threads or 1, settings.workers or 1)
    candidates = [settings.threads] if settings.threads else [1 << power for power in range(cores.bit_length())]
    choices = [
        _Choice(open_encoder(threads), threads, settings.workers or max(1, cores // threads)) for threads in candidates
    ]
    if len(choices) == 1:
        return choices[0]
    cpu_s = [_measure(choice.encoder, _COMPARED_COUNT).cpu_s for choice in choices]
    affordable = [choice for choice, cpu in zip(choices, cpu_s, strict=True) if cpu <= (1 + _AFFORDABLE) * min(cpu_s)]
    return min(affordable, key=lambda choice: _measure(choice.encoder, 1).wall_s)


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
