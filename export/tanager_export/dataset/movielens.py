"""Import the data sets of MovieLens (https://grouplens.org/datasets/movielens/) as they unpack."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tanager_export.atomic import fresh_directory
from tanager_export.dataset.films import film_item
from tanager_export.dataset.format import User
from tanager_export.dataset.interactions import REQUIRED
from tanager_export.dataset.problem import DatasetError, Problem
from tanager_export.dataset.records import ITEMS, Metadata
from tanager_export.dataset.table import Table
from tanager_export.dataset.tags import frequent_tags
from tanager_export.dataset.writer import Written, write_interactions, write_items, write_metadata, write_users

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Mapping

    from tanager_export.dataset.format import AttributeValue, Item

_INTEGER = re.compile("[0-9]{1,18}")

_GENDERS = {"F": "female", "M": "male"}
# The codes of ml-1m, from its README.
_AGES = {"1": "under 18", "18": "18-24", "25": "25-34", "35": "35-44", "45": "45-49", "50": "50-55", "56": "56+"}
_OCCUPATIONS = (
    "other", "academic or educator", "artist", "clerical or admin", "college or graduate student", "customer service",
    "doctor or health care", "executive or managerial", "farmer", "homemaker", "K-12 student", "lawyer", "programmer",
    "retired", "sales or marketing", "scientist", "self-employed", "technician or engineer", "tradesman or craftsman",
    "unemployed", "writer",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Layout:
    """One way in which a data set is laid out."""

    name: str
    needs: tuple[str, ...]
    ratings: Table
    films: Table
    genres: Callable[[Path], Callable[[list[str]], list[str]]]
    users: Callable[[Path], list[User]] | None = None
    tags: Table | None = None


def import_movielens(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    tags_before_s: float = math.inf,
    overwrite: bool = False,
    progress: bool = False,
) -> Written:
    """Make a dataset of a MovieLens data set: films become items, ratings interactions weighted by their stars.

    Args:
        source: The directory that an archive of MovieLens unpacks to: ml-latest-small, ml-25m and others with
            `movies.csv`; ml-10m; ml-1m; ml-100k.
        target: The dataset directory to create.
        tags_before_s: Only tags given before this time, in Unix seconds, come into a film's text; with 0 there are
            none. What is evaluated on ratings after some time must not read tags given after it.
        overwrite: Whether a dataset that is there already may be replaced.
        progress: Whether to show bars on stderr, if that is a terminal.

    Raises:
        TargetError: The target is taken.
        DatasetError: The source has none of these layouts, a row of it is malformed (the message names file and
            line).
    """
    directory = Path(source)
    layout = _recognise(directory)
    tags, texts_until = _tags(layout.tags, directory, tags_before_s)
    items = _films(layout.films, directory, layout.genres(directory), tags)
    users = layout.users(directory) if layout.users else []
    raters: set[str] = set()
    count = 0

    def rows() -> Iterator[tuple[str, ...]]:
        nonlocal count
        known = {item.id for item in items}
        for line, (user, item, rating, timestamp) in layout.ratings.rows(directory, progress=progress):
            if not user.strip() or item not in known or not _is_rating(rating) or not _INTEGER.fullmatch(timestamp):
                raise layout.ratings.error(line, _rating_flaw(user, item, rating, known))
            raters.add(user)
            count += 1
            yield user, item, timestamp, "rating", rating

    with fresh_directory(target, marker=ITEMS, overwrite=overwrite) as fresh:
        metadata = Metadata(
            name=directory.resolve().name,
            description=_described(tags_before_s, has_tags=bool(tags)),
            source="https://grouplens.org/datasets/movielens/",
            licence="Terms of use of GroupLens: see the README that comes with the data set.",
            texts_until=texts_until,
        )
        write_metadata(fresh, metadata)
        write_items(fresh, items)
        if users:
            write_users(fresh, users)
        write_interactions(fresh, (*REQUIRED, "event", "weight"), rows())
        if not count:
            raise layout.ratings.error(1, "no ratings")
    return Written(Path(target), metadata.name, items=len(items), users=len(raters), interactions=count)


def _described(tags_before_s: float, *, has_tags: bool) -> str:
    text = "Films and their ratings on MovieLens; the weight of an interaction is its stars, up to 5."
    if not has_tags:
        return f"{text} Texts hold no tags."
    if tags_before_s == math.inf:
        return f"{text} Texts hold tags whenever given, some after many of the ratings."
    return f"{text} Texts hold tags given before {datetime.fromtimestamp(tags_before_s, UTC).isoformat()}."


def _recognise(directory: Path) -> _Layout:
    for layout in _LAYOUTS:
        if all((directory / name).is_file() for name in layout.needs):
            return layout
    if not directory.is_dir():
        raise DatasetError(Problem(str(directory), None, "no-directory", "no such directory"))
    needs = "; ".join(f"{layout.name} needs {', '.join(layout.needs)}" for layout in _LAYOUTS)
    raise DatasetError(Problem(str(directory), None, "layout", "no layout of MovieLens that is known here", needs))


def _is_rating(text: str) -> bool:
    try:
        return 0 < float(text) <= 5
    except ValueError:
        return False


def _rating_flaw(user: str, item: str, rating: str, known: set[str]) -> str:
    if not user.strip():
        return "no user id"
    if item not in known:
        return f"film {item!r} is not in the list of films"
    return "the timestamp is no integer" if _is_rating(rating) else f"rating {rating!r} is not between 0 and 5"


def _tags(table: Table | None, directory: Path, before_s: float) -> tuple[dict[str, list[str]], int | None]:
    """The most frequent tags of each film, those not listed too, which nobody asks for; and when the last was given."""
    if table is None or not (directory / table.name).exists():
        return {}, None
    until: int | None = None

    def given() -> Iterator[tuple[str, str, str]]:
        for line, (user, film, tag, timestamp) in table.rows(directory):
            if not _INTEGER.fullmatch(timestamp):
                raise table.error(line, "the timestamp is no integer")
            if (at := int(timestamp)) < before_s:
                nonlocal until
                until = at if until is None else max(until, at)
                yield user, film, tag

    found = frequent_tags(given())
    return found, until


def _films(
    table: Table, directory: Path, genres_of: Callable[[list[str]], list[str]], tags: Mapping[str, list[str]]
) -> list[Item]:
    items: dict[str, Item] = {}
    for line, row in table.rows(directory):
        identifier, title = row[0].strip(), row[1].strip()
        if not identifier or not title:
            raise table.error(line, "no film id" if title else "no title")
        if identifier in items:
            raise table.error(line, f"film {identifier!r} is listed twice")
        items[identifier] = film_item(identifier, title, genres_of(row), tags.get(identifier, ()))
    if not items:
        raise table.error(1, "no films")
    return list(items.values())


_CSV_FILMS = Table("movies.csv", ",", 3, "utf-8", ("movieId", "title", "genres"), quoted=True)
_CSV_TAGS = Table("tags.csv", ",", 4, "utf-8", ("userId", "movieId", "tag", "timestamp"), quoted=True)
_CSV_RATINGS = Table("ratings.csv", ",", 4, "utf-8", ("userId", "movieId", "rating", "timestamp"), quoted=True)


def _listed_genres(_directory: Path) -> Callable[[list[str]], list[str]]:
    return lambda row: row[2].split("|")


_10M_FILMS = Table("movies.dat", "::", 3, "utf-8")
_10M_TAGS = Table("tags.dat", "::", 4, "utf-8")
_10M_RATINGS = Table("ratings.dat", "::", 4, "utf-8")

_1M_FILMS = Table("movies.dat", "::", 3)
_1M_USERS = Table("users.dat", "::", 5)
_1M_RATINGS = Table("ratings.dat", "::", 4)


def _1m_users(directory: Path) -> list[User]:
    users = []
    for line, (identifier, gender, age, occupation, _postcode) in _1M_USERS.rows(directory):
        if gender not in _GENDERS or age not in _AGES:
            raise _1M_USERS.error(line, f"no gender and age known to ml-1m: {gender!r}, {age!r}")
        if not occupation.isdecimal() or int(occupation) >= len(_OCCUPATIONS):
            raise _1M_USERS.error(line, f"no occupation known to ml-1m: {occupation!r}")
        job = _OCCUPATIONS[int(occupation)]
        attributes = {"age": _AGES[age], "gender": _GENDERS[gender], "occupation": job}
        users.append(User(identifier, attributes))
    return users


_100K_GENRES = Table("u.genre", "|", 2)
_100K_FILMS = Table("u.item", "|", 24)
_100K_USERS = Table("u.user", "|", 5)
_100K_RATINGS = Table("u.data", "\t", 4)


def _flagged_genres(directory: Path) -> Callable[[list[str]], list[str]]:
    genres = [name for _, (name, _number) in _100K_GENRES.rows(directory)]
    return lambda row: [genre for genre, flag in zip(genres, row[5:], strict=False) if flag == "1"]


def _100k_users(directory: Path) -> list[User]:
    users = []
    for line, (identifier, age, gender, occupation, _postcode) in _100K_USERS.rows(directory):
        if gender not in _GENDERS or not age.isdecimal():
            raise _100K_USERS.error(line, f"no age and gender: {age!r}, {gender!r}")
        attributes: dict[str, AttributeValue] = {"age": int(age), "gender": _GENDERS[gender], "occupation": occupation}
        users.append(User(identifier, attributes))
    return users


_LAYOUTS = (
    _Layout(
        "ml-latest-small or ml-25m",
        ("movies.csv", "ratings.csv"),
        _CSV_RATINGS,
        _CSV_FILMS,
        _listed_genres,
        tags=_CSV_TAGS,
    ),
    _Layout("ml-1m", ("movies.dat", "ratings.dat", "users.dat"), _1M_RATINGS, _1M_FILMS, _listed_genres, _1m_users),
    _Layout(
        "ml-10m",
        ("movies.dat", "ratings.dat", "tags.dat"),
        _10M_RATINGS,
        _10M_FILMS,
        _listed_genres,
        tags=_10M_TAGS,
    ),
    _Layout(
        "ml-100k", ("u.item", "u.genre", "u.data", "u.user"), _100K_RATINGS, _100K_FILMS, _flagged_genres, _100k_users
    ),
)
