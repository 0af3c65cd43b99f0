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

import math
import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from tanager_server.errors import ServerError

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_CHARACTERS = 8192
MAX_DEPTH = 32
"""Parentheses and negations in one another."""
MAX_TERMS = 256
"""Comparisons and texts of one filter."""

OPERATORS = ("=", "!=", "<", "<=", ">", ">=", ":")

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_BARE_NAME = re.compile(r"[A-Za-z_][\w.-]*", re.ASCII)
_TOKEN = re.compile(
    r"""(?P<space>\s+)|(?P<operator><=|>=|!=|[=<>:])|(?P<open>\()|(?P<close>\))|(?P<quote>["'])|(?P<word>[^\s()"'=<>!:,\\]+)"""
)
_ESCAPES = {"\\": "\\", '"': '"', "'": "'", "*": "*", "n": "\n", "r": "\r", "t": "\t"}
_WORDS = ("AND", "OR", "NOT")


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


def parse(text: str) -> Node:
    """Reads a filter.

    Raises:
        FilterError: it is malformed, or beyond MAX_CHARACTERS, MAX_DEPTH or MAX_TERMS.
    """
    if len(text) > MAX_CHARACTERS:
        raise FilterError(MAX_CHARACTERS, f"the filter has {len(text)} characters; at most {MAX_CHARACTERS} may be")
    return _Parser(_tokens(text)).whole()


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("*", "\\*")


def _name(name: str) -> str:
    plain = _BARE_NAME.fullmatch(name) and name.upper() not in _WORDS
    return name if plain else f'"{_escaped(name)}"'


def _number(value: Literal) -> str:
    if not isinstance(value, float):
        return str(value)
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)


def _spaced(operator: str) -> str:
    return operator if operator == ":" else f" {operator} "


def _operand(node: Node) -> str:
    return f"({node})" if isinstance(node, And | Or) else str(node)


class _Token(NamedTuple):
    kind: str  # operator, open, close, text (in quotes), word or end
    value: str
    position: int
    stars: tuple[int, ...] = ()  # places in the value of `*` that are wildcards

    def __str__(self) -> str:
        if self.kind == "end":
            return "the end of the filter"
        shown = self.value if len(self.value) <= 40 else f"{self.value[:40]}…"
        return f"{shown!r}"


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise FilterError(at, _stray(text[at]))
        kind = match.lastgroup or ""
        if kind == "quote":
            token, end = _quoted(text, at)
            tokens.append(token)
            at = end
            continue
        if kind != "space":
            stars = tuple(place for place, sign in enumerate(match[0]) if sign == "*") if kind == "word" else ()
            tokens.append(_Token(kind, match[0], at, stars))
        at = match.end()
    tokens.append(_Token("end", "", len(text)))
    return tokens


def _stray(sign: str) -> str:
    if sign == "!":
        return "'!' stands only in '!='; write NOT to negate a term"
    if sign == "\\":
        return "a backslash outside quotes; put the text in quotes and write \\\\ for it"
    return f"{sign!r} is no part of a filter outside quotes; put the text in quotes"


def _quoted(text: str, start: int) -> tuple[_Token, int]:
    quote, at = text[start], start + 1
    value: list[str] = []
    stars: list[int] = []
    while at < len(text):
        sign = text[at]
        if sign == quote:
            return _Token("text", "".join(value), start, tuple(stars)), at + 1
        if sign == "\\":
            at += 1
            following = text[at : at + 1]
            if following not in _ESCAPES or not following:
                raise FilterError(at - 1, f"unknown escape '\\{following}'; write \\\\ for a backslash")
            value.append(_ESCAPES[following])
        else:
            if sign == "*":
                stars.append(len(value))
            value.append(sign)
        at += 1
    raise FilterError(start, f"the text that begins here has no end; close it with {quote}")


