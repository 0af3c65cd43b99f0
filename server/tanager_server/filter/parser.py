"""Reads filters: a descent by the grammar of AIP-160, which makes no tree higher than its limit."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, NoReturn

from tanager_server.filter.syntax import (
    EVERYTHING,
    WORDS,
    Comparison,
    FilterError,
    Present,
    Text,
    TitleHas,
    conjunction,
    disjunction,
    negation,
)
from tanager_server.filter.tokens import Token, tokens_of

if TYPE_CHECKING:
    from tanager_server.filter.syntax import Literal, Node

MAX_CHARACTERS = 8192
MAX_DEPTH = 32
"""Parentheses and negations in one another."""
MAX_TERMS = 256
"""Comparisons and texts of one filter."""

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def parse(text: str) -> Node:
    """Reads a filter.

    Raises:
        FilterError: it is malformed, or beyond MAX_CHARACTERS, MAX_DEPTH or MAX_TERMS.
    """
    if len(text) > MAX_CHARACTERS:
        raise FilterError(MAX_CHARACTERS, f"the filter has {len(text)} characters; at most {MAX_CHARACTERS} may be")
    return _Parser(tokens_of(text)).whole()


class _Parser:
    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self._at = 0
        self._terms = 0
        self._depth = 0

    @property
    def _next(self) -> Token:
        return self._tokens[self._at]

    def _take(self) -> Token:
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
                self._tokens[self._at] = Token("word", rest, token.position + 1, stars)
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
        if token.kind not in ("word", "text") or (token.kind == "word" and token.value in WORDS):
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

    def _title_has(self, token: Token) -> Node:
        following = self._next
        if token.kind == "word":
            if token.value.upper() in WORDS:
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

    def _comparison(self, name: Token) -> Node:
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

    def _literal(self, token: Token) -> Literal:
        if token.kind == "word":
            if token.value in WORDS:
                raise FilterError(token.position, f"a value was expected, found {token.value}; quote it if it is one")
            if token.value in ("true", "false"):
                return token.value == "true"
            if _NUMBER.fullmatch(token.value):
                number = float(token.value)
                if not math.isfinite(number):
                    raise FilterError(token.position, f"the number {token} is too large")
                return number + 0.0  # no -0.0
        return self._text(token)

    def _text(self, token: Token) -> Text:
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
        if found.kind == "word" and found.value in WORDS:
            mend = f"; put {found.value} in quotes if it is a text"
        elif found.kind == "close":
            mend = "; drop the ')' or write what it should close"
        elif found.kind == "end":
            mend = "; complete it"
        elif found.kind == "operator":
            mend = "; write an attribute's name before an operator, and one value behind it"
        raise FilterError(found.position, f"expected {expected}, found {found}{mend}")
