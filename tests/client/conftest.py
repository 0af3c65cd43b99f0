"""A server whose answers the test writes, and both clients behind one awaited interface."""

from __future__ import annotations

import asyncio
import functools
import inspect
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest

import tanager
from tanager.v1 import (
    catalog_pb2_grpc,
    embedding_pb2_grpc,
    event_pb2_grpc,
    model_pb2_grpc,
    recommendation_pb2_grpc,
    user_pb2_grpc,
)

SERVICES = (
    (catalog_pb2_grpc, "CatalogService"),
    (embedding_pb2_grpc, "EmbeddingService"),
    (event_pb2_grpc, "EventService"),
    (model_pb2_grpc, "ModelService"),
    (recommendation_pb2_grpc, "RecommendationService"),
    (user_pb2_grpc, "UserService"),
)
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


def servicer(fake: FakeServer, base: type) -> Any:
    """A servicer that answers every method of its service with what the fake was given for it."""

    def method(name: str) -> Callable[[Any, Any, grpc.ServicerContext], Any]:
        return lambda self, request, context: fake.answer(name, request, context)

    return type(base.__name__, (base,), {name: method(name) for name in vars(base) if name[0].isupper()})()


class Awaited:
    """A blocking client behind awaits, so that one test can speak to both kinds."""

    def __init__(self, client: tanager.Client) -> None:
        self.client = client

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("iter_"):
            return functools.partial(self._iterate, getattr(self.client, name))
        return functools.partial(asyncio.to_thread, getattr(self.client, name))

    def _iterate(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        iterator = method(*args, **kwargs)  # what is refused at once is refused here too
        end = object()

        async def read() -> AsyncIterator[Any]:
            while (value := await asyncio.to_thread(next, iterator, end)) is not end:
                yield value

        return read()


@pytest.fixture
def serve():
    """Starts fake servers: `serve()`, or `serve(credentials)` for an encrypted one."""
    running: list[tuple[FakeServer, grpc.Server]] = []

    def start(credentials: grpc.ServerCredentials | None = None) -> FakeServer:
        fake = FakeServer()
        server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.max_receive_message_length", -1)])
        for module, service in SERVICES:
            add = getattr(module, f"add_{service}Servicer_to_server")
            add(servicer(fake, getattr(module, f"{service}Servicer")), server)
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
