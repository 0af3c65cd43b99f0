"""What operators rely on: discovery, health, drain, metrics, logs, TLS, and refusals to start."""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import shutil
import subprocess
import threading
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import onnxruntime
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from tests.support import BIN, ServerProcess, start_and_fail

from tanager import (
    AsyncClient,
    Client,
    InvalidArgumentError,
    Recommendations,
    Retry,
    TanagerError,
    Tls,
    UnavailableError,
)
from tanager.v1 import recommendation_pb2, recommendation_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Callable

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICES = tuple(
    f"tanager.v1.{name}Service" for name in ("Recommendation", "Embedding", "Model", "Catalog", "User", "Event")
)
CERTIFICATES = Path(__file__).parents[1] / "client" / "certs"


def test_reflection_lists_the_services_and_describes_them(server: ServerProcess):
    with grpc.insecure_channel(server.address) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        assert set(database.get_services()) == {
            *SERVICES,
            "grpc.health.v1.Health",
            "grpc.reflection.v1alpha.ServerReflection",
        }
        file = database.FindFileContainingSymbol("tanager.v1.RecommendRequest")
    assert "page_size" in {field.name for message in file.message_type for field in message.field}


@pytest.mark.parametrize("service", ["", *SERVICES])
def test_every_service_is_healthy(server: ServerProcess, service: str):
    with grpc.insecure_channel(server.address) as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=service), timeout=10)
    assert answer.status == SERVING


def test_on_sigterm_health_flips_first_and_calls_in_flight_finish(tiny_bundle: Path):
    with (
        ServerProcess(tiny_bundle, "--shutdown.drain-delay-s", "0.5") as process,
        grpc.insecure_channel(process.address) as channel,
        Client(process.address, timeout_s=60) as client,
        concurrent.futures.ThreadPoolExecutor(4) as pool,
    ):
        watch = health_pb2_grpc.HealthStub(channel).Watch(
            health_pb2.HealthCheckRequest(service=SERVICES[0]), timeout=60
        )
        assert next(watch).status == SERVING
        calls = [pool.submit(client.embed, ["space war " * 30] * 1024) for _ in range(4)]
        while client.status().queue_depth == 0 and not all(call.done() for call in calls):
            pass  # until they are in flight
        process.terminate()
        assert next(watch).status == NOT_SERVING
        plain = recommendation_pb2_grpc.RecommendationServiceStub(channel)  # unlike the SDK it does not mind the health
        answer = plain.Recommend(recommendation_pb2.RecommendRequest(page_size=3), timeout=10)
        assert len(answer.results) == 3, "served on through the drain delay"
        assert [len(call.result()) for call in calls] == [1024] * 4
        assert process.wait() == 0
        with pytest.raises(UnavailableError):
            client.recommend(timeout_s=1)


def _ask_until(ended: threading.Event, address: str, *, retry: Retry | None) -> list[str]:
    """Asks again and again; gives the class of every error that is no answer."""
    errors = []
    with Client(address, timeout_s=20, retry=retry) as client:
        while not ended.is_set():
            try:
                client.similar_items("film-music-4")
            except TanagerError as error:
                errors.append(type(error).__name__)
    return errors


def test_callers_of_a_server_that_ends_are_told_unavailable_and_nothing_else(tiny_bundle: Path):
    ended = threading.Event()
    with (
        concurrent.futures.ThreadPoolExecutor(16) as pool,
        ServerProcess(tiny_bundle, "--shutdown.drain-delay-s", "0") as process,
    ):
        callers = [pool.submit(_ask_until, ended, process.address, retry=None) for _ in range(16)]
        for _ in range(500):
            process.wait_for("call", code="OK")
        process.terminate()
        assert process.wait() == 0
        ended.set()
        assert {error for caller in callers for error in caller.result()} == {"UnavailableError"}


def test_callers_of_two_servers_do_not_notice_that_one_ends(tiny_bundle: Path):
    ended = threading.Event()
    with (
        concurrent.futures.ThreadPoolExecutor(8) as pool,
        ServerProcess(tiny_bundle) as stays,
        ServerProcess(tiny_bundle) as leaves,
    ):
        both = f"ipv4:{leaves.address},{stays.address}"
        callers = [pool.submit(_ask_until, ended, both, retry=Retry()) for _ in range(8)]
        for _ in range(200):
            leaves.wait_for("call", code="OK")
        leaves.terminate()
        assert leaves.wait() == 0
        for _ in range(500):
            stays.wait_for("call", code="OK")
        ended.set()
        assert [error for caller in callers for error in caller.result()] == []


async def test_a_burst_is_answered_or_refused_never_cancelled(tiny_bundle: Path):
    with ServerProcess(tiny_bundle, "--log.calls", "false", "--limits.max-calls", "64") as process:
        async with AsyncClient(process.address, timeout_s=60) as client:
            calls = (client.recommend(text=f"space {number}") for number in range(3000))
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(outcome).__name__ for outcome in outcomes} <= {"Recommendations", "ResourceExhaustedError"}
    assert any(isinstance(outcome, Recommendations) for outcome in outcomes)


