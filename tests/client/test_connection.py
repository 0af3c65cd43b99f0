"""Reaching a server: retries, wrong ports, readiness, TLS. Every test that makes calls runs with both clients."""

import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

import tanager
from tanager import _channel
from tanager.v1 import model_pb2

READY = model_pb2.GetStatusResponse(server_version="ready")


def first_unavailable(times: int):
    """Answers UNAVAILABLE so many times, then as a ready server does."""
    left = times

    def answer(request, context):
        nonlocal left
        left -= 1
        if left >= 0:
            context.abort(grpc.StatusCode.UNAVAILABLE, "warming up")
        return READY

    return answer


@pytest.fixture
def unused_target():
    """A port that is taken, so that nobody else gets it, but on which nothing listens."""
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{unheard.getsockname()[1]}"


@pytest.fixture
def listen():
    """Listens with something that speaks no gRPC: `listen(reply)`; None accepts and never says a word."""
    listeners: list[socket.socket] = []
    silent: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def start(reply: bytes | None) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def run():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:  # the listener was shut down
                    return
                if reply is None:
                    silent.append(connection)
                    continue
                with connection:
                    connection.recv(1024)
                    connection.sendall(reply)

        threads.append(threading.Thread(target=run))
        threads[-1].start()
        return f"127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)  # wakes its thread
    for thread in threads:
        thread.join()
    for opened in listeners + silent:
        opened.close()


async def test_unavailable_is_tried_again(client, server):
    server.on("GetStatus", first_unavailable(2))
    assert (await client.status(request_id="r-1")).server_version == "ready"
    assert [call.metadata["x-request-id"] for call in server.calls] == ["r-1"] * 3


async def test_unavailable_is_tried_no_more_often_than_said(connect, server):
    server.fail("GetStatus", grpc.StatusCode.UNAVAILABLE, "draining")
    client = connect(server.target, retry=tanager.Retry(max_attempts=2, initial_backoff_s=0.01))
    with pytest.raises(tanager.UnavailableError, match="draining"):
        await client.status()
    assert len(server.calls) == 2


async def test_without_retry_nothing_is_tried_again(connect, server):
    server.on("GetStatus", first_unavailable(1))
    client = connect(server.target, retry=None)
    with pytest.raises(tanager.UnavailableError, match="warming up"):
        await client.status()
    assert len(server.calls) == 1


async def test_nothing_listens(connect, unused_target):
    with pytest.raises(tanager.UnavailableError, match=f"{unused_target} is unavailable.*tanager-server") as caught:
        await connect(unused_target, timeout_s=60).status(request_id="r-1")
    assert caught.value.request_id == "r-1"


