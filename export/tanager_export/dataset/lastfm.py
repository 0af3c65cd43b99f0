"""Import Last.fm of HetRec 2011 (https://grouplens.org/datasets/hetrec-2011/) as it unpacks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tanager_export.atomic import fresh_directory
from tanager_export.dataset.format import Item
from tanager_export.dataset.interactions import REQUIRED, is_weight
from tanager_export.dataset.problem import DatasetError, Problem
from tanager_export.dataset.records import ITEMS, Metadata
from tanager_export.dataset.table import Table
from tanager_export.dataset.tags import frequent_tags
from tanager_export.dataset.writer import Written, write_interactions, write_items, write_metadata

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

_CATEGORIES_AN_ARTIST = 3  # further tags are rarely genres
_ARTISTS = Table("artists.dat", "\t", 4, "utf-8", ("id", "name", "url", "pictureURL"))
_LISTENS = Table("user_artists.dat", "\t", 3, header=("userID", "artistID", "weight"))
_TAGS = Table("tags.dat", "\t", 2, header=("tagID", "tagValue"))
_TAGGED = (
    Table("user_taggedartists.dat", "\t", 6, header=("userID", "artistID", "tagID", "day", "month", "year")),
    Table("user_taggedartists-timestamps.dat", "\t", 4, header=("userID", "artistID", "tagID", "timestamp")),
)

_DESCRIPTION = (
    "Artists that users of Last.fm listened to; the weight of an interaction is how often. It is not known when: all "
    "timestamps are 0."
)


def import_lastfm(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    progress: bool = False,
) -> Written:
    """Make a dataset of Last.fm as of HetRec 2011: artists become items, listening counts weights.

    The text of an artist is the name and the most frequent tags, where `tags.dat` and one of the two
    `user_taggedartists` files are there. Listening carries no time, so the dataset's `times` are "none".

    Args:
        source: The directory that `hetrec2011-lastfm-2k.zip` unpacks to.
        target: The dataset directory to create.
        overwrite: Whether a dataset that is there already may be replaced.
        progress: Whether to show bars on stderr, if that is a terminal.

    Raises:
        TargetError: The target is taken.
        DatasetError: A file is missing or a row is malformed (the message names file and line).
    """
    directory = Path(source)
    if not directory.is_dir():
        raise DatasetError(Problem(str(directory), None, "no-directory", "no such directory"))
    for table in (_ARTISTS, _LISTENS):
        if not (directory / table.name).is_file():
            needs = f"Last.fm of HetRec 2011 has {_ARTISTS.name} and {_LISTENS.name}"
            raise DatasetError(Problem(str(directory), None, "layout", f"no {table.name}", needs))
    items = _artists(directory)
    known = {item.id for item in items}
    headless = all(map(str.isdecimal, _LISTENS.first_row(directory)))  # as copies on the web have it
    table = replace(_LISTENS, header=()) if headless else _LISTENS
    listeners: set[str] = set()
    count = 0

    def rows() -> Iterator[tuple[str, ...]]:
        nonlocal count
        for line, row in table.rows(directory, progress=progress):
            user, artist, listens = map(str.strip, row)
            if not user or artist not in known:
                message = f"artist {artist!r} is not in {_ARTISTS.name}" if user else "no userID"
                raise _LISTENS.error(line, message)
            if not (listens.isascii() and listens.isdecimal() and listens.strip("0") and is_weight(listens)):
                raise _LISTENS.error(line, f"weight {listens!r} is no number of times")
            listeners.add(user)
            count += 1
            yield user, artist, "0", "listen", listens

    with fresh_directory(target, marker=ITEMS, overwrite=overwrite) as fresh:
        metadata = Metadata(
            name=directory.resolve().name,
            description=_DESCRIPTION,
            source="https://grouplens.org/datasets/hetrec-2011/",
            licence="For non-commercial use: see the readme that comes with the data set.",
            times="none",
        )
        write_metadata(fresh, metadata)
        write_items(fresh, items)
        write_interactions(fresh, (*REQUIRED, "event", "weight"), rows())
        if not count:
            raise _LISTENS.error(1, "no listening")
    return Written(Path(target), metadata.name, items=len(items), users=len(listeners), interactions=count)


def _artists(directory: Path) -> list[Item]:
    tags = _tags(directory)
    items: dict[str, Item] = {}
    for line, (identifier, name, _url, _picture) in _ARTISTS.rows(directory):
        if not identifier.strip() or not name.strip():
            raise _ARTISTS.error(line, "no name" if identifier.strip() else "no id")
        if identifier in items:
            raise _ARTISTS.error(line, f"artist {identifier!r} is listed twice")
        given, name = tags.get(identifier, []), " ".join(name.split())
        text = f"{name}. Music artist." + (f" Tags: {', '.join(given)}." if given else "")
        categories = tuple(given[:_CATEGORIES_AN_ARTIST])
        items[identifier] = Item(identifier, title=name, text=text, domain="music", categories=categories)
    if not items:
        raise _ARTISTS.error(1, "no artists")
    return list(items.values())


def _tags(directory: Path) -> dict[str, list[str]]:
    """The most frequent tags of each artist; of artists that are not listed too, whom nobody asks for."""
    tagged = next((table for table in _TAGGED if (directory / table.name).is_file()), None)
    if tagged is None or not (directory / _TAGS.name).is_file():
        return {}
    names = {identifier: name for _, (identifier, name) in _TAGS.rows(directory)}

    def given() -> Iterator[tuple[str, str, str]]:
        for line, (user, artist, tag, *_when) in tagged.rows(directory):
            if tag not in names:
                raise tagged.error(line, f"tag {tag!r} is not in {_TAGS.name}")
            yield user, artist, names[tag]

    return frequent_tags(given())
