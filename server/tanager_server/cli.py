"""`tanager-server`: builds the settings, puts the parts together, serves until SIGTERM or Ctrl-C."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING

try:
    from tanager_server.bundle import open_bundle
    from tanager_server.engine import Engine
    from tanager_server.errors import ServerError
    from tanager_server.index import Generation
    from tanager_server.rpc import GrpcServer, check_address
    from tanager_server.runtime import Encoder, TextEncoder
    from tanager_server.settings import load_settings
    from tanager_server.telemetry import Metrics, configure_logging, serve_metrics
except ModuleNotFoundError as error:
    sys.exit(f"tanager-server needs {error.name}: pip install 'tanager[server]' (or 'tanager[server-gpu]')")

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tanager_server.settings import BatchingSettings, Settings

_log = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the server.

    Returns:
        The exit status: 0 after an orderly end, 1 if it could not start, 130 if it was interrupted before.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if "--version" in arguments:
        print(f"tanager-server {version('tanager')}")
        return 0
    try:
        settings = load_settings(arguments)
        configure_logging(level=settings.log.level, log_format=settings.log.format)
        # Loaded before there is an event loop to block: SIGTERM and Ctrl-C end it at once.
        asyncio.run(serve(load(settings), settings))
    except ServerError as error:
        print(f"tanager-server: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


@dataclass(frozen=True, slots=True)
class Loaded:
    """A bundle ready to be served."""

    generation: Generation
    encoder: Encoder
    probe_cosine: float
    began: float


def load(settings: Settings) -> Loaded:
    """Verifies the bundle, runs its probe, reads it and warms the encoder up.

    Raises:
        StartupError: the address is taken, the bundle is not whole or not fit for this machine, or its device cannot
            be had.
    """
    began = time.monotonic()
    check_address(settings.host, settings.port)
    bundle = open_bundle(settings.bundle)
    threads = settings.encoder.threads or max(1, len(os.sched_getaffinity(0)) - 1)
    encoder = Encoder.from_bundle(bundle, device=settings.encoder.device, threads=threads)
    probe_cosine = encoder.check_probe(bundle.read_probe())
    generation = Generation.load(bundle)
    _warm_up(encoder, settings.batching)
    return Loaded(generation, encoder, probe_cosine, began)


async def serve(loaded: Loaded, settings: Settings) -> None:
    """Listens; returns after SIGTERM or SIGINT and the drain.

    Raises:
        StartupError: a port cannot be bound.
    """
    generation, encoder = loaded.generation, loaded.encoder
    bundle_id = generation.manifest.bundle_id
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    metrics = Metrics() if settings.metrics.enabled else None
    with ExitStack() as stack:
        metrics_port = None
        if metrics is not None:
            metrics.set_bundle(bundle_id=bundle_id, items=len(generation.catalogue))
            metrics_port = stack.enter_context(
                serve_metrics(metrics, host=settings.metrics.host, port=settings.metrics.port)
            )
        async with TextEncoder(
            encoder, policy=settings.batching, observe=metrics.observe_batch if metrics else None
        ) as texts:
            server = GrpcServer(Engine(generation, texts), settings=settings, metrics=metrics)
            port = await server.start()
            _log.info(
                "listening",
                extra={
                    "host": settings.host,
                    "port": port,
                    "metrics_port": metrics_port,
                    "bundle_id": bundle_id,
                    "items": len(generation.catalogue),
                    "provider": encoder.provider,
                    "probe_cosine": round(loaded.probe_cosine, 6),
                    "startup_s": round(time.monotonic() - loaded.began, 3),
                },
            )
            await stop.wait()
            await server.drain()
    _log.info("stopped")


def _warm_up(encoder: Encoder, policy: BatchingSettings) -> None:
    """Runs batches from small to large, so that no first caller waits for memory to be laid out."""
    for count in (1, 8, policy.max_batch_size):
        length = max(1, min(16, policy.max_batch_tokens // count))
        encoder.encode([encoder.tokenize(["warm up"])[0][:length]] * count)
