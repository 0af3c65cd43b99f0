"""The sending side: connections to one server, each made anew when it breaks."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import deque
from typing import TYPE_CHECKING

from tanager._errors import UnavailableError
from tanager.load.calls import DEADLINE_EXCEEDED, UNAVAILABLE, Call
from tanager.load.endpoint import Endpoint
from tanager.load.http2 import Http2Connection, Http2Error

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tanager._values import Tls
    from tanager.load.calls import Done

# How many connections are made at the same time: a server's backlog is short.
_CONNECTING = 64
_CONNECT_TIMEOUT_S = 10.0
_MIN_BACKOFF_S, _MAX_BACKOFF_S = 0.1, 2.0


class Channel:
    """One connection at a time: a call that comes when there is none waits while one is made.

    Where none can be made, calls are refused by the attempt that fails, and those that come then wait for the next: a
    caller that calls again at once is told as often as there are attempts, and no faster.

    Neither retries nor health checks: what happens to a call is what is counted. Calls are queued; `flush` sends them,
    and whatever tells a call's end flushes after it.

    Args:
        endpoint: The server.
        timeout_s: Deadline of each call.
    """

    def __init__(self, endpoint: Endpoint, timeout_s: float) -> None:
        self._endpoint = endpoint
        self._headers = endpoint.headers(timeout_s)
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._connection: Http2Connection | None = None
        self._connections: set[Http2Connection] = set()
        self._waiting: deque[Call] = deque()
        # All have the same deadline, so it passes in the order in which they began.
        self._begun: deque[Call] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._backoff_s = _MIN_BACKOFF_S
        self._retry_s = 0.0

    async def connect(self) -> None:
        """Makes the connection.

        Raises:
            OSError: Nothing accepts it, or not in TLS.
            Http2Error: What accepts it does not speak HTTP/2.
        """
        connection = Http2Connection(self._headers, self._changed)
        self._connections.add(connection)
        try:
            await self._endpoint.open(connection)
        except BaseException:
            connection.close()
            self._connections.discard(connection)
            raise
        self._connection = connection

    def call(self, method: int, request: bytes, now_s: float, done: Done) -> None:
        """Begins a call; its deadline counts from `now_s`, on `time.perf_counter`'s clock."""
        begun = self._begun
        while begun and begun[0].ended:
            begun.popleft()
        call = Call(method, request, done, now_s + self._timeout_s)
        begun.append(call)
        if self._timer is None:
            self._timer = self._loop.call_later(self._timeout_s, self._expire)
        connection = self._connection
        if not self._waiting and connection is not None and connection.room:
            connection.start(call)
        else:
            # Behind those that wait: room that one of them may have was made by a call whose caller calls again now.
            self._waiting.append(call)
            self._start_waiting()

    def flush(self) -> None:
        """Sends what is queued."""
        if self._connection is not None:
            self._connection.flush()

    async def close(self) -> None:
        """Closes it, and drops what is in flight without a word."""
        for handle in (self._timer, self._connecting, self._retry):
            if handle is not None:
                handle.cancel()
        self._waiting.clear()
        for connection in self._connections:
            connection.close()
        # Transports tell their end in the next turn.
        await asyncio.sleep(0)

    def _changed(self) -> None:
        """A connection is ready, has a stream free, takes no more calls, or has ended."""
        self._connections = {one for one in self._connections if not one.ended}
        self._start_waiting()
        self.flush()

    def _start_waiting(self) -> None:
        """Starts what waits, as far as there is room, and sees to it that the rest is started or refused some time."""
        waiting, connection = self._waiting, self._connection
        while waiting:
            if waiting[0].ended:
                waiting.popleft()
            elif connection is not None and connection.room:
                connection.start(waiting.popleft())
            else:
                self._make_room()
                break

    def _make_room(self) -> None:
        """Connects, now or when it is time to try again, unless that is under way or the connection will have room."""
        if self._connecting is not None or self._retry is not None:
            return
        if self._connection is not None and self._connection.accepting:
            return
        early_s = self._retry_s - time.perf_counter()
        if early_s > 0:
            self._retry = self._loop.call_later(early_s, self._try_again)
        else:
            self._try_again()

    def _try_again(self) -> None:
        self._retry = None
        self._connecting = self._loop.create_task(self._reconnect())

    async def _reconnect(self) -> None:
        # A server that accepts connections only to end them is not to be asked without a pause either.
        self._retry_s = time.perf_counter() + _MIN_BACKOFF_S
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                await self.connect()
        except (OSError, Http2Error, TimeoutError):
            self._retry_s = time.perf_counter() + self._backoff_s
            self._backoff_s = min(self._backoff_s * 2, _MAX_BACKOFF_S)
            self._connecting = None
            self._refuse()
        else:
            self._backoff_s = _MIN_BACKOFF_S
            self._connecting = None
            self._changed()

    def _refuse(self) -> None:
        """Ends what waits: the server cannot be reached. Callers that call again wait for the next attempt."""
        now = time.perf_counter()
        waiting, self._waiting = self._waiting, deque()
        for call in waiting:
            call.end(UNAVAILABLE, b"", now)

    def _expire(self) -> None:
        """Ends the calls whose deadline has passed."""
        now, begun = time.perf_counter(), self._begun
        while begun and (begun[0].ended or begun[0].expires_s <= now):
            call = begun.popleft()
            if not call.ended:
                if call.connection is not None:
                    call.connection.cancel(call)
                    call.connection.flush()
                call.end(DEADLINE_EXCEEDED, b"", now)
        self._timer = self._loop.call_later(begun[0].expires_s - now, self._expire) if begun else None
        self._start_waiting()
        self.flush()


class Connections:
    """Connections to one server. Belongs to the event loop that runs when it is made.

    Args:
        target: host:port or a URI of gRPC's schemes dns, ipv4, ipv6 or unix.
        tls: How to encrypt; None for not at all.
        number: How many connections.
        timeout_s: Deadline of a call.

    Raises:
        ValueError: `target` makes no sense.
        OSError: A file of `tls` cannot be read.
    """

    def __init__(self, target: str, tls: Tls | None, number: int, timeout_s: float) -> None:
        self._target = target
        endpoint = Endpoint(target, tls)
        self.channels: Sequence[Channel] = [Channel(endpoint, timeout_s) for _ in range(number)]

    async def connect(self) -> None:
        """Makes all of them, before anything is measured.

        Raises:
            UnavailableError: One could not be made.
        """
        slots = asyncio.Semaphore(_CONNECTING)

        async def one(channel: Channel) -> None:
            async with slots, asyncio.timeout(_CONNECT_TIMEOUT_S):
                await channel.connect()

        try:
            # The first tells whether there is a server at all.
            await one(self.channels[0])
            await asyncio.gather(*map(one, self.channels[1:]))
        except TimeoutError:
            raise UnavailableError(self._hint(f"not connected within {_CONNECT_TIMEOUT_S:g} s")) from None
        except ssl.SSLError as error:
            raise UnavailableError(self._hint(f"no TLS with it: {error.reason or error}")) from None
        except Http2Error as error:
            raise UnavailableError(self._hint(str(error))) from None
        except OSError as error:
            raise UnavailableError(self._hint(f"nothing accepts the connection ({error})")) from None

    async def close(self) -> None:
        """Closes all of them, and drops what is still in flight."""
        for channel in self.channels:
            await channel.close()

    def _hint(self, what: str) -> str:
        return (
            f"{self._target} is unavailable: {what}. Check that tanager-server runs there, that this is its gRPC port, "
            "and that client and server agree on TLS"
        )
