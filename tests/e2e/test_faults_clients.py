"""Clients that vanish in the middle of a call, wait for a millisecond only, or do not read what they asked for."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
from tests.e2e.faulty_server import HELD, ONE_AT_A_TIME, PROGRAM
from tests.e2e.slow_reader import TEXTS
from tests.support import BIN, ServerProcess

from tanager import AsyncClient, DeadlineExceededError, Recommendations
from tanager.v1 import recommendation_pb2, recommendation_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Iterator

SLOW_READER = Path(__file__).parent / "slow_reader.py"
CLIENTS = 1000
READERS_CALLS = 300
ANSWER_BYTES = TEXTS * 32 * 4
MEMORY = "process_resident_memory_bytes"
# A channel by itself is a client: by default channels of a process share a connection.
OWN_CONNECTION = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0))
# What is held is not given up.
PATIENCE_S = 600.0
PATIENT = ("--batching.stuck-after-s", str(PATIENCE_S), *ONE_AT_A_TIME)


@pytest.fixture(scope="module")
def patient(tiny_bundle: Path) -> Iterator[ServerProcess]:
    """A server whose encoder can be held."""
    with ServerProcess(tiny_bundle, *PATIENT, "--log.calls", "false", program=PROGRAM) as process:
        yield process


async def test_a_thousand_clients_that_hang_up_leave_nothing_behind(patient: ServerProcess):
    async with AsyncClient(patient.address, timeout_s=PATIENCE_S) as stays:
        async with _held(patient, stays):
            channels = [grpc.aio.insecure_channel(patient.address, OWN_CONNECTION) for _ in range(CLIENTS)]
            calls = [
                recommendation_pb2_grpc.RecommendationServiceStub(channel).Recommend(
                    recommendation_pb2.RecommendRequest(text=f"war {number}"), timeout=PATIENCE_S
                )
                for number, channel in enumerate(channels)
            ]
            await asyncio.to_thread(patient.wait_until, lambda metrics: metrics["tanager_queue_texts"] == CLIENTS)
            for call in calls[::2]:
                call.cancel()  # half of them take back their call, half of them their connection
            await asyncio.gather(*(channel.close() for channel in channels[1::2]))
            await _assert_gone(patient, stays)
        await asyncio.gather(*(channel.close() for channel in channels[::2]))


async def test_a_thousand_clients_that_are_killed_leave_nothing_behind(patient: ServerProcess, tmp_path: Path):
    async with AsyncClient(patient.address, timeout_s=PATIENCE_S) as stays, _held(patient, stays):
        with contextlib.ExitStack() as stack:
            processes = [
                stack.enter_context(_load(patient, tmp_path / f"{number}.jsonl", CLIENTS // 4)) for number in range(4)
            ]
            await asyncio.to_thread(patient.wait_until, lambda metrics: metrics["tanager_queue_texts"] == CLIENTS)
            for process in processes:
                process.kill()
        await _assert_gone(patient, stays)


async def test_a_client_that_is_killed_while_its_text_is_encoded_costs_that_text_only(
    patient: ServerProcess, tmp_path: Path
):
    before = patient.metrics()
    with _load(patient, tmp_path / "hold.jsonl", 1, text="hold") as process:
        await asyncio.to_thread(patient.wait_for, HELD)
        process.kill()
    patient.wait_until(lambda metrics: metrics["tanager_calls_in_flight"] == 0)
    patient.signal(signal.SIGUSR1)
    after = patient.wait_until(
        lambda metrics: metrics["tanager_batch_texts_count"] > before["tanager_batch_texts_count"]
    )
    assert after["tanager_wasted_texts_total"] - before["tanager_wasted_texts_total"] == 1
    async with AsyncClient(patient.address, timeout_s=PATIENCE_S) as stays:
        assert len(await stays.recommend(text="after it")) == 10


async def test_deadlines_of_a_millisecond_end_and_leave_nothing_behind(patient: ServerProcess):
    async with AsyncClient(patient.address, timeout_s=PATIENCE_S) as client:

        async def ask(number: int) -> str:
            text, history = f"love {number}" if number % 2 else "", ["film-music-4"] if number % 4 >= 2 else []
            try:
                answer = await client.recommend(text=text, history=history, timeout_s=0.001)
            except DeadlineExceededError:
                return "late"
            return "without text" if answer.degraded or not text else "with text"

        async with _held(patient, client):  # they end though nothing is encoded
            outcomes = [await ask(number) for number in range(250)]
            outcomes += await asyncio.gather(*map(ask, range(250, 500)))
            assert outcomes.count("with text") == 0, "no text was encoded"
            assert outcomes.count("late") + outcomes.count("without text") == 500
            await _assert_gone(patient, client)
        outcomes = await asyncio.gather(*map(ask, range(500, 1000)))
        assert set(outcomes) <= {"with text", "without text", "late"}
        await asyncio.to_thread(
            patient.wait_until,
            lambda metrics: metrics["tanager_queue_texts"] == metrics["tanager_calls_in_flight"] == 0,
        )
        assert len(await client.recommend(text="peace")) == 10


async def test_clients_that_do_not_read_hold_up_nobody_and_give_their_memory_back(patient: ServerProcess):
    async with AsyncClient(patient.address, timeout_s=PATIENCE_S) as others:
        left: list[float] = []
        for end in (signal.SIGCONT, signal.SIGKILL) * 2:
            async with _slow_reader(patient, others) as reader:
                full = patient.metrics()[MEMORY]
                assert len(await others.recommend(history=["film-music-4"])) == 10
                assert len(await others.recommend(text="nobody reads")) == 10
                assert len(await others.embed(["nobody reads"] * TEXTS)) == TEXTS
                reader.send_signal(end)
                outcomes, _ = await reader.communicate()
                if end is signal.SIGCONT:
                    assert json.loads(outcomes) == {str(ANSWER_BYTES): READERS_CALLS}
            left.append(await _memory_below(patient, full - READERS_CALLS * ANSWER_BYTES / 2))
        assert left[-1] < left[0] + READERS_CALLS * ANSWER_BYTES, "nothing piles up"


async def test_a_client_that_never_reads_again_is_let_go(tiny_bundle: Path):
    with ServerProcess(tiny_bundle, *PATIENT, "--limits.keepalive-s", "1", program=PROGRAM) as server:
        async with AsyncClient(server.address, timeout_s=PATIENCE_S) as others, _slow_reader(server, others) as reader:
            full = server.metrics()[MEMORY]
            await _memory_below(server, full - READERS_CALLS * ANSWER_BYTES / 2)
            assert reader.returncode is None
            assert len(await others.recommend(history=["film-music-4"])) == 10
            reader.send_signal(signal.SIGCONT)
            outcomes, _ = await reader.communicate()
            assert json.loads(outcomes).get("UNAVAILABLE", 0) > READERS_CALLS / 2


async def test_sigterm_ends_a_server_whose_client_does_not_read(tiny_bundle: Path):
    with ServerProcess(tiny_bundle, *PATIENT, "--shutdown.drain-delay-s", "0", program=PROGRAM) as server:
        async with AsyncClient(server.address, timeout_s=PATIENCE_S) as others, _slow_reader(server, others):
            server.terminate()
            assert await asyncio.to_thread(server.wait) == 0
            server.wait_for("clients that do not read their answers are cut off")
            server.wait_for("stopped")
            lines = [record["message"] for record in server.log if "level" not in record]
            assert lines == [HELD], "nothing but the log comes from the end of the process"


@contextlib.asynccontextmanager
async def _held(server: ServerProcess, client: AsyncClient):
    """For the time of the context the encoder is busy with one text; no other was encoded when it ends."""
    before = server.metrics()
    call = asyncio.create_task(client.recommend(text="hold"))
    await asyncio.to_thread(server.wait_for, HELD)
    yield
    server.signal(signal.SIGUSR1)
    assert len(await call) == 10
    after = server.metrics()
    assert after["tanager_batch_texts_sum"] - before["tanager_batch_texts_sum"] == 1
    assert after["tanager_wasted_texts_total"] == before["tanager_wasted_texts_total"]


async def _assert_gone(server: ServerProcess, stays: AsyncClient) -> None:
    """Nothing of the calls is left but the one that is held, and the server answers."""
    await asyncio.to_thread(
        server.wait_until,
        lambda metrics: (metrics["tanager_queue_texts"], metrics["tanager_calls_in_flight"]) == (0, 1),
    )
    assert isinstance(await stays.recommend(history=["film-music-4"]), Recommendations)


@contextlib.contextmanager
def _load(server: ServerProcess, path: Path, clients: int, text: str = ""):
    """A process of so many clients with a connection and a text each."""
    texts = [text or f"music {path.stem} {number}" for number in range(clients)]
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    process = subprocess.Popen(
        [
            *(BIN / "tanager", "load", server.address, "--requests-file", path, "--timeout", str(PATIENCE_S)),
            *("--concurrency", str(clients), "--connections", str(clients), "--count", str(clients), "--warm-up", "0"),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextlib.asynccontextmanager
async def _slow_reader(server: ServerProcess, others: AsyncClient):
    """A process that is stopped when all its calls were sent; the server has answered all of them."""
    before = server.metrics()["tanager_calls_in_flight"]
    call = asyncio.create_task(others.recommend(text="hold"))
    await asyncio.to_thread(server.wait_for, HELD)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, SLOW_READER, server.address, str(READERS_CALLS), str(PATIENCE_S)), stdout=subprocess.PIPE
    )
    try:
        await asyncio.to_thread(server.wait_until, lambda metrics: metrics["tanager_queue_texts"] == READERS_CALLS)
        process.send_signal(signal.SIGSTOP)
        server.signal(signal.SIGUSR1)
        await call
        await asyncio.to_thread(server.wait_until, lambda metrics: metrics["tanager_calls_in_flight"] == before)
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):  # it has ended
            process.kill()
        await process.wait()


async def _memory_below(server: ServerProcess, limit: float) -> float:
    metrics = await asyncio.to_thread(server.wait_until, lambda metrics: metrics[MEMORY] < limit)
    return metrics[MEMORY]
