"""Import Amazon reviews as sequences: the layout of UniSRec (https://github.com/RUCAIBox/UniSRec), or RecBole's own."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tanager_export.atomic import fresh_directory
from tanager_export.dataset.format import Item
from tanager_export.dataset.interactions import REQUIRED
from tanager_export.dataset.problem import DatasetError, Problem
from tanager_export.dataset.products import titles_and_categories
from tanager_export.dataset.recbole import import_recbole, sole_file
from tanager_export.dataset.records import ITEMS, Metadata
from tanager_export.dataset.table import Table
from tanager_export.dataset.writer import Written, write_interactions, write_items, write_metadata

if TYPE_CHECKING:
    import os

_TEST = ".test.inter"
_SEQUENCES = Table(_TEST, "\t", 3, "utf-8", ("user_id:token", "item_id_list:token_seq", "item_id:token"))
_TEXTS = Table(".text", "\t", 2, "utf-8", ("item_id:token", "text:token_seq"))
_INDEX = Table(".item2index", "\t", 2, "utf-8")

_DESCRIPTION = (
    "Amazon reviews as sequences, for leave-one-out evaluation. There are no times: a timestamp is the position in its "
    "user's sequence."
)
_SOURCE = "https://github.com/RUCAIBox/UniSRec"
_LICENCE = "See the terms of the Amazon review data (2018), https://nijianmo.github.io/amazon/"


def import_amazon(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    progress: bool = False,
) -> Written:
    """Make a dataset of Amazon reviews: products become items, reviews interactions.

    Two layouts are known. UniSRec's `NAME.{train,valid,test}.inter` with `NAME.text` and, unless the ids are spelt
    out, `NAME.item2index` and `NAME.user2index`: it has no times, so the dataset's `times` are "order". And RecBole's
    `NAME.inter` with `NAME.item` and, optionally, `NAME.user`: see `import_recbole`.

    Args:
        source: The directory with these files.
        target: The dataset directory to create.
        overwrite: Whether a dataset that is there already may be replaced.
        progress: Whether to show bars on stderr, if that is a terminal.

    Raises:
        TargetError: The target is taken.
        DatasetError: The source has neither layout, or a row of it is malformed (the message names file and line).
    """
    directory = Path(source)
    if not directory.is_dir():
        raise DatasetError(Problem(str(directory), None, "no-directory", "no such directory"))
    if not any(directory.glob(f"*{_TEST}")):
        return import_recbole(directory, target, overwrite=overwrite, progress=progress)
    name = sole_file(directory, _TEST).removesuffix(_TEST)
    texts = replace(_TEXTS, name=name + _TEXTS.name)
    items = _items(texts, directory)
    sequences = _sequences(directory, name, {item.id for item in items}, texts.name, progress=progress)
    rows = (
        (user, item, str(position)) for user, sequence in sequences.items() for position, item in enumerate(sequence)
    )
    with fresh_directory(target, marker=ITEMS, overwrite=overwrite) as fresh:
        write_metadata(fresh, Metadata(name, _DESCRIPTION, _SOURCE, _LICENCE, times="order"))
        write_items(fresh, items)
        write_interactions(fresh, REQUIRED, rows)
    count = sum(map(len, sequences.values()))
    return Written(Path(target), name, items=len(items), users=len(sequences), interactions=count)


def _items(texts: Table, directory: Path) -> list[Item]:
    described: dict[str, str] = {}
    for line, (identifier, text) in texts.rows(directory):
        if identifier in described:
            raise texts.error(line, f"item {identifier!r} is described twice")
        if not identifier.strip() or not text.strip():
            raise texts.error(line, f"no text for item {identifier!r}" if identifier.strip() else "no item id")
        described[identifier] = text.strip()
    if not described:
        raise texts.error(1, "no items")
    told = titles_and_categories(list(described.values()))
    return [
        Item(identifier, title=title, text=text, categories=categories)
        for (identifier, text), (title, categories) in zip(described.items(), told, strict=True)
    ]


def _sequences(
    directory: Path, name: str, described: set[str], texts_name: str, *, progress: bool
) -> dict[str, list[str]]:
    """The items of each user in order.

    A row is a part of a user's sequence: what came before, and the item that came next. The row of the test part is
    the longest, but UniSRec cuts it to the last 51 items; the others then give the items before, one by one.
    """
    users, items = (_index(directory, name + suffix) for suffix in (".user2index", ".item2index"))

    def spelt(table: Table, line: int, index: dict[str, str] | None, token: str) -> str:
        if index is None:
            return token
        if token not in index:
            raise table.error(line, f"{token!r} is not in {name}.{'user' if index is users else 'item'}2index")
        return index[token]

    found: dict[str, _Rows] = {}
    for part in ("test", "valid", "train"):
        table = replace(_SEQUENCES, name=f"{name}.{part}.inter")
        for line, (user, history, target) in table.rows(directory, progress=progress):
            sequence = tuple(spelt(table, line, items, token) for token in (*history.split(), target))
            if missing := [item for item in sequence if item not in described]:
                raise table.error(line, f"item {missing[0]!r} is not in {texts_name}")
            identifier = spelt(table, line, users, user)
            if not identifier.strip() or not target:
                raise table.error(line, "no item" if identifier.strip() else "no user id")
            if part == "test":
                if identifier in found:
                    raise table.error(line, f"user {user!r} has a row already")
                found[identifier] = _Rows(sequence)
            elif identifier in found:
                found[identifier].others.append((table, line, sequence))
            else:
                raise table.error(line, f"user {user!r} has no row in {name}{_TEST}")
        if not found:
            raise table.error(1, "no sequences")
    return {user: _joined(rows) for user, rows in found.items()}


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows of a user: the sequence of the test part, and of each other its table, line and sequence."""

    test: tuple[str, ...]
    others: list[tuple[Table, int, tuple[str, ...]]] = field(default_factory=list)


def _joined(rows: _Rows) -> list[str]:
    """The whole of a user's sequence: what other rows have before that of the test part is put before it."""
    longest = rows.test
    before: list[str] = []
    before_of = {sequence[1:]: sequence[0] for *_, sequence in rows.others if len(sequence) >= len(longest)}
    window = longest[:-1]
    while window in before_of:
        first = before_of.pop(window)
        before.append(first)
        window = (first, *window[:-1])
    whole = [*reversed(before), *longest]
    spelt = f" {' '.join(whole)} "
    for table, line, sequence in rows.others:
        if f" {' '.join(sequence)} " not in spelt:
            raise table.error(line, f"these items are no part of the user's sequence, which is {spelt.strip()[:100]!r}")
    return whole


def _index(directory: Path, name: str) -> dict[str, str] | None:
    """The id that each number stands for; None where there is no such file, and ids are spelt out."""
    if not (directory / name).exists():
        return None
    table = replace(_INDEX, name=name)
    identifiers: dict[str, str] = {}
    for line, (identifier, number) in table.rows(directory):
        if number in identifiers:
            raise table.error(line, f"number {number!r} is taken already")
        identifiers[number] = identifier
    return identifiers
