"""Tags that people give to items, made into a few words for each item."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_TAGS_AN_ITEM = 8
# These say something about the shelf of the one who gave them, nothing about the item.
_HOUSEKEEPING = frozenset({
    "albums i own", "favorite", "favorites", "favourite", "favourites", "in netflix queue", "my favorites",
    "my favourites", "seen live",
})  # fmt: skip


def frequent_tags(given: Iterable[tuple[str, str, str]]) -> dict[str, list[str]]:
    """The tags that most people gave to each item, in lower case, at most eight; ties go by the alphabet.

    Args:
        given: Who gave which item which tag, as (person, item, tag).
    """
    said = {(item, " ".join(tag.lower().split()), person) for person, item, tag in given}
    people: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for item, tag, _ in said:
        if tag and tag not in _HOUSEKEEPING:
            people[item][tag] += 1
    return {item: _most_frequent(counts) for item, counts in people.items()}


def _most_frequent(counts: Counter[str]) -> list[str]:
    return sorted(counts, key=lambda tag: (-counts[tag], tag))[:_TAGS_AN_ITEM]
