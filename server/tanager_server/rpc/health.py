"""grpc.health.v1, for the server and for each of its services.

The servicer that comes with grpcio-health-checking forgets the remaining watchers of a service when one of them goes,
and its watches never end, so that an open one holds up a drain for the whole grace period.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Iterable

    from google.protobuf.message import Message
    from grpc.aio import ServicerContext

SERVICE = "grpc.health.v1.Health"
OVERALL = ""
"""The name under which the whole server's health is asked for."""


class HealthServicer(health_pb2_grpc.HealthServicer):
    """Tells one status for the server and all its services; NOT_SERVING until `serve`.

    Args:
        services: full names of the services.
    """

    def __init__(self, services: Iterable[str]) -> None:
        self._services = {OVERALL, *services}
        self._serving = False
        self._closed = False
        self._changed = asyncio.Condition()

    async def serve(self) -> None:
        """Tells SERVING from now on."""
        await self._change(serving=True)

    async def drain(self) -> None:
        """Tells NOT_SERVING from now on."""
        await self._change(serving=False)

    async def close(self) -> None:
        """Ends every watch."""
        await self._change(serving=False, closed=True)

    async def Check(  # noqa: N802  # gRPC's name
        self, request: health_pb2.HealthCheckRequest, context: ServicerContext[Message, Message]
    ) -> health_pb2.HealthCheckResponse:
        """The status now; NOT_FOUND for a service that this server does not have."""
        if request.service not in self._services:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"service: this server has no {request.service[:100]!r}")
        return health_pb2.HealthCheckResponse(status=self._status(request.service))

    async def Watch(  # noqa: N802  # gRPC's name
        self, request: health_pb2.HealthCheckRequest, context: ServicerContext[Message, Message]
    ) -> None:
        """The status now, and again whenever it changes."""
        told = None
        while not self._closed:
            status = self._status(request.service)
            if status != told:
                await context.write(health_pb2.HealthCheckResponse(status=status))
                told = status
                continue
            async with self._changed:
                while not self._closed and self._status(request.service) == told:
                    await self._changed.wait()

    def _status(self, service: str) -> int:
        if service not in self._services:
            return int(health_pb2.HealthCheckResponse.SERVICE_UNKNOWN)
        response = health_pb2.HealthCheckResponse
        return int(response.SERVING if self._serving else response.NOT_SERVING)

    async def _change(self, *, serving: bool, closed: bool = False) -> None:
        async with self._changed:
            self._serving, self._closed = serving, closed
            self._changed.notify_all()
