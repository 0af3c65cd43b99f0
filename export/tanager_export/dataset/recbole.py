"""Import RecBole's atomic files: https://recbole.io/docs/user_guide/data/atomic_files.html."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from tanager_export.atomic import fresh_directory
from tanager_export.dataset.format import Item, User
from tanager_export.dataset.interactions import REQUIRED, is_weight
from tanager_export.dataset.problem import DatasetError, Problem
from tanager_export.dataset.records import ITEMS, Metadata
from tanager_export.dataset.table import Table
from tanager_export.dataset.times import unix_seconds
from tanager_export.dataset.writer import Written, write_interactions, write_items, write_metadata, write_users

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from tanager_export.dataset.format import AttributeValue, Times

_TITLES = ("title", "name", "movie_title", "product_title")
_CATEGORIES = ("categories", "category", "genres", "genre", "class")
_TEXT_KINDS = ("token", "token_seq")
_KINDS = (*_TEXT_KINDS, "float", "float_seq")


def import_recbole(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    progress: bool = False,
) -> Written:
    """Make a dataset of RecBole's atomic files, `NAME.inter`, `NAME.item` and optionally `NAME.user`.

    Of `.inter` it takes `user_id`, `item_id`, `timestamp` (Unix seconds or milliseconds) and `rating`, which becomes
    the weight; without `timestamp` the dataset's `times` are "none". The text of an item is its title and then all
    other columns of tokens; its numbers become attributes, and so do all columns of `.user`.

    Args:
        source: The directory with these files.
        target: The dataset directory to create.
        overwrite: Whether a dataset that is there already may be replaced.
        progress: Whether to show bars on stderr, if that is a terminal.

    Raises:
        TargetError: The target is taken.
        DatasetError: A file is missing or a row is malformed (the message names file and line).
    """
    directory = Path(source)
    name = sole_file(directory, ".inter").removesuffix(".inter")
    behaviour, catalogue, profiles = (_Atomic(directory, f"{name}.{kind}") for kind in ("inter", "item", "user"))
    items = list(_items(catalogue))
    known = {item.id for item in items}
    users = list(_users(profiles)) if (directory / profiles.table.name).exists() else []
    behaviour.require("user_id", "item_id")
    optional = [column for column in ("timestamp", "rating") if column in behaviour.columns]
    seen: set[str] = set()
    count = 0

    def rows() -> Iterator[tuple[str, ...]]:
        nonlocal count
        for line, row in behaviour.rows(progress=progress):
            user, item = row["user_id"], row["item_id"]
            if not user.strip():
                raise behaviour.table.error(line, "no user_id")
            if item not in known:
                raise behaviour.table.error(line, f"item {item!r} is not in {catalogue.table.name}")
            seconds = unix_seconds(row["timestamp"]) if "timestamp" in optional else 0
            if seconds is None:
                raise behaviour.table.error(line, f"timestamp {row['timestamp']!r} is no time")
            if "rating" in optional and not is_weight(row["rating"]):
                raise behaviour.table.error(line, f"rating {row['rating']!r} is no number")
            seen.add(user)
            count += 1
            yield (user, item, str(seconds), *([row["rating"]] if "rating" in optional else []))

    with fresh_directory(target, marker=ITEMS, overwrite=overwrite) as fresh:
        times: Times = "seconds" if "timestamp" in optional else "none"
        write_metadata(fresh, Metadata(name, f"Imported from {name}.inter, an atomic file of RecBole.", times=times))
        write_items(fresh, items)
        if users:
            write_users(fresh, users)
        write_interactions(fresh, (*REQUIRED, *(["weight"] if "rating" in optional else [])), rows())
        if not count:
            raise behaviour.table.error(1, "no interactions")
    return Written(Path(target), name, items=len(items), users=len(seen), interactions=count)


def sole_file(directory: Path, suffix: str) -> str:
    """The name of the one file in a directory that ends so.

    Raises:
        DatasetError: There is none, or there are several.
    """
    names = sorted(path.name for path in directory.glob(f"*{suffix}"))
    if not names:
        mend = "expected NAME.inter and NAME.item, or NAME.{train,valid,test}.inter and NAME.text"
        raise DatasetError(Problem(str(directory), None, "layout", f"no file ends in {suffix}", mend))
    if len(names) > 1:
        mend = "give each data set a directory of its own"
        raise DatasetError(Problem(str(directory), None, "layout", f"several files: {', '.join(names)}", mend))
    return names[0]


class _Atomic:
    """An atomic file, whose header names its columns as "item_id:token"."""

    def __init__(self, directory: Path, name: str) -> None:
        self._directory = directory
        header = Table(name, "\t", 0, "utf-8").first_row(directory) if (directory / name).exists() else []
        self.table = Table(name, "\t", len(header), "utf-8", tuple(header))
        pairs = [column.rpartition(":")[::2] for column in header]
        for column, kind in pairs:
            if kind not in _KINDS or not column:
                spelt = f"{column}:{kind}" if column else kind
                raise self.table.error(1, f"column {spelt!r} has no kind: one of {', '.join(_KINDS)}, as in id:token")
        self.columns = dict(pairs)

    def require(self, *columns: str) -> None:
        """Refuse a file that lacks one of these columns."""
        if not self.columns:
            raise DatasetError(Problem(self.table.name, None, "layout", "missing or empty"))
        if missing := [column for column in columns if column not in self.columns]:
            raise self.table.error(1, f"no column {missing[0]}")

    def rows(self, *, progress: bool = False) -> Iterator[tuple[int, dict[str, str]]]:
        """Each row by column, with its line."""
        for line, row in self.table.rows(self._directory, progress=progress):
            yield line, dict(zip(self.columns, row, strict=True))


def _items(file: _Atomic) -> Iterator[Item]:
    file.require("item_id")
    title_column = next((column for column in _TITLES if column in file.columns), None)
    texts = [column for column, kind in file.columns.items() if kind in _TEXT_KINDS and column != "item_id"]
    texts.sort(key=lambda column: column != title_column)
    if not texts:
        raise file.table.error(1, "no column of tokens to make a text of")
    seen: set[str] = set()
    for line, row in file.rows():
        identifier = row["item_id"]
        if not identifier.strip() or identifier in seen:
            raise file.table.error(line, f"item {identifier!r} is listed twice" if identifier.strip() else "no item_id")
        seen.add(identifier)
        parts = {column: _clean(row[column]) for column in texts if row[column].strip()}
        text = " ".join(part if part.endswith((".", "!", "?")) else f"{part}." for part in parts.values())
        if not text:
            raise file.table.error(line, f"item {identifier!r} has no text")
        categories = next((row[column] for column in _CATEGORIES if column in parts), "")
        yield Item(
            identifier,
            title=parts.get(title_column, "") if title_column else "",
            text=text,
            categories=_sequence(categories),
            attributes=dict(_numbers(file, line, row)),
        )
    if not seen:
        raise file.table.error(1, "no items")


def _users(file: _Atomic) -> Iterator[User]:
    file.require("user_id")
    seen: set[str] = set()
    for line, row in file.rows():
        identifier = row["user_id"]
        if not identifier.strip() or identifier in seen:
            raise file.table.error(line, f"user {identifier!r} is listed twice" if identifier.strip() else "no user_id")
        seen.add(identifier)
        attributes: dict[str, AttributeValue] = dict(_numbers(file, line, row))
        for column, kind in file.columns.items():
            if kind in _TEXT_KINDS and column != "user_id" and row[column].strip():
                attributes[column] = row[column].strip() if kind == "token" else _sequence(row[column])
        yield User(identifier, attributes)


def _numbers(file: _Atomic, line: int, row: dict[str, str]) -> Iterator[tuple[str, float]]:
    for column, kind in file.columns.items():
        if kind == "float" and row[column].strip():
            if not _is_number(row[column]):
                raise file.table.error(line, f"{column} {row[column]!r} is no number")
            yield column, float(row[column])


def _sequence(text: str) -> tuple[str, ...]:
    """The parts of a sequence: RecBole separates them by spaces, but names of several words by commas."""
    parts = text.split(",") if "," in text else text.split()
    return tuple(part for part in map(_clean, parts) if part)


def _clean(text: str) -> str:
    return text.strip().strip("'\"[]").strip()


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
