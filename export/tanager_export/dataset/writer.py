"""Write a dataset directory: whole or not at all."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tanager_export.atomic import fresh_directory
from tanager_export.dataset.interactions import INTERACTIONS, REQUIRED
from tanager_export.dataset.records import ITEMS, METADATA, USERS, Metadata

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Sequence

    from tanager_export.dataset.format import Dataset, Item, User

_ROWS_A_BLOCK = 1 << 16


@dataclass(frozen=True, slots=True)
class Written:
    """What an import wrote, and where.

    Attributes:
        directory: The dataset.
        name: Its name.
        items: How many there are.
        users: How many have interactions.
        interactions: How many there are.
        notes: What was chosen and what was left out, for people.
    """

    directory: Path
    name: str
    items: int
    users: int
    interactions: int
    notes: tuple[str, ...] = ()


def write_dataset(dataset: Dataset, target: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """Write a dataset so that `load_dataset` gives it back.

    Args:
        dataset: What to write.
        target: The directory to create.
        overwrite: Whether a dataset that is there already may be replaced; it is, once the new one is complete.

    Returns:
        The directory.

    Raises:
        TargetError: The target is there already, holds something else than a dataset, or cannot be written.
    """
    with fresh_directory(target, marker=ITEMS, overwrite=overwrite) as directory:
        metadata = Metadata(
            name=dataset.name,
            description=dataset.description,
            source=dataset.source,
            licence=dataset.licence,
            simulated_behaviour=dataset.simulated_behaviour,
            times=dataset.times,
            texts_until=dataset.texts_until,
        )
        write_metadata(directory, metadata)
        write_items(directory, dataset.items)
        if dataset.users:
            write_users(directory, dataset.users)
        if len(dataset.interactions):
            write_interactions(directory, (*REQUIRED, "weight"), _rows(dataset))
    return Path(target)


def write_metadata(directory: Path, metadata: Metadata) -> None:
    """Write `dataset.json`."""
    text = json.dumps(asdict(metadata), ensure_ascii=False, indent=2)
    (directory / METADATA).write_text(text + "\n", encoding="utf-8", newline="\n")


def write_items(directory: Path, items: Iterable[Item]) -> None:
    """Write `items.jsonl`."""
    _write_records(
        directory / ITEMS,
        (
            {
                "id": item.id,
                "title": item.title,
                "text": item.text,
                "domain": item.domain,
                "categories": item.categories,
                "attributes": dict(item.attributes),
            }
            for item in items
        ),
    )


def write_users(directory: Path, users: Iterable[User]) -> None:
    """Write `users.jsonl`."""
    _write_records(directory / USERS, ({"id": user.id, "attributes": dict(user.attributes)} for user in users))


def write_interactions(directory: Path, header: Sequence[str], rows: Iterable[Iterable[object]]) -> None:
    """Write `interactions.csv`, whose columns include `user_id`, `item_id` and `timestamp`."""
    with (directory / INTERACTIONS).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _write_records(path: Path, records: Iterable[dict[str, object]]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for record in records:
            file.write(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n")


def _rows(dataset: Dataset) -> Iterable[tuple[str, str, int, str]]:
    columns = dataset.interactions
    user_ids, item_ids = columns.user_ids, [item.id for item in dataset.items]
    values, inverse = np.unique(columns.weight, return_inverse=True)
    weights = [np.format_float_positional(value, trim="-") for value in values]  # the shortest that reads back the same
    for start in range(0, len(columns), _ROWS_A_BLOCK):
        block = slice(start, start + _ROWS_A_BLOCK)
        yield from zip(
            map(user_ids.__getitem__, columns.user[block].tolist()),
            map(item_ids.__getitem__, columns.item[block].tolist()),
            columns.timestamp[block].tolist(),
            map(weights.__getitem__, inverse[block].tolist()),
            strict=True,
        )
