"""Near deadlines beside patient load, and callers who allow no time: simulations, in which the machine has no part.

An encoder of 1,100 texts/s whose full batch takes 29 ms; texts arrive at random.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from tests.server.batching import Text, now, policy, simulate, until

from tanager_server.errors import ServerError
from tanager_server.runtime.batcher import Batcher
from tanager_server.runtime.cost import CostModel

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_BATCH_TOKENS = 512
_CAPACITY = 1100.0  # texts of 16 tokens a second, in full batches
_FIXED_S = 0.001
_TOKEN_S = (_BATCH_TOKENS / 16 / _CAPACITY - _FIXED_S) / _BATCH_TOKENS
_SECONDS = 3.0


class Traffic:
    """Calls of one text each, counted by name and by what came of them."""

    def __init__(self, workers: int = 1) -> None:
        self.workers = workers
        self.seconds = _SECONDS
        self.slowness_s = 0.0  # of every batch, beyond what was measured
        self.encoded = 0
        self.chance = random.Random(7)
        self.served: Counter[str] = Counter()
        self.asked: Counter[str] = Counter()
        self.cost = CostModel([(tokens, self.batch_s(tokens)) for tokens in (16, 128, 512)])
        self.batcher: Batcher[Text, object] = Batcher(
            self.encode,
            policy=policy(
                max_batch_tokens=_BATCH_TOKENS,
                batch_cost_tokens=round(_FIXED_S / _TOKEN_S),
                max_batch_size=1024,
                window=256,
                max_queue=4096,
                max_age_s=2.0,
                bulk_handicap_s=1.0,
            ),
            clock=now,
            cost=self.cost,
            workers=workers,
        )

    def batch_s(self, padded_tokens: int) -> float:
        return self.workers * (_FIXED_S + _TOKEN_S * padded_tokens)

    async def encode(self, batch: Sequence[Text]) -> list[object]:
        self.encoded += len(batch)
        seconds = self.slowness_s + self.batch_s(len(batch) * max(text.length for text in batch))
        await asyncio.sleep(seconds * self.chance.uniform(0.9, 1.1))
        return [text.name for text in batch]

    async def call(self, name: str, length: int, time_s: float, bulk: bool) -> None:
        self.asked[name] += 1
        try:
            async with asyncio.timeout(time_s):
                await self.batcher.submit([Text(name, length)], deadline=now() + time_s, bulk=bulk)
        except (ServerError, TimeoutError):
            return
        self.served[name] += 1

    async def arrive(
        self, name: str, rate: float, time_s: float, lengths: Callable[[random.Random], int], *, bulk: bool = False
    ) -> None:
        chance, calls = random.Random(name), []
        moment = now()
        end = moment + self.seconds
        while (moment := moment + chance.expovariate(rate)) < end:
            await until(moment)
            calls.append(asyncio.create_task(self.call(name, lengths(chance), time_s, bulk)))
        await asyncio.gather(*calls)

    def share(self, name: str) -> float:
        return self.served[name] / self.asked[name]


def sixteen(_: random.Random) -> int:
    return 16


def various(chance: random.Random) -> int:
    return chance.choice((6, 8, 10, 12, 16, 20, 30))


def play(traffic: Traffic, *streams: tuple[Any, ...]) -> Traffic:
    async def run() -> None:
        async with traffic.batcher:
            await asyncio.gather(*(traffic.arrive(*stream[:4], bulk=stream[4:] == ("bulk",)) for stream in streams))

    simulate(run())
    return traffic


@pytest.mark.parametrize("bulk", [(), ("bulk",)])
@pytest.mark.parametrize(("lengths", "least"), [(sixteen, 0.9), (various, 0.75)])
@pytest.mark.parametrize("load", [1.0, 2.0])
def test_near_deadlines_are_met_beside_patient_load(lengths, least, load, bulk):
    # A full batch takes 29 ms, and most of another is running when a text arrives: without smaller batches less than
    # half of those that have 40 ms would be served.
    traffic = play(Traffic(), ("patient", load * _CAPACITY, 10.0, lengths, *bulk), ("hurried", 150.0, 0.04, lengths))
    assert traffic.share("hurried") >= least


def test_callers_without_time_do_not_make_the_model_forget_what_it_knows():
    # The encoder has become slow since it was measured: what has three milliseconds cannot be served.
    traffic = Traffic()
    for _ in range(200):
        traffic.cost.observe(tokens=16, padded_tokens=16, seconds=0.02)
    traffic.slowness_s = 0.018
    play(traffic, ("impossible", 500.0, 0.003, sixteen))
    assert traffic.served["impossible"] == 0
    assert traffic.encoded <= _SECONDS  # one a second is tried
    assert traffic.cost.predict(16) == pytest.approx(0.02, rel=0.2)


def test_callers_who_are_all_refused_since_the_encoder_was_slow_once_are_served_again():
    traffic = Traffic()
    for _ in range(200):
        traffic.cost.observe(tokens=16, padded_tokens=16, seconds=0.5)
    traffic.seconds = 20.0
    play(traffic, ("hurried", 20.0, 0.05, sixteen))
    assert traffic.share("hurried") > 0.5


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("time_s", [0.2, 1.0])
def test_where_all_have_the_same_time_batches_stay_full(time_s, workers):
    traffic = play(Traffic(workers), ("equal", 2 * _CAPACITY, time_s, various))
    tokens = 102 / 7
    assert traffic.served["equal"] * tokens >= 0.93 * _CAPACITY * 16 * _SECONDS
