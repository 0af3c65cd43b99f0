"""`tanager-server`: builds the settings, puts the parts together, serves until SIGTERM or Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import logging
import os
import signal
import sys
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING

# NumPy's OpenBLAS reads this when it is loaded. Its threads spin for a while after each product, on the cores that
# encode; the server's own products are small, and searches run beside batches in any case.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

try:
    from tanager_server.bundle import Shelf, open_bundle
    from tanager_server.engine import ExplorationPolicy, KnownUsers
    from tanager_server.errors import ServerError
    from tanager_server.index import Generation
    from tanager_server.live import (
        Activator,
        Impressions,
        Indexer,
        Lineage,
        Live,
        Opened,
        Opener,
        Served,
        TrialPlan,
        remove_leftovers,
        rows_for,
    )
    from tanager_server.rpc import GrpcServer, check_address
    from tanager_server.runtime import Calibration, Encoder, SequenceHead, batch_policy, calibrate
    from tanager_server.settings import load_settings
    from tanager_server.state import Journal, JournalPolicy, SqliteStore
    from tanager_server.state.trends import Trends
    from tanager_server.telemetry import LiveReadings, Metrics, configure_logging, serve_metrics
except ImportError as error:
    if (error.name or "").startswith("tanager_server"):  # the client is installed without a compiler too
        sys.exit(
            "tanager-server was installed without its compiled parts: install a C++17 compiler (apt install g++), "
            "then pip install --force-reinstall --no-cache-dir 'tanager[server]'"
        )
    sys.exit(f"tanager-server needs {error.name}: pip install 'tanager[server]' (or 'tanager[server-gpu]')")

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from tanager_server.settings import Settings

_log = logging.getLogger(__name__)

# Calls make few cycles; to look for them every 700 objects costs 4 % of the event loop's time.
_GC_THRESHOLDS = (10_000, 20, 20)


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

    opened: Opened
    calibration: Calibration
    shelf: Shelf
    lineage: Lineage
    trial: TrialPlan | None
    store: SqliteStore | None
    began: float


def load(settings: Settings) -> Loaded:
    """Verifies the bundle, runs its probe, reads it, and measures how to run the encoder on this machine.

    Raises:
        StartupError: the address is taken, the bundle is not whole or not fit for this machine, or its device cannot
            be had.
    """
    began = time.monotonic()
    check_address(settings.host, settings.port)
    shelf, lineage, trial, store = Shelf(settings.bundle, settings.bundles), Lineage(), None, None
    shelf.check()
    if settings.state is not None:
        store = SqliteStore(settings.state, survives=settings.storage.survives)
        remove_leftovers(settings.state)
        lineage, trial = _lineage(store, settings)
    bundle = open_bundle(lineage.path(shelf))

    @functools.lru_cache(maxsize=1)
    def open_encoder(threads: int) -> Encoder:
        return Encoder.from_bundle(bundle, device=settings.encoder.device, threads=threads)

    probe_cosine = open_encoder(settings.encoder.threads or 1).check_probe(bundle.read_probe())
    generation = Generation.load(bundle)
    if store is not None:
        with store.load() as snapshot:
            written = sum(1 for _ in snapshot.items())
        generation = generation.with_room(rows_for(len(generation.catalogue) + written))
    encoder, calibration = calibrate(open_encoder, encoder=settings.encoder, batching=settings.batching)
    opened = Opened(generation, encoder, SequenceHead.from_bundle(bundle), probe_cosine)
    return Loaded(opened, calibration, shelf, lineage, trial, store, began)


def _lineage(store: SqliteStore, settings: Settings) -> tuple[Lineage, TrialPlan | None]:
    """Which bundle was activated last, and which one is being tried."""
    with store.load() as snapshot:
        meta = snapshot.meta()
    lineage, trial = Lineage.of_meta(meta), TrialPlan.of_meta(meta)
    if lineage.active and settings.bundles is None:
        _log.warning(
            "the bundle that was activated last is not served, for `bundles` is not given",
            extra={"activated": lineage.active, "bundle": str(settings.bundle)},
        )
        return Lineage(), None
    return lineage, trial


async def serve(loaded: Loaded, settings: Settings) -> None:
    """Listens; returns after SIGTERM or SIGINT and the drain.

    Raises:
        StartupError: a port cannot be bound.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    metrics = Metrics() if settings.metrics.enabled else None
    async with AsyncExitStack() as stack:
        metrics_port = None
        if metrics is not None:
            metrics_port = stack.enter_context(
                serve_metrics(metrics, host=settings.metrics.host, port=settings.metrics.port)
            )
        server, listening = await stack.enter_async_context(_server(loaded, settings, metrics))
        del loaded  # what it holds is given back when another bundle is served
        port = await server.start()
        listening |= {"host": settings.host, "port": port, "metrics_port": metrics_port}
        _settle_memory()
        _log.info("listening", extra=listening)
        await stop.wait()
        await server.drain()
    _log.info("stopped")


