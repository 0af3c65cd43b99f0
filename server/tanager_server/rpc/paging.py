"""Page tokens: what was shown already, and of which request.

A token says which items the pages before had, so that none comes twice and none is passed over, whatever is written
between the pages. Positions mean something to one process and one bundle only. A token is sealed with a key that only
the process has: nobody else can make one that says something else.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np

from tanager_server.errors import FieldViolation, InvalidRequestError

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from tanager.v1 import recommendation_pb2
    from tanager_server.engine import Recommendation, RecommendQuery

MAX_SHOWN = 1_000
"""Items that the pages of a list have together."""

_EPOCH_BYTES = 8
_DIGEST_BYTES = 8
_SEAL_BYTES = 16
_HEADER = struct.Struct(f"<{_EPOCH_BYTES}s{_DIGEST_BYTES}s{_SEAL_BYTES}s")


class Pages:
    """Makes and reads tokens of one bundle in one process: of another one, positions mean other items."""

    def __init__(self) -> None:
        self._key = os.urandom(hashlib.blake2b.MAX_KEY_SIZE)
        self._epoch = os.urandom(_EPOCH_BYTES)

    def next_token(
        self, request: recommendation_pb2.RecommendRequest, query: RecommendQuery, answer: Recommendation
    ) -> str:
        """The token of the page after an answer; empty if there is none."""
        shown = [*query.shown, *answer.page.positions]
        if len(answer.page.positions) < query.page_size or len(shown) >= MAX_SHOWN:
            return ""
        return self.token(request, np.sort(np.array(shown, np.int64)))

    def shown(self, request: recommendation_pb2.RecommendRequest) -> list[int]:
        """What the pages before had.

        Raises:
            InvalidRequestError: it is no token of this request, or of before a restart.
        """
        return self.read(request, request.page_token).tolist()

    def token(self, request: Message, values: np.ndarray[tuple[int], np.dtype[np.int64]]) -> str:
        """A token with ascending numbers in it, which only this request may bring back."""
        body = zlib.compress(np.diff(values, prepend=0).astype("<i4").tobytes(), 6)
        digest = _digest(request)
        header = _HEADER.pack(self._epoch, digest, self._seal(digest, body))
        return base64.urlsafe_b64encode(header + body).decode()

    def read(self, request: Message, token: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """The numbers in a token.

        Raises:
            As `shown`.
        """
        try:
            raw = base64.b64decode(token, altchars=b"-_", validate=True)
            epoch, digest, seal = _HEADER.unpack_from(raw)
            body = raw[_HEADER.size :]
        except (binascii.Error, ValueError, struct.error):
            raise _refused("is no page token") from None
        if epoch != self._epoch:
            raise _refused("is from before the server or its bundle changed; begin with the first page")
        if not hmac.compare_digest(seal, self._seal(digest, body)):
            raise _refused("is no page token")
        if digest != _digest(request):
            raise _refused("belongs to another request; only page_size may differ from page to page")
        unpacker = zlib.decompressobj()
        numbers = np.frombuffer(unpacker.decompress(body, 4 * MAX_SHOWN), "<i4")
        return np.cumsum(numbers, dtype=np.int64)

    def _seal(self, digest: bytes, body: bytes) -> bytes:
        return hashlib.blake2b(digest + body, key=self._key, digest_size=_SEAL_BYTES).digest()


def _digest(request: Message) -> bytes:
    """Of all of a request but the size and the token of its page."""
    plain = type(request)()
    plain.CopyFrom(request)
    for field in ("page_size", "page_token", "min_consistency_token"):
        if field in plain.DESCRIPTOR.fields_by_name:
            plain.ClearField(field)
    return hashlib.blake2b(plain.SerializeToString(deterministic=True), digest_size=_DIGEST_BYTES).digest()


def _refused(why: str) -> InvalidRequestError:
    return InvalidRequestError(FieldViolation("page_token", why))
