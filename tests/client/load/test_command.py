"""`tanager load` as a process of its own, against a server in the test's event loop."""

import asyncio
import json
import signal
import socket
import sys

import grpc
import pytest
from tests.client.load.conftest import response

from tanager import cli

SHORT = ("--count", "30", "--warm-up", "0", "--seed", "1")
KEYS = {
    "target": str,
    "workload": str,
    "mode": str,
    "seed": int,
    "duration_s": float,
    "sent": int,
    "ok": int,
    "statuses": dict,
    "throughput_rps": float,
    "offered_rps": float,
    "latency_ms": dict,
    "send_lag_ms": dict,
    "server_timing_us": dict,
    "batch_size_mean": float,
    "generator_cpu_s": float,
    "generator_limited": bool,
    "timeline": list,
}


async def test_a_closed_loop_as_json(server, load_json):
    status, figures = await load_json(server.target, *SHORT, "--concurrency", "3")
    assert status == 0
    for key, kind in KEYS.items():
        assert isinstance(figures[key], kind), key
    assert (figures["mode"], figures["concurrency"], figures["rate"], figures["seed"]) == ("closed", 3, None, 1)
    assert (figures["sent"], figures["ok"], figures["statuses"]) == (30, 30, {"OK": 30})
    assert list(figures["latency_ms"]["OK"]) == ["mean", "p50", "p90", "p95", "p99", "p999", "max"]
    assert figures["send_lag_ms"] == {"p50": None, "p99": None, "max": None}
    assert figures["server_timing_us"] == {"queue": 100, "tokenize": 200, "encode": 1500, "search": 300, "rank": 400}
    assert figures["batch_size_mean"] == 3
    assert sum(second["ok"] for second in figures["timeline"]) == 30
    assert set(figures["timeline"][0]) >= {"second", "ok", "errors", "p50_ms", "p99_ms"}
    assert "steps" not in figures


async def test_an_open_loop_as_json(server, load_json):
    status, figures = await load_json(server.target, *SHORT, "--rate", "300", "--arrivals", "constant")
    assert status == 0
    assert (figures["mode"], figures["concurrency"], figures["rate"]) == ("open", None, 300)
    assert figures["send_lag_ms"]["max"] >= figures["send_lag_ms"]["p50"] >= 0


async def test_wishes_are_made_of_the_catalogue_and_a_seed_repeats_them(server, load_json):
    async def sent(seed):
        server.requests.clear()
        await load_json(server.target, *SHORT[:-1], seed, "--concurrency", "1", "--page-size", "4")
        catalogue, *wishes = server.requests
        assert catalogue.page_size == 1_000
        assert not catalogue.text
        assert {wish.page_size for wish in wishes} == {4}
        return [wish.text for wish in wishes]

    first = await sent("1")
    assert all("Film " in text for text in first)
    assert await sent("1") == first
    assert await sent("2") != first


async def test_requests_of_a_file_ask_nothing_of_the_catalogue(server, load_json, tmp_path):
    path = tmp_path / "requests.jsonl"
    path.write_text('{"text": "only this"}\n')
    status, figures = await load_json(server.target, *SHORT, "--requests-file", str(path), "--rate", "500")
    assert status == 0
    assert {request.text for request in server.requests} == {"only this"}
    assert figures["distinct_requests_sent"] == 1


async def test_errors_are_counted_by_status(server, load_json):
    server.fail(grpc.StatusCode.RESOURCE_EXHAUSTED, every=3)
    status, figures = await load_json(server.target, *SHORT, "--concurrency", "1")
    assert status == 0
    assert figures["statuses"]["RESOURCE_EXHAUSTED"] == 10
    assert figures["latency_ms"]["RESOURCE_EXHAUSTED"]["p50"] > 0
    assert sum(second["errors"] for second in figures["timeline"]) == 10


async def test_nothing_but_errors_is_a_failure_that_is_reported(server, command, tmp_path):
    requests, report = tmp_path / "requests.jsonl", tmp_path / "report.html"
    requests.write_text("{}\n")
    server.fail(grpc.StatusCode.INTERNAL)
    status, out, _ = await command(
        "load", server.target, *SHORT, "--requests-file", str(requests), "--report", str(report)
    )
    assert status == 1
    assert "0 of 30 OK, 30 INTERNAL" in out
    assert "INTERNAL" in report.read_text()


async def test_a_table_and_files(server, command, tmp_path):
    figures, report = tmp_path / "figures.json", tmp_path / "report.html"
    status, out, _ = await command("load", server.target, *SHORT, "--json", str(figures), "--report", str(report))
    assert status == 0
    assert "30 of 30 OK" in out
    assert "closed loop, 16 in flight" in out
    assert json.loads(figures.read_text())["sent"] == 30
    assert report.read_text().startswith("<!DOCTYPE html>")


async def test_where_no_rate_meets_the_objective_the_search_ends_as_a_failure(server, load_json):
    async def answer(request, context):
        if request.text:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "full")
        return response()

    server.answer = answer
    status, figures = await load_json(
        server.target, "--find-rate", "--rate", "40", "--objective", "p50<=60s", "--duration", "0.05", "--warm-up", "0"
    )  # fmt: skip
    assert status == 1
    assert figures["found_rate"] is None
    assert [step["rate"] for step in figures["steps"]][:3] == [40, 20, 10]
    assert {step["failure"] for step in figures["steps"]} == {"nothing was answered OK"}


