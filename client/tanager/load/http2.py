"""One connection of the generator: unary gRPC calls over HTTP/2 (RFC 9113), with as little work for a call as can be.

gRPC's own libraries take two to three times the CPU for a call, most of it in waking threads, and the cores are the
server's too. What goes over the wire is what they send: headers named by the table, one message a call, deadlines.
"""

from __future__ import annotations

import asyncio
import struct
import time
from typing import TYPE_CHECKING

from tanager.load import hpack
from tanager.load.calls import INTERNAL, OK, RESOURCE_EXHAUSTED, UNAVAILABLE, status_of_answer, status_of_reset

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tanager.load.calls import Call

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PUSH_PROMISE, _PING, _GOAWAY, _WINDOW_UPDATE, _CONTINUATION = (
    0, 1, 3, 4, 5, 6, 7, 8, 9,
)  # fmt: skip
_END_STREAM, _ACK, _END_HEADERS, _PADDED, _PRIORITY = 1, 1, 4, 8, 32
_TABLE_SIZE, _ENABLE_PUSH, _MAX_STREAMS, _INITIAL_WINDOW, _FRAME_SIZE = 1, 2, 3, 4, 5
_NO_ERROR, _CANCEL = 0, 8
_MAX_WINDOW = 2**31 - 1
_DEFAULT_WINDOW = 65_535
_DEFAULT_FRAME_BYTES = 16_384
_MAX_STREAM = 2**31 - 3
# Any answer may be sent at once: what comes is read at once. The connection's window is topped up as it is used.
_TOP_UP_BYTES = 1 << 24
_BUFFER_BYTES = 256 * 1024
_MAX_ANSWER_BYTES = 64 * 1024 * 1024

_HEAD = struct.Struct(">HBBBI")  # 24 bits of length in two parts, type, flags, stream
_MESSAGE_HEAD = struct.Struct(">BI")
_U32 = struct.Struct(">I")
_SETTING = struct.Struct(">HI")


class Http2Error(Exception):
    """The peer does not keep to HTTP/2, or to what it was asked for."""


