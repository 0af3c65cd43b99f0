"""A server that is ended or killed under load: what its callers see, and how they come back."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import signal
import threading
from typing import TYPE_CHECKING

import grpc
import pytest
from tests.e2e.faulty_server import ONE_AT_A_TIME, PROGRAM
from tests.support import TIMEOUT_S, ServerProcess

from tanager import AsyncClient, Client, TanagerError
from tanager.v1 import recommendation_pb2, recommendation_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

CALLERS = 32
# So slow that at any moment texts wait and are being encoded.
SLOW = (*ONE_AT_A_TIME, "--batch-s", "0.05", "--batching.max-batch-size", "4")
ITEM = "film-music-4"


def _wish(caller: str, number: int) -> tuple[str, list[str]]:
    """A text, a text with a history, or a history, in turn."""
    text = f"space {caller} {number}"
    return ((text, []), (text, [ITEM]), ("", [ITEM]))[number % 3]


class Told:
    """What callers were told, for whoever waits for it. Callers may be threads.

    Args:
        callers: their names.
    """

    def __init__(self, callers: Iterable[str]) -> None:
        self.ended = threading.Event()
        """Whether they shall stop calling."""
        self._loop = asyncio.get_running_loop()
        self._outcomes = {caller: collections.Counter[str]() for caller in callers}
        self._changed = asyncio.Event()

    @property
    def outcomes(self) -> set[str]:
        """All that any of them was told: OK, or the name of an error."""
        return {outcome for counts in self._outcomes.values() for outcome in counts}

    async def wait_for(self, outcome: str, times: int) -> None:
        """Waits until each of them was told so that many times more."""
        before = {caller: counts[outcome] for caller, counts in self._outcomes.items()}
        async with asyncio.timeout(TIMEOUT_S):
            while any(counts[outcome] < before[caller] + times for caller, counts in self._outcomes.items()):
                self._changed.clear()
                await self._changed.wait()

    def call_on(self, caller: str, client: Client) -> None:
        """Calls, in a thread, until it shall stop."""
        number = 0
        while not self.ended.is_set():
            number += 1
            text, history = _wish(caller, number)
            try:
                client.recommend(text=text, history=history)
                self._tell(caller, "OK")
            except TanagerError as error:
                self._tell(caller, type(error).__name__)

    async def call_on_async(self, caller: str, client: AsyncClient) -> None:
        """Calls, in a task, until it shall stop."""
        number = 0
        while not self.ended.is_set():
            number += 1
            text, history = _wish(caller, number)
            try:
                await client.recommend(text=text, history=history)
                self._tell(caller, "OK")
            except TanagerError as error:
                self._tell(caller, type(error).__name__)

    def _tell(self, caller: str, outcome: str) -> None:
        self._loop.call_soon_threadsafe(self._note, caller, outcome)

    def _note(self, caller: str, outcome: str) -> None:
        self._outcomes[caller][outcome] += 1
        self._changed.set()


@pytest.mark.parametrize("drain_delay_s", ["0", "0.5"])
async def test_sigterm_under_load_fails_no_call_that_was_admitted(tiny_bundle: Path, drain_delay_s: str):
    ended = asyncio.Event()
    told: collections.Counter[str] = collections.Counter()
    options = (*SLOW, "--shutdown.drain-delay-s", drain_delay_s)
    with ServerProcess(tiny_bundle, *options, program=PROGRAM) as server:
        # Unlike the SDK it does not mind the health, and tries nothing again: it calls to the last moment.
        async with grpc.aio.insecure_channel(server.address, (("grpc.enable_retries", 0),)) as channel:
            stub = recommendation_pb2_grpc.RecommendationServiceStub(channel)

            async def call_on(caller: int) -> None:
                number = 0
                while not ended.is_set():
                    number += 1
                    text, history = _wish(str(caller), number)
                    events = [recommendation_pb2.Event(item_id=item_id) for item_id in history]
                    request = recommendation_pb2.RecommendRequest(text=text, recent_events=events)
                    try:
                        await stub.Recommend(request, timeout=TIMEOUT_S)
                        told["OK"] += 1
                    except grpc.aio.AioRpcError as error:
                        told[f"{error.code().name}: {error.details()}"] += 1

            callers = [asyncio.create_task(call_on(number)) for number in range(CALLERS)]
            await asyncio.to_thread(
                server.wait_until,
                lambda metrics: metrics["tanager_batch_texts_count"] > 10 and metrics["tanager_queue_texts"] > 8,
            )
            server.terminate()
            assert await asyncio.to_thread(server.wait) == 0
            ended.set()
            await asyncio.gather(*callers)
    server.wait_for("stopped")
    logged = collections.Counter(record["code"] for record in server.log if record["message"] == "call")
    assert logged.keys() <= {"OK", "UNAVAILABLE"}, "admitted calls were answered, and others refused"
    assert told.pop("OK") == logged["OK"], "the answers arrived"
    assert all(outcome.startswith("UNAVAILABLE") for outcome in told), told
    assert told["UNAVAILABLE: the server is shutting down; try again"] > 0


async def test_sdk_callers_of_two_servers_see_no_error_when_one_ends_under_load(tiny_bundle: Path):
    names = [f"{number}" for number in range(CALLERS)]
    told = Told(names)
    with (
        ServerProcess(tiny_bundle, *SLOW, program=PROGRAM) as stays,
        ServerProcess(tiny_bundle, *SLOW, program=PROGRAM) as leaves,
    ):
        async with AsyncClient(f"ipv4:{leaves.address},{stays.address}", timeout_s=TIMEOUT_S) as client:
            callers = [asyncio.create_task(told.call_on_async(name, client)) for name in names]
            await asyncio.to_thread(
                leaves.wait_until,
                lambda metrics: metrics["tanager_batch_texts_count"] > 10 and metrics["tanager_calls_in_flight"] > 8,
            )
            leaves.terminate()
            assert await asyncio.to_thread(leaves.wait) == 0
            await told.wait_for("OK", 3)
            told.ended.set()
            await asyncio.gather(*callers)
    assert told.outcomes == {"OK"}


async def test_sdk_clients_recover_by_themselves_when_a_killed_server_is_started_again(tiny_bundle: Path):
    names = [str(number) for number in range(8)]
    told = Told(names)
    callers = []
    async with contextlib.AsyncExitStack() as stack:
        with ServerProcess(tiny_bundle) as server:
            for name in names[::2]:
                client = stack.enter_context(Client(server.address))
                callers.append(asyncio.create_task(asyncio.to_thread(told.call_on, name, client)))
            for name in names[1::2]:
                async_client = await stack.enter_async_context(AsyncClient(server.address))
                callers.append(asyncio.create_task(told.call_on_async(name, async_client)))
            stack.callback(told.ended.set)  # whatever happens, the threads end
            await told.wait_for("OK", 20)
            server.kill()
            assert await asyncio.to_thread(server.wait) == -signal.SIGKILL
        await told.wait_for("UnavailableError", 3)
        with ServerProcess(tiny_bundle, "--port", str(server.port)):
            await told.wait_for("OK", 20)
            told.ended.set()
            await asyncio.gather(*callers)
    assert told.outcomes == {"OK", "UnavailableError"}
