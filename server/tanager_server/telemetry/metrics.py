"""Prometheus metrics, served over HTTP on a port of their own."""

from __future__ import annotations

import functools
from contextlib import contextmanager
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from tanager_server.errors import StartupError
from tanager_server.telemetry.call_seconds import CallSeconds
from tanager_server.telemetry.live_metrics import LiveMetrics
from tanager_server.telemetry.trial_counts import TrialCollector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tanager_server.telemetry.trial_counts import TrialRow

_SECONDS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_TEXTS = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """All that the server counts, in a registry of its own.

    Attributes:
        live: what is told of writes, the index and activations.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._calls = CallSeconds(
            "tanager_call_seconds",
            "Time from receipt of a call until its answer, by method and gRPC status.",
            bounds=_SECONDS,
        )
        self.registry.register(self._calls)
        self.live = LiveMetrics(self.registry)
        self._in_flight = Gauge("tanager_calls_in_flight", "Calls being answered.", registry=self.registry)
        self._batch_size = Histogram("tanager_batch_texts", "Texts in a batch.", buckets=_TEXTS, registry=self.registry)
        self._batch_seconds = Histogram(
            "tanager_batch_seconds",
            "Time to encode a batch and to search for it.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._failed_batches = Counter(
            "tanager_failed_batches", "Batches that failed, or did not come back.", ["cause"], registry=self.registry
        )
        self._tokens = Counter("tanager_batch_tokens", "Tokens encoded, padding left out.", registry=self.registry)
        self._padding = Counter("tanager_batch_padding_tokens", "Padding encoded.", registry=self.registry)
        self._wasted = Counter(
            "tanager_wasted_texts", "Texts that were encoded when nobody waited any more.", registry=self.registry
        )
        self._shed = Counter(
            "tanager_shed",
            "Calls and texts that were refused or dropped, by reason.",
            ["reason"],
            registry=self.registry,
        )
        self._degraded = Counter(
            "tanager_degraded_answers",
            "Answers without what there was no time or no room to encode, by strategy.",
            ["strategy"],
            registry=self.registry,
        )
        self._cache = Counter(
            "tanager_cache_lookups", "Look-ups in the cache of wishes.", ["result"], registry=self.registry
        )
        self._cache_hit, self._cache_miss = self._cache.labels("hit"), self._cache.labels("miss")
        self._queue_depth = Gauge("tanager_queue_texts", "Texts that wait to be encoded.", registry=self.registry)
        self._loop_lag = Histogram(
            "tanager_event_loop_lag_seconds",
            "How late the event loop comes to what is due.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._bundle = Gauge(
            "tanager_bundle_items", "Items of the served bundle.", ["bundle_id"], registry=self.registry
        )
        # `labels` looks a child up under a lock at each call; there are few children.
        self._shed_child = functools.cache(self._shed.labels)

    def observe_call(self, *, method: str, code: str, seconds: float) -> None:
        """A call was answered."""
        self._calls.observe(method, code, seconds)

    def observe_batch(self, *, size: int, tokens: int, padded_tokens: int, seconds: float, wasted: int) -> None:
        """A batch was encoded; for `wasted` of its texts nobody waited any more."""
        self._batch_size.observe(size)
        self._batch_seconds.observe(seconds)
        self._tokens.inc(tokens)
        self._padding.inc(padded_tokens - tokens)
        self._wasted.inc(wasted)

    def observe_failed_batch(self, *, stuck: bool) -> None:
        """A batch failed, or did not come back."""
        self._failed_batches.labels("stuck" if stuck else "error").inc()

    def observe_shed(self, reason: str) -> None:
        """A call or a text was refused or dropped."""
        self._shed_child(reason).inc()

    def observe_degraded(self, strategy: str) -> None:
        """A call was answered without what it asked for in words."""
        self._degraded.labels(strategy).inc()

    def observe_cache(self, hit: bool) -> None:
        """A wish was looked up in the cache."""
        (self._cache_hit if hit else self._cache_miss).inc()

    def observe_loop_lag(self, seconds: float) -> None:
        """The event loop came so late to what was due."""
        self._loop_lag.observe(seconds)

    def watch(self, *, calls_in_flight: Callable[[], int], queue_depth: Callable[[], int]) -> None:
        """Reads these two at each scrape."""
        self._in_flight.set_function(calls_in_flight)
        self._queue_depth.set_function(queue_depth)

    def watch_trial(self, trial: Callable[[], TrialRow | None]) -> None:
        """Reads the trial under way at each scrape."""
        self.registry.register(TrialCollector(trial))

    def set_bundle(self, *, bundle_id: str, items: int) -> None:
        """This bundle is being served."""
        self._bundle.clear()
        self._bundle.labels(bundle_id).set(items)


@contextmanager
def serve_metrics(metrics: Metrics, *, host: str, port: int) -> Iterator[int]:
    """Serves `/metrics` from a thread for the time of the context.

    Args:
        metrics: what to serve.
        host: address to bind.
        port: 0 takes a free one.

    Yields:
        The port.

    Raises:
        StartupError: the port cannot be bound.
    """
    try:
        server, thread = start_http_server(port, addr=host, registry=metrics.registry)
    except OSError as error:
        raise StartupError(
            f"metrics.port: cannot listen on {host}:{port}: {error.strerror}; choose another, or metrics.enabled=false"
        ) from error
    try:
        yield int(server.server_port)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
