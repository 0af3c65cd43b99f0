"""What a gRPC client needs of HPACK (RFC 7541): to write its headers briefly, and to find two numbers in the server's.

The server is told to keep no table of headers (SETTINGS_HEADER_TABLE_SIZE 0), so that what a block says depends on
nothing before it: blocks that were read once need not be read again, and those nobody waits for not at all.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

DEFAULT_TABLE_BYTES = 4096
_STATIC_ENTRIES = 61
_STATIC = {
    (b":method", b"POST"): b"\x83",
    (b":scheme", b"http"): b"\x86",
    (b":scheme", b"https"): b"\x87",
}
# :status of the static table, from its entry 8 on.
_FIRST_STATUS = 8
_STATUSES = (200, 204, 206, 304, 400, 404, 500)
UNREADABLE = -1
_MOST_DIGITS = 3
_STATUS = b"grpc-status"
_STATUS_HUFFMAN = bytes.fromhex("9acac8b21234da8f")


class Encoder:
    """Writes blocks of headers. What was sent once on a connection is named by its place in the peer's table."""

    def __init__(self) -> None:
        self._entries: list[tuple[bytes, bytes]] = []  # the newest first, as the peer counts them
        self._room = DEFAULT_TABLE_BYTES
        self._prefix = b""
        self.insertions = 0

    def forgo_table(self) -> None:
        """For a peer that keeps a smaller table than usual: uses none."""
        self._entries.clear()
        self._room = 0
        self._prefix = b"\x20"

    def encode(self, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
        """The block for `headers`; blocks must be sent in the order in which they were made."""
        block = bytearray(self._prefix)
        self._prefix = b""
        for header in headers:
            size = len(header[0]) + len(header[1]) + 32
            if header in _STATIC:
                block += _STATIC[header]
            elif header in self._entries:
                block += _integer(_STATIC_ENTRIES + 1 + self._entries.index(header), 7, 0x80)
            else:
                kept = size <= self._room
                if kept:
                    self._entries.insert(0, header)
                    self._room -= size
                    self.insertions += 1
                block.append(0x40 if kept else 0)
                for text in header:
                    block += _integer(len(text), 7, 0) + text
        return bytes(block)


@lru_cache(maxsize=1024)
def read_statuses(block: bytes) -> tuple[int | None, int | None]:
    """HTTP's and gRPC's status in a block of headers; None for one that is not there, UNREADABLE for what is none.

    Raises:
        ValueError: It is no block, or leans on a table that the server was told not to keep.
    """
    http_status = grpc_status = None
    position = 0
    try:
        while position < len(block):
            kind = block[position]
            if kind & 0xE0 == 0x20:
                size, position = _read_integer(block, position, 5)
                if size:
                    raise ValueError("keeps a table of headers although it was told not to")
                continue
            index, position = _read_integer(block, position, 7 if kind & 0x80 else 6 if kind & 0x40 else 4)
            if index > _STATIC_ENTRIES or (kind & 0x80 and not index):
                raise ValueError(f"names a header by {index}, which is in no table")
            of_http = _FIRST_STATUS <= index < _FIRST_STATUS + len(_STATUSES)
            if kind & 0x80:
                if of_http:
                    http_status = _STATUSES[index - _FIRST_STATUS]
                continue
            name = b""
            if not index:
                name, _, position = _read_string(block, position)
            value, huffman, position = _read_string(block, position)
            if of_http or name == b":status":
                http_status = _number(value, huffman=huffman)
            elif name in (_STATUS, _STATUS_HUFFMAN):
                grpc_status = _number(value, huffman=huffman)
    except IndexError:
        raise ValueError("a block of headers ends too soon") from None
    return http_status, grpc_status


def _integer(value: int, bits: int, flags: int) -> bytes:
    limit = (1 << bits) - 1
    if value < limit:
        return bytes((flags | value,))
    written = bytearray((flags | limit,))
    value -= limit
    while value >= 0x80:
        written.append(0x80 | (value & 0x7F))
        value >>= 7
    written.append(value)
    return bytes(written)


def _read_integer(block: bytes, position: int, bits: int) -> tuple[int, int]:
    limit = (1 << bits) - 1
    value = block[position] & limit
    position += 1
    if value == limit:
        shift = 0
        while True:
            byte = block[position]
            position += 1
            value += (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                break
    return value, position


def _read_string(block: bytes, position: int) -> tuple[bytes, bool, int]:
    huffman = bool(block[position] & 0x80)
    length, position = _read_integer(block, position, 7)
    end = position + length
    if end > len(block):
        raise IndexError
    return block[position:end], huffman, end


def _number(value: bytes, *, huffman: bool) -> int:
    """Reads up to three digits; UNREADABLE for all else, which is the call's trouble and not the connection's.

    Of the Huffman code only theirs is needed: 0 to 2 take five bits, 3 to 9 six from 011001 on.
    """
    if not huffman:
        return int(value) if len(value) <= _MOST_DIGITS and value.isdigit() else UNREADABLE
    bits = "".join(f"{byte:08b}" for byte in value)
    digits, position = "", 0
    while position + 5 <= len(bits):
        short, long = int(bits[position : position + 5], 2), int(bits[position : position + 6], 2)
        if short < 3:
            digits, position = f"{digits}{short}", position + 5
        elif 0x19 <= long <= 0x1F:
            digits, position = f"{digits}{long - 0x19 + 3}", position + 6
        else:
            break
    if not 0 < len(digits) <= _MOST_DIGITS or "0" in bits[position:] or len(bits) - position > 7:
        return UNREADABLE
    return int(digits)
