"""One connection, frame by frame: the test writes what the server says and reads what it is told."""

import asyncio
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tanager.load import calls, http2
from tanager.load.calls import Call
from tanager.load.http2 import Http2Connection

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
PATH = [(b":method", b"POST"), (b":path", b"/a")]
OK_HEADERS = b"\x88"
MESSAGE = b"\0\0\0\0\x03abc"


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def trailers(status: int | str) -> bytes:
    return b"\x00\x0bgrpc-status" + bytes((len(str(status)),)) + str(status).encode()


def settings(**values: int) -> bytes:
    numbers = {"table_size": 1, "max_streams": 3, "window": 4}
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", numbers[name], value) for name, value in values.items()))


class Transport(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.gone = False

    def write(self, data) -> None:
        self.written += data

    def abort(self) -> None:
        self.gone = True

    def close(self) -> None:
        self.gone = True


class Peer:
    """The server's end of a connection."""

    def __init__(self, connection: Http2Connection | None = None) -> None:
        self.changes = 0
        self.connection = connection or Http2Connection([PATH, PATH[:1]], self._changed)
        self.transport = Transport()
        self.connection.connection_made(self.transport)
        assert self.transport.written.startswith(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        self.transport.written = self.transport.written[24:]
        self.ended: dict[bytes, tuple[int, bytes]] = {}

    def _changed(self) -> None:
        self.changes += 1

    def say(self, *frames: bytes, at_once: int = 1 << 20) -> None:
        data = b"".join(frames)
        while data:
            room = self.connection.get_buffer(-1)
            part, data = data[: min(len(room), at_once)], data[min(len(room), at_once) :]
            room[: len(part)] = part
            self.connection.buffer_updated(len(part))

    def heard(self) -> list[tuple[int, int, int, bytes]]:
        frames, data = [], self.transport.written
        while data:
            size = int.from_bytes(data[:3], "big")
            kind, flags, stream = struct.unpack(">BBI", data[3:9])
            frames.append((kind, flags, stream, data[9 : 9 + size]))
            data = data[9 + size :]
        self.transport.written = b""
        return frames

    def call(self, request: bytes = b"request") -> Call:
        def done(status, message, ended_s):
            assert request not in self.ended
            self.ended[request] = status, bytes(message)

        call = Call(0, request, done, 0.0)
        self.connection.start(call)
        self.connection.flush()
        return call


@pytest.fixture
async def peer():
    peer = Peer()
    peer.say(settings())
    peer.heard()
    return peer


async def test_it_says_what_it_wants_and_is_ready_when_the_server_has_told_its_settings():
    peer = Peer()
    (kind, _, _, payload), update = peer.heard()
    assert kind == SETTINGS
    # No table of headers, no pushes, answers of any size at once.
    assert dict(struct.iter_unpack(">HI", payload)) == {1: 0, 2: 0, 4: 2**31 - 1}
    assert update == (WINDOW_UPDATE, 0, 0, struct.pack(">I", 2**31 - 1 - 65_535))
    assert not peer.connection.room
    assert not peer.connection.ready.done()
    peer.say(settings())
    assert peer.connection.ready.done()
    assert peer.connection.room
    assert peer.heard() == [(SETTINGS, 1, 0, b"")]


async def test_a_call_is_two_frames_and_ends_with_its_trailers(peer):
    peer.call()
    first, second = peer.heard()
    assert first[:3] == (HEADERS, 4, 1)
    assert second == (DATA, 1, 1, b"\0\0\0\0\x07request")
    peer.say(frame(HEADERS, 4, 1, OK_HEADERS), frame(DATA, 0, 1, MESSAGE))
    assert peer.ended == {}
    peer.say(frame(HEADERS, 5, 1, trailers(0)))
    assert peer.ended == {b"request": (0, b"abc")}
    peer.call(b"another")
    assert peer.heard()[0][:3] == (HEADERS, 4, 3)


@pytest.mark.parametrize("at_once", [1, 7, 1 << 20])
async def test_frames_may_come_in_any_pieces_padded_continued_and_with_others_between(peer, at_once):
    peer.call()
    peer.heard()
    peer.say(
        frame(HEADERS, 8 | 32, 1, b"\x02" + b"\0\0\0\0\x10" + OK_HEADERS[:0] + b"\0\0"),  # padding and priority
        frame(CONTINUATION, 4, 1, OK_HEADERS),
        frame(PING, 0, 0, b"12345678"),
        frame(77, 0, 0, b"of a kind that is not known"),
        frame(DATA, 0, 5, b"of a stream that is not known"),
        frame(DATA, 8, 1, b"\x03" + MESSAGE[:6] + b"\0\0\0"),
        frame(DATA, 0, 1, MESSAGE[6:]),
        frame(HEADERS, 1, 1, trailers(0)[:5]),
        frame(CONTINUATION, 0, 1, trailers(0)[5:9]),
        frame(CONTINUATION, 4, 1, trailers(0)[9:]),
        at_once=at_once,
    )
    assert peer.ended == {b"request": (0, b"abc")}
    assert peer.heard() == [(PING, 1, 0, b"12345678")]


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ([frame(HEADERS, 5, 1, OK_HEADERS + trailers(8))], calls.RESOURCE_EXHAUSTED),
        ([frame(HEADERS, 5, 1, OK_HEADERS + trailers(99))], 2),
        *(
            ([frame(DATA, 0, 1, MESSAGE), frame(HEADERS, 5, 1, trailers(status))], 2)
            for status in ("abc", "", "+0", "0_0", "0000")
        ),
        ([frame(HEADERS, 5, 1, OK_HEADERS)], 2),
        ([frame(HEADERS, 5, 1, b"\x08\x03503")], calls.UNAVAILABLE),
        ([frame(HEADERS, 5, 1, b"\x8d")], 12),
        ([frame(HEADERS, 5, 1, OK_HEADERS + trailers(0))], calls.INTERNAL),  # no message
        ([frame(DATA, 0, 1, b"\x01" + MESSAGE[1:]), frame(HEADERS, 5, 1, trailers(0))], calls.INTERNAL),  # compressed
        ([frame(DATA, 0, 1, MESSAGE[:-1]), frame(HEADERS, 5, 1, trailers(0))], calls.INTERNAL),  # cut off
        ([frame(DATA, 1, 1, MESSAGE)], 2),  # no trailers
        ([frame(RST_STREAM, 0, 1, struct.pack(">I", 7))], calls.UNAVAILABLE),
        ([frame(RST_STREAM, 0, 1, struct.pack(">I", 8))], 1),
        ([frame(RST_STREAM, 0, 1, struct.pack(">I", 2))], calls.INTERNAL),
    ],
)
async def test_how_a_call_ends(peer, answer, status):
    peer.call()
    peer.say(*answer)
    assert peer.ended == {b"request": (status, b"" if status else b"abc")}
    assert peer.connection.streams == {}
    assert peer.connection.room
    assert not peer.transport.gone


