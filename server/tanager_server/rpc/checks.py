"""Checks that requests of all kinds share. Every field out of its bounds is named, all of them at once."""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from tanager_server.errors import FieldViolation, InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from google.protobuf.timestamp_pb2 import Timestamp

    from tanager.v1 import common_pb2
    from tanager_server.bundle import ProfileValue

MAX_TEXT_CHARS = 8_192
MAX_ABS_WEIGHT = 100.0
MAX_ATTRIBUTES = 100
MAX_CONTEXT = 50
MAX_CONTEXT_CHARS = 1_000
MAX_NAME_CHARS = 100
MAX_LIST = 100
MAX_ID_BYTES = 1_000
NO_VALUES: Mapping[str, Any] = MappingProxyType({})

# Naming every one of ten thousand bad events helps nobody and would not fit the response's headers, where the message
# is percent-encoded and comes twice more in the details.
_MAX_VIOLATIONS = 20
_MAX_ENCODED_CHARS = 2_000
_SHOWN_NAME_CHARS = 30
_PRINTABLE = "".join(map(chr, range(0x20, 0x7F)))

NANOS = 1_000_000_000
# The seconds of a google.protobuf.Timestamp.
_YEAR_1_S, _YEAR_10000_S = -62_135_596_800, 253_402_300_800


class Violations:
    """Fields out of their bounds, as far as they can be told."""

    def __init__(self) -> None:
        self._found: list[FieldViolation] = []
        self._room = _MAX_ENCODED_CHARS

    def add(self, field: str, description: str) -> None:
        """Notes a field, by its path, and how to mend it."""
        self._room -= len(quote(field + description, safe=_PRINTABLE))
        if len(self._found) < _MAX_VIOLATIONS and (self._room >= 0 or not self._found):
            self._found.append(FieldViolation(field, description))

    def check(self) -> None:
        """Raises InvalidRequestError if there are any."""
        if self._found:
            raise InvalidRequestError(*self._found)


def check_text(field: str, text: str, violations: Violations, *, most: int = MAX_TEXT_CHARS) -> None:
    """A text that is not blank, nor too long."""
    if len(text) > most:
        violations.add(field, f"must be at most {most} characters, has {len(text)}; shorten it")
    elif not text.strip():
        violations.add(field, "must not be blank")


def check_id(field: str, value: str, violations: Violations) -> None:
    """An id that is there and not too long."""
    if not value:
        violations.add(field, "is required")
    elif not value.strip():
        violations.add(field, "must not be blank")
    elif len(value) > MAX_ID_BYTES or len(value.encode()) > MAX_ID_BYTES:
        violations.add(field, f"must be at most {MAX_ID_BYTES} bytes")


def check_count(field: str, values: Sequence[object], violations: Violations, *, most: int, what: str) -> bool:
    """One value at least, and not too many; tells whether they can be looked at one by one."""
    if 1 <= len(values) <= most:
        return True
    violations.add(field, f"must hold 1 to {most} {what}, holds {len(values)}")
    return False


def check_distinct(field: str, ids: Iterable[str], violations: Violations) -> None:
    """No id twice."""
    seen: set[str] = set()
    for index, value in enumerate(ids):
        if value in seen:
            violations.add(f"{field}[{index}]", "comes twice; send each once")
        seen.add(value)


def sound_weight(weight: float) -> bool:
    """Whether a weight is in its bounds; NaN is not."""
    return -MAX_ABS_WEIGHT <= weight <= MAX_ABS_WEIGHT


def check_weight(field: str, weight: float, violations: Violations) -> None:
    """A weight in its bounds."""
    if not sound_weight(weight):
        violations.add(field, f"must be finite and from -{MAX_ABS_WEIGHT:g} to {MAX_ABS_WEIGHT:g}")


def sound_time(time: Timestamp) -> bool:
    """Whether a time is one."""
    return _YEAR_1_S <= time.seconds < _YEAR_10000_S and 0 <= time.nanos < NANOS


def check_time(field: str, time: Timestamp, violations: Violations) -> None:
    """A valid time."""
    if not sound_time(time):
        violations.add(field, "must be a valid google.protobuf.Timestamp, years 1 to 9999")


def attribute_values(
    field: str, messages: Mapping[str, common_pb2.AttributeValue], violations: Violations
) -> dict[str, ProfileValue]:
    """Attributes by name, in the order of names."""
    if len(messages) > MAX_ATTRIBUTES:
        violations.add(field, f"must hold at most {MAX_ATTRIBUTES} attributes, holds {len(messages)}")
        return {}
    found: dict[str, ProfileValue] = {}
    chars = 0
    for name in sorted(messages):  # a map has no order, and texts made of it should be found in the cache
        message = messages[name]
        path = _entry(field, name, violations)
        match message.WhichOneof("value"):
            case "string_value":
                found[name] = message.string_value
                check_text(path, message.string_value, violations)
                chars += len(message.string_value)
            case "number_value":
                found[name] = message.number_value
                if not math.isfinite(message.number_value):
                    violations.add(path, "must be finite")
            case "bool_value":
                found[name] = message.bool_value
            case "string_list":
                values = tuple(message.string_list.values)
                found[name] = values
                if len(values) > MAX_LIST:
                    violations.add(path, f"must hold at most {MAX_LIST} texts, holds {len(values)}")
                else:
                    for index, text in enumerate(values):
                        check_text(f"{path}[{index}]", text, violations)
                chars += sum(map(len, values))
            case _:
                violations.add(path, "must have a value: a text, a number, true or false, or a list of texts")
    if chars > MAX_TEXT_CHARS:
        violations.add(field, f"must have at most {MAX_TEXT_CHARS} characters of text in all, has {chars}")
    return found


def context_texts(field: str, messages: Mapping[str, str], violations: Violations) -> dict[str, str]:
    """A context."""
    if len(messages) > MAX_CONTEXT:
        violations.add(field, f"must hold at most {MAX_CONTEXT} texts, holds {len(messages)}")
        return {}
    for name, text in messages.items():
        check_text(_entry(field, name, violations), text, violations, most=MAX_CONTEXT_CHARS)
    return dict(messages)


def _entry(field: str, name: str, violations: Violations) -> str:
    """Checks the name of an entry of a map; gives its path."""
    if not name.strip():
        violations.add(field, "a name must not be blank")
    elif len(name) > MAX_NAME_CHARS:
        violations.add(field, f"a name must be at most {MAX_NAME_CHARS} characters, one has {len(name)}")
    return f"{field}[{name[:_SHOWN_NAME_CHARS]!r}]"
