"""The sending side: channels that carry bytes as they are, so that a call costs the generator as little as it can."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeAlias

import grpc

from tanager._channel import Connection
from tanager._errors import UnavailableError
from tanager._version import __version__
from tanager.load.workload import METHODS

if TYPE_CHECKING:
    from tanager._values import Tls

Rpc: TypeAlias = "grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]"

_MAX_MESSAGE_BYTES = 64 * 1024 * 1024
# How many connections are made at the same time: a server's backlog is short.
_CONNECTING = 64
_CONNECT_TIMEOUT_S = 10.0


class Connections:
    """Connections to one server. Neither retries nor health checks: what happens to a call is what is counted.

    Belongs to the event loop that runs when it is made.

    Args:
        target: host:port or a gRPC URI.
        tls: How to encrypt; None for not at all.
        number: How many connections.

    Raises:
        ValueError: `target` makes no sense.
        OSError: A file of `tls` cannot be read.
    """

    def __init__(self, target: str, tls: Tls | None, number: int) -> None:
        self._target = target
        connection = Connection(target, timeout_s=1, retry=None, tls=tls, metadata=None)
        options: list[tuple[str, str | int]] = [
            ("grpc.use_local_subchannel_pool", 1),  # otherwise all channels share one connection
            ("grpc.enable_retries", 0),
            ("grpc.primary_user_agent", f"tanager-load/{__version__}"),
            ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
            ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 2_000),
        ]
        if tls is not None and tls.server_name is not None:
            options.append(("grpc.ssl_target_name_override", tls.server_name))
        self._channels = [
            grpc.aio.insecure_channel(connection.uri, options)
            if connection.credentials is None
            else grpc.aio.secure_channel(connection.uri, connection.credentials, options)
            for _ in range(number)
        ]
        self.rpcs: list[tuple[Rpc, ...]] = [
            tuple(channel.unary_unary(method, None, None) for method in METHODS) for channel in self._channels
        ]

    async def connect(self) -> None:
        """Makes all of them, before anything is measured.

        Raises:
            UnavailableError: One could not be made.
        """
        slots = asyncio.Semaphore(_CONNECTING)

        async def one(channel: grpc.aio.Channel) -> None:
            async with slots, asyncio.timeout(_CONNECT_TIMEOUT_S):
                state = channel.get_state(try_to_connect=True)
                while state is not grpc.ChannelConnectivity.READY:
                    if state is grpc.ChannelConnectivity.TRANSIENT_FAILURE and channel is self._channels[0]:
                        raise UnavailableError(self._hint("nothing accepts the connection"))
                    await channel.wait_for_state_change(state)
                    state = channel.get_state(try_to_connect=True)

        try:
            # The first tells whether there is a server at all.
            await one(self._channels[0])
            await asyncio.gather(*map(one, self._channels[1:]))
        except TimeoutError:
            raise UnavailableError(self._hint(f"not connected within {_CONNECT_TIMEOUT_S:g} s")) from None

    async def close(self) -> None:
        """Closes all of them, and drops what is still in flight."""
        for channel in self._channels:
            await channel.close()

    def _hint(self, what: str) -> str:
        return (
            f"{self._target} is unavailable: {what}. Check that tanager-server runs there, that this is its gRPC port, "
            "and that client and server agree on TLS"
        )
