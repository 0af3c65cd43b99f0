"""The gRPC server: services, health, reflection, options, and an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from tanager.v1 import (
    catalog_pb2,
    catalog_pb2_grpc,
    embedding_pb2,
    embedding_pb2_grpc,
    event_pb2,
    event_pb2_grpc,
    model_pb2,
    model_pb2_grpc,
    recommendation_pb2,
    recommendation_pb2_grpc,
    user_pb2,
    user_pb2_grpc,
)
from tanager_server.errors import ServerError, StartupError
from tanager_server.rpc import health
from tanager_server.rpc.interceptor import CallInterceptor
from tanager_server.rpc.model_servicer import ModelServicer
from tanager_server.rpc.servicers import EmbeddingServicer, RecommendationServicer
from tanager_server.rpc.trials import trial_row
from tanager_server.rpc.write_servicers import CatalogServicer, EventServicer, UserServicer

if TYPE_CHECKING:
    from tanager_server.engine import Engine
    from tanager_server.live import Activator, Live, Served
    from tanager_server.runtime import Calibration
    from tanager_server.settings import LimitSettings, Settings, TlsSettings
    from tanager_server.telemetry import Metrics

_log = logging.getLogger(__name__)

# How long new calls are held before the port is closed, so that none waits inside gRPC then; and time for word of it to
# leave before they are refused.
_HOLD_S = 0.25
_GOAWAY_S = 0.02
# Time for the last answers to leave.
_FLUSH_S = 1.0
_MAX_PENDING = 1 << 20
# gRPC for asyncio takes one new call at a time, which needs a turn of its poller's thread and two or three of the event
# loop: on a busy machine some thousand a second, while the rest waits where no admission sees it. Several listeners on
# one port, among which the kernel spreads the connections, take as many at a time.
_LISTENERS = 4
# How often the event loop's lag is measured and the encoder's health looked at.
_WATCH_S = 0.1
# How often items that are scored one by one are counted, for the metrics: it takes 0.2 ms for a million items.
_COUNT_S = 1.0
# While the encoder does not come back, a text of the server's own asks for it at such intervals.
_TRY_PAUSE_S = 1.0
_TRY_TEXT = "Does the encoder answer again?"

SERVICES = tuple(
    file.DESCRIPTOR.services_by_name[name].full_name
    for file, name in (
        (recommendation_pb2, "RecommendationService"),
        (embedding_pb2, "EmbeddingService"),
        (model_pb2, "ModelService"),
        (catalog_pb2, "CatalogService"),
        (user_pb2, "UserService"),
        (event_pb2, "EventService"),
    )
)


class GrpcServer:
    """Serves what answers calls.

    Args:
        served: what does.
        settings: address, limits, TLS and shutdown.
        calibration: how its encoder runs.
        metrics: what counts the calls; None for none.
        activator: serves other bundles.
        live: what is written to the engine; None for a server without state.
    """

    def __init__(
        self,
        served: Served,
        *,
        settings: Settings,
        calibration: Calibration,
        metrics: Metrics | None,
        activator: Activator,
        live: Live | None = None,
    ) -> None:
        self._settings = settings
        self._interceptor = CallInterceptor(
            max_calls=settings.limits.max_calls,
            default_deadline_s=settings.limits.default_deadline_s,
            metrics=metrics,
            log_calls=settings.log.calls,
        )
        if metrics is not None:
            metrics.watch(
                calls_in_flight=lambda: self._interceptor.calls_in_flight, queue_depth=lambda: served.engine.queue_depth
            )
            metrics.watch_trial(lambda: trial_row(served.engine, served.trial))
        self._served, self._metrics = served, metrics
        served.watch(self)
        served.end_calls_by(self._interceptor.calls_end)
        self._watch: asyncio.Task[None] | None = None
        self._health = health.HealthServicer(SERVICES)
        started = datetime.now(UTC)
        recommendation, embedding = RecommendationServicer(served, live, metrics), EmbeddingServicer(served)
        model = ModelServicer(
            served, activator, calibration=calibration, started=started, live=live, backups=settings.backups
        )
        catalog, users = CatalogServicer(served, live), UserServicer(served, live)
        events = EventServicer(live, weights=settings.events.weights)
        self._servers: list[grpc.aio.Server] = []
        for _ in range(_LISTENERS):
            server = grpc.aio.server(interceptors=[self._interceptor], options=_options(settings.limits))
            recommendation_pb2_grpc.add_RecommendationServiceServicer_to_server(recommendation, server)
            embedding_pb2_grpc.add_EmbeddingServiceServicer_to_server(embedding, server)
            model_pb2_grpc.add_ModelServiceServicer_to_server(model, server)
            catalog_pb2_grpc.add_CatalogServiceServicer_to_server(catalog, server)
            user_pb2_grpc.add_UserServiceServicer_to_server(users, server)
            event_pb2_grpc.add_EventServiceServicer_to_server(events, server)
            health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
            reflection.enable_server_reflection((*SERVICES, health.SERVICE, reflection.SERVICE_NAME), server)
            self._servers.append(server)

    @property
    def _engine(self) -> Engine:
        return self._served.engine

    def prepare(self, engine: Engine) -> None:
        """See `Watcher`: nothing is."""

    def swapped(self, engine: Engine) -> None:
        """See `Watcher`."""
        if self._metrics is not None:
            generation = engine.generation
            self._metrics.set_bundle(bundle_id=generation.manifest.bundle_id, items=len(generation.catalogue))

    def retired(self, engine: Engine) -> None:
        """See `Watcher`: nothing is kept."""

    async def start(self) -> int:
        """Binds, listens and tells SERVING.

        Returns:
            The port.

        Raises:
            StartupError: the address cannot be bound, or a TLS file cannot be read.
        """
        port = self._listen()
        for server in self._servers:
            await server.start()
        await self._health.serve()
        self._watch = asyncio.create_task(self._keep_watch(), name="watch")
        return port

    def _listen(self) -> int:
        settings = self._settings
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        credentials = _credentials(settings.tls)
        # Listeners that share a port share it with any other process that asks for it: none may have it before.
        check_address(settings.host, settings.port)
        port = settings.port
        for server in self._servers:
            address = f"{host}:{port}"
            try:
                if credentials is None:
                    port = server.add_insecure_port(address)
                else:
                    port = server.add_secure_port(address, credentials)
            except RuntimeError as error:
                cause = "the port was taken just now" if credentials is None else "tls: no usable certificate and key"
                raise StartupError(f"cannot listen on {address}: {cause} ({error})") from error
        return port

    async def drain(self) -> None:
        """Tells NOT_SERVING, serves on for the drain delay, then refuses new calls and lets those in flight finish.

        New calls are refused before the port is closed, and the last of them are told so when their connection is told
        to go: otherwise their callers would call again, and a call that waits inside gRPC when the port is closed is
        answered CANCELLED, which nobody may retry.
        """
        shutdown = self._settings.shutdown
        if self._watch is not None:
            self._watch.cancel()
        await self._health.drain()
        _log.info("draining", extra={"calls_in_flight": self._interceptor.calls_in_flight})
        await asyncio.sleep(shutdown.drain_delay_s)
        await self._interceptor.refuse_new_calls(grace_s=shutdown.grace_s)
        self._interceptor.hold_refusals()
        await asyncio.sleep(_HOLD_S)
        await self._health.close()
        # What is still open are streams: reflection, or calls whose request never came.
        stops = [asyncio.create_task(server.stop(_FLUSH_S)) for server in self._servers]
        await asyncio.sleep(_GOAWAY_S)
        self._interceptor.release_refusals()
        _, unfinished = await asyncio.wait(stops, timeout=2 * _FLUSH_S)
        if unfinished:  # gRPC waits for them without end
            _log.warning("clients that do not read their answers are cut off")

    async def _keep_watch(self) -> None:
        """Measures how late the event loop is, and tells NOT_SERVING while the encoder does not come back.

        One that is being tried does not come into that: while it is stuck, the served one answers its users.
        """
        loop = asyncio.get_running_loop()
        told_stuck, count_at = False, 0.0
        asked: dict[Engine, asyncio.Task[None]] = {}
        try:
            while True:
                due = loop.time() + _WATCH_S
                await asyncio.sleep(_WATCH_S)
                if self._metrics is not None:
                    self._metrics.observe_loop_lag(max(0.0, loop.time() - due))
                    if loop.time() >= count_at:
                        count_at = loop.time() + _COUNT_S
                        self._metrics.live.set_unindexed(self._engine.items.unindexed)
                if self._engine.stuck != told_stuck:
                    told_stuck = self._engine.stuck
                    await (self._health.drain() if told_stuck else self._health.serve())
                    _log.error("the encoder is stuck") if told_stuck else _log.warning("the encoder answers again")
                asked = {engine: task for engine, task in asked.items() if not task.done()}
                for engine in self._served.engines:
                    if engine.stuck and engine not in asked:
                        asked[engine] = asyncio.create_task(self._try_encoder(engine), name="try-encoder")
        finally:
            for task in asked.values():
                task.cancel()

    async def _try_encoder(self, engine: Engine) -> None:
        """Has a text encoded: callers who heed NOT_SERVING bring none by which the encoder could show that it is well.

        A batch that succeeds ends `stuck`; one that does not was told of by the batcher.
        """
        await asyncio.sleep(_TRY_PAUSE_S)
        with contextlib.suppress(ServerError):
            timeout_s = self._settings.batching.stuck_after_s + _TRY_PAUSE_S
            await engine.embed([_TRY_TEXT], deadline=engine.deadline(timeout_s))


def check_address(host: str, port: int) -> None:
    """Binds the addresses of a host and lets go again: gRPC neither says why it cannot, nor minds that one is taken.

    Raises:
        StartupError: the host has no address of this machine, or the port is taken on one of them.
    """
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise StartupError(f"host: {host!r} is no address: {error.strerror}") from error
    failures = [found for address in addresses if (found := _bind(address)) is not None]
    for failure in failures:
        if failure.errno == errno.EADDRINUSE or len(failures) == len(addresses):
            field = "port" if failure.errno in (errno.EADDRINUSE, errno.EACCES) else "host"
            raise StartupError(f"{field}: cannot listen on {host}:{port}: {failure.strerror}; choose another")


def _bind(address: tuple[socket.AddressFamily, socket.SocketKind, int, str, Any]) -> OSError | None:
    family, kind, protocol, _, name = address
    try:
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind(name)
            probe.listen()
    except OSError as error:
        return error
    return None


def _options(limits: LimitSettings) -> list[tuple[str, int]]:
    return [
        # For this process's own listeners; `check_address` sees to it that no other process listens there.
        ("grpc.so_reuseport", 1),
        # gRPC would answer CANCELLED to calls that wait for this process to take them; admission is the interceptor's.
        ("grpc.server.max_pending_requests", _MAX_PENDING),
        ("grpc.server.max_pending_requests_hard_limit", _MAX_PENDING),
        ("grpc.max_receive_message_length", limits.max_message_bytes),
        ("grpc.max_send_message_length", limits.max_message_bytes),
        # Clients may ping every ten seconds, idle ones too; gRPC's default would disconnect them for it.
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        # Who has gone without a word, or does not read, would hold answers until the connection is too old.
        ("grpc.keepalive_time_ms", int(limits.keepalive_s * 1000)),
        ("grpc.keepalive_timeout_ms", int(limits.keepalive_s * 1000)),
        ("grpc.http2.max_pings_without_data", 0),
        # Clients resolve again now and then, and so find servers that were added.
        ("grpc.max_connection_age_ms", int(limits.max_connection_age_s * 1000)),
        # As long as clients wait for a bundle to be served, or a backup to be made.
        ("grpc.max_connection_age_grace_ms", 600_000),
    ]


def _credentials(tls: TlsSettings) -> grpc.ServerCredentials | None:
    if tls.cert_file is None or tls.key_file is None:
        return None
    try:
        roots = tls.client_ca_file.read_bytes() if tls.client_ca_file else None
        pair = (tls.key_file.read_bytes(), tls.cert_file.read_bytes())
    except OSError as error:
        raise StartupError(f"tls: cannot read {error.filename}: {error.strerror}") from error
    return grpc.ssl_server_credentials([pair], root_certificates=roots, require_client_auth=roots is not None)
