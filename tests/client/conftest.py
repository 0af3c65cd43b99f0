"""A server whose answers the test writes, and both clients behind one awaited interface."""

from __future__ import annotations

import asyncio
import functools
import inspect
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest

import tanager
from tanager.v1 import embedding_pb2_grpc, model_pb2_grpc, recommendation_pb2_grpc

Answer = Callable[[Any, grpc.ServicerContext], Any]


@dataclass
class Received:
    """One call, as the server saw it."""

    method: str
    request: Any
    metadata: dict[str, str | bytes]
    time_remaining_s: float | None


@dataclass
class FakeServer:
    """Answers each method with what `on` was given for it."""

    target: str = ""
    calls: list[Received] = field(default_factory=list)
    answers: dict[str, Answer] = field(default_factory=dict)
    held: threading.Event = field(default_factory=threading.Event)
    cancelled: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)

    def on(self, method: str, answer: Any) -> None:
        """Answers `method` with a response, or with what a function of request and context returns."""
        self.answers[method] = answer if inspect.isroutine(answer) else lambda request, context: answer

    def fail(self, method: str, code: grpc.StatusCode, message: str = "", details: bytes | None = None) -> None:
        """Answers `method` with a status."""

        def answer(request, context):
            if details is not None:
                context.set_trailing_metadata((("grpc-status-details-bin", details),))
            context.abort(code, message)

        self.on(method, answer)

    def hold(self, method: str) -> None:
        """Lets `method` hang; `held` tells that a call does, `cancelled` that its caller went away."""

        def answer(request, context):
            context.add_callback(self.cancelled.set)
            self.held.set()
            self.released.wait()
            context.abort(grpc.StatusCode.ABORTED, "released")

        self.on(method, answer)

    def answer(self, method: str, request: Any, context: grpc.ServicerContext) -> Any:
        metadata = dict(context.invocation_metadata())
        self.calls.append(Received(method, request, metadata, context.time_remaining()))
        return self.answers[method](request, context)

    @property
    def call(self) -> Received:
        """The one call that was received."""
        (call,) = self.calls
        return call


class Recommendation(recommendation_pb2_grpc.RecommendationServiceServicer):
    def __init__(self, fake):
        self.fake = fake

    def Recommend(self, request, context):  # noqa: N802
        return self.fake.answer("Recommend", request, context)

    def SimilarItems(self, request, context):  # noqa: N802
        return self.fake.answer("SimilarItems", request, context)


class Embedding(embedding_pb2_grpc.EmbeddingServiceServicer):
    def __init__(self, fake):
        self.fake = fake

    def Embed(self, request, context):  # noqa: N802
        return self.fake.answer("Embed", request, context)


class Model(model_pb2_grpc.ModelServiceServicer):
    def __init__(self, fake):
        self.fake = fake

    def GetStatus(self, request, context):  # noqa: N802
        return self.fake.answer("GetStatus", request, context)


class Awaited:
    """A blocking client behind awaits, so that one test can speak to both kinds."""

    def __init__(self, client: tanager.Client) -> None:
        self.client = client

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return functools.partial(asyncio.to_thread, getattr(self.client, name))


@pytest.fixture
def serve():
    """Starts fake servers: `serve()`, or `serve(credentials)` for an encrypted one."""
    running: list[tuple[FakeServer, grpc.Server]] = []

    def start(credentials: grpc.ServerCredentials | None = None) -> FakeServer:
        fake = FakeServer()
        server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.max_receive_message_length", -1)])
        recommendation_pb2_grpc.add_RecommendationServiceServicer_to_server(Recommendation(fake), server)
        embedding_pb2_grpc.add_EmbeddingServiceServicer_to_server(Embedding(fake), server)
        model_pb2_grpc.add_ModelServiceServicer_to_server(Model(fake), server)
        if credentials is None:
            port = server.add_insecure_port("127.0.0.1:0")
        else:
            port = server.add_secure_port("127.0.0.1:0", credentials)
        server.start()
        fake.target = f"127.0.0.1:{port}"
        running.append((fake, server))
        return fake

    yield start
    for fake, server in running:
        fake.released.set()
        server.stop(grace=None).wait()


@pytest.fixture
def server(serve):
    return serve()


@pytest.fixture(params=["sync", "async"])
async def connect(request):
    """Makes a client of either kind, with awaited methods: `connect(target, **options)`."""
    clients: list[Any] = []

    def make(target: str, **options: Any) -> Any:
        if request.param == "sync":
            clients.append(Awaited(tanager.Client(target, **options)))
        else:
            clients.append(tanager.AsyncClient(target, **options))
        return clients[-1]

    yield make
    for client in clients:
        await client.close()


@pytest.fixture
async def client(connect, server):
    """A client of either kind, connected to `server`."""
    return connect(server.target)


@pytest.fixture
def certs() -> Path:
    return Path(__file__).parent / "certs"
