"""Import CSV files that anyone may have: a catalogue, what users did with it, and what is known of them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tanager_export.atomic import fresh_directory
from tanager_export.dataset.csv_table import CsvTable, find_csv
from tanager_export.dataset.format import Item, User
from tanager_export.dataset.interactions import REQUIRED, is_weight
from tanager_export.dataset.problem import DatasetError, Problem
from tanager_export.dataset.records import ITEMS, Metadata
from tanager_export.dataset.times import unix_seconds
from tanager_export.dataset.writer import Written, write_interactions, write_items, write_metadata, write_users

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence

    from tanager_export.dataset.format import AttributeValue, Times

_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_BETWEEN_CATEGORIES = re.compile(r"[|;>]")

# What files and columns are often called, without regard to case, underscores, hyphens and spaces.
_ITEM_FILES = ("items", "item", "products", "articles", "movies", "books", "catalogue", "catalog", "content")
_INTERACTION_FILES = ("interactions", "events", "ratings", "clicks", "transactions", "orders", "purchases", "reviews")
_USER_FILES = ("users", "user", "customers", "members")
_USER = ("userid", "user", "customerid", "customer", "visitorid", "memberid", "accountid", "reviewerid")
_ITEM = (
    "itemid", "item", "productid", "product", "articleid", "movieid", "bookid", "contentid", "asin", "parentasin",
    "sku", "isbn",
)  # fmt: skip
_TIME = ("timestamp", "time", "ts", "datetime", "date", "eventtime", "createdat", "unixreviewtime", "tdat")
_WEIGHT = ("weight", "rating", "score", "stars", "count", "playcount", "quantity", "overall")
_EVENT = ("event", "eventtype", "action", "behavior", "behaviour", "interactiontype")
_TITLE = ("title", "name", "itemname", "productname", "prodname", "producttitle", "booktitle", "movietitle")
_CATEGORY = ("categories", "category", "genres", "genre", "maincategory", "productcategory", "categoryname")
_TEXT = ("text", "description", "detaildesc", "desc", "summary", "overview", "abstract", "body", "content", "tags")


@dataclass(frozen=True, slots=True)
class CsvOptions:
    """Which files and columns hold what; what is left out is looked for under common names.

    Attributes:
        items: The file of the catalogue.
        interactions: The file of what users did; there may be none.
        users: The file of what is known of users; there may be none.
        user_column: The user's id.
        item_column: The item's id.
        time_column: When it was, in Unix seconds or milliseconds or ISO 8601.
        weight_column: How much an interaction speaks for the item.
        event_column: What kind of interaction it was.
        title_column: The item's title.
        category_column: Its categories, separated by "|", ";" or ">".
        text_columns: The columns that make up its text, in this order.
        times: What the column of time says: "seconds" for times, "order" for whole numbers that only order what each
            user did, "none" to leave it out.
        drop_orphans: Whether interactions with items that are not in the catalogue are left out, not refused.
    """

    items: str | None = None
    interactions: str | None = None
    users: str | None = None
    user_column: str | None = None
    item_column: str | None = None
    time_column: str | None = None
    weight_column: str | None = None
    event_column: str | None = None
    title_column: str | None = None
    category_column: str | None = None
    text_columns: tuple[str, ...] = ()
    times: Times = "seconds"
    drop_orphans: bool = False


def import_csv(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    options: CsvOptions | None = None,
    *,
    overwrite: bool = False,
    progress: bool = False,
) -> Written:
    """Make a dataset of CSV files, with a header each, separated by commas, semicolons, tabs or bars.

    Columns of items and users that are not asked for become attributes; those of interactions become context.

    Args:
        source: The directory with the files.
        target: The dataset directory to create.
        options: Which files and columns to take.
        overwrite: Whether a dataset that is there already may be replaced.
        progress: Whether to show bars on stderr, if that is a terminal.

    Raises:
        TargetError: The target is taken.
        DatasetError: A file or a column is missing, or a row is malformed (the message names file, line and column).
    """
    options = options or CsvOptions()
    directory = Path(source)
    if not directory.is_dir():
        raise DatasetError(Problem(str(directory), None, "no-directory", "no such directory"))
    catalogue = find_csv(directory, options.items, "--items", _ITEM_FILES)
    if catalogue is None:
        names = ", ".join(f"{name}.csv" for name in _ITEM_FILES)
        raise DatasetError(Problem(str(directory), None, "layout", f"none of {names}", "name the file with --items"))
    behaviour = find_csv(directory, options.interactions, "--interactions", _INTERACTION_FILES)
    profiles = find_csv(directory, options.users, "--users", _USER_FILES)
    notes: list[str] = []
    items = _items(catalogue, options, notes)
    users = _users(profiles, options, notes) if profiles else []
    rows = _Behaviour(behaviour, options, {item.id for item in items}, catalogue.name, notes) if behaviour else None
    name = directory.resolve().name
    with fresh_directory(target, marker=ITEMS, overwrite=overwrite) as fresh:
        files = ", ".join(table.name for table in (catalogue, behaviour, profiles) if table)
        write_metadata(fresh, Metadata(name, f"Imported from {files}.", times=rows.times if rows else "seconds"))
        write_items(fresh, items)
        if users:
            write_users(fresh, users)
        if rows:
            write_interactions(fresh, rows.header, rows.read(progress=progress))
            if not rows.count:
                raise rows.table.error(1, "no interactions", "leave the file out, or fill it")
    if rows and rows.orphans:
        notes.append(f"left out: {rows.orphans:,} interactions with items that are not in {catalogue.name}")
    return Written(
        Path(target),
        name,
        items=len(items),
        users=len(rows.users) if rows else 0,
        interactions=rows.count if rows else 0,
        notes=tuple(notes),
    )


def _items(table: CsvTable, options: CsvOptions, notes: list[str]) -> list[Item]:
    identifier = table.identifier(options.item_column, "--item-column", _ITEM)
    title = table.column(options.title_column, "--title-column", _TITLE)
    category = table.column(options.category_column, "--category-column", _CATEGORY)
    if options.text_columns:
        texts = [table.named(column, "--text-columns") for column in options.text_columns]
    else:
        texts = [*filter(None, (title, category)), *(column for column in table.often(_TEXT) if column != identifier)]
    if not texts:
        raise table.error(1, "no column to make a text of", f"name some with --text-columns: {table.listed}")
    taken = {identifier, title, category, *texts}
    records = table.records(identifier)
    attributes = _attributes(records, [column for column in table.columns if column not in taken])
    items = []
    for (line, row), others in zip(records, attributes, strict=True):
        categories = _categories(row[category]) if category else ()
        parts = (", ".join(categories) if column == category else row[column].strip() for column in texts)
        text = " ".join(part if part.endswith((".", "!", "?")) else f"{part}." for part in parts if part)
        shown = _one_line(row[title]) if title else ""
        if not text and not shown:
            columns = ", ".join(map(repr, texts))
            raise table.error(
                line, f"item {row[identifier]!r} has no text in {columns}", "describe it, or drop the row"
            )
        items.append(Item(row[identifier], title=shown, text=text, categories=categories, attributes=others))
    if not items:
        raise table.error(1, "no items", "a dataset needs at least one")
    notes.append(_told(table, {"id": identifier, "title": title, "categories": category, "text": ", ".join(texts)}))
    return items


def _users(table: CsvTable, options: CsvOptions, notes: list[str]) -> list[User]:
    identifier = table.identifier(options.user_column, "--user-column", _USER)
    records = table.records(identifier)
    attributes = _attributes(records, [column for column in table.columns if column != identifier])
    notes.append(_told(table, {"id": identifier}))
    return [User(row[identifier], others) for (_, row), others in zip(records, attributes, strict=True)]


class _Behaviour:
    """The interactions: which column is what, and the rows as a dataset has them."""

    def __init__(self, table: CsvTable, options: CsvOptions, known: set[str], catalogue: str, notes: list[str]) -> None:
        self.table = table
        self._known, self._catalogue, self._drop_orphans = known, catalogue, options.drop_orphans
        self._user = table.required(options.user_column, "--user-column", _USER)
        self._item = table.required(options.item_column, "--item-column", _ITEM)
        time = table.column(options.time_column, "--time-column", _TIME)
        self._weight = table.column(options.weight_column, "--weight-column", _WEIGHT)
        self._event = table.column(options.event_column, "--event-column", _EVENT)
        self.times: Times = options.times if time else "none"
        self._time = time if self.times != "none" else None
        taken = {self._user, self._item, time, self._weight, self._event}
        self._context = [column for column in table.columns if column not in taken]
        extra = {"event": self._event, "weight": self._weight}
        self.header = (*REQUIRED, *(name for name, column in extra.items() if column), *self._context)
        if twice := [column for column in self._context if column in (*REQUIRED, *extra)]:
            option = {"timestamp": "time"}.get(twice[0], twice[0].removesuffix("_id"))
            mend = f"rename it, or take it with --{option}-column"
            raise table.error(1, f"column {twice[0]!r} would be taken for the {option}", mend)
        chosen = {"user": self._user, "item": self._item, "time": self._time, **extra}
        notes.append(_told(table, {**chosen, "context": ", ".join(self._context)}))
        self.users: set[str] = set()
        self.count = self.orphans = 0

    def read(self, *, progress: bool) -> Iterator[tuple[str, ...]]:
        """The rows in the order of the header."""
        for line, row in self.table.rows(progress=progress):
            user, item = self.table.checked_id(line, row, self._user), row[self._item]
            if item not in self._known:
                if not self._drop_orphans:
                    message = f"item {item!r} is not in {self._catalogue}"
                    raise self.table.error(line, message, "add it, or leave such rows out with --drop-orphans")
                self.orphans += 1
                continue
            fields = [user, item, self._moment(line, row)]
            if self._event:
                fields.append(_one_line(row[self._event]))
            if self._weight:
                if not is_weight(row[self._weight]):
                    message = f"column {self._weight!r}: {row[self._weight]!r} is no number"
                    raise self.table.error(
                        line, message, "give a number, or choose another column with --weight-column"
                    )
                fields.append(row[self._weight].strip())
            self.users.add(user)
            self.count += 1
            yield (*fields, *(_one_line(row[column]) for column in self._context))

    def _moment(self, line: int, row: dict[str, str]) -> str:
        if not self._time:
            return "0"
        written = row[self._time].strip()
        if self.times == "order" and _INTEGER.fullmatch(written):
            return written
        seconds = unix_seconds(written) if self.times == "seconds" else None
        if seconds is None:
            kind = "time" if self.times == "seconds" else "whole number"
            mend = "give Unix seconds, milliseconds or ISO 8601, or choose another column with --time-column"
            if self.times == "order":
                mend = "number what each user did, or choose another column with --time-column"
            raise self.table.error(line, f"column {self._time!r}: {written!r} is no {kind}", mend)
        return str(seconds)


def _told(table: CsvTable, chosen: dict[str, str | None]) -> str:
    return f"{table.name}: " + "; ".join(f"{role} from {column}" for role, column in chosen.items() if column)


def _attributes(
    records: Sequence[tuple[int, dict[str, str]]], columns: Sequence[str]
) -> list[dict[str, AttributeValue]]:
    """The attributes of each row: a column is of whole numbers, of numbers or of words; what is blank is left out."""
    found: list[dict[str, AttributeValue]] = [{} for _ in records]
    for column in columns:
        values = [(at, row[column].strip()) for at, (_, row) in enumerate(records) if row[column].strip()]
        convert: type[int] | type[float] | type[str] = str
        if all(_INTEGER.fullmatch(value) and str(int(value)) == value for _, value in values):
            convert = int  # not "007", which is a name
        elif all(_is_number(value) and not re.match(r"[+-]?0[0-9]", value) for _, value in values):
            convert = float
        for at, value in values:
            found[at][column] = convert(value)
    return found


def _categories(text: str) -> tuple[str, ...]:
    """The names in "a|b", "a; b", "a > b" or "['a', 'b']"; once each."""
    text = text.strip()
    if text.startswith("[") and text.endswith("]"):
        parts = [part.strip().strip("'\"") for part in text[1:-1].split(",")]
    else:
        parts = _BETWEEN_CATEGORIES.split(text)
    return tuple(dict.fromkeys(_one_line(part) for part in parts if part.strip()))


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _is_number(text: str) -> bool:
    try:
        return "_" not in text and math.isfinite(float(text))
    except ValueError:
        return False
