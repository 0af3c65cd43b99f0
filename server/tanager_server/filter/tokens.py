"""The pieces that a filter is written in: words, texts in quotes, operators and parentheses."""

from __future__ import annotations

import re
from typing import NamedTuple

from tanager_server.filter.syntax import FilterError

_TOKEN = re.compile(
    r"""(?P<space>\s+)|(?P<operator><=|>=|!=|[=<>:])|(?P<open>\()|(?P<close>\))|(?P<quote>["'])|(?P<word>[^\s()"'=<>!:,\\]+)"""
)
_ESCAPES = {"\\": "\\", '"': '"', "'": "'", "*": "*", "n": "\n", "r": "\r", "t": "\t"}


class Token(NamedTuple):
    """A piece of a filter.

    Attributes:
        kind: operator, open, close, text (in quotes), word or end.
        value: without quotes and escapes.
        position: where it begins, in characters from 0.
        stars: places in the value of `*` that are wildcards.
    """

    kind: str
    value: str
    position: int
    stars: tuple[int, ...] = ()

    def __str__(self) -> str:
        if self.kind == "end":
            return "the end of the filter"
        shown = self.value if len(self.value) <= 40 else f"{self.value[:40]}…"
        return f"{shown!r}"


def tokens_of(text: str) -> list[Token]:
    """The pieces of a filter without the spaces, `end` the last of them.

    Raises:
        FilterError: it has what is no part of a filter, or a text without an end.
    """
    tokens: list[Token] = []
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
            tokens.append(Token(kind, match[0], at, stars))
        at = match.end()
    tokens.append(Token("end", "", len(text)))
    return tokens


def _stray(sign: str) -> str:
    if sign == "!":
        return "'!' stands only in '!='; write NOT to negate a term"
    if sign == "\\":
        return "a backslash outside quotes; put the text in quotes and write \\\\ for it"
    return f"{sign!r} is no part of a filter outside quotes; put the text in quotes"


def _quoted(text: str, start: int) -> tuple[Token, int]:
    quote, at = text[start], start + 1
    value: list[str] = []
    stars: list[int] = []
    while at < len(text):
        sign = text[at]
        if sign == quote:
            return Token("text", "".join(value), start, tuple(stars)), at + 1
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