class Http2Connection(asyncio.BufferedProtocol):
    """Calls are queued by `start` and written by `flush`, so that those due together go out together.

    Args:
        headers: Of the requests, by number of the method.
        on_change: Called when it is ready, when it takes no more calls, when a stream has become free, and at its end.

    Attributes:
        ready: Done when the server has told its settings; fails if it never does.
        accepting: Whether calls can be started on it at all.
        ended: Whether it is gone.
        streams: The calls in flight, by stream.
    """

    def __init__(self, headers: Sequence[Sequence[tuple[bytes, bytes]]], on_change: Callable[[], None]) -> None:
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.accepting = False
        self.ended = False
        self.streams: dict[int, Call] = {}
        self._headers = headers
        self._on_change = on_change
        self._transport: asyncio.Transport | None = None
        self._encoder = hpack.Encoder()
        self._blocks: dict[int, bytes] = {}
        self._out: list[bytes] = []
        self._next_stream = 1
        self._max_streams = _MAX_WINDOW
        self._window = self._stream_window = _DEFAULT_WINDOW
        self._max_frame = _DEFAULT_FRAME_BYTES
        # Requests that the server's flow control holds back: what is left of each, and how much its stream may send.
        self._held: dict[int, tuple[memoryview, int]] = {}
        self._buffer = bytearray(_BUFFER_BYTES)
        self._view = memoryview(self._buffer)
        self._filled = 0
        self._received = 0
        self._unfinished: tuple[int, int, bytes] | None = None
        self._settled = False

    @property
    def room(self) -> bool:
        """Whether a call can be started: it still accepts some, and the server allows one more in flight."""
        return self.accepting and len(self.streams) < self._max_streams

    def start(self, call: Call) -> None:
        """Queues the frames of a call. Only where there is `room`."""
        stream = self._next_stream
        self._next_stream = stream + 2
        if stream >= _MAX_STREAM:
            self.accepting = False
        call.connection, call.stream = self, stream
        self.streams[stream] = call
        block = self._blocks.get(call.method)
        if block is None:
            block = self._block(call.method)
        size, request = len(block), call.request
        head = _HEAD.pack(size >> 8, size & 0xFF, _HEADERS, _END_HEADERS, stream)
        size = len(request) + 5
        message = _MESSAGE_HEAD.pack(0, size - 5)
        if size <= self._window and size <= self._max_frame and size <= self._stream_window and not self._held:
            self._window -= size
            data = _HEAD.pack(size >> 8, size & 0xFF, _DATA, _END_STREAM, stream)
            self._out += (head, block, data, message, request)
        else:
            self._out += (head, block)
            self._held[stream] = memoryview(message + request), self._stream_window
            self._send_held()

    def cancel(self, call: Call) -> None:
        """Forgets a call, and tells the server."""
        if self.streams.pop(call.stream, None) is not None:
            self._held.pop(call.stream, None)
            self._queue(_RST_STREAM, 0, call.stream, _U32.pack(_CANCEL))

    def flush(self) -> None:
        """Writes what is queued."""
        if self._out and self._transport is not None:
            self._transport.write(b"".join(self._out))
            self._out.clear()

    def close(self) -> None:
        """Closes it, and drops what is in flight without a word."""
        self.accepting = False
        self.streams.clear()
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Says what this side wants: no pushes, no table of headers, and answers as fast as they come."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        settings = ((_TABLE_SIZE, 0), (_ENABLE_PUSH, 0), (_INITIAL_WINDOW, _MAX_WINDOW))
        self._out.append(_PREFACE)
        self._queue(_SETTINGS, 0, 0, b"".join(_SETTING.pack(*setting) for setting in settings))
        self._queue(_WINDOW_UPDATE, 0, 0, _U32.pack(_MAX_WINDOW - _DEFAULT_WINDOW))
        self.flush()

    def connection_lost(self, error: Exception | None) -> None:
        """Ends what is in flight UNAVAILABLE."""
        self._transport = None
        self.accepting, self.ended = False, True
        if not self.ready.done():
            self.ready.set_exception(error or ConnectionError("the server closed the connection"))
            self.ready.exception()  # nobody may wait for it any more
        self._end(list(self.streams.values()), UNAVAILABLE)
        self._on_change()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where asyncio puts what comes."""
        return self._view[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        """Reads what came, and writes what is to be sent because of it."""
        now = time.perf_counter()
        self._filled += nbytes
        try:
            self._read(now)
        except (Http2Error, ValueError, struct.error) as error:
            self._fail(str(error))
        self.flush()

    def _read(self, now: float) -> None:
        buffer, filled, position = self._buffer, self._filled, 0
        while filled - position >= 9:
            high, low, kind, flags, stream = _HEAD.unpack_from(buffer, position)
            size = high << 8 | low
            if size > _DEFAULT_FRAME_BYTES or (kind != _SETTINGS and not self._settled):
                raise Http2Error("the server does not speak HTTP/2")
            end = position + 9 + size
            if end > filled:
                break
            begin, position = position + 9, end
            if kind == _DATA:
                self._received += size
                if flags & _PADDED:
                    begin, end = _unpadded(buffer, begin, end, _PADDED)
                call = self.streams.get(stream)
                if call is not None:
                    if call.body:
                        self._continue(call, buffer[begin:end])
                    else:
                        call.body = bytes(self._view[begin:end])
                    if flags & _END_STREAM and stream in self.streams:  # gRPC ends with headers
                        self._finish(stream, None, now)
            elif kind == _HEADERS:
                if stream in self.streams:
                    if flags & (_PADDED | _PRIORITY):
                        begin, end = _unpadded(buffer, begin, end, flags)
                    if self._unfinished is not None:
                        raise Http2Error("headers within headers")
                    if flags & _END_HEADERS:
                        self._take_headers(stream, flags, bytes(self._view[begin:end]), now)
                    else:
                        self._unfinished = stream, flags, bytes(self._view[begin:end])
            else:
                self._control(kind, flags, stream, bytes(self._view[begin:end]), now)
        rest = filled - position
        if rest and position:
            buffer[:rest] = buffer[position:filled]
        self._filled = rest
        if self._received >= _TOP_UP_BYTES:
            self._queue(_WINDOW_UPDATE, 0, 0, _U32.pack(self._received))
            self._received = 0

    def _take_headers(self, stream: int, flags: int, block: bytes, now: float) -> None:
        http_status, grpc_status = hpack.read_statuses(block)
        call = self.streams[stream]
        if http_status is not None:
            call.http_status = http_status
        if flags & _END_STREAM:
            self._finish(stream, grpc_status, now)

    def _continue(self, call: Call, more: bytearray) -> None:
        """Adds to an answer that comes in more than one frame."""
        if isinstance(call.body, bytes):
            call.body = bytearray(call.body)
        call.body += more
        if len(call.body) > _MAX_ANSWER_BYTES:
            self.cancel(call)
            self._end([call], RESOURCE_EXHAUSTED)

    def _finish(self, stream: int, status: int | None, now: float) -> None:
        """The server has said all there is to say of a call."""
        call = self.streams.pop(stream)
        if stream in self._held:  # answered before it was all asked
            del self._held[stream]
            self._queue(_RST_STREAM, 0, stream, _U32.pack(_NO_ERROR))
        body = call.body
        status = status_of_answer(status, call.http_status)
        # One message, not compressed: nothing else was asked for.
        if status == OK and (len(body) < 5 or _MESSAGE_HEAD.unpack_from(body) != (0, len(body) - 5)):
            status = INTERNAL
        call.end(status, body[5:] if status == OK else b"", now)
        if len(self.streams) + 1 >= self._max_streams or not self.accepting:
            self._freed()

    def _freed(self) -> None:
        if not self.accepting and not self.streams and self._transport is not None:
            self.flush()
            self._transport.close()
        self._on_change()

    def _control(self, kind: int, flags: int, stream: int, payload: bytes, now: float) -> None:
        if kind == _CONTINUATION:
            if self._unfinished is not None and self._unfinished[0] == stream:
                _, first_flags, block = self._unfinished
                self._unfinished = None if flags & _END_HEADERS else (stream, first_flags, block + payload)
                if flags & _END_HEADERS and stream in self.streams:
                    self._take_headers(stream, first_flags, block + payload, now)
        elif kind == _RST_STREAM:
            status = status_of_reset(_U32.unpack(payload)[0])
            if (call := self.streams.get(stream)) is not None:
                self._end([call], status)
                self._freed()
        elif kind == _SETTINGS:
            if not flags & _ACK:
                self._settle(payload)
                self._queue(_SETTINGS, _ACK, 0, b"")
        elif kind == _PING:
            if not flags & _ACK:
                self._queue(_PING, _ACK, 0, payload)
        elif kind == _GOAWAY:
            self.accepting = False
            last = _U32.unpack_from(payload)[0]
            self._end([self.streams.pop(number) for number in list(self.streams) if number > last], UNAVAILABLE)
            self._freed()
        elif kind == _WINDOW_UPDATE:
            increment = _U32.unpack(payload)[0] & _MAX_WINDOW
            if not stream:
                self._window = _widened(self._window, increment)
            else:
                # Of a request that was sent whole nobody needs the window any more.
                rest, window = self._held.get(stream, (None, 0))
                window = _widened(window, increment)
                if rest is not None:
                    self._held[stream] = rest, window
            if self._held:
                self._send_held()
        elif kind == _PUSH_PROMISE:
            raise Http2Error("the server pushes although it was told not to")

    def _settle(self, payload: bytes) -> None:
        for setting, value in _SETTING.iter_unpack(payload):
            if setting == _TABLE_SIZE and value < hpack.DEFAULT_TABLE_BYTES:
                self._encoder.forgo_table()
                self._blocks.clear()
            elif setting == _MAX_STREAMS:
                self._max_streams = value
            elif setting == _FRAME_SIZE:
                self._max_frame = value
            elif setting == _INITIAL_WINDOW:
                more, self._stream_window = value - self._stream_window, value
                self._held = {number: (rest, window + more) for number, (rest, window) in self._held.items()}
                self._send_held()
        if not self._settled:
            self._settled = self.accepting = True
            if not self.ready.done():
                self.ready.set_result(None)
        self._on_change()

    def _block(self, method: int) -> bytes:
        """The headers of a method: the same bytes each time, once all of them are in the server's table."""
        known = self._encoder.insertions
        block = self._encoder.encode(self._headers[method])
        if self._encoder.insertions == known:
            self._blocks[method] = block
        else:
            self._blocks.clear()
        return block

    def _send_held(self) -> None:
        """Sends as much of what is held back as the windows allow."""
        for stream, (rest, window) in list(self._held.items()):
            while rest and (size := min(len(rest), window, self._window, self._max_frame)) > 0:
                last = size == len(rest)
                self._queue(_DATA, _END_STREAM if last else 0, stream, bytes(rest[:size]))
                rest, window = rest[size:], window - size
                self._window -= size
            if rest:
                self._held[stream] = rest, window
            else:
                del self._held[stream]

    def _end(self, calls: Sequence[Call], status: int) -> None:
        now = time.perf_counter()
        for call in calls:
            self.streams.pop(call.stream, None)
            self._held.pop(call.stream, None)
            call.end(status, b"", now)

    def _fail(self, reason: str) -> None:
        """Gives the connection up."""
        self.accepting = False
        if not self.ready.done():
            self.ready.set_exception(Http2Error(reason))
            self.ready.exception()
        if self._transport is not None:
            self._transport.abort()

    def _queue(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        size = len(payload)
        self._out += (_HEAD.pack(size >> 8, size & 0xFF, kind, flags, stream), payload)


def _unpadded(buffer: bytearray, begin: int, end: int, flags: int) -> tuple[int, int]:
    """Where headers or data begin and end within their frame."""
    if flags & _PADDED:
        if begin == end or buffer[begin] >= end - begin:
            raise Http2Error("the server pads a frame by more than it holds")
        begin, end = begin + 1, end - buffer[begin]
    if flags & _PRIORITY:
        begin += 5
        if begin > end:
            raise Http2Error("the server sends headers that are cut off")
    return begin, end


def _widened(window: int, increment: int) -> int:
    """A window of flow control after the server's WINDOW_UPDATE."""
    if not increment or window + increment > _MAX_WINDOW:
        raise Http2Error(f"the server widens a window of {window} bytes by {increment}")
    return window + increment
