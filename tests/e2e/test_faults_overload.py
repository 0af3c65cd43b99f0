"""Twice and ten times what the server can encode, for half a minute: what is answered and refused, and how it ends.

A batch takes a set time here, so the capacity is known and does not depend on the machine.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import itertools
import time
from typing import TYPE_CHECKING

import grpc
import pytest
from tests.e2e.faulty_server import ONE_AT_A_TIME, PROGRAM
from tests.support import ServerProcess

from tanager import AsyncClient
from tanager.v1 import recommendation_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    Rpc = grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]

BATCH_S = 0.1
BATCH_SIZE = 10
CAPACITY_RPS = BATCH_SIZE / BATCH_S
OVERLOAD_S = 30.0
DEADLINE_S = 1.0
OPTIONS = (
    *(*ONE_AT_A_TIME, "--log.calls", "false", "--batch-s", str(BATCH_S)),
    *("--batching.max-batch-size", str(BATCH_SIZE)),
    *("--batching.max-batch-tokens", "4096", "--batching.batch-cost-tokens", "4096"),
)
METHOD = "/tanager.v1.RecommendationService/Recommend"
CONNECTIONS = 8
OWN_CONNECTION = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0))
BYSTANDER_PAUSE_S = 0.05


@pytest.mark.parametrize("times", [2, 10])
async def test_overload_is_refused_and_over_within_a_second(tiny_bundle: Path, times: int):
    with ServerProcess(tiny_bundle, *OPTIONS, program=PROGRAM) as server:
        async with AsyncClient(server.address, timeout_s=10 * DEADLINE_S, retry=None) as client, _rpcs(server) as rpcs:
            bystander = asyncio.create_task(_stand_by(client))
            calls = await _offer(rpcs, times * CAPACITY_RPS)
            # All that waits now came before this one, has a nearer deadline, and is answered or dropped by then.
            answer = await client.recommend(text="the first after it")
            assert answer.timing.queue_us <= 1e6, "within a second, on the server's clock"
            assert (await client.status()).queue_depth == 0
            assert len(await client.recommend(text="as ever", timeout_s=DEADLINE_S)) == 10
            outcomes = collections.Counter(await asyncio.gather(*calls))
            assert not bystander.done(), "calls without text were answered throughout"
            bystander.cancel()
        metrics = server.metrics()
    assert outcomes.total() == times * CAPACITY_RPS * OVERLOAD_S
    assert outcomes.keys() <= {"OK", "without its words", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"}
    # Whoever cannot be served is refused at once, and may try elsewhere; few wait in vain and are answered with less.
    assert outcomes["without its words"] <= 0.05 * outcomes["RESOURCE_EXHAUSTED"]
    assert outcomes["OK"] >= 0.8 * CAPACITY_RPS * OVERLOAD_S
    assert metrics["tanager_wasted_texts_total"] <= 0.02 * metrics["tanager_batch_texts_sum"]


@contextlib.asynccontextmanager
async def _rpcs(server: ServerProcess) -> AsyncIterator[Iterator[Rpc]]:
    """The method over some connections, one after the other."""
    async with contextlib.AsyncExitStack() as stack:
        channels = [
            await stack.enter_async_context(grpc.aio.insecure_channel(server.address, OWN_CONNECTION))
            for _ in range(CONNECTIONS)
        ]
        yield itertools.cycle([channel.unary_unary(METHOD, None, None) for channel in channels])


async def _offer(rpcs: Iterator[Rpc], rate: float) -> list[asyncio.Task[str]]:
    """Sends calls when they are due, whether or not others were answered; ends when the last was sent."""

    async def call(number: int) -> str:
        request = recommendation_pb2.RecommendRequest(text=f"space {number}", page_size=10)
        try:
            response = await next(rpcs)(request.SerializeToString(), timeout=DEADLINE_S)
        except grpc.aio.AioRpcError as error:
            return error.code().name
        answer = recommendation_pb2.RecommendResponse.FromString(response)
        return "without its words" if answer.served_by.degraded else "OK"

    calls = []
    began = time.monotonic()
    for number in range(round(rate * OVERLOAD_S)):
        if (early_s := began + number / rate - time.monotonic()) > 0:
            await asyncio.sleep(early_s)
        calls.append(asyncio.create_task(call(number)))
    return calls


async def _stand_by(client: AsyncClient) -> None:
    """Asks for what needs no encoding, until it is not answered."""
    while True:
        await client.recommend(history=["film-music-4"])
        await client.similar_items("film-music-4")
        await client.recommend()
        await asyncio.sleep(BYSTANDER_PAUSE_S)
