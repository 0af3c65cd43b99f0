"""Text in columns of a terminal."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MAX_WIDTH = 60


def columns(rows: Iterable[Sequence[str]], right: Sequence[int] = ()) -> list[str]:
    """The rows with their columns aligned, those of `right` to the right."""
    rows = list(rows)
    widths = [max(map(_width, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = []
        for position, (cell, width) in enumerate(zip(row, widths, strict=True)):
            padding = " " * (width - _width(cell))
            cells.append(padding + cell if position in right else cell + padding)
        lines.append("  ".join(cells).rstrip())
    return lines


def _width(text: str) -> int:
    """How many cells of a terminal the text takes: two for wide East Asian characters and most emoji."""
    return sum(map(_cells, text))


def _cells(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me"):  # drawn onto the character before
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1


def cut(text: str) -> str:
    """The text, no wider than 60 cells."""
    if _width(text) <= MAX_WIDTH:
        return text
    width, end = 0, 0
    while width + _cells(text[end]) < MAX_WIDTH:
        width += _cells(text[end])
        end += 1
    return text[:end] + "…"


def plain(text: str) -> str:
    """The text without what moves a terminal's cursor or changes its colours: a catalogue is data of others."""
    return "".join(character if character.isprintable() else " " for character in text)
