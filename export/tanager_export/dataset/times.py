"""Times as other people's files write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

MILLISECONDS_FROM = 100_000_000_000
"""As seconds this is the year 5138, as milliseconds 1973."""

_COMPACT_DATE = re.compile(r"(?:19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])")
_NUMBER = re.compile(r"([+-]?[0-9]{1,18})(?:\.[0-9]*)?")


def unix_seconds(text: str) -> int | None:
    """The Unix seconds of a time; None when it is no time.

    Args:
        text: Unix seconds or milliseconds, as numbers too large to be seconds are taken; or ISO 8601, which is in
            UTC where it names no offset, also without separators (20240131, which as seconds would be a day of 1970).
            Fractions of a second are dropped.
    """
    text = text.strip().removesuffix(" UTC")
    if (number := _NUMBER.fullmatch(text)) and not _COMPACT_DATE.fullmatch(text):
        value = int(number[1])
        return value // 1000 if abs(value) >= MILLISECONDS_FROM else value
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() // 1)
