"""What filters mean, item by item; and random filters and items to hold the columns to it."""

from __future__ import annotations

import math
import operator

from hypothesis import strategies as st

from tanager_server.filter.column import as_number
from tanager_server.filter.syntax import (
    OPERATORS,
    And,
    Comparison,
    Not,
    Or,
    Present,
    Text,
    TitleHas,
    conjunction,
    disjunction,
    negation,
)

COMPARE = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def value_of(item, name):
    """The item's value, None where it has none."""
    if name in ("title", "domain", "id", "categories"):
        return item[name] or None
    value = item["attributes"].get(name.removeprefix("attributes."))
    return None if value == [] or value != value else value


def matches(node, item):
    """Whether the item matches."""
    match node:
        case And(operands):
            return all(matches(part, item) for part in operands)
        case Or(operands):
            return any(matches(part, item) for part in operands)
        case Not(operand):
            return not matches(operand, item)
        case TitleHas(text):
            return text in item["title"].casefold() and bool(item["title"])
        case Present(name):
            return value_of(item, name) is not None
        case Comparison(name, symbol, literal):
            return compares(value_of(item, name), symbol, literal)
    raise AssertionError(node)


def compares(value, symbol, literal):
    if isinstance(value, list):
        return symbol == ":" and isinstance(literal, Text) and any(literal.matches(each) for each in value)
    symbol = "=" if symbol == ":" else symbol
    if isinstance(literal, Text):
        if isinstance(value, str):
            if symbol in ("=", "!="):
                return literal.matches(value) == (symbol == "=")
            return COMPARE[symbol](value, literal.value)
        if literal.time is None:
            return False
        literal = literal.time
    elif isinstance(literal, bool):
        return isinstance(value, bool) and COMPARE[symbol](value, literal)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return COMPARE[symbol](as_number(value), literal)


WORDS = ["film", "Film", "horror", "a*b", "", "x", "ab", "abc", "2020-01-01T00:00:00Z", "straße", "STRASSE", '"', "\\"]
NAMES = ["year", "seen", "tags", "mixed", "attributes.title", "running time"]

_texts = st.sampled_from(WORDS) | st.text(max_size=4)
_numbers = st.sampled_from([0, 1, -1, 1990, 1577836800, 2.5, 10**400, -(10**400), 2**53 + 1, math.nan]) | st.floats()
_values = _texts | _numbers | st.booleans() | st.lists(_texts, max_size=3)
items = st.fixed_dictionaries(
    {
        "title": _texts,
        "domain": st.sampled_from(["", "film", "book"]),
        "categories": st.lists(st.sampled_from(["horror", "film", "ab"]), max_size=3),
        "attributes": st.dictionaries(
            st.sampled_from([name.removeprefix("attributes.") for name in NAMES]), _values, max_size=4
        ),
    }
)

_filter_texts = st.builds(Text, _texts, st.booleans(), st.booleans())
_literals = _filter_texts | st.booleans() | st.floats(allow_nan=False, allow_infinity=False).map(lambda x: x + 0.0)


def _comparison(name, symbol, literal):
    if isinstance(literal, bool) and symbol in ("<", "<=", ">", ">="):
        symbol = "="
    if isinstance(literal, Text) and symbol in ("<", "<=", ">", ">="):
        literal = Text(literal.value)
    return Comparison(name, symbol, literal)


def _leaves(names):
    return (
        st.builds(_comparison, names, st.sampled_from(OPERATORS), _literals)
        | st.builds(Present, names)
        | st.builds(TitleHas, _texts.map(str.casefold).filter(bool))
    )


def filters(names=None):
    """Random filters over some names, or over any."""
    if names is None:
        names = st.sampled_from(["id", "title", "domain", "categories", *NAMES])
    return st.recursive(
        _leaves(names),
        lambda inner: (
            st.lists(inner, min_size=2, max_size=3).map(conjunction)
            | st.lists(inner, min_size=2, max_size=3).map(disjunction)
            | inner.map(negation)
        ),
        max_leaves=8,
    )
