"""Metrics under the names that dashboards know."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import urllib.request

import pytest
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from tanager_server.errors import (
    StartupError,
    StorageCorruptError,
    StorageError,
    StorageFullError,
    StorageReadOnlyError,
)
from tanager_server.telemetry import LiveReadings, Metrics, serve_metrics
from tanager_server.telemetry.call_seconds import CallSeconds


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


BOUNDS = (0.001, 0.01, 0.5, 1.0, 10.0)
CALLS = [
    ("/tanager.v1.X/Y", "OK", 0.0),
    ("/tanager.v1.X/Y", "OK", 0.001),
    ("/tanager.v1.X/Y", "OK", 0.0010001),
    ("/tanager.v1.X/Y", "OK", 10.0),
    ("/tanager.v1.X/Y", "NOT_FOUND", 11.0),
    ("/tanager.v1.X/Z", "OK", 0.25),
]


def scrape(collector):
    """What a scrape gets of a collector."""
    registry = CollectorRegistry()
    registry.register(collector)
    return generate_latest(registry).decode()


def exposition(collector):
    """The same, without the moments at which its series began."""
    lines = scrape(collector).splitlines()
    return [line.rpartition(" ")[0] if "_created{" in line else line for line in lines]


@pytest.mark.parametrize("count", [0, 1, len(CALLS)])
def test_calls_are_told_just_as_the_librarys_own_histogram_would(count):
    usual = Histogram("x_seconds", "Help.", ["method", "code"], buckets=BOUNDS, registry=None)
    ours = CallSeconds("x_seconds", "Help.", bounds=BOUNDS)
    for method, code, seconds in CALLS[:count]:
        usual.labels(method, code).observe(seconds)
        ours.observe(method, code, seconds)
    assert exposition(ours) == exposition(usual)


def test_when_a_series_began_is_not_told_where_it_is_turned_off():
    program = (
        "from prometheus_client import generate_latest; from tanager_server.telemetry import Metrics; m = Metrics(); "
        "m.observe_call(method='m', code='OK', seconds=1); print(generate_latest(m.registry).decode())"
    )
    for off in (False, True):
        environment = os.environ | {"PROMETHEUS_DISABLE_CREATED_SERIES": str(off)}
        ended = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=True)
        assert b"tanager_call_seconds_count" in ended.stdout
        assert (b"tanager_call_seconds_created" in ended.stdout) is not off


def test_a_scrape_while_calls_are_counted_misses_none_that_were_before():
    ours, done = CallSeconds("x_seconds", "Help.", bounds=BOUNDS), threading.Event()
    counts: list[float] = []

    def count():
        return sum(value for (name, _), value in samples(scrape(ours)).items() if name == "x_seconds_count")

    def scrape_on():
        while not done.is_set():
            counts.append(count())

    scraper = threading.Thread(target=scrape_on)
    scraper.start()
    for number in range(20_000):
        ours.observe("m", str(number % 50), number % 12)
    done.set()
    scraper.join()
    assert count() == 20_000
    assert counts == sorted(counts)


def test_a_name_is_not_given_twice():
    registry = CollectorRegistry()
    registry.register(CallSeconds("x_seconds", "Help.", bounds=BOUNDS))
    with pytest.raises(ValueError, match="Duplicated"):
        Histogram("x_seconds", "Help.", registry=registry)


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


def test_what_is_written_indexed_and_activated_is_told_under_the_documented_names():
    metrics = Metrics()
    for writes, seconds in ((1, 0.0015), (3, 0.004)):
        metrics.live.observe_commit(writes=writes, rows=100 * writes, seconds=seconds)
    failures = (StorageFullError("x"), StorageReadOnlyError("x"), StorageCorruptError("x"), StorageError("x"))
    for error in (*failures, OverflowError("x"), StorageFullError("x")):
        metrics.live.observe_failed_commit(error)
    metrics.live.observe_dropped(7)
    metrics.live.set_unindexed(33)
    metrics.live.observe_index(2.0)
    metrics.live.observe_failed_index()
    for outcome in ("activated", "failed", "activated"):
        metrics.live.observe_activation(outcome, 3.0)
    found = samples(generate_latest(metrics.registry).decode())
    expected = {
        ("tanager_commit_writes_count", ()): 2,
        ("tanager_commit_writes_sum", ()): 4,
        ("tanager_commit_writes_bucket", (("le", "2.0"),)): 1,
        ("tanager_commit_seconds_sum", ()): pytest.approx(0.0055),
        ("tanager_committed_rows_total", ()): 400,
        ("tanager_failed_commits_total", (("cause", "full"),)): 2,
        ("tanager_failed_commits_total", (("cause", "read_only"),)): 1,
        ("tanager_failed_commits_total", (("cause", "corrupt"),)): 1,
        ("tanager_failed_commits_total", (("cause", "disk"),)): 1,
        ("tanager_failed_commits_total", (("cause", "refused"),)): 1,
        ("tanager_dropped_rows_total", ()): 7,
        ("tanager_index_unindexed_items", ()): 33,
        ("tanager_index_seconds_sum", ()): 2,
        ("tanager_failed_indexes_total", ()): 1,
        ("tanager_activation_seconds_count", (("outcome", "activated"),)): 2,
        ("tanager_activation_seconds_count", (("outcome", "failed"),)): 1,
        ("tanager_activation_seconds_sum", (("outcome", "activated"),)): 6,
    }
    assert {key: found[key] for key in expected} == expected


def test_a_failure_is_counted_from_0_on():
    found = samples(generate_latest(Metrics().registry).decode())
    causes = {labels[0][1]: value for (name, labels), value in found.items() if name == "tanager_failed_commits_total"}
    assert causes == dict.fromkeys(("full", "read_only", "corrupt", "disk", "refused"), 0)


def test_a_state_is_read_at_every_scrape_where_there_is_one():
    metrics, now = Metrics(), dict.fromkeys(LiveReadings._fields, 0)
    assert not any(name.startswith("tanager_state_") for name, _ in samples(generate_latest(metrics.registry).decode()))
    metrics.live.watch(LiveReadings(*((lambda field=field: now[field]) for field in LiveReadings._fields)))
    for first in (10, 20):
        now |= {field: first + place for place, field in enumerate(LiveReadings._fields)}
        found = samples(generate_latest(metrics.registry).decode())
        names = (
            "tanager_journal_waiting_rows",
            "tanager_journal_posted_rows",
            "tanager_state_sequence_number",
            "tanager_state_users",
            "tanager_state_events",
            "tanager_state_items",
            "tanager_state_file_bytes",
            "tanager_state_log_bytes",
            "tanager_index_room_items",
        )
        assert [found[name, ()] for name in names] == list(range(first, first + len(names)))
