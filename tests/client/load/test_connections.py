"""Connections to gRPC's own server, and to what is none."""

import asyncio
import itertools
import ssl
import time
from collections import Counter
from functools import partial
from typing import Any

import grpc
import pytest
from tests.client.load.test_http2 import DATA, HEADERS, MESSAGE, PATH, Peer, frame, settings, trailers

from tanager import Tls, UnavailableError
from tanager.load.connections import Channel, Connections
from tanager.load.endpoint import Endpoint
from tanager.load.http2 import Http2Connection
from tanager.load.workload import RECOMMEND, SIMILAR_ITEMS
from tanager.v1 import recommendation_pb2

SERVICE = "tanager.v1.RecommendationService"
OK, DEADLINE_EXCEEDED, UNAVAILABLE = 0, 4, 14
REQUEST = recommendation_pb2.RecommendRequest(text="wish").SerializeToString()


@pytest.fixture
async def serve():
    """Starts gRPC's server with an answer and options: the server and its port. All are stopped at the end."""
    running = []

    async def start(answer, *options, port: int = 0):
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0), *options])
        handler: Any = grpc.unary_unary_rpc_method_handler(answer)
        methods = dict.fromkeys(("Recommend", "SimilarItems"), handler)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
        port = server.add_insecure_port(f"127.0.0.1:{port}")
        await server.start()
        running.append(server)
        return server, port

    yield start
    for server in running:
        await server.stop(None)


@pytest.fixture
async def connect():
    """Connects to a port: the channel."""
    opened = []

    async def to(port: int, timeout_s: float = 30.0):
        opened.append(Connections(f"127.0.0.1:{port}", None, 1, timeout_s))
        await opened[-1].connect()
        return opened[-1].channels[0]

    yield to
    for connections in opened:
        await connections.close()


def call(channel, request: bytes = REQUEST, method: int = RECOMMEND) -> asyncio.Future[tuple[int, bytes]]:
    ended: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()

    def done(status: int, message: bytes | bytearray, ended_s: float) -> None:
        if not ended.done():  # the test may have given up
            ended.set_result((status, bytes(message)))

    channel.call(method, request, time.perf_counter(), done)
    channel.flush()
    return ended


async def echo(request, context):
    return request


@pytest.mark.parametrize("size", [0, 1, 16_384 - 5, 16_384, 70_000, 3_000_000])
async def test_requests_and_answers_of_any_size_arrive_as_they_are(serve, connect, size):
    _, port = await serve(echo)
    request = bytes(itertools.islice(itertools.cycle(range(251)), size))
    assert await asyncio.wait_for(call(await connect(port), request), 30) == (OK, request)


async def test_many_large_requests_at_once_share_the_windows(serve, connect):
    _, port = await serve(echo)
    channel = await connect(port)
    requests = [bytes((number,)) * 100_000 for number in range(100)]
    answers = await asyncio.wait_for(asyncio.gather(*(call(channel, request) for request in requests)), 60)
    assert answers == [(OK, request) for request in requests]


async def test_both_methods_and_the_deadline_are_told(serve, connect):
    told = []

    async def answer(request, context):
        told.append(context.time_remaining())
        return request

    _, port = await serve(answer)
    channel = await connect(port, timeout_s=600)
    for method in (RECOMMEND, SIMILAR_ITEMS, RECOMMEND, SIMILAR_ITEMS):
        assert (await asyncio.wait_for(call(channel, method=method), 30))[0] == OK
    assert len(told) == 4
    assert all(0 < remaining <= 600 for remaining in told)


async def test_calls_wait_where_the_server_allows_no_more_in_flight():
    """Not against gRPC's server: it counts a stream for a moment after its answer, and refuses one that comes then."""

    class Allowing:
        def headers(self, timeout_s: float) -> list[list[tuple[bytes, bytes]]]:
            return [PATH]

        async def open(self, connection: Http2Connection) -> None:
            self.peer = Peer(connection)
            self.peer.say(settings(max_streams=2))

    endpoint: Any = Allowing()
    channel = Channel(endpoint, 30.0)
    await channel.connect()
    peer = endpoint.peer
    ended = [call(channel) for _ in range(6)]
    streams = [1, 3, 5, 7, 9, 11]
    for answered in range(6):
        begun = [stream for kind, _, stream, _ in peer.heard() if kind == HEADERS]
        assert begun == (streams[:2] if answered == 0 else streams[answered + 1 : answered + 2])
        peer.say(frame(DATA, 0, streams[answered], MESSAGE), frame(HEADERS, 5, streams[answered], trailers(0)))
    assert [future.result() for future in ended] == [(OK, b"abc")] * 6
    await channel.close()


async def test_a_deadline_that_passes_ends_the_call_here_and_on_the_server(serve, connect):
    gone = asyncio.Event()

    async def answer(request, context):
        try:
            await asyncio.Event().wait()
        finally:
            gone.set()

    _, port = await serve(answer)
    channel = await connect(port, timeout_s=0.05)
    assert await asyncio.wait_for(call(channel), 30) == (DEADLINE_EXCEEDED, b"")
    await asyncio.wait_for(gone.wait(), 30)