@contextlib.asynccontextmanager
async def _server(
    loaded: Loaded, settings: Settings, metrics: Metrics | None
) -> AsyncIterator[tuple[GrpcServer, dict[str, object]]]:
    """All parts put together, and what is to be told of them."""
    opened, calibration, store = loaded.opened, loaded.calibration, loaded.store
    generation = opened.generation
    if metrics is not None:
        metrics.set_bundle(bundle_id=generation.manifest.bundle_id, items=len(generation.catalogue))
    lot = settings.exploration
    opener = Opener(
        device=settings.encoder.device,
        calibration=calibration,
        policy=batch_policy(settings.batching, calibration),
        cache_bytes=int(settings.cache.max_mb * 1e6),
        observe=metrics,
        exploration=ExplorationPolicy(lot.share, lot.keep_first, lot.candidates, lot.new_items),
    )
    known, trends = KnownUsers(generation.catalogue), Trends(settings.trends.half_lives_h)
    served = Served(opener.engine(opened, known=known, trends=trends))
    async with AsyncExitStack() as stack:
        stack.push_async_callback(served.close)
        live = None
        if store is not None:
            live = await stack.enter_async_context(_live(served, opened, store, settings, metrics))
        activator = Activator(
            served,
            loaded.shelf,
            opener,
            lineage=loaded.lineage,
            live=live,
            store=store,
            directory=settings.state,
            observe=None if metrics is None else metrics.live,
        )
        stack.push_async_callback(activator.close)
        trial = loaded.trial
        server = GrpcServer(
            served, settings=settings, calibration=calibration, metrics=metrics, activator=activator, live=live
        )
        told: dict[str, object] = {
            "bundle_id": generation.manifest.bundle_id,
            "items": len(generation.catalogue),
            "provider": opened.encoder.provider,
            "encoder_threads": calibration.threads,
            "encoder_workers": calibration.workers,
            "max_batch_tokens": calibration.max_batch_tokens,
            "batch_cost_tokens": calibration.batch_cost_tokens,
            "calibration_s": round(calibration.took_s, 3),
            "probe_cosine": round(opened.probe_cosine, 6),
            "startup_s": round(time.monotonic() - loaded.began, 3),
        }
        del loaded, opened, generation, known  # as in `serve`
        if trial is not None:
            await activator.resume_trial(trial)
        yield server, told


@contextlib.asynccontextmanager
async def _live(
    served: Served, opened: Opened, store: SqliteStore, settings: Settings, metrics: Metrics | None
) -> AsyncIterator[Live]:
    """What is stored, in the engine, and what writes to it."""
    assert settings.state is not None
    logged = settings.impressions
    live = Live(served, store, Impressions(store, share=logged.share, keep_days=logged.keep_days))
    with store.load() as snapshot:
        live.load(snapshot, opened.encoder.encode_texts)
    observe = None if metrics is None else metrics.live
    indexer = Indexer(served.engine, opened.sequence, settings.state, observe)
    del opened
    policy = JournalPolicy(max_rows=settings.storage.max_waiting_rows)
    async with Journal(store, apply=live.apply, policy=policy, observe=observe) as journal:
        if observe is not None:
            observe.watch(_readings(served, live, journal, store))
        live.begin(journal, indexer)
        del indexer
        yield live
        await live.impressions.close()
    await live.close()
    store.close()


def _readings(served: Served, live: Live, journal: Journal, store: SqliteStore) -> LiveReadings:
    """Whole numbers all, read by another thread than the one that changes them."""
    return LiveReadings(
        waiting_rows=lambda: journal.rows,
        posted_rows=lambda: journal.posted_rows,
        sequence_number=lambda: live.seq,
        users=lambda: len(served.engine.known.users),
        events=lambda: live.event_count,
        items=lambda: len(served.engine.generation.catalogue),
        file_bytes=lambda: store.file_bytes,
        log_bytes=lambda: store.log_bytes,
        room_items=lambda: served.engine.items.room,
    )


def _settle_memory() -> None:
    """Keeps the garbage collector from walking the catalogue over and over, for the time of serving."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