async def test_a_port_that_speaks_http_1(connect, listen):
    target = listen(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    with pytest.raises(tanager.UnavailableError, match=f"{target} is unavailable.*this is its gRPC port"):
        await connect(target, timeout_s=60).status()


async def test_a_port_that_says_nothing(connect, listen):
    target = listen(None)
    with pytest.raises(tanager.DeadlineExceededError, match="Check that a Tanager server listens there"):
        await connect(target, timeout_s=0.2).status()


async def test_a_grpc_server_that_is_not_tanager(connect):
    other = grpc.server(ThreadPoolExecutor(1))
    target = f"127.0.0.1:{other.add_insecure_port('127.0.0.1:0')}"
    other.start()
    try:
        with pytest.raises(tanager.UnimplementedError, match="Check that it is a Tanager server"):
            await connect(target).status()
    finally:
        other.stop(grace=None).wait()


async def test_waits_for_a_server_that_warms_up(connect, server):
    server.on("GetStatus", first_unavailable(1))
    status = await connect(server.target, retry=None).wait_until_ready()
    assert status.server_version == "ready"
    assert len(server.calls) == 2


async def test_waits_no_longer_than_said_for_a_server_that_is_not_ready(connect, server):
    server.fail("GetStatus", grpc.StatusCode.UNAVAILABLE, "warming up")
    with pytest.raises(tanager.UnavailableError, match="warming up"):
        await connect(server.target, retry=None).wait_until_ready(timeout_s=_channel.READY_PAUSE_S)


async def test_waits_no_longer_than_said_for_a_server_that_is_not_there(connect, unused_target):
    with pytest.raises(tanager.DeadlineExceededError, match=f"no answer from {unused_target} within 0.2 s"):
        await connect(unused_target, retry=None).wait_until_ready(timeout_s=0.2)


def server_credentials(certs, *, ask_client: bool = False) -> grpc.ServerCredentials:
    pair = (certs / "server.key").read_bytes(), (certs / "server.pem").read_bytes()
    return grpc.ssl_server_credentials([pair], (certs / "ca.pem").read_bytes(), ask_client)


async def test_tls_with_an_authority_of_ones_own(connect, serve, certs):
    server = serve(server_credentials(certs))
    server.on("GetStatus", READY)
    from_file = connect(server.target, tls=tanager.Tls(ca_file=certs / "ca.pem"))
    from_bytes = connect(server.target, tls=tanager.Tls(ca_bytes=(certs / "ca.pem").read_bytes()))
    assert (await from_file.status()).server_version == "ready"
    assert (await from_bytes.status()).server_version == "ready"


async def test_tls_with_a_client_certificate(connect, serve, certs):
    server = serve(server_credentials(certs, ask_client=True))
    server.on("GetStatus", READY)
    ca = certs / "ca.pem"
    known = tanager.Tls(ca_file=ca, cert_file=certs / "client.pem", key_file=certs / "client.key")
    assert (await connect(server.target, tls=known).status()).server_version == "ready"
    with pytest.raises(tanager.UnavailableError):
        await connect(server.target, tls=tanager.Tls(ca_file=ca), retry=None).status()


async def test_tls_checks_the_name_of_the_server(connect, serve, certs):
    server = serve(server_credentials(certs))
    server.on("GetStatus", READY)
    named = tanager.Tls(ca_file=certs / "ca.pem", server_name="tanager.test")
    assert (await connect(server.target, tls=named).status()).server_version == "ready"
    misnamed = tanager.Tls(ca_file=certs / "ca.pem", server_name="elsewhere.test")
    with pytest.raises(tanager.UnavailableError, match="agree on TLS"):
        await connect(server.target, tls=misnamed, retry=None).status()


@pytest.mark.parametrize("tls", [None, tanager.Tls()])
async def test_tls_is_not_fallen_back_from(connect, serve, certs, tls):
    server = serve(server_credentials(certs))
    server.on("GetStatus", READY)
    with pytest.raises(tanager.UnavailableError, match="agree on TLS"):
        await connect(server.target, tls=tls, retry=None).status()
    assert server.calls == []


async def test_a_missing_certificate_is_named(connect, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"missing\.pem"):
        connect("127.0.0.1:1", tls=tanager.Tls(ca_file=tmp_path / "missing.pem"))


@pytest.mark.parametrize(
    ("target", "uri"),
    [
        ("127.0.0.1:50051", "dns:///127.0.0.1:50051"),
        ("[::1]:50051", "dns:///[::1]:50051"),
        ("tanager.svc.cluster.local:1", "dns:///tanager.svc.cluster.local:1"),
        ("dns:///host:1", "dns:///host:1"),
        ("dns://8.8.8.8/host:1", "dns://8.8.8.8/host:1"),
        ("ipv4:10.0.0.1:1,10.0.0.2:1", "ipv4:10.0.0.1:1,10.0.0.2:1"),
        ("unix:/run/tanager.sock", "unix:/run/tanager.sock"),
    ],
)
def test_targets(target, uri):
    assert _channel._uri(target) == uri


@pytest.mark.parametrize(
    "target",
    ["", "localhost", "localhost:", ":50051", "http://localhost:50051", "::1", "host:0", "host:65536", "a b:1"],
)
async def test_a_target_that_names_no_server(connect, target):
    with pytest.raises(ValueError, match="target must be host:port or a gRPC URI"):
        connect(target)


def test_calls_are_spread_and_only_unavailable_is_retried():
    options = dict(_channel._options(tanager.Retry(initial_backoff_s=0.0125), None))
    config = json.loads(str(options["grpc.service_config"]))
    assert config["loadBalancingConfig"] == [{"round_robin": {}}]
    method, unrepeatable = config["methodConfig"]
    assert method["name"] == [{}]
    assert unrepeatable == {"name": [{"service": "tanager.v1.ModelService", "method": "RollbackBundle"}]}
    assert method["retryPolicy"]["retryableStatusCodes"] == ["UNAVAILABLE"]
    assert method["retryPolicy"]["initialBackoff"] == "0.0125s"
    assert "retryThrottling" in config
    assert "retryPolicy" not in str(dict(_channel._options(None, None))["grpc.service_config"])


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"Authorization": "x"}, "lower-case ASCII .* not 'Authorization'"),
        ({"": "x"}, "lower-case ASCII"),
        ({"authorization": "sécret"}, r"metadata\['authorization'\] must be printable ASCII"),
        ({"authorization": b"secret"}, r"metadata\['authorization'\] must be printable ASCII"),
        ({"authorization": "sec\nret"}, r"metadata\['authorization'\] must be printable ASCII"),
        ({"key-bin": "secret"}, r"metadata\['key-bin'\] must be .* bytes if its key ends with -bin"),
    ],
)
async def test_metadata_that_cannot_be_sent_is_named_but_not_shown(connect, metadata, message):
    with pytest.raises(ValueError, match=message) as caught:
        connect("127.0.0.1:1", metadata=metadata)
    assert "cret" not in str(caught.value)
