"""Metrics under the names that dashboards know."""

from __future__ import annotations

import socket
import urllib.request

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from tanager_server.errors import StartupError
from tanager_server.telemetry import Metrics, serve_metrics


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
    metrics.observe_batch(size=3, tokens=10, padded_tokens=12, seconds=0.002, wasted=1)
    for stuck in (True, False, False):
        metrics.observe_failed_batch(stuck=stuck)
    for reason in ("backlog", "late", "backlog"):
        metrics.observe_shed(reason)
    for hit in (True, True, False):
        metrics.observe_cache(hit)
    metrics.observe_loop_lag(0.003)
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
        "tanager_batch_seconds_sum": 0.002,
        "tanager_wasted_texts_total": 1,
        "tanager_event_loop_lag_seconds_count": 1,
        "tanager_event_loop_lag_seconds_sum": 0.003,
        "tanager_batch_tokens_total": 10,
        "tanager_batch_padding_tokens_total": 2,
    }
    assert {name: found[name, ()] for name in expected} == expected
    by_label = {
        ("tanager_failed_batches_total", "cause", "stuck"): 1,
        ("tanager_failed_batches_total", "cause", "error"): 2,
        ("tanager_shed_total", "reason", "backlog"): 2,
        ("tanager_shed_total", "reason", "late"): 1,
        ("tanager_cache_lookups_total", "result", "hit"): 2,
        ("tanager_cache_lookups_total", "result", "miss"): 1,
    }
    assert {key: found[key[0], ((key[1], key[2]),)] for key in by_label} == by_label
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
    one.observe_batch(size=1, tokens=1, padded_tokens=1, seconds=0, wasted=0)
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
