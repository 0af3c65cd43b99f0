"""Films as MovieLens lists them, made into items: titles set right, genres in words, tags in the text."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tanager_export.dataset.format import Item

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_YEAR = re.compile(r"^(?P<name>.*?)\s*\((?P<year>\d{4})(?:[-\u2013]\d{0,4})?\)$")
_ARTICLES = "the|a|an|le|la|les|l'|un|une|il|lo|gli|i|el|los|las|der|die|das|ein|eine|den|det|de|het|o|os|as"
_TRAILING_ARTICLE = re.compile(rf"^(?P<name>.+), (?P<article>{_ARTICLES})$", re.IGNORECASE)
_BRACKETED = re.compile(r"\(([^()]*)\)")
_GENRE_WORDS = {"sci-fi": "science fiction", "film-noir": "film noir", "children's": "children"}
_NO_GENRE = frozenset({"", "(no genres listed)", "unknown"})


def film_item(identifier: str, listed_title: str, genres: Iterable[str], tags: Sequence[str] = ()) -> Item:
    """An item for a film.

    Args:
        identifier: Its MovieLens id.
        listed_title: As in "Matrix, The (1999)".
        genres: As in "Sci-Fi".
        tags: What viewers say of it, most frequent first; those that only repeat a genre are dropped.
    """
    title, year = parse_title(listed_title)
    categories = tuple(genre_words(genre) for genre in genres if genre.lower() not in _NO_GENRE)
    sentences = [f"{title} ({year})" if year else title, "Film"]
    if categories:
        sentences.append(", ".join(categories).capitalize())
    if telling := [tag for tag in tags if tag not in categories]:
        sentences.append(f"Tags: {', '.join(telling)}")
    return Item(
        id=identifier,
        title=title,
        text=". ".join(sentences) + ".",
        domain="film",
        categories=categories,
        attributes={"year": year} if year else {},
    )


def parse_title(listed: str) -> tuple[str, int | None]:
    """Title and year of "Postman, The (Postino, Il) (1994)": "The Postman (Il Postino)" and 1994."""
    listed = listed.strip()
    match = _YEAR.match(listed)
    name, year = (match["name"], int(match["year"])) if match and match["name"] else (listed, None)
    main, bracket, rest = name.partition(" (")
    others = _BRACKETED.sub(lambda other: f"({_article_first(other[1])})", bracket + rest)
    return _article_first(main) + others, year


def genre_words(genre: str) -> str:
    """A genre in lower-case words: "science fiction" for "Sci-Fi"."""
    lower = genre.lower()
    return _GENRE_WORDS.get(lower, lower)


def _article_first(title: str) -> str:
    match = _TRAILING_ARTICLE.match(title.strip())
    if not match:
        return title.strip()
    return match["article"] + ("" if match["article"].endswith("'") else " ") + match["name"]