async def test_a_cancelled_call_is_told_to_the_server_and_its_answer_ignored(peer):
    call = peer.call()
    peer.heard()
    peer.connection.cancel(call)
    peer.connection.flush()
    assert peer.heard() == [(RST_STREAM, 0, 1, struct.pack(">I", 8))]
    peer.say(frame(HEADERS, 4, 1, OK_HEADERS), frame(DATA, 0, 1, MESSAGE), frame(HEADERS, 5, 1, trailers(0)))
    assert peer.ended == {}
    assert not peer.transport.gone


@pytest.mark.parametrize("flags", [0, 1])
async def test_an_answer_beyond_all_bounds_is_given_up(peer, monkeypatch, flags):
    monkeypatch.setattr(http2, "_MAX_ANSWER_BYTES", 10)
    peer.call()
    peer.heard()
    peer.say(frame(DATA, 0, 1, b"x" * 6), frame(DATA, flags, 1, b"x" * 6), frame(DATA, 0, 1, b"x" * 6))
    assert peer.ended == {b"request": (calls.RESOURCE_EXHAUSTED, b"")}
    assert peer.heard() == [(RST_STREAM, 0, 1, struct.pack(">I", 8))]


async def test_an_answer_before_the_request_is_all_sent_ends_it(peer):
    peer.say(settings(window=10))
    peer.heard()
    peer.call(b"x" * 20)
    peer.heard()
    peer.say(frame(HEADERS, 5, 1, OK_HEADERS + trailers(3)))
    assert peer.ended == {b"x" * 20: (3, b"")}
    assert peer.heard() == [(RST_STREAM, 0, 1, struct.pack(">I", 0))]
    peer.say(frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 100)))
    assert peer.heard() == []


async def test_requests_keep_to_the_windows_of_the_server(peer):
    peer.say(settings(window=10))
    peer.heard()
    peer.call(b"x" * 20)  # 25 bytes with its head
    peer.call(b"y" * 3)
    assert [(kind, flags, stream, len(data)) for kind, flags, stream, data in peer.heard()[1:]] == [
        (DATA, 0, 1, 10), (HEADERS, 4, 3, 2), (DATA, 1, 3, 8)
    ]  # fmt: skip
    peer.say(frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 7)))
    assert peer.heard() == [(DATA, 0, 1, b"x" * 7)]
    peer.say(settings(window=17))
    assert (DATA, 0, 1, b"x" * 7) in peer.heard()
    peer.say(frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 100)))
    assert peer.heard() == [(DATA, 1, 1, b"x")]


@pytest.mark.parametrize(("increment", "gone"), [(0, True), (1, False), (2**31 - 1, True)])
async def test_the_window_of_a_request_that_waits_is_widened_by_something_and_to_its_bound(peer, increment, gone):
    for letter in (b"a", b"b", b"c", b"d", b"e"):
        peer.call(letter * 16_000)  # the connection's window lets the last not go as a whole
    peer.say(frame(WINDOW_UPDATE, 0, 9, struct.pack(">I", increment)))
    assert peer.transport.gone == gone


