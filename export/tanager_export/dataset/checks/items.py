"""What is odd about a catalogue: texts that say nothing, or the same."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from tanager_export.dataset.checks.finding import PLACES, Finding, Severity
from tanager_export.dataset.checks.near_duplicates import near_duplicate_pairs
from tanager_export.dataset.records import ITEMS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tanager_export.dataset.reader import LocatedDataset

_SHORT_TEXT = 12  # characters: a title, seldom more
_NEAR = 0.8
_MANY_NEAR = 0.01


def check_items(located: LocatedDataset) -> Iterator[Finding]:
    """What is odd about the items."""
    items, lines = located.dataset.items, located.item_lines

    def places(positions: Iterable[int]) -> tuple[str, ...]:
        return tuple(f"{ITEMS}, line {lines[position]}" for position in list(positions)[:PLACES])

    if empty := [at for at, item in enumerate(items) if not item.text.strip()]:
        message = f"{len(empty):,} items have an empty text: the encoder reads their title only"
        yield Finding(Severity.WARNING, "empty-text", message, len(empty), places(empty), "describe them")
    if short := [at for at, item in enumerate(items) if 0 < len(item.text.strip()) < _SHORT_TEXT]:
        message = f"{len(short):,} items have a text under {_SHORT_TEXT} characters"
        yield Finding(Severity.WARNING, "short-text", message, len(short), places(short), "describe them")
    texts = [" ".join(item.encoder_text.lower().split()) for item in items]
    often = Counter(texts)
    if same := [at for at, text in enumerate(texts) if often[text] > 1]:
        message = f"{len(same):,} items share their text with another: the encoder cannot tell them apart"
        mend = "merge them, or say what sets them apart"
        yield Finding(Severity.WARNING, "identical-text", message, len(same), places(same), mend)
    yield from _near_duplicates(texts, lines)
    if untitled := [at for at, item in enumerate(items) if not item.title.strip()]:
        message = f"{len(untitled):,} items have no title: there is nothing to show for them but the id"
        yield Finding(Severity.INFO, "no-title", message, len(untitled), places(untitled), "give them titles")
    domains = Counter(item.domain or "(none)" for item in items)
    listed = ", ".join(f"{domain} {count:,}" for domain, count in domains.most_common(10))
    yield Finding(Severity.INFO, "domains", f"items by domain: {listed}", len(domains))


def _near_duplicates(texts: list[str], lines: list[int]) -> Iterator[Finding]:
    # Of those that are the same, one: they have a finding of their own.
    first = {text: at for at, text in reversed(list(enumerate(texts)))}
    positions = sorted(first.values())
    pairs = near_duplicate_pairs([texts[at] for at in positions], similarity=_NEAR)
    if not len(pairs):
        return
    count = len(np.unique(pairs))
    severity = Severity.WARNING if count > _MANY_NEAR * len(texts) else Severity.INFO
    message = (
        f"{count:,} items have nearly the text of another: {_NEAR:.0%} or more of their pairs of words are the same"
    )
    places = tuple(
        f"{ITEMS}, lines {lines[positions[one]]} and {lines[positions[other]]}"
        for one, other in pairs[:PLACES].tolist()
    )
    mend = "merge variants of one thing, or begin each text with what sets it apart"
    yield Finding(severity, "near-duplicate-text", message, count, places, mend)
