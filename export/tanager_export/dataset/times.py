"""Times as other people's files write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

MILLISECONDS_FROM = 100_000_000_000
"""As seconds this is the year 5138, as milliseconds 1973."""

_NUMBER = re.compile(r"([+-]?[0-9]{1,18})(?:\.[0-9]*)?")


def unix_seconds(text: str) -> int | None:
    """The Unix seconds of a time; None when it is no time.

    Args:
        text: Unix seconds or milliseconds, as numbers too large to be seconds are taken; or ISO 8601, which is in
            UTC where it names no offset. Fractions of a second are dropped.
    """
    text = text.strip()
    if number := _NUMBER.fullmatch(text):
        value = int(number[1])
        return value // 1000 if abs(value) >= MILLISECONDS_FROM else value
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() // 1)
