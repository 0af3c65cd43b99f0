"""Plain values on their way into the messages of the contract.

Bounds are the server's to check. Here is refused only what protobuf could not carry, or would carry as something else.
Every function takes the name of what it checks, for the message.
"""

from __future__ import annotations

import numbers
import operator
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, TypeVar

from tanager.v1 import common_pb2

if TYPE_CHECKING:
    from tanager._values import Attribute

_V = TypeVar("_V")


def text(name: str, value: str) -> str:
    """A string, which must have a UTF-8 form."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {type(value).__name__}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        message = f"{name} has no UTF-8 form: a lone surrogate at position {error.start}"
        raise ValueError(message) from None
    return value


def many(name: str, values: Iterable[_V]) -> Iterable[_V]:
    """Several values."""
    # A string is an iterable of strings, so that forgotten brackets would ask about its letters.
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise TypeError(f"{name} must be an iterable such as a list, not {type(values).__name__}")
    return values


def texts(name: str, values: Iterable[str]) -> list[str]:
    """Several strings."""
    return [text(f"{name}[{n}]", value) for n, value in enumerate(many(name, values))]


def named_texts(name: str, values: Mapping[str, str]) -> dict[str, str]:
    """Strings by name."""
    return {key: text(f"{name}[{key!r}]", value) for key, value in _named(name, values)}


def attributes(name: str, values: Mapping[str, Attribute]) -> dict[str, common_pb2.AttributeValue]:
    """Values by name."""
    return {key: _attribute(f"{name}[{key!r}]", value) for key, value in _named(name, values)}


def integer(name: str, value: int | None) -> int | None:
    """A whole number of 32 bits, or None."""
    if value is None:
        return None
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an int, not {type(value).__name__}") from None
    if not -(2**31) <= number < 2**31:
        raise ValueError(f"{name} must fit in 32 bits, not {number}")
    return number


def number(name: str, value: float | None) -> float | None:
    """A number, or None."""
    if value is not None and not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number, not {type(value).__name__}")
    return value


def _named(name: str, values: Mapping[str, _V]) -> Iterable[tuple[str, _V]]:
    if not isinstance(values, Mapping):
        raise TypeError(f"{name} must be a mapping such as a dict, not {type(values).__name__}")
    for key in values:
        text(f"{name}: a name", key)
    return values.items()


def _attribute(name: str, value: Attribute) -> common_pb2.AttributeValue:
    if isinstance(value, str):
        return common_pb2.AttributeValue(string_value=text(name, value))
    if isinstance(value, bool):
        return common_pb2.AttributeValue(bool_value=value)
    if isinstance(value, numbers.Real):
        try:
            return common_pb2.AttributeValue(number_value=float(value))
        except OverflowError:
            raise ValueError(f"{name} is too large a number") from None
    if isinstance(value, Iterable) and not isinstance(value, bytes | Mapping):
        return common_pb2.AttributeValue(string_list=common_pb2.StringList(values=texts(name, value)))
    raise TypeError(f"{name} must be a str, a number, a bool or a list of str, not {type(value).__name__}")