async def test_a_call_that_waits_for_a_stream_has_its_deadline_too(serve, connect):
    async def answer(request, context):
        await asyncio.Event().wait()

    _, port = await serve(answer, ("grpc.max_concurrent_streams", 1))
    channel = await connect(port, timeout_s=0.05)
    answers = await asyncio.wait_for(asyncio.gather(*(call(channel) for _ in range(5))), 30)
    assert answers == [(DEADLINE_EXCEEDED, b"")] * 5


async def test_a_server_that_goes_is_unavailable_and_found_again(serve, connect):
    server, port = await serve(echo)
    channel = await connect(port)
    assert (await call(channel))[0] == OK
    await server.stop(None)
    assert await asyncio.wait_for(call(channel), 30) == (UNAVAILABLE, b"")
    # Too early to try again: refused when the next attempt fails.
    assert await asyncio.wait_for(call(channel), 30) == (UNAVAILABLE, b"")
    await serve(echo, port=port)

    async def until_answered() -> None:
        while (await call(channel))[0] != OK:
            pass

    await asyncio.wait_for(until_answered(), 30)


class Callers:
    """A closed loop on one channel: each caller calls again as soon as it is told the end of a call, as a run does."""

    def __init__(self, channel: Channel, number: int) -> None:
        self.statuses: list[Counter[int]] = [Counter() for _ in range(number)]
        self.total: Counter[int] = Counter()
        self._channel = channel
        self._stopped = False
        self._wanted: tuple[int, int] = OK, 0
        self._come = asyncio.Event()

    def begin(self) -> None:
        for number in range(len(self.statuses)):
            self._call(number)
        self._channel.flush()

    def stop(self) -> None:
        self._stopped = True

    async def until(self, status: int, times: int) -> None:
        """Waits for so many more calls that end with a status."""
        self._come.clear()
        self._wanted = status, self.total[status] + times
        await asyncio.wait_for(self._come.wait(), 30)

    def _call(self, number: int) -> None:
        self._channel.call(RECOMMEND, REQUEST, time.perf_counter(), partial(self._done, number))

    def _done(self, number: int, status: int, message: bytes | bytearray, ended_s: float) -> None:
        self.statuses[number][status] += 1
        self.total[status] += 1
        wanted, times = self._wanted
        if self.total[wanted] >= times:
            self._come.set()
        if not self._stopped:
            self._call(number)


async def test_callers_that_call_again_at_once_wait_for_the_next_attempt_and_find_the_server_again(serve, connect):
    server, port = await serve(echo)
    channel = await connect(port)
    attempts = 0
    connect_ = channel.connect

    async def counted() -> None:
        nonlocal attempts
        attempts += 1
        await connect_()

    channel.connect = counted
    callers = Callers(channel, 20)
    callers.begin()
    await callers.until(OK, 200)
    await server.stop(None)
    await callers.until(UNAVAILABLE, 60)
    await serve(echo, port=port)
    await callers.until(OK, 200)
    callers.stop()
    # Each caller is told once of each connection that was lost, and once of each attempt that failed.
    assert callers.total[UNAVAILABLE] <= 20 * (attempts + 1)


async def test_a_server_that_accepts_and_goes_is_not_tried_over_and_over():
    """Callers that call again at once meet a server that ends each connection as soon as it is made."""

    class Leaving:
        def headers(self, timeout_s: float) -> list[list[tuple[bytes, bytes]]]:
            return [PATH]

        async def open(self, connection: Http2Connection) -> None:
            Peer(connection).say(settings())
            asyncio.get_running_loop().call_soon(connection.connection_lost, None)

    endpoint: Any = Leaving()
    channel = Channel(endpoint, 0.5)
    await channel.connect()
    callers = Callers(channel, 5)
    callers.begin()
    await callers.until(UNAVAILABLE, 20)
    callers.stop()
    assert channel._connecting is None
    assert channel._retry is not None
    await channel.close()


async def test_a_call_that_waits_for_the_next_attempt_has_its_deadline_too(serve, connect):
    server, port = await serve(echo)
    channel = await connect(port, timeout_s=0.02)
    await server.stop(None)
    assert (await asyncio.wait_for(call(channel), 30))[0] == UNAVAILABLE
    assert await asyncio.wait_for(call(channel), 30) == (DEADLINE_EXCEEDED, b"")


async def test_callers_have_their_turn_where_the_server_allows_fewer_in_flight(serve, connect):
    _, port = await serve(echo, ("grpc.max_concurrent_streams", 10))
    callers = Callers(await connect(port), 40)
    callers.begin()
    await callers.until(OK, 2_000)
    callers.stop()
    served = [statuses[OK] for statuses in callers.statuses]
    assert min(served) > max(served) / 2