def test_metrics_count_calls_batches_and_the_bundle(server: ServerProcess, client: Client):
    client.recommend(text="metrics")
    with pytest.raises(InvalidArgumentError):
        client.recommend(page_size=0)
    with urllib.request.urlopen(f"http://127.0.0.1:{server.metrics_port}/metrics") as response:
        samples = dict(line.rsplit(" ", 1) for line in response.read().decode().splitlines() if line[:1] != "#")
    method = 'method="/tanager.v1.RecommendationService/Recommend"'
    assert float(samples[f'tanager_call_seconds_count{{code="OK",{method}}}']) >= 1
    assert float(samples[f'tanager_call_seconds_count{{code="INVALID_ARGUMENT",{method}}}']) >= 1
    assert float(samples["tanager_batch_texts_count"]) >= 1
    assert float(samples["tanager_batch_tokens_total"]) >= 3
    assert float(samples["tanager_queue_texts"]) == 0
    assert float(samples["tanager_calls_in_flight"]) == 0
    assert samples[f'tanager_bundle_items{{bundle_id="{client.status().bundle.bundle_id}"}}'] == "120.0"


def test_the_log_tells_of_every_call_by_its_request_id(server: ServerProcess, client: Client):
    answer = client.recommend(request_id="order-66")
    assert answer.request_id == "order-66"
    record = server.wait_for("call", request_id="order-66")
    assert (record["method"], record["code"]) == ("/tanager.v1.RecommendationService/Recommend", "OK")
    assert record["ms"] > 0


def test_tls_both_ways(tiny_bundle: Path):
    trusting = Tls(ca_file=CERTIFICATES / "ca.pem", server_name="tanager.test")
    with ServerProcess(
        tiny_bundle,
        *("--tls.cert-file", str(CERTIFICATES / "server.pem")),
        *("--tls.key-file", str(CERTIFICATES / "server.key")),
    ) as process:
        with Client(f"localhost:{process.port}", tls=trusting, timeout_s=30) as client:
            assert len(client.recommend()) == 10
        with Client(process.address, timeout_s=2) as plain, pytest.raises(UnavailableError):
            plain.recommend()


def test_a_port_in_use_is_named(server: ServerProcess, tiny_bundle: Path):
    said = start_and_fail(tiny_bundle, "--port", str(server.port))
    assert said.startswith("tanager-server: port: cannot listen on 127.0.0.1:")
    assert str(server.port) in said
    said = start_and_fail(tiny_bundle, "--metrics.port", str(server.metrics_port))
    assert "metrics.port" in said


def test_cuda_that_cannot_be_had_is_said_clearly(tiny_bundle: Path):
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    said = start_and_fail(tiny_bundle, "--encoder.device", "cuda")
    assert "encoder.device" in said
    assert "tanager[server-gpu]" in said


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--batching.max-queue", "0"), "batching.max_queue"),
        (("--tls.cert-file", "x.pem"), "tls"),
        (("--config", "missing.toml"), "missing.toml"),
        (("--tls.cert-file", "missing.pem", "--tls.key-file", "missing.key"), "missing.key"),
    ],
)
def test_a_setting_at_fault_is_named(tiny_bundle: Path, options: tuple[str, ...], named: str):
    assert named in start_and_fail(tiny_bundle, *options)


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _edit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _add_beside(path: Path) -> None:
    (path.parent / "extra.bin").write_bytes(b"")


@pytest.mark.parametrize(
    ("file", "tamper", "named"),
    [
        ("index.hnsw", _truncate, "index.hnsw"),
        ("encoder.onnx", _edit, "encoder.onnx"),
        ("tokenizer.json", Path.unlink, "tokenizer.json"),
        ("items.jsonl", _add_beside, "extra.bin"),
        ("manifest.json", Path.unlink, "manifest.json"),
    ],
)
def test_a_bundle_that_is_not_whole_is_refused(
    tiny_bundle: Path, tmp_path: Path, file: str, tamper: Callable[[Path], object], named: str
):
    broken = tmp_path / "bundle"
    shutil.copytree(tiny_bundle, broken)
    tamper(broken / file)
    said = start_and_fail(broken)
    assert named in said
    assert "Traceback" not in said


def test_a_bundle_that_is_not_there_is_refused(tmp_path: Path):
    assert "tanager-export bundle" in start_and_fail(tmp_path / "nowhere")


@pytest.mark.parametrize("command", ["recommend", "similar", "status"])
def test_the_command_line_answers_in_json(server: ServerProcess, command: str):
    arguments = {"recommend": ["space"], "similar": ["book-war-1"], "status": []}[command]
    ended = subprocess.run(
        [BIN / "tanager", command, *arguments, "--target", server.address, "--format", "json"],
        capture_output=True,
        check=True,
        timeout=30,
    )
    answer = json.loads(ended.stdout)
    assert answer["bundle"]["item_count"] == 120 if command == "status" else len(answer["results"]) == 10