async def test_requests_keep_to_the_window_of_the_connection_and_wait_in_order(peer):
    for letter in (b"a", b"b", b"c", b"d", b"e"):
        peer.call(letter * 16_000)
    sent = sum(len(data) for kind, _, _, data in peer.heard() if kind == DATA)
    assert sent == 65_535
    peer.say(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1 << 20)))
    (rest,) = peer.heard()
    assert rest[:3] == (DATA, 1, 9)
    assert len(rest[3]) == 5 * 16_005 - 65_535


async def test_a_request_larger_than_a_frame_is_split(peer):
    peer.call(b"x" * 20_000)
    assert [len(data) for kind, _, _, data in peer.heard() if kind == DATA] == [16_384, 20_005 - 16_384]


async def test_a_server_that_keeps_no_table_of_headers_gets_them_in_full():
    peer = Peer()
    peer.say(settings(table_size=0))
    peer.heard()
    for _ in range(2):
        peer.call()
        assert b"/a" in peer.heard()[0][3]


async def test_streams_are_limited_by_the_server_and_one_that_ends_is_told(peer):
    peer.say(settings(max_streams=1))
    peer.call()
    assert not peer.connection.room
    changes = peer.changes
    peer.say(frame(HEADERS, 5, 1, OK_HEADERS + trailers(8)))
    assert peer.changes == changes + 1
    assert peer.connection.room


async def test_goaway_ends_what_the_server_has_not_seen_and_lets_the_rest_finish(peer):
    peer.call(b"seen")
    peer.call(b"unseen")
    peer.say(frame(GOAWAY, 0, 0, struct.pack(">II", 1, 0)))
    assert peer.ended == {b"unseen": (calls.UNAVAILABLE, b"")}
    assert not peer.connection.room
    assert not peer.transport.gone
    peer.say(frame(DATA, 0, 1, MESSAGE), frame(HEADERS, 5, 1, trailers(0)))
    assert peer.ended[b"seen"] == (0, b"abc")
    assert peer.transport.gone


async def test_a_lost_connection_ends_what_is_in_flight(peer):
    peer.call()
    peer.connection.connection_lost(None)
    assert peer.ended == {b"request": (calls.UNAVAILABLE, b"")}
    assert peer.connection.ended


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        frame(PING, 0, 0, b"12345678"),
        settings() + frame(DATA, 0, 1, b"x" * 16_385),
        settings() + frame(5, 4, 1, b"\0\0\0\x02"),
        settings() + frame(HEADERS, 5, 1, b"\xbe"),
        settings() + frame(RST_STREAM, 0, 1, b"12"),
        settings() + frame(DATA, 8, 1, b""),
        settings() + frame(DATA, 8, 1, b"\x03abc"[:3]),
        settings() + frame(DATA, 8, 7, b"\x01"),
        settings() + frame(HEADERS, 8 | 5, 1, b"\x02" + OK_HEADERS),
        settings() + frame(HEADERS, 32 | 5, 1, b"\0\0\0"),
        settings() + frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\0"),
        settings() + frame(WINDOW_UPDATE, 0, 1, b"\x80\0\0\0"),
        settings() + frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 2**31 - 1)),
    ],
)
async def test_what_is_no_http2_ends_the_connection(said):
    peer = Peer()
    ready = settings() in said
    if ready:
        peer.say(settings())
        peer.call()
        said = said.removeprefix(settings())
    peer.say(said)
    assert peer.transport.gone
    assert not peer.connection.room
    assert (peer.connection.ready.exception() is None) == ready


async def test_the_windows_of_answers_are_topped_up(peer):
    peer.call()
    peer.heard()
    for _ in range(1_025):
        peer.say(frame(DATA, 0, 7, b"x" * 16_384))
    assert peer.heard() == [(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1 << 24))]


FRAMES = st.builds(
    frame,
    st.integers(0, 10),
    st.integers(0, 255),
    st.sampled_from((0, 1, 3, 5)),
    st.binary(max_size=20) | st.sampled_from((OK_HEADERS, trailers(0), MESSAGE, b"\0\0\0\x08")),
)


@given(st.lists(FRAMES, max_size=12), st.integers(1, 40))
def test_whatever_frames_come_each_call_ends_once_at_most_and_nothing_is_raised(frames, at_once):
    async def main() -> None:
        peer = Peer()
        peer.say(settings())
        peer.call(b"a")
        peer.call(b"b")
        for said in frames:
            if peer.transport.gone:
                break
            peer.say(said, at_once=at_once)
        in_flight = {call.request for call in peer.connection.streams.values()}
        assert in_flight.isdisjoint(peer.ended)
        assert in_flight | peer.ended.keys() == {b"a", b"b"}

    asyncio.run(main())
