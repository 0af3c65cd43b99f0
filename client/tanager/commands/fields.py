"""The fields of one record of a file, each checked."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from tanager._values import Attribute

_EXAMPLE = "2026-01-02T03:04:05Z"


class FieldError(Exception):
    """A field that cannot be used: named, with what is wrong with it and what to do."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")


class Fields:
    """One record, whose fields are taken one by one; at the end, what nobody took is refused.

    Several names of one field are those that other files have for it. A field that is null counts as missing.

    Args:
        record: The fields by name.
        of_text: Whether all values are texts, as in CSV.
    """

    def __init__(self, record: Mapping[str, object], *, of_text: bool = False) -> None:
        self._record = {name: value for name, value in record.items() if value is not None}
        self._of_text = of_text
        self._left = dict.fromkeys(record)
        self._known: list[str] = []

    def text(self, *names: str) -> str:
        """A text, empty if it is missing."""
        name, value = self._take(names)
        return "" if value is None else _text(name, value)

    def required_text(self, *names: str) -> str:
        """A text that must be there."""
        text = self.text(*names)
        if not text.strip():
            raise FieldError(names[0], "is missing")
        return text

    def number(self, *names: str) -> float | None:
        """A finite number, or None if it is missing."""
        name, value = self._take(names)
        if value is None:
            return None
        number = _parsed(value) if self._of_text and isinstance(value, str) else value
        if isinstance(number, bool) or not isinstance(number, int | float):
            _refuse(name, "a number", value)
        return _finite(name, number)

    def time(self, *names: str) -> dt.datetime | None:
        """A time, or None if it is missing."""
        name, value = self._take(names)
        return None if value is None else time_of(name, value)

    def texts(self, *names: str) -> tuple[str, ...]:
        """Texts, none if they are missing."""
        name, value = self._take(names)
        if value is None:
            return ()
        if not isinstance(value, list):
            _refuse(name, "a list of strings", value)
        return tuple(_text(f"{name}[{n}]", text) for n, text in enumerate(value))

    def attributes(self, *names: str) -> dict[str, Attribute]:
        """Values by name, none if they are missing."""
        name, value = self._take(names)
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            _refuse(name, "an object", value)
        return {key: _attribute(f"{name}.{key}", part) for key, part in value.items()}

    def context(self, name: str) -> dict[str, str]:
        """Texts by name, none if they are missing; of texts alone all that was not taken yet."""
        if self._of_text:
            rest = {key: value for key, value in self._record.items() if key in self._left}
            self._left = {}
            return {key: _text(key, value) for key, value in rest.items()}
        name, value = self._take((name,))
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            _refuse(name, "an object", value)
        return {key: _text(f"{name}.{key}", part) for key, part in value.items()}

    def ignore(self, *names: str) -> None:
        """Lets fields be there that say nothing here."""
        for name in names:
            self._left.pop(name, None)

    def finish(self) -> None:
        """Refuses what was not taken.

        Raises:
            FieldError: There is something.
        """
        for name in self._left:
            raise FieldError(str(name), f"is not known here; the fields are {', '.join(self._known)}")

    def _take(self, names: tuple[str, ...]) -> tuple[str, object]:
        if names[0] not in self._known:
            self._known.append(names[0])
        found = [name for name in names if name in self._record]
        for name in names:
            self._left.pop(name, None)
        if len(found) > 1:
            raise FieldError(found[1], f"says the same as {found[0]}: keep one of them")
        return (found[0], self._record[found[0]]) if found else (names[0], None)


def time_of(name: str, value: object) -> dt.datetime:
    """A time in UTC: a number, or a text of digits, is seconds since 1970, another text ISO 8601 with a time zone.

    Raises:
        FieldError: It is none.
    """
    seconds = _parsed(value) if isinstance(value, str) else value
    try:
        if isinstance(seconds, int | float) and not isinstance(seconds, bool):
            return dt.datetime.fromtimestamp(seconds, dt.UTC)
        if isinstance(value, str):
            time = dt.datetime.fromisoformat(value)
            if time.utcoffset() is None:
                raise FieldError(name, f"must have a time zone, for example {_EXAMPLE}, not {value}")
            return time.astimezone(dt.UTC)
    except (ValueError, OverflowError, OSError):
        pass
    raise FieldError(name, f"must be a time such as {_EXAMPLE}, or seconds since 1970, not {value!r}")


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        _refuse(name, "a string", value)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise FieldError(name, "has no UTF-8 form: it has a lone surrogate") from None
    return value


def _attribute(name: str, value: object) -> Attribute:
    if isinstance(value, str):
        return _text(name, value)
    if isinstance(value, list):
        return tuple(_text(f"{name}[{n}]", part) for n, part in enumerate(value))
    if isinstance(value, bool):
        return value
    if not isinstance(value, int | float):
        _refuse(name, "a string, a number, true, false or a list of strings", value)
    return _finite(name, value)


def _finite(name: str, value: float) -> float:
    try:
        number = float(value)  # of an int that JSON may have as long as it likes
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise FieldError(name, "must be a finite number, and not as large")
    return number


def _parsed(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _refuse(name: str, expected: str, value: object) -> NoReturn:
    kinds = {bool: "a boolean", str: "a string", list: "a list", dict: "an object", type(None): "null"}
    raise FieldError(name, f"must be {expected}, not {kinds.get(type(value), 'a number')}")
