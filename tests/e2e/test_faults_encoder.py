"""An encoder that raises, gives what is no vector, or does not come back: who is told so, and who must not notice."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.e2e.faulty_server import HELD, ONE_AT_A_TIME, PROGRAM
from tests.support import TIMEOUT_S, ServerProcess

from tanager import AsyncClient, Client, InternalError, UnavailableError
from tanager.v1 import recommendation_pb2, recommendation_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tanager import Recommendations

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
# Texts of any length share a batch, and only the size bounds it.
BATCHES_OF_32 = (
    *("--batching.max-batch-size", "32"),
    *("--batching.max-batch-tokens", "4096", "--batching.batch-cost-tokens", "4096"),
)
FAILED = 'tanager_failed_batches_total{cause="error"}'
STUCK = 'tanager_failed_batches_total{cause="stuck"}'


@pytest.fixture(scope="module")
def faulty(tiny_bundle: Path) -> Iterator[ServerProcess]:
    """A server that encodes one batch at a time, of up to 32 texts."""
    with ServerProcess(tiny_bundle, *ONE_AT_A_TIME, *BATCHES_OF_32, program=PROGRAM) as process:
        yield process


@pytest.mark.parametrize("place", [0, 17, 31])
@pytest.mark.parametrize("fault", ["raise", "nan"])
async def test_a_poisoned_text_in_a_full_batch_fails_alone(
    faulty: ServerProcess, client: Client, fault: str, place: int
):
    texts = [f"space {number} war" for number in range(32)]
    texts[place] = f"space {fault} war"
    sound = {text: client.recommend(text=text) for text in texts}
    before = faulty.metrics()
    async with AsyncClient(faulty.address, timeout_s=30) as caller:
        held = await _hold(faulty, caller)
        calls = [asyncio.create_task(caller.recommend(text=text)) for text in texts]
        await asyncio.to_thread(faulty.wait_until, lambda metrics: metrics["tanager_queue_texts"] == 32)
        faulty.signal(signal.SIGUSR1)
        answers = dict(zip(texts, await asyncio.gather(*calls, return_exceptions=True), strict=True))
        await held
        guilty = answers.pop(texts[place])
        assert isinstance(guilty, InternalError)
        assert guilty.message == f"internal error; quote the request id {guilty.request_id} to whoever runs this server"
        for text, answer in answers.items():
            assert not isinstance(answer, BaseException), (text, answer)
            _assert_same(answer, sound[text])
        after = faulty.metrics()
        failed = after[FAILED] - before.get(FAILED, 0)
        assert failed == 6, "batches of 32, 16, 8, 4, 2 and 1: it was full, and halved"
        assert after["tanager_batch_texts_sum"] - before["tanager_batch_texts_sum"] == 1 + 31
        assert after["tanager_batch_texts_count"] - before["tanager_batch_texts_count"] == 1 + 5
        text = texts[place - 1]
        _assert_same(await caller.recommend(text=text), sound[text])


async def test_a_call_of_many_texts_fails_for_one_of_them_and_its_neighbours_do_not(faulty: ServerProcess):
    async with AsyncClient(faulty.address, timeout_s=30) as caller:
        held = await _hold(faulty, caller)
        guilty = asyncio.create_task(caller.embed([*(f"love {number}" for number in range(15)), "love raise"]))
        others = [asyncio.create_task(caller.embed([f"music {number}"])) for number in range(16)]
        await asyncio.to_thread(faulty.wait_until, lambda metrics: metrics["tanager_queue_texts"] == 32)
        faulty.signal(signal.SIGUSR1)
        assert [len(answer) for answer in await asyncio.gather(*others)] == [1] * 16
        with pytest.raises(InternalError):
            await guilty
        await held
        assert faulty.metrics()["tanager_queue_texts"] == 0


async def test_a_batch_that_does_not_come_back_is_given_up(tiny_bundle: Path):
    options = (*ONE_AT_A_TIME, "--batching.stuck-after-s", "0.5")
    with ServerProcess(tiny_bundle, *options, program=PROGRAM) as server:
        async with (
            AsyncClient(server.address, timeout_s=30, retry=None) as caller,
            grpc.aio.insecure_channel(server.address) as channel,
        ):
            health = health_pb2_grpc.HealthStub(channel)
            watch = health.Watch(health_pb2.HealthCheckRequest(), timeout=60)
            assert (await watch.read()).status == SERVING
            hangs = await _hold(server, caller)
            with pytest.raises(UnavailableError, match="did not come back within"):
                await hangs
            assert (await watch.read()).status == NOT_SERVING
            plain = recommendation_pb2_grpc.RecommendationServiceStub(channel)  # unlike the SDK it does not mind health
            answer = await plain.Recommend(recommendation_pb2.RecommendRequest(page_size=3), timeout=30)
            assert len(answer.results) == 3
            # Another thread takes the place of the one that hangs; nobody need call for that to be found out.
            assert (await watch.read()).status == SERVING
            wish = recommendation_pb2.RecommendRequest(text="space", page_size=3)
            assert len((await plain.Recommend(wish, timeout=30)).results) == 3
            assert server.metrics()[STUCK] == 1
            watch.cancel()


async def test_a_text_that_hung_is_refused_and_holds_up_nobody_again(tiny_bundle: Path):
    options = (*ONE_AT_A_TIME, "--batching.stuck-after-s", "0.5")
    with ServerProcess(tiny_bundle, *options, program=PROGRAM) as server:
        async with (
            AsyncClient(server.address, timeout_s=30, retry=None) as caller,
            grpc.aio.insecure_channel(server.address) as channel,
        ):
            with pytest.raises(UnavailableError):
                await (await _hold(server, caller))
            await _health(channel, SERVING)
            # Not the SDK, which hears of the health a little later or earlier than this test.
            plain = recommendation_pb2_grpc.RecommendationServiceStub(channel)
            wish = recommendation_pb2.RecommendRequest(text="space", page_size=3)
            for _ in range(10):  # more than threads that may be lost
                assert await _code(plain, "hold") == grpc.StatusCode.FAILED_PRECONDITION
                assert len((await plain.Recommend(wish, timeout=30)).results) == 3
            await _health(channel, SERVING)
            assert server.metrics()[STUCK] == 1
            server.signal(signal.SIGUSR1)  # it was no fault of the text: it comes back after all
            async with asyncio.timeout(TIMEOUT_S):
                while True:
                    server.signal(signal.SIGUSR1)
                    if await _code(plain, "hold") == grpc.StatusCode.OK:
                        break


async def test_an_encoder_that_hangs_for_good_and_comes_back(tiny_bundle: Path):
    options = (*ONE_AT_A_TIME, "--batching.stuck-after-s", "0.2", "--batching.max-batch-size", "1")
    with ServerProcess(tiny_bundle, *options, program=PROGRAM) as server:
        async with grpc.aio.insecure_channel(server.address) as channel:
            plain = recommendation_pb2_grpc.RecommendationServiceStub(channel)
            popular = recommendation_pb2.RecommendRequest(page_size=3)
            for number in range(20):  # more than threads that may be lost
                with pytest.raises(grpc.aio.AioRpcError) as failure:
                    await plain.Recommend(recommendation_pb2.RecommendRequest(text=f"hold {number}"), timeout=30)
                assert failure.value.code() == grpc.StatusCode.UNAVAILABLE
            assert "must be restarted" in (failure.value.details() or "")
            await _health(channel, NOT_SERVING)
            assert len((await plain.Recommend(popular, timeout=30)).results) == 3
            server.signal(signal.SIGUSR1)  # one of the threads that hung is free again
            await _health(channel, SERVING)
            wish = recommendation_pb2.RecommendRequest(text="space", page_size=3)
            assert len((await plain.Recommend(wish, timeout=30)).results) == 3


@pytest.mark.parametrize("given_up", [False, True])
async def test_sigterm_ends_a_server_whose_encoder_hangs(tiny_bundle: Path, given_up: bool):
    options = ("--batching.stuck-after-s", "0.2" if given_up else "600", "--shutdown.grace-s", "0.5")
    with ServerProcess(tiny_bundle, *ONE_AT_A_TIME, *options, program=PROGRAM) as server:
        async with AsyncClient(server.address, timeout_s=30, retry=None) as caller:
            hangs = await _hold(server, caller)
            if given_up:
                await asyncio.to_thread(server.wait_for, "the encoder is stuck")
            server.terminate()
            with pytest.raises(UnavailableError):
                await hangs
            assert await asyncio.to_thread(server.wait) == 0


async def _hold(server: ServerProcess, caller: AsyncClient) -> asyncio.Task[Recommendations]:
    """A call whose batch is being encoded, until SIGUSR1."""
    held = asyncio.create_task(caller.recommend(text="hold"))
    await asyncio.to_thread(server.wait_for, HELD)
    return held


async def _code(plain: Any, text: str) -> grpc.StatusCode:
    """How a call for this wish ends."""
    try:
        await plain.Recommend(recommendation_pb2.RecommendRequest(text=text), timeout=30)
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def _health(channel: grpc.aio.Channel, status: int) -> None:
    """Asks until this is the server's health."""
    stub = health_pb2_grpc.HealthStub(channel)
    async with asyncio.timeout(TIMEOUT_S):
        while (await stub.Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)).status != status:
            pass


def _assert_same(answer: Recommendations, expected: Recommendations) -> None:
    # By rank: among other texts the last digits of a vector differ, and items equally good may change places.
    assert [item.score for item in answer] == pytest.approx([item.score for item in expected], abs=1e-5)
    assert {item.item_id for item in answer[:5]} <= {item.item_id for item in expected}
