"""Logs that machines can read, and metrics under the names that dashboards know."""

from __future__ import annotations

import json
import logging
import socket
import urllib.request
from datetime import datetime

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from tanager_server.errors import StartupError
from tanager_server.telemetry import Metrics, configure_logging, serve_metrics


@pytest.fixture
def root():
    """The root logger, put back as it was."""
    logger = logging.getLogger()
    handlers, level = logger.handlers[:], logger.level
    yield logger
    logger.handlers[:] = handlers
    logger.setLevel(level)


@pytest.fixture
def logged(root, capsys):
    """Logs something in a format and returns what came out on stderr."""

    def run(log, log_format="json", level="INFO"):
        configure_logging(level=level, log_format=log_format)
        log(logging.getLogger("tanager_server.calls"))
        captured = capsys.readouterr()
        assert captured.out == ""
        return captured.err

    return run


def test_a_line_is_one_json_object_with_all_that_was_told(logged):
    line = logged(lambda log: log.info("call", extra={"request_id": "7", "ms": 1.5, "code": "OK"}))
    assert line.count("\n") == 1
    record = json.loads(line)
    assert datetime.fromisoformat(record.pop("time")).tzinfo is not None
    assert record == {
        "level": "INFO",
        "logger": "tanager_server.calls",
        "message": "call",
        "request_id": "7",
        "ms": 1.5,
        "code": "OK",
    }


@pytest.mark.parametrize(
    "text", ["三体 👽", 'a "quote"', "two\nlines\r\n", "\x00\x1b[31m", "{not} %s a format", "\u2028"]
)
def test_no_text_breaks_a_line(logged, text):
    line = logged(lambda log: log.warning(text, extra={"title": text}))
    assert line.count("\n") == 1
    record = json.loads(line)
    assert record["message"] == record["title"] == text


def test_text_that_is_not_ascii_is_readable_as_it_is(logged):
    assert "三体" in logged(lambda log: log.info("三体"))


def test_an_exception_is_part_of_its_line(logged):
    def fail(log):
        try:
            raise ValueError("三体\nbroke")
        except ValueError:
            log.exception("unhandled error")

    line = logged(fail)
    assert line.count("\n") == 1
    record = json.loads(line)
    assert (record["level"], record["message"]) == ("ERROR", "unhandled error")
    assert "ValueError: 三体\nbroke" in record["exc_info"]
    assert "Traceback" in record["exc_info"]


def test_values_that_json_does_not_know_are_logged_all_the_same(logged):
    record = json.loads(logged(lambda log: log.info("x", extra={"path": object, "data": b"\xff", "set": {1}})))
    assert {"path", "data", "set"} <= set(record)


def test_text_for_people_holds_the_fields_too(logged):
    line = logged(lambda log: log.info("call", extra={"code": "OK", "request_id": "7"}), log_format="text")
    assert line.endswith("INFO tanager_server.calls: call code=OK request_id=7\n")


def test_text_for_people(logged):
    line = logged(lambda log: log.warning("三体"), log_format="text")
    assert line.endswith(" WARNING tanager_server.calls: 三体\n")


def test_what_is_less_severe_than_the_level_is_not_written(logged):
    assert logged(lambda log: log.info("x"), level="WARNING") == ""
    assert logged(lambda log: log.debug("x"), level="DEBUG") != ""


def test_configuring_twice_writes_every_line_once(logged, root):
    configure_logging(level="INFO", log_format="text")
    assert logged(lambda log: log.info("x")).count("\n") == 1
    assert len(root.handlers) == 1


# Metrics


def samples(exposition):
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(exposition)
        for sample in family.samples
    }


def test_what_was_observed_is_told_under_the_documented_names():
    metrics = Metrics()
    metrics.observe_call(method="/tanager.v1.X/Y", code="OK", seconds=0.004)
    metrics.observe_call(method="/tanager.v1.X/Y", code="OK", seconds=0.004)
    metrics.observe_call(method="/tanager.v1.X/Y", code="INTERNAL", seconds=20)
    metrics.observe_batch(size=3, tokens=10, padded_tokens=12, encode_s=0.002)
    metrics.watch(calls_in_flight=lambda: 5, queue_depth=lambda: 6)
    metrics.set_bundle(bundle_id="old", items=1)
    metrics.set_bundle(bundle_id="new", items=120)
    found = samples(generate_latest(metrics.registry).decode())
    answered = (("code", "OK"), ("method", "/tanager.v1.X/Y"))
    assert found["tanager_call_seconds_count", answered] == 2
    assert found["tanager_call_seconds_sum", answered] == pytest.approx(0.008)
    assert found["tanager_call_seconds_count", (("code", "INTERNAL"), ("method", "/tanager.v1.X/Y"))] == 1
    expected = {
        "tanager_calls_in_flight": 5,
        "tanager_queue_texts": 6,
        "tanager_batch_texts_count": 1,
        "tanager_batch_texts_sum": 3,
        "tanager_batch_encode_seconds_sum": 0.002,
        "tanager_batch_tokens_total": 10,
        "tanager_batch_padding_tokens_total": 2,
    }
    assert {name: found[name, ()] for name in expected} == expected
    assert [key for key in found if key[0] == "tanager_bundle_items"] == [
        ("tanager_bundle_items", (("bundle_id", "new"),))
    ]
    assert any(name.startswith("process_") for name, _ in found)


def test_the_queue_is_read_at_every_scrape():
    metrics, depth = Metrics(), [1]
    metrics.watch(calls_in_flight=lambda: 0, queue_depth=lambda: depth[0])
    for depth[0] in (4, 9):
        assert samples(generate_latest(metrics.registry).decode())["tanager_queue_texts", ()] == depth[0]


def test_two_servers_in_one_process_count_apart():
    one, other = Metrics(), Metrics()
    one.observe_batch(size=1, tokens=1, padded_tokens=1, encode_s=0)
    assert samples(generate_latest(other.registry).decode())["tanager_batch_texts_count", ()] == 0


def test_metrics_are_served_over_http_and_the_port_is_free_again_afterwards():
    with serve_metrics(Metrics(), host="127.0.0.1", port=0) as port:
        response = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics")
        with response:
            assert "tanager_queue_texts" in response.read().decode()
    with serve_metrics(Metrics(), host="127.0.0.1", port=port) as again:
        assert again == port


def test_a_port_in_use_is_named_with_the_mend():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(
                StartupError, match=rf"metrics\.port: cannot listen on 127\.0\.0\.1:{port}: .*metrics\.enabled"
            ),
            serve_metrics(Metrics(), host="127.0.0.1", port=port),
        ):
            pass


def test_an_address_that_is_not_this_machines_is_named():
    with (
        pytest.raises(StartupError, match=r"metrics\.port: cannot listen on 192\.0\.2\.1:0"),
        serve_metrics(Metrics(), host="192.0.2.1", port=0),
    ):
        pass