async def test_a_server_that_refuses_beyond_a_rate_sets_the_rate(server, load_json):
    calls = 0

    async def answer(request, context):
        nonlocal calls
        if request.text:
            calls += 1
            if calls > 30:  # steps of 10 and 20 calls pass, that of 40 does not
                await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "full")
        return response()

    server.answer = answer
    status, figures = await load_json(
        server.target, "--find-rate", "--rate", "50", "--objective", "max<=60s", "--duration", "0.2", "--warm-up", "0",
        "--arrivals", "constant", "--precision", "1",
    )  # fmt: skip
    assert status == 0
    assert [(step["rate"], step["passed"]) for step in figures["steps"]] == [(50, True), (100, True), (200, False)]
    assert figures["found_rate"] == figures["rate"] == 100
    assert figures["steps"][-1]["error_share"] == 1


async def test_a_window_without_a_call_is_told(server, command):
    status, out, err = await command(
        "load", server.target, "--rate", "0.001", "--arrivals", "constant", "--warm-up", "0.1", "--duration", "0.1"
    )
    assert (status, out) == (1, "")
    assert "no call was due in the time that counts; raise --rate or --duration" in err


async def test_an_interrupt_reports_what_was_measured(server, tmp_path):
    some = asyncio.Event()

    async def answer(request, context):
        if len(server.requests) > 50:
            some.set()
        return response()

    server.answer = answer
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tanager", "load", server.target, "--duration", "600", "--warm-up", "0",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    await asyncio.wait_for(some.wait(), 60)
    process.send_signal(signal.SIGINT)
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 130, err
    assert b"Interrupted: " in out
    assert b"Traceback" not in err


async def test_a_second_interrupt_drops_what_is_in_flight(server):
    held = asyncio.Event()

    async def answer(request, context):
        if not request.text:
            return response()
        if len(server.requests) > 20:
            held.set()
            await asyncio.Event().wait()
        return response()

    server.answer = answer
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tanager", "load", server.target, "--duration", "600", "--warm-up", "0",
        "--timeout", "600", "--concurrency", "1", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    await asyncio.wait_for(held.wait(), 60)
    assert process.stderr is not None
    process.send_signal(signal.SIGINT)
    while b"Ctrl-C again" not in (line := await asyncio.wait_for(process.stderr.readline(), 60)):
        assert line
    process.send_signal(signal.SIGINT)
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 130, err
    assert b"1 call dropped without an answer" in out
    assert b"Traceback" not in err


def test_tls(serve, certs, capsys):
    pair = (certs / "server.key").read_bytes(), (certs / "server.pem").read_bytes()
    encrypted = serve(grpc.ssl_server_credentials([pair]))
    encrypted.on("Recommend", response())
    assert cli.main(["load", encrypted.target, *SHORT, "--ca-file", str(certs / "ca.pem")]) == 0
    assert "30 of 30 OK" in capsys.readouterr().out


def test_nothing_listens(capsys, tmp_path):
    requests = tmp_path / "requests.jsonl"
    requests.write_text("{}\n")
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        target = f"127.0.0.1:{unheard.getsockname()[1]}"
        for options in ([], ["--requests-file", str(requests)]):
            assert cli.main(["load", target, *options]) == 1
            captured = capsys.readouterr()
            assert captured.out == ""
            assert captured.err.startswith(f"tanager: error: load: {target} is unavailable: ")
            assert captured.err.count("\n") == 1


@pytest.mark.parametrize(
    ("argv", "status", "said"),
    [
        (["--rate", "x"], 2, "--rate"),
        (["localhost"], 2, "target must be host:port"),
        (["--json", "no/such/folder.json"], 2, "no/such/folder.json: No such file"),
        (["--requests-file", "missing.jsonl"], 2, "missing.jsonl: No such file"),
        (["--ca-file", "missing.pem", "--requests-file", "/dev/null"], 2, "holds no request"),
        (["--connections", "9999999", "--rate", "1"], 2, "--connections"),
    ],
)
def test_wrong_usage(capsys, argv, status, said):
    with pytest.raises(SystemExit) as ended:
        sys.exit(cli.main(["load", *argv]))
    assert ended.value.code == status
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert said in captured.err


def test_a_start_that_fails_leaves_no_files_of_its_own(capsys, tmp_path):
    new, old, empty = tmp_path / "new.json", tmp_path / "old.html", tmp_path / "empty.html"
    old.write_text("figures of another run")
    empty.touch()
    for report in (tmp_path / "new.html", old, empty, tmp_path / "no" / "folder.html"):
        argv = ["load", "--requests-file", "/dev/null", "--json", str(new), "--report", str(report)]
        assert cli.main(argv) == 2
        assert sorted(tmp_path.iterdir()) == [empty, old]
    assert old.read_text() == "figures of another run"
    assert capsys.readouterr().out == ""


def test_load_is_listed_among_the_commands(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    assert "load " in capsys.readouterr().out
