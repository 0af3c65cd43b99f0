import pytest
from hypothesis import given
from hypothesis import strategies as st

from tanager.load.hpack import UNREADABLE, Encoder, read_statuses

HEADERS = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/a"), (b"te", b"trailers")]

NO_STATUSES = (b"abc", b"", b"+0", b"0_0", b" 0", b"-1", b"0000", "\u0663".encode())


def literal(name: bytes, value: bytes, kind: int = 0) -> bytes:
    return bytes((kind, len(name))) + name + bytes((len(value),)) + value


def test_what_was_sent_once_is_named_by_its_place():
    encoder = Encoder()
    first = encoder.encode(HEADERS)
    assert first == b"\x83\x86" + literal(b":path", b"/a", 0x40) + literal(b"te", b"trailers", 0x40)
    # Two entries beyond the 61 that every table has; the newest comes first.
    assert encoder.encode(HEADERS) == bytes((0x83, 0x86, 0x80 | 63, 0x80 | 62))
    other = [*HEADERS[:2], (b":path", b"/b"), HEADERS[3]]
    assert encoder.encode(other) == b"\x83\x86" + literal(b":path", b"/b", 0x40) + bytes((0x80 | 63,))
    assert encoder.encode(HEADERS) == bytes((0x83, 0x86, 0x80 | 64, 0x80 | 63))


def test_a_peer_that_keeps_no_table_gets_everything_every_time():
    encoder = Encoder()
    encoder.forgo_table()
    block = b"\x83\x86" + literal(b":path", b"/a") + literal(b"te", b"trailers")
    assert [encoder.encode(HEADERS) for _ in range(3)] == [b"\x20" + block, block, block]


def test_what_the_table_has_no_room_for_is_not_put_there():
    encoder = Encoder()
    long = (b"x", b"y" * 4096)
    block = encoder.encode([long])
    assert block[0] == 0
    assert block[1:3] == b"\x01x"
    assert block[3:6] == b"\x7f\x81\x1f"  # 4096 as HPACK writes it
    assert encoder.encode([long]) == block


@pytest.mark.parametrize(
    ("block", "statuses"),
    [
        (b"", (None, None)),
        (b"\x88", (200, None)),
        (b"\x8d", (404, None)),
        (bytes.fromhex("4803353033"), (503, None)),  # :status as a name of the table, 503 as text
        (bytes.fromhex("4882 6402"), (302, None)),  # RFC 7541 C.6.1
        (bytes.fromhex("4883 640eff"), (307, None)),  # RFC 7541 C.6.2
        (b"\x20\x88" + literal(b"x", b"grpc-status") + literal(b"grpc-status", b"8"), (200, 8)),
        (literal(b"grpc-status", b"13", 0x40) + literal(b"grpc-message", b"no", 0x10), (None, 13)),
        (bytes.fromhex("00 88 9acac8b21234da8f 01 30"), (None, 0)),  # grpc-status in Huffman code
        (b"\x00\x01x\x7f\x49" + b"y" * 200 + literal(b"grpc-status", b"5"), (None, 5)),
        *((literal(b"grpc-status", value), (None, UNREADABLE)) for value in NO_STATUSES),
        (literal(b"grpc-status", b"999"), (None, 999)),
        (b"\x00\x0bgrpc-status\x81\xff", (None, UNREADABLE)),  # in Huffman code: no digit, a letter, four digits
        (b"\x00\x0bgrpc-status\x80", (None, UNREADABLE)),
        (b"\x00\x0bgrpc-status\x81\x1f", (None, UNREADABLE)),
        (b"\x00\x0bgrpc-status\x83\x00\x00\x0f", (None, UNREADABLE)),
        (b"\x48\x03abc", (UNREADABLE, None)),
    ],
)  # fmt: skip
def test_statuses_are_found(block, statuses):
    assert read_statuses(block) == statuses


@pytest.mark.parametrize(
    "block",
    [
        b"\x80",
        b"\xbe",  # the first entry of a table that the server was told not to keep
        b"\x7e\x01x",
        b"\x3f\xe1\x1f",  # wants a table of 4096
        b"\x00\x05ab",
        b"\x00",
    ],
)
def test_a_broken_block_is_refused(block):
    with pytest.raises(ValueError, match=r".+"):
        read_statuses(block)


@given(st.binary(max_size=60))
def test_whatever_comes_is_read_or_refused(block):
    try:
        http_status, grpc_status = read_statuses(block)
    except ValueError:
        return
    assert http_status is None or isinstance(http_status, int)
    assert grpc_status is None or isinstance(grpc_status, int)