async def test_a_server_that_is_stopped_in_good_order_finishes_what_is_in_flight(serve, connect):
    held, release = asyncio.Event(), asyncio.Event()

    async def answer(request, context):
        held.set()
        await release.wait()
        return request

    server, port = await serve(answer)
    channel = await connect(port)
    ended = call(channel)
    await asyncio.wait_for(held.wait(), 30)
    stopping = asyncio.create_task(server.stop(30))
    await asyncio.sleep(0)
    release.set()
    assert await asyncio.wait_for(ended, 30) == (OK, REQUEST)
    await asyncio.wait_for(stopping, 30)


async def test_connections_that_the_server_ends_for_their_age_cost_no_call(serve, connect):
    peers = set()

    async def answer(request, context):
        peers.add(context.peer())
        return request

    _, port = await serve(answer, ("grpc.max_connection_age_ms", 50), ("grpc.max_connection_age_grace_ms", 30_000))
    channel = await connect(port)

    async def until_connected_anew() -> None:
        while len(peers) < 3:
            assert (await call(channel))[0] == OK

    await asyncio.wait_for(until_connected_anew(), 30)


async def test_what_speaks_no_http2_is_told():
    async def answer(reader, writer):
        await reader.readline()
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    other = await asyncio.start_server(answer, "127.0.0.1", 0)
    connections = Connections(f"127.0.0.1:{other.sockets[0].getsockname()[1]}", None, 1, 1.0)
    with pytest.raises(UnavailableError, match="does not speak HTTP/2"):
        await connections.connect()
    await connections.close()
    other.close()
    await other.wait_closed()


async def test_tls_with_a_server_that_has_none_is_told(serve):
    _, port = await serve(echo)
    connections = Connections(f"127.0.0.1:{port}", Tls(), 1, 1.0)
    with pytest.raises(UnavailableError, match="agree on TLS"):
        await connections.connect()
    await connections.close()


async def test_tls_without_http2_is_told(certs):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certs / "server.pem", certs / "server.key")
    context.set_alpn_protocols(["http/1.1"])

    async def answer(reader, writer):
        writer.close()

    other = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    tls = Tls(ca_file=certs / "ca.pem")
    connections = Connections(f"127.0.0.1:{other.sockets[0].getsockname()[1]}", tls, 1, 10.0)
    with pytest.raises(UnavailableError, match=r"its TLS does not offer HTTP/2 \(h2, by ALPN\)"):
        await connections.connect()
    await connections.close()
    other.close()
    await other.wait_closed()


async def test_a_unix_socket(tmp_path):
    server = grpc.aio.server()
    methods: dict[str, Any] = {"Recommend": grpc.unary_unary_rpc_method_handler(echo)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
    server.add_insecure_port(f"unix:{tmp_path}/a%20s")
    await server.start()
    connections = Connections(f"unix:{tmp_path}/a%20s", None, 1, 30.0)
    await connections.connect()
    assert await asyncio.wait_for(call(connections.channels[0]), 30) == (OK, REQUEST)
    await connections.close()
    await server.stop(None)


@pytest.mark.parametrize("target", ["xds:///name", "ipv4:127.0.0.1:1,127.0.0.1:2", "dns:///name", "unix-abstract:x"])
def test_a_target_that_cannot_be_connected_to_directly_is_refused(target):
    with pytest.raises(ValueError, match="host:port or unix:PATH"):
        Endpoint(target, None)


@pytest.mark.parametrize(
    ("target", "authority"),
    [
        ("host:1", b"host:1"),
        ("dns:///host:1", b"host:1"),
        ("dns:host:1", b"host:1"),
        ("[::1]:1", b"[::1]:1"),
        ("ipv6:[::1]:1", b"[::1]:1"),
        ("ipv6:%5B::1%5D:1", b"[::1]:1"),
        ("dns:///%5b::1%5d:1", b"[::1]:1"),
        ("ipv4:127.0.0.1:1", b"127.0.0.1:1"),
        ("unix:/a/b", b"localhost"),
    ],
)
def test_calls_name_the_server(target, authority):
    assert dict(Endpoint(target, None).headers(1.0)[0])[b":authority"] == authority


@pytest.mark.parametrize(
    ("timeout_s", "header"),
    [(5, b"5000000u"), (1e-9, b"1u"), (500, b"500000m"), (1e6, b"1000000S"), (1e9, b"99999999S")],
)
def test_the_deadline_is_written_in_at_most_eight_digits(timeout_s, header):
    assert dict(Endpoint("host:1", None).headers(timeout_s)[0])[b"grpc-timeout"] == header


def test_a_ca_file_without_a_certificate_is_named(tmp_path):
    path = tmp_path / "ca.pem"
    path.write_text("nothing")
    with pytest.raises(ValueError, match=r"--ca-file .*ca\.pem: holds no certificate"):
        Endpoint("host:1", Tls(ca_file=path))