class _Parser:
    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._at = 0
        self._terms = 0
        self._depth = 0

    @property
    def _next(self) -> _Token:
        return self._tokens[self._at]

    def _take(self) -> _Token:
        token = self._tokens[self._at]
        self._at += 1
        return token

    def _is_word(self, word: str) -> bool:
        return self._next.kind == "word" and self._next.value == word

    def whole(self) -> Node:
        if self._next.kind == "end":
            return EVERYTHING
        node = self._expression()
        if self._next.kind != "end":
            self._unexpected("AND, OR or the end of the filter")
        return node

    def _expression(self) -> Node:
        sequences = [self._sequence()]
        while self._is_word("AND"):
            self._take()
            sequences.append(self._sequence())
        return conjunction(sequences)

    def _sequence(self) -> Node:
        factors = [self._factor()]
        while self._next.kind in ("word", "text", "open") and not self._is_word("AND"):
            factors.append(self._factor())
        return conjunction(factors)

    def _factor(self) -> Node:
        terms = [self._term()]
        while self._is_word("OR"):
            self._take()
            terms.append(self._term())
        return disjunction(terms)

    def _term(self) -> Node:
        if self._is_word("NOT"):
            token = self._take()
        elif self._next.kind == "word" and self._next.value.startswith("-"):
            token = self._next
            rest = token.value[1:]
            stars = tuple(place - 1 for place in token.stars)
            if rest:
                self._tokens[self._at] = _Token("word", rest, token.position + 1, stars)
            else:
                self._take()
                if self._next.position != token.position + 1:
                    raise FilterError(token.position, "a '-' with nothing behind it; write -(…) or NOT, or quote it")
        else:
            return self._simple()
        depth = self._deeper(token.position)
        node = negation(self._simple())
        self._depth = depth
        return node

    def _deeper(self, position: int) -> int:
        depth = self._depth
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise FilterError(position, f"more than {MAX_DEPTH} parentheses and negations in one another; simplify it")
        return depth

    def _simple(self) -> Node:
        token = self._next
        if token.kind == "open":
            depth = self._deeper(token.position)
            self._take()
            node = self._expression()
            if self._next.kind != "close":
                self._unexpected(f"AND, OR or the ')' of the '(' at character {token.position + 1}")
            self._take()
            self._depth = depth
            return node
        if token.kind not in ("word", "text") or (token.kind == "word" and token.value in _WORDS):
            self._unexpected("an attribute's name, a text or '('")
        if token.kind == "word" and token.value.startswith("-"):
            raise FilterError(token.position, "a negation of a negation; leave both out, or use parentheses")
        self._take()
        self._terms += 1
        if self._terms > MAX_TERMS:
            raise FilterError(token.position, f"more than {MAX_TERMS} comparisons; split the filter")
        if self._next.kind == "operator":
            return self._comparison(token)
        return self._title_has(token)

    def _title_has(self, token: _Token) -> Node:
        following = self._next
        if token.kind == "word":
            if token.value.upper() in _WORDS:
                raise FilterError(
                    token.position,
                    f"{token.value!r} in small letters; write {token.value.upper()}, or quote it to find it in titles",
                )
            if following.kind == "open" and following.position == token.position + len(token.value):
                raise FilterError(token.position, f"{token.value}(…): there are no functions; compare an attribute")
        text = self._text(token)
        if not text.value:
            raise FilterError(token.position, "no text to find in titles; write title:* for items that have one")
        return TitleHas(text.value.casefold())

    def _comparison(self, name: _Token) -> Node:
        operator = self._take()
        if not name.value:
            raise FilterError(name.position, "the name of an attribute is empty")
        if name.kind == "word" and name.stars:
            raise FilterError(name.position, f"{name} is no attribute's name; put it in quotes if it is one")
        token = self._next
        if token.kind == "open":
            raise FilterError(
                token.position, f"a value was expected behind '{operator.value}', not '('; repeat the name"
            )
        if token.kind == "operator" or token.kind not in ("word", "text"):
            self._unexpected(f"a text, a number, true or false behind '{operator.value}'")
        self._take()
        if token.kind == "word" and self._next.kind == "operator" and self._next.value == ":":
            raise FilterError(self._next.position, "a ':' in a value; put the value in quotes")
        if operator.value == ":" and token.kind == "word" and token.value == "*":
            return Present(name.value, name.position)
        value = self._literal(token)
        if isinstance(value, bool) and operator.value in ("<", "<=", ">", ">="):
            raise FilterError(operator.position, f"'{operator.value}' with a boolean; write = or !=")
        if isinstance(value, Text) and value.is_open and operator.value in ("<", "<=", ">", ">="):
            raise FilterError(
                token.position, f"a '*' behind '{operator.value}'; wildcards go with = and !=, else write \\*"
            )
        return Comparison(name.value, operator.value, value, name.position)

    def _literal(self, token: _Token) -> Literal:
        if token.kind == "word":
            if token.value in _WORDS:
                raise FilterError(token.position, f"a value was expected, found {token.value}; quote it if it is one")
            if token.value in ("true", "false"):
                return token.value == "true"
            if _NUMBER.fullmatch(token.value):
                number = float(token.value)
                if not math.isfinite(number):
                    raise FilterError(token.position, f"the number {token} is too large")
                return number + 0.0  # no -0.0
        return self._text(token)

    def _text(self, token: _Token) -> Text:
        value, last = token.value, len(token.value) - 1
        if inner := [place for place in token.stars if 0 < place < last]:
            raise FilterError(
                token.position,
                f"a '*' within {token} (its character {inner[0] + 1}); wildcards stand at its ends, else write \\*",
            )
        open_start, open_end = 0 in token.stars, last in token.stars and last > 0
        return Text(value[open_start : len(value) - open_end], open_start, open_end)

    def _unexpected(self, expected: str) -> NoReturn:
        found = self._next
        mend = ""
        if found.kind == "word" and found.value in _WORDS:
            mend = f"; put {found.value} in quotes if it is a text"
        elif found.kind == "close":
            mend = "; drop the ')' or write what it should close"
        elif found.kind == "end":
            mend = "; complete it"
        elif found.kind == "operator":
            mend = "; write an attribute's name before an operator, and one value behind it"
        raise FilterError(found.position, f"expected {expected}, found {found}{mend}")
