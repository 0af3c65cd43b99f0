"""The frame of a report: one HTML page with nothing to fetch from anywhere."""

from __future__ import annotations

from html import escape
from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

# The same drawing for three widths of a card, so that its text is of a readable size in each: see page.css.
SIZES = {"narrow": (340.0, 250.0), "medium": (540.0, 280.0), "broad": (860.0, 300.0)}


def frame(title: str, *, lead: str, tiles: str, notes: Iterable[str], cards: Iterable[str], footer: str) -> str:
    """The page.

    Args:
        title: what it is a report of, as text.
        lead: a line or two on what was done, as text.
        tiles: `tile`s, one after the other.
        notes: what the reader has to know before anything else, as texts.
        cards: charts and tables, as HTML.
        footer: how the figures are to be read, as text.
    """
    told = "".join(f'<p class="note">{escape(note)}</p>' for note in notes)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>
{_data("page.css")}</style>
</head>
<body>
<main>
<header>
<h1>{escape(title)}</h1>
<p class="lead">{escape(lead)}</p>
</header>
<section class="tiles">{tiles}</section>
{told}
<div class="charts">
{"".join(cards)}
</div>
<footer>{escape(footer)}</footer>
</main>
<script>
{_data("page.js")}</script>
</body>
</html>
"""


def tile(name: str, value: str, more: str, *, bad: bool = False) -> str:
    """One figure, large; `value` is HTML, the others are text."""
    return (
        f'<div class="card tile{" bad" if bad else ""}"><div class="name">{escape(name)}</div>'
        f'<div class="value">{value}</div><div class="more">{escape(more)}</div></div>'
    )


def _data(name: str) -> str:
    return resources.files("tanager.load").joinpath(name).read_text(encoding="utf-8")
