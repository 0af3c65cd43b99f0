"""What a caller hands to the clients beside plain strings and numbers."""

from __future__ import annotations

import numbers
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import datetime as dt
    import os

Attribute: TypeAlias = str | float | bool | Iterable[str]
"""A value of a profile or of an item: a text, a number, true or false, or several texts."""


def check_weight(name: str, weight: float | None) -> None:
    """Refuses what is no number.

    Raises:
        TypeError: It is none.
    """
    if weight is not None and not isinstance(weight, numbers.Real):
        raise TypeError(f"{name} must be a number, not {type(weight).__name__}")


def check_time(name: str, time: dt.datetime | None) -> None:
    """Refuses a time without a time zone: it would be read as UTC or as local time, depending on who reads it.

    Raises:
        ValueError: It has none.
    """
    if time is not None and time.utcoffset() is None:
        raise ValueError(f"{name} must have a time zone, for example datetime.now(timezone.utc)")


@dataclass(frozen=True, slots=True)
class Event:
    """Something the user did with an item.

    Attributes:
        item_id: Id of the item.
        weight: How much the event says that the user likes the item, negative for dislike; None leaves it to the
            server, which takes 1.
        time: When it happened, with a time zone; None if unknown.

    Raises:
        TypeError: `weight` is not a number.
        ValueError: `time` has no time zone.
    """

    item_id: str
    weight: float | None = None
    time: dt.datetime | None = None

    def __post_init__(self) -> None:
        check_weight("Event.weight", self.weight)
        check_time("Event.time", self.time)


@dataclass(frozen=True, slots=True)
class Example:
    """An item that says what is wanted now, or what is not.

    Attributes:
        item_id: Id of the item.
        weight: How much, negative for what is not wanted; None leaves it to the server, which takes 1.

    Raises:
        TypeError: `weight` is not a number.
    """

    item_id: str
    weight: float | None = None

    def __post_init__(self) -> None:
        check_weight("Example.weight", self.weight)


@dataclass(frozen=True, slots=True, kw_only=True)
class Diversity:
    """How to choose results that are not more of the same. Their scores stay what they are, which come changes.

    Attributes:
        mmr_lambda: Lambda of maximal marginal relevance, 0 to 1: 1 takes the best by score, less passes over items
            whose categories are those of items already chosen; None for off.
        max_per_category: How many items of one category may be returned, up to 100; 0 for any number.
        interests: How many interests of the history are served at most, up to 8, each by half of its share at least; 0
            for off.
    """

    mmr_lambda: float | None = None
    max_per_category: int = 0
    interests: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How calls that were answered UNAVAILABLE are tried again; no other failure is.

    Every method can be, for to do it twice is to do it once, but for `rollback_bundle`, which is never tried again. Of
    a write that was done although its answer was lost, the answer to the next attempt counts what is new then: nothing.

    All attempts share the deadline of the call. When most calls to a server fail, retries stop by themselves.

    Attributes:
        max_attempts: Attempts in all, the first included: 2 to 5.
        initial_backoff_s: The first wait, in seconds, at least 0.01. Every wait is varied by up to a fifth, so that
            clients do not come back all at once.
        max_backoff_s: The longest wait, in seconds, at least 0.01.
        multiplier: How many times as long each wait is as the one before, at least 1.

    Raises:
        ValueError: A value is out of its bounds.
    """

    max_attempts: int = 4
    initial_backoff_s: float = 0.05
    max_backoff_s: float = 1.0
    multiplier: float = 2.0

    def __post_init__(self) -> None:
        # gRPC would cap it at 5, or ignore the whole policy, without a word.
        if not 2 <= self.max_attempts <= 5:
            raise ValueError(f"Retry.max_attempts must be 2 to 5, not {self.max_attempts}; retry=None retries nothing")
        # After a wait of a millisecond gRPC may never try again: https://github.com/grpc/grpc/issues/41036.
        bounds = {"initial_backoff_s": 0.01, "max_backoff_s": 0.01, "multiplier": 1}
        for name, least in bounds.items():
            if not least <= getattr(self, name) < float("inf"):
                raise ValueError(f"Retry.{name} must be at least {least} and finite, not {getattr(self, name)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """How the channel is encrypted. `Tls()` trusts gRPC's own root certificates.

    Attributes:
        ca_file: PEM file of the certificates to trust instead.
        ca_bytes: The same, as bytes.
        cert_file: PEM file of the client's certificate, where the server asks for one. Needs `key_file`.
        key_file: PEM file of that certificate's private key.
        server_name: Name to expect in the server's certificate, where it is not the host of the target.

    Raises:
        ValueError: Both `ca_file` and `ca_bytes` are given, or only one of `cert_file` and `key_file`.
    """

    ca_file: str | os.PathLike[str] | None = None
    ca_bytes: bytes | None = field(default=None, repr=False)
    cert_file: str | os.PathLike[str] | None = None
    key_file: str | os.PathLike[str] | None = None
    server_name: str | None = None

    def __post_init__(self) -> None:
        if self.ca_file is not None and self.ca_bytes is not None:
            raise ValueError("Tls takes ca_file or ca_bytes, not both")
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("Tls needs cert_file and key_file together")
