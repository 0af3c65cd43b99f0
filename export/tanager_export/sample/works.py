"""The works of the sample catalogue: real books, films, albums and games, described in words of our own."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

from tanager_export.dataset.format import AttributeValue, Item
from tanager_export.dataset.problem import DatasetError, Problem, refuse
from tanager_export.dataset.records import RecordError, parse_object
from tanager_export.dataset.textfile import text_lines

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

DOMAINS = {"book": "books.jsonl", "film": "films.jsonl", "album": "albums.jsonl", "game": "games.jsonl"}

_KEYS = ("id", "title", "title_zh", "year", "creators", "categories", "description")
_NOUNS = {"book": "A book", "film": "A film", "album": "An album", "game": "A video game"}
# What a work of one of these categories is called instead; the first that fits.
_NOUNS_BY_CATEGORY = {
    "graphic novel": "A graphic novel",
    "poetry": "A book of poetry",
    "short stories": "A book of short stories",
    "memoir": "A memoir",
    "essay": "A book of essays",
    "popular science": "A popular science book",
    "nonfiction": "A nonfiction book",
    "documentary": "A documentary film",
    "animation": "An animated film",
}


@dataclass(frozen=True, slots=True)
class Work:
    """One real work.

    Attributes:
        id: The domain, a colon and a slug.
        title: The usual English title.
        title_zh: The established Chinese title, if there is one.
        year: Of first release; negative before the common era.
        creators: Authors, directors, artists or studios.
        categories: Themes, which the domains share, and forms of one domain.
        description: One or two sentences.
    """

    id: str
    title: str
    title_zh: str | None
    year: int
    creators: tuple[str, ...]
    categories: tuple[str, ...]
    description: str

    @property
    def domain(self) -> str:
        """Book, film, album or game."""
        return self.id.partition(":")[0]

    def item(self) -> Item:
        """The item of the catalogue, its text made of all that is known of the work."""
        attributes: dict[str, AttributeValue] = {"year": self.year, "creators": self.creators}
        if self.title_zh:
            attributes["title_zh"] = self.title_zh
        title = f"{self.title} ({self.title_zh})" if self.title_zh else self.title
        year = str(self.year) if self.year > 0 else f"{-self.year} BCE"
        noun = next((_NOUNS_BY_CATEGORY[it] for it in self.categories if it in _NOUNS_BY_CATEGORY), _NOUNS[self.domain])
        categories = ", ".join(self.categories)
        text = (
            f"{title}, {year}. {noun} by {_enumeration(self.creators)}. "
            f"{categories[0].upper()}{categories[1:]}. {self.description}"
        )
        return Item(self.id, self.title, text, self.domain, self.categories, attributes)


def load_works(directory: Path | None = None) -> list[Work]:
    """The works of all domains, in each the most widely known first.

    Args:
        directory: Where the files of works are; those that come with Tanager by default.

    Raises:
        DatasetError: A file is missing or a line of it is no work; the message names file and line.
    """
    works: dict[str, Work] = {}
    with resources.as_file(resources.files("tanager_export") / "sample") as own:
        for domain, name in DOMAINS.items():
            count = len(works)
            for number, line in enumerate(text_lines((directory or own) / name, refuse), start=1):
                try:
                    work = _work_from_record(parse_object(line), domain)
                except RecordError as error:
                    raise DatasetError(Problem(name, number, *error.parts)) from error
                if work.id in works:
                    raise DatasetError(Problem(name, number, "duplicate-id", f"id {work.id!r} is given twice"))
                works[work.id] = work
            if len(works) == count:
                raise DatasetError(Problem(name, None, "no-items", "no works"))
    return list(works.values())


def _work_from_record(record: dict[str, object], domain: str) -> Work:
    if unknown := sorted(set(record).difference(_KEYS)):
        raise RecordError("unknown-key", f"unknown key {unknown[0]!r}", f"the keys are {', '.join(_KEYS)}")
    identifier = _text(record, "id")
    if not identifier.removeprefix(f"{domain}:").strip() or not identifier.startswith(f"{domain}:"):
        raise RecordError("blank-id", f"id {identifier!r} does not begin with '{domain}:' and a name")
    year = record.get("year")
    if not isinstance(year, int) or isinstance(year, bool) or not year:
        raise RecordError("type", f"year must be an integer other than 0, not {year!r}")
    return Work(
        id=identifier,
        title=_text(record, "title"),
        title_zh=_text(record, "title_zh") if "title_zh" in record else None,
        year=year,
        creators=_texts(record, "creators"),
        categories=_texts(record, "categories"),
        description=_text(record, "description"),
    )


def _text(record: dict[str, object], key: str) -> str:
    value = record.get(key)
    if not isinstance(value, str) or not value.strip():
        raise RecordError("type", f"{key} must be a string that is not blank")
    return value


def _texts(record: dict[str, object], key: str) -> tuple[str, ...]:
    value = record.get(key)
    if not isinstance(value, list) or not value or not all(isinstance(part, str) and part.strip() for part in value):
        raise RecordError("type", f"{key} must be a list of strings, at least one")
    return tuple(value)


def _enumeration(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]
