"""A server in the test's own event loop whose answers the test writes, and runs against it."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from tanager.load import schedule
from tanager.load.connections import Connections
from tanager.load.runner import Run
from tanager.load.workload import RECOMMEND, Pool
from tanager.v1 import common_pb2, recommendation_pb2

if TYPE_CHECKING:
    from tanager.load.measurement import Measurement

TIMING = common_pb2.Timing(queue_us=100, tokenize_us=200, encode_us=1500, search_us=300, rank_us=400, batch_size=3)
Answer = Callable[[Any, grpc.aio.ServicerContext[Any, Any]], Awaitable[Any]]


def response(items: int = 2) -> recommendation_pb2.RecommendResponse:
    results = [common_pb2.Result(item_id=f"film-{i}", title=f"Film {i}", rank=i + 1) for i in range(items)]
    return recommendation_pb2.RecommendResponse(results=results, timing=TIMING)


async def answer_ok(request, context):
    return response()


@dataclass
class FakeServer:
    """Answers every call with `answer`, and keeps the requests."""

    target: str = ""
    answer: Answer = answer_ok
    requests: list[Any] = field(default_factory=list)
    peers: set[str] = field(default_factory=set)
    metadata: list[dict[str, str | bytes]] = field(default_factory=list)

    async def handle(self, request, context):
        self.requests.append(request)
        self.peers.add(context.peer())
        self.metadata.append(dict(context.invocation_metadata()))
        return await self.answer(request, context)

    def fail(self, code: grpc.StatusCode, every: int = 1) -> None:
        """Answers each `every`-th call with a status, the others OK."""

        async def answer(request, context):
            if len(self.requests) % every == 0:
                await context.abort(code, "no")
            return response()

        self.answer = answer


@pytest.fixture
async def server():
    fake = FakeServer()
    running = grpc.aio.server()
    handlers = {
        name: grpc.unary_unary_rpc_method_handler(
            fake.handle,
            request_deserializer=request.FromString,
            response_serializer=lambda message: message if isinstance(message, bytes) else message.SerializeToString(),
        )
        for name, request in (
            ("Recommend", recommendation_pb2.RecommendRequest),
            ("SimilarItems", recommendation_pb2.SimilarItemsRequest),
        )
    }
    running.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("tanager.v1.RecommendationService", handlers),)
    )
    fake.target = f"127.0.0.1:{running.add_insecure_port('127.0.0.1:0')}"
    await running.start()
    yield fake
    await running.stop(None)


@pytest.fixture
def pool() -> Pool:
    requests = [recommendation_pb2.RecommendRequest(text=f"wish {i}").SerializeToString() for i in range(5)]
    return Pool([(RECOMMEND, request) for request in requests], "made up")


@pytest.fixture
async def connections(server):
    """Connects: `await connections(number)`."""
    opened: list[Connections] = []

    async def connect(number: int = 1, timeout_s: float = 30.0) -> Connections:
        opened.append(Connections(server.target, None, number, timeout_s))
        await opened[-1].connect()
        return opened[-1]

    yield connect
    for connection in opened:
        await connection.close()


@pytest.fixture
async def new_run(connections, pool):
    """A run that has not begun: `await new_run(count=5, concurrency=1)`."""

    async def make(number_of_connections: int = 1, timeout_s: float = 30.0, **options) -> Run:
        opened = await connections(number_of_connections, timeout_s)
        draws = schedule.uniform_draws(len(pool.requests), Random(0))
        return Run(opened.channels, pool, draws, **options)

    return make


@pytest.fixture
async def measured(new_run: Callable[..., Awaitable[Run]]):
    """Runs and measures: `await measured(count=5, concurrency=1)`."""

    async def measure(**options) -> Measurement:
        run = await new_run(**options)
        await asyncio.wait_for(run.run(), 60)
        return run.measurement()

    return measure


@pytest.fixture
async def command():
    """Runs `tanager` in a process of its own, with the event loop free for the server: status, stdout, stderr."""

    async def run(*argv: str) -> tuple[int, str, str]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tanager", *argv, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        out, err = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()

    return run


@pytest.fixture
def load_json(command):
    """Runs `tanager load … --json -`: status and figures."""

    async def run(*argv: str) -> tuple[int, dict[str, Any]]:
        status, out, err = await command("load", *argv, "--json", "-")
        assert out, err
        return status, json.loads(out)

    return run
