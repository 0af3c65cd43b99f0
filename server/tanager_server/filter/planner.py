"""Filters as masks over the items' positions, kept, and brought up to date by what changed since."""

from __future__ import annotations

import operator
from collections import OrderedDict
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from tanager_server.filter.checks import check, check_cost
from tanager_server.filter.column import Kind
from tanager_server.filter.columns import TITLE, Columns
from tanager_server.filter.parser import parse
from tanager_server.filter.syntax import (
    And,
    Comparison,
    Node,
    Not,
    Or,
    Present,
    Text,
    TitleHas,
    leaves,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from tanager_server.filter.column import Column

_COMPARE: dict[str, Callable[..., Any]] = {  # of arrays, or of texts
    "=": operator.eq,
    ":": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class Predicate:
    """What a filter matches at one version of the columns. Immutable.

    Attributes:
        node: the filter.
        text: its canonical text.
        version: of the columns.
        meant: what its names meant then, see `Columns.key`.
        mask: (items,) uint8, read-only: 1 where the item of that position matches and was not removed.
        count: how many do.
    """

    def __init__(self, node: Node, text: str, columns: Columns, matches: NDArray[np.bool_]) -> None:
        self.node = node
        self.text = text
        self.version = columns.version
        self.meant = _meant(node, columns)
        self.mask: NDArray[np.uint8] = matches.view(np.uint8)
        self.mask.flags.writeable = False
        self.count = int(np.count_nonzero(matches))

    @cached_property
    def positions(self) -> NDArray[np.int32]:
        """(count,) int32, ascending: those that match. Made when it is first asked for."""
        return np.flatnonzero(self.mask.view(np.bool_)).astype(np.int32)


class Predicates:
    """Filters over some columns. Masks are kept by canonical text, and the least lately used go first.

    Args:
        columns: what to filter by.
        capacity: how many masks to keep; each takes a byte for every item.
    """

    def __init__(self, columns: Columns, *, capacity: int = 128) -> None:
        if capacity < 1:
            raise ValueError(f"capacity={capacity}: one mask at least")
        self._columns = columns
        self._capacity = capacity
        self._kept: OrderedDict[str, Predicate] = OrderedDict()
        self._parsed = lru_cache(maxsize=4 * capacity)(_parse)

    def __len__(self) -> int:
        return len(self._kept)

    def compile(self, text: str) -> Predicate:
        """What the filter matches now.

        A mask that is kept is evaluated anew only where items changed since; one that was given out never changes.

        Raises:
            FilterError: the filter is malformed, names an attribute that no item has, compares lists, or takes too
                long.
        """
        node, canonical = self._parsed(text)
        check(node, self._columns)
        return self._latest(node, canonical)

    def again(self, predicate: Predicate) -> Predicate:
        """What a filter matches now that was compiled before, whatever has become of the attributes that it names."""
        return self._latest(predicate.node, predicate.text, predicate)

    def _latest(self, node: Node, canonical: str, before: Predicate | None = None) -> Predicate:
        kept = self._kept.get(canonical, before)
        if kept is None:
            check_cost(node, self._columns)
            predicate = _evaluated(node, canonical, self._columns)
        else:
            predicate = _refreshed(kept, self._columns)
        self._kept[canonical] = predicate
        self._kept.move_to_end(canonical)
        if len(self._kept) > self._capacity:
            self._kept.popitem(last=False)
        return predicate


def evaluate(node: Node, columns: Columns, at: NDArray[np.int64] | None = None) -> NDArray[np.bool_]:
    """Which items match, of some positions or of all; those that were removed do not.

    What `at` has is what the columns have: no check of names. An attribute that no item has is missing everywhere.
    """
    live = (columns.live if at is None else columns.live[at]).view(np.bool_)
    return _matches(node, columns, at, len(live)) & live


def _parse(text: str) -> tuple[Node, str]:
    node = parse(text)
    return node, str(node)


def _evaluated(node: Node, text: str, columns: Columns) -> Predicate:
    return Predicate(node, text, columns, evaluate(node, columns))


def _refreshed(kept: Predicate, columns: Columns) -> Predicate:
    if kept.version == columns.version:
        return kept
    changed = columns.changed_since(kept.version)
    pairs = zip(kept.meant, _meant(kept.node, columns), strict=True)
    # A column that comes or goes is that of items which changed.
    if changed is None or any(None not in (before, now) and before != now for before, now in pairs):
        return _evaluated(kept.node, kept.text, columns)
    matches = np.zeros(len(columns), np.bool_)
    matches[: len(kept.mask)] = kept.mask
    matches[changed] = evaluate(kept.node, columns, changed)
    return Predicate(kept.node, kept.text, columns, matches)


def _meant(node: Node, columns: Columns) -> list[str | None]:
    return [columns.key(leaf.name) for leaf in leaves(node) if not isinstance(leaf, TitleHas)]


def _matches(node: Node, columns: Columns, at: NDArray[np.int64] | None, count: int) -> NDArray[np.bool_]:
    if isinstance(node, And | Or):
        matches = np.full(count, isinstance(node, And))
        for part in node.operands:
            if isinstance(node, And):
                matches &= _matches(part, columns, at, count)
            else:
                matches |= _matches(part, columns, at, count)
        return matches
    if isinstance(node, Not):
        return ~_matches(node.operand, columns, at, count)
    column = columns.column(TITLE if isinstance(node, TitleHas) else node.name)
    if column is None:
        return np.zeros(count, np.bool_)
    kinds, values = column.read(len(columns), at)
    if isinstance(node, TitleHas):
        wanted = node.value
        return _where(
            kinds,
            values,
            Kind.TEXT,
            lambda codes: column.texts.where_holding(codes, wanted),
        )
    if isinstance(node, Present):
        return ~_are(kinds, Kind.MISSING)
    return _compared(node, column, kinds, values)


def _compared(
    node: Comparison, column: Column, kinds: NDArray[np.uint8], values: NDArray[np.float64]
) -> NDArray[np.bool_]:
    symbol, value = node.operator, node.value
    if isinstance(value, bool):
        return _are(kinds, Kind.BOOL) & _compare(symbol, values, value)
    if isinstance(value, float):
        return _are(kinds, Kind.NUMBER) & _compare(symbol, values, value)
    matches = np.zeros(len(kinds), np.bool_)
    if column.counts[Kind.TEXT]:
        matches |= _texts(symbol, value, column, kinds, values)
    if column.counts[Kind.NUMBER] and (time := value.time) is not None:
        matches |= _are(kinds, Kind.NUMBER) & _compare(symbol, values, time)
    if column.counts[Kind.LIST] and symbol == ":":
        lists = column.lists
        if value.is_open:
            matches |= _where(kinds, values, Kind.LIST, lambda codes: lists.where(codes, value.matches))
        else:
            matches |= _where(kinds, values, Kind.LIST, lambda codes: lists.where_holding(codes, value.value))
    return matches


def _texts(
    symbol: str, value: Text, column: Column, kinds: NDArray[np.uint8], values: NDArray[np.float64]
) -> NDArray[np.bool_]:
    texts = column.texts
    if symbol in ("<", "<=", ">", ">="):
        ordered, bound = _COMPARE[symbol], value.value
        return _where(kinds, values, Kind.TEXT, lambda codes: texts.where(codes, lambda text: ordered(text, bound)))
    if not value.is_open:
        return _are(kinds, Kind.TEXT) & _compare(symbol, values, texts.find(value.value))
    equal = _where(kinds, values, Kind.TEXT, lambda codes: texts.where(codes, value.matches))
    return _are(kinds, Kind.TEXT) & ~equal if symbol == "!=" else equal


def _are(kinds: NDArray[np.uint8], kind: Kind) -> NDArray[np.bool_]:
    equal: NDArray[np.bool_] = kinds == kind
    return equal


def _compare(symbol: str, values: NDArray[np.float64], bound: float) -> NDArray[np.bool_]:
    compared: NDArray[np.bool_] = _COMPARE[symbol](values, bound)
    return compared


def _where(
    kinds: NDArray[np.uint8],
    values: NDArray[np.float64],
    kind: Kind,
    test: Callable[[NDArray[np.int64]], NDArray[np.bool_]],
) -> NDArray[np.bool_]:
    """Where the value is of the kind and its code passes."""
    of_kind = _are(kinds, kind)
    matches = np.zeros(len(kinds), np.bool_)
    matches[of_kind] = test(values[of_kind].astype(np.int64))
    return matches
