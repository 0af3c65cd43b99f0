r"""The filter language: AIP-160 (https://google.aip.dev/160), over the attributes of items.

    domain = "film" AND year >= 1990 AND NOT categories:"horror"

* `AND`, `OR`, `NOT`, `-`, parentheses. Terms that follow each other without a word are joined by AND. OR binds tighter
  than AND: `a AND b OR c` is `a AND (b OR c)`.
* `= != < <= > >=` compare an attribute with a text, a number or a boolean; `:` asks for an element of a list, or, of
  what is no list, for that value; `name:*` asks whether there is a value.
* A comparison is by the type of what is written: an item whose value has another one does not match, nor does one
  without a value, not even with `!=`; NOT of the comparison does match them. But a text which is a time of RFC 3339 is
  compared with numbers too, as seconds since the epoch; with texts it is compared as the text that it is.
* Texts stand in quotes, "…" or '…', with `\\`, `\"`, `\'`, `\*`, `\n`, `\r` and `\t`, or are bare words. A bare number
  is a number and bare `true` and `false` are booleans; in quotes they are texts.
* A `*` at either end of a text stands for any characters, with `=`, `!=` and `:`. Texts are compared as they are, by
  code points.
* A name that is no plain word stands in quotes: `"running time" < 90`. An attribute which is called like something
  built in has a prefix: `attributes.title`.
* A text alone asks for items with it anywhere in the title, in any case.

Functions are not part of it, nor are fields on the right.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from tanager_server.errors import ServerError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

OPERATORS = ("=", "!=", "<", "<=", ">", ">=", ":")

_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_BARE_NAME = re.compile(r"[A-Za-z_][\w.-]*", re.ASCII)
WORDS = ("AND", "OR", "NOT")
"""Which are texts and names in quotes alone."""


class FilterError(ServerError):
    """A filter is malformed, or asks for what there is not.

    Attributes:
        position: where, in characters from 0.
        problem: what was expected and found there, and what to write instead.
    """

    code = "INVALID_ARGUMENT"

    def __init__(self, position: int, problem: str) -> None:
        super().__init__(f"at character {position + 1}: {problem}")
        self.position = position
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Text:
    """A text to compare with.

    Attributes:
        value: without the wildcards.
        open_start: whether any characters may come before it.
        open_end: whether any characters may come after it.
    """

    value: str
    open_start: bool = False
    open_end: bool = False

    def __post_init__(self) -> None:
        if not self.value and self.open_end:  # `*` and `**` ask for the same
            object.__setattr__(self, "open_start", True)
            object.__setattr__(self, "open_end", False)

    @property
    def is_open(self) -> bool:
        """Whether it has a wildcard."""
        return self.open_start or self.open_end

    @property
    def time(self) -> float | None:
        """Seconds since the epoch, where it is a time of RFC 3339."""
        if self.is_open or not _TIME.fullmatch(self.value):
            return None
        try:
            return datetime.fromisoformat(self.value.upper()).timestamp()
        except (ValueError, OverflowError):
            return None

    def matches(self, text: str) -> bool:
        """Whether a text equals this one."""
        if self.open_start:
            return self.value in text if self.open_end else text.endswith(self.value)
        return text.startswith(self.value) if self.open_end else text == self.value

    def __str__(self) -> str:
        return f'"{"*" * self.open_start}{_escaped(self.value)}{"*" * self.open_end}"'


Literal = Text | float | bool


@dataclass(frozen=True, slots=True)
class Comparison:
    """An attribute compared with a value.

    Attributes:
        name: of the attribute.
        operator: one of OPERATORS.
        value: a text, a number or a boolean.
        position: where it stands in the filter.
    """

    name: str
    operator: str
    value: Literal
    position: int = field(default=0, compare=False)

    def __str__(self) -> str:
        value = str(self.value).lower() if isinstance(self.value, bool) else _number(self.value)
        return f"{_name(self.name)}{_spaced(self.operator)}{value}"


@dataclass(frozen=True, slots=True)
class Present:
    """Whether there is a value: `name:*`."""

    name: str
    position: int = field(default=0, compare=False)

    def __str__(self) -> str:
        return f"{_name(self.name)}:*"


@dataclass(frozen=True, slots=True)
class TitleHas:
    """A text alone: the title holds it, in any case.

    Attributes:
        value: casefolded.
    """

    value: str

    def __str__(self) -> str:
        return f'"{_escaped(self.value)}"'


@dataclass(frozen=True, slots=True)
class Not:
    """What its operand does not match."""

    operand: Node

    def __str__(self) -> str:
        return f"NOT {_operand(self.operand)}"


@dataclass(frozen=True, slots=True)
class And:
    """What all its operands match; of none, everything: the empty filter."""

    operands: tuple[Node, ...]

    def __str__(self) -> str:
        return " AND ".join(map(_operand, self.operands))


@dataclass(frozen=True, slots=True)
class Or:
    """What one of its operands matches."""

    operands: tuple[Node, ...]

    def __str__(self) -> str:
        return " OR ".join(map(_operand, self.operands))


Node = Comparison | Present | TitleHas | Not | And | Or
"""A filter. `str` of it is its canonical text, which has it for a result again."""

EVERYTHING = And(())


def leaves(node: Node) -> Iterator[Comparison | Present | TitleHas]:
    """What a filter is made of, in the order in which it stands there."""
    match node:
        case And() | Or():
            for part in node.operands:
                yield from leaves(part)
        case Not():
            yield from leaves(node.operand)
        case _:
            yield node


def conjunction(operands: Iterable[Node]) -> Node:
    """What all match, without an AND directly in another."""
    flat = [part for node in operands for part in (node.operands if isinstance(node, And) else (node,))]
    return flat[0] if len(flat) == 1 else And(tuple(flat))


def disjunction(operands: Iterable[Node]) -> Node:
    """What one matches, without an OR directly in another."""
    flat = [part for node in operands for part in (node.operands if isinstance(node, Or) else (node,))]
    return flat[0] if len(flat) == 1 else Or(tuple(flat))


def negation(node: Node) -> Node:
    """What does not match, without a NOT directly in another."""
    return node.operand if isinstance(node, Not) else Not(node)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("*", "\\*")


def _name(name: str) -> str:
    plain = _BARE_NAME.fullmatch(name) and name.upper() not in WORDS
    return name if plain else f'"{_escaped(name)}"'


def _number(value: Literal) -> str:
    if not isinstance(value, float):
        return str(value)
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)


def _spaced(operator: str) -> str:
    return operator if operator == ":" else f" {operator} "


def _operand(node: Node) -> str:
    return f"({node})" if isinstance(node, And | Or) else str(node)
