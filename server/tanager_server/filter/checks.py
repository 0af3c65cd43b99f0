"""Filters that are refused although they can be read: what no item could match, and what takes too long."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from tanager_server.filter.column import Kind
from tanager_server.filter.columns import PREFIX, TITLE
from tanager_server.filter.syntax import Comparison, FilterError, Present, Text, TitleHas, leaves

if TYPE_CHECKING:
    from tanager_server.filter.columns import Columns
    from tanager_server.filter.syntax import Node

MOST_LOOKS = 2_000_000
"""Texts that a filter may have looked at one by one, if it has more than one wildcard or the like: a quarter of a
second, in which nothing else is answered."""
# Of more names than this the nearest are not looked for.
_MOST_NAMES = 1000
_NAMED = 5


def check(node: Node, columns: Columns) -> None:
    """Refuses what no item could match.

    Raises:
        FilterError: an attribute is named that no item has or had lately, or lists are compared with anything but `:`.
    """
    for leaf in leaves(node):
        if isinstance(leaf, TitleHas):
            continue
        column = columns.column(leaf.name)
        if column is None and columns.knew(leaf.name):
            continue
        if column is None:
            raise FilterError(leaf.position, f"no item has an attribute {leaf.name!r}; {_nearest(leaf.name, columns)}")
        if isinstance(leaf, Comparison) and column.counts[Kind.LIST] == column.present:
            if leaf.operator != ":":
                raise FilterError(
                    leaf.position,
                    f"{leaf.name} holds lists, which '{leaf.operator}' compares with nothing; write {leaf.name}:…",
                )
            if not isinstance(leaf.value, Text):
                raise FilterError(leaf.position, f"{leaf.name} holds lists of texts; put the value in quotes")


def check_cost(node: Node, columns: Columns) -> None:
    """Refuses what takes too long to evaluate on all items.

    Raises:
        FilterError: it has too many wildcards, texts to find in titles and texts to compare in order.
    """
    searches = looks = 0
    for leaf in leaves(node):
        more = _looks(leaf, columns)
        searches, looks = searches + (more > 0), looks + more
        if looks > MOST_LOOKS and searches > 1:
            raise FilterError(
                0 if isinstance(leaf, TitleHas) else leaf.position,
                f"with this the filter has {searches} wildcards, words of titles or texts in order, to look for in "
                f"{looks:,} texts, at most {MOST_LOOKS:,}; use fewer, or = and : with whole texts",
            )


def _looks(leaf: Comparison | Present | TitleHas, columns: Columns) -> int:
    """How many texts are looked at one by one."""
    if isinstance(leaf, TitleHas):
        column = columns.column(TITLE)
        return 0 if column is None else len(column.texts)
    if isinstance(leaf, Present) or not isinstance(leaf.value, Text) or (column := columns.column(leaf.name)) is None:
        return 0
    if leaf.operator in ("<", "<=", ">", ">="):
        return len(column.texts)
    if not leaf.value.is_open:
        return 0
    return len(column.texts) + (column.lists.text_count if leaf.operator == ":" else 0)


def _nearest(name: str, columns: Columns) -> str:
    names = columns.names()[:_MOST_NAMES]
    by_folded = {known.casefold(): known for known in names}
    near = difflib.get_close_matches(name.removeprefix(PREFIX).casefold(), by_folded, n=3, cutoff=0.6)
    if near:
        return f"did you mean {' or '.join(by_folded[each] for each in near)}?"
    more = ", …" if len(names) > _NAMED else ""
    return f"there are {', '.join(names[:_NAMED])}{more}" if names else "the catalogue is empty"
