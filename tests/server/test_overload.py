"""What the scheduler makes of more texts than can be encoded: a simulation, in which the machine has no part.

An encoder of 1,100 texts/s, calls of a text with a second of time each, arriving at random.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from tests.server.batching import Seen, Text, now, simulate, until

from tanager_server.errors import DeadlineExpiredError, OverloadedError
from tanager_server.runtime.batcher import Batcher
from tanager_server.runtime.cost import CostModel
from tanager_server.runtime.job import BatchPolicy

if TYPE_CHECKING:
    from collections.abc import Sequence

_CAPACITY = 1100.0  # texts of 16 tokens a second, in full batches
_LENGTH = 16
_BATCH_TOKENS = 512
_FIXED_S = 0.001
_TOKEN_S = (_BATCH_TOKENS / _LENGTH / _CAPACITY - _FIXED_S) / _BATCH_TOKENS
_TIME_S = 1.0
_WARM_UP_S, _MEASURED_S = 2.0, 3.0


@dataclass
class Load:
    """What came of the calls that began after the warm-up."""

    in_time: int = 0
    late: int = 0
    refused: int = 0
    expired: int = 0

    @property
    def goodput(self) -> float:
        return self.in_time / _MEASURED_S


class Machine:
    """Encodes at its capacity; a batch takes up to a tenth more or less than expected."""

    def __init__(self, workers: int, random: random.Random) -> None:
        self.workers, self.random = workers, random
        self.encoded = 0

    async def __call__(self, batch: Sequence[Text]) -> list[object]:
        padded = len(batch) * max(text.length for text in batch)
        await asyncio.sleep(self.workers * (_FIXED_S + _TOKEN_S * padded) * self.random.uniform(0.9, 1.1))
        self.encoded += len(batch)
        return [text.name for text in batch]


def policy() -> BatchPolicy:
    return BatchPolicy(
        max_batch_tokens=_BATCH_TOKENS,
        batch_cost_tokens=round(_FIXED_S / _TOKEN_S),
        max_batch_size=128,
        window=256,
        max_queue=4096,
        max_age_s=2.0,
        bulk_handicap_s=1.0,
        stuck_after_s=30.0,
    )


async def call(batcher: Batcher[Text, object], text: Text, load: Load) -> None:
    began = now()
    counts = _WARM_UP_S <= began < _WARM_UP_S + _MEASURED_S
    try:
        async with asyncio.timeout(_TIME_S):  # as gRPC cancels what has run into its deadline
            await batcher.submit([text], deadline=began + _TIME_S)
    except OverloadedError:
        load.refused += counts
    except DeadlineExpiredError:
        load.expired += counts
    except TimeoutError:
        load.late += counts
    else:
        load.in_time += counts


async def run(rate: float, *, workers: int, lengths: Any) -> tuple[Load, Seen, Machine]:
    chance = random.Random(7)
    machine, seen, load = Machine(workers, chance), Seen(), Load()
    cost = CostModel([(tokens, workers * (_FIXED_S + _TOKEN_S * tokens)) for tokens in (16, 128, 512)])
    calls = []
    async with Batcher(machine, policy=policy(), clock=now, cost=cost, workers=workers, observe=seen) as batcher:
        moment, number = 0.0, 0
        while moment < _WARM_UP_S + _MEASURED_S:
            moment += chance.expovariate(rate)
            await until(moment)
            calls.append(asyncio.create_task(call(batcher, Text(number, lengths(chance)), load)))
            number += 1
        await asyncio.gather(*calls)
    return load, seen, machine


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("rate", [1500, 2200, 11_000])
def test_an_overloaded_server_answers_in_time_as_much_as_it_can(rate, workers):
    load, seen, machine = simulate(run(rate, workers=workers, lengths=lambda _: _LENGTH))
    assert load.goodput >= 0.95 * _CAPACITY
    wasted = sum(batch["wasted"] for batch in seen.batches)
    assert wasted <= 0.01 * machine.encoded
    # Whoever cannot be served is told at once, and not left to wait for his deadline.
    assert load.late + load.expired <= 0.05 * load.refused
