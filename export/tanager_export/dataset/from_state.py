"""Make a dataset of what a server was told: its items as they are now, its users, and what they did."""

from __future__ import annotations

import collections
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from tanager_export.atomic import fresh_directory
from tanager_export.dataset.format import Item, User
from tanager_export.dataset.interactions import REQUIRED
from tanager_export.dataset.problem import DatasetError, Problem
from tanager_export.dataset.records import ITEMS, Metadata
from tanager_export.dataset.textfile import CONTROL, CONTROL_IN_TEXT
from tanager_export.dataset.writer import Written, write_interactions, write_items, write_metadata, write_users
from tanager_server.bundle import open_bundle
from tanager_server.engine.records import read_item, read_profile
from tanager_server.live import read_impression
from tanager_server.state import open_snapshot

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from tanager_export.dataset.format import AttributeValue
    from tanager_server.bundle import Bundle
    from tanager_server.bundle import Item as ServedItem
    from tanager_server.state import Snapshot

PROPENSITY = "propensity"
_NANOS = 10**9
_MOST_CONTEXT = 50
_TAKEN = (*REQUIRED, "event", "weight", "split", PROPENSITY)
"""Columns that mean something by their name, so that no context may have it."""


def export_state(
    state: str | os.PathLike[str],
    bundle: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    progress: bool = False,
) -> Written:
    """Make a dataset of a server's state, as it is at this moment; the server may be running.

    Events are in the order of their times, with their types, weights and contexts. Where the list is known that an
    event came of, the column `propensity` has the probability with which the list had the item.

    Args:
        state: The server's state directory, or a backup of it.
        bundle: What the server serves: the items that it began with.
        target: The dataset directory to create.
        overwrite: Whether a dataset that is there already may be replaced.
        progress: Whether to show bars on stderr, if that is a terminal.

    Raises:
        TargetError: The target is taken.
        DatasetError: No item is left.
        StateError: There is no state, or it is of another version.
        StorageError: It cannot be read.
        BundleError: The bundle is not whole.
    """
    opened = open_bundle(Path(bundle))
    with (
        open_snapshot(Path(state)) as snapshot,
        fresh_directory(target, marker=ITEMS, overwrite=overwrite) as directory,
    ):
        items, notes = _items(opened, snapshot)
        events = _Events.read(snapshot, items, progress=progress)
        name = opened.manifest.dataset.name
        said = (
            f"What was written to a Tanager server up to write {snapshot.seq}, over bundle {opened.manifest.bundle_id}."
        )
        write_metadata(directory, Metadata(name, said))
        write_items(directory, items.values())
        users = [user for row in snapshot.users() if (user := _user(row.user_id, row.data)) is not None]
        if users:
            write_users(directory, users)
        if len(events):
            write_interactions(directory, events.header, events.rows(progress=progress))
    return Written(
        Path(target),
        name,
        items=len(items),
        users=events.user_count,
        interactions=len(events),
        notes=(*notes, *events.notes),
    )


def _items(bundle: Bundle, snapshot: Snapshot) -> tuple[dict[str, Item], list[str]]:
    """The bundle's items by id, and over them what was written; and what is to be said of those left out."""
    catalogue = bundle.read_catalogue()
    found = {catalogue.ids[position]: _item(catalogue.item(position)) for position in range(catalogue.rows)}
    for stored, _ in snapshot.items():  # noqa: PERF102  # no dict
        if stored.deleted:
            found.pop(stored.item_id, None)
        else:
            found[stored.item_id] = _item(read_item(stored.data).item)
    unfit = {item_id for item_id in found if not _is_fit(item_id)}
    mute = {item_id for item_id, item in found.items() if not item.encoder_text.strip()} - unfit
    left_out = unfit | mute
    kept = {item_id: item for item_id, item in found.items() if item_id not in left_out}
    if not kept:
        said = "all of them are deleted" if not found else "none of them is one that a dataset can hold"
        raise DatasetError(Problem(ITEMS, None, "no-items", f"no items: {said}"))
    notes = []
    if unfit:
        notes.append(f"{len(unfit):,} items left out: control characters in their ids")
    if mute:
        notes.append(f"{len(mute):,} items left out: neither text nor title without control characters")
    return kept, notes


def _is_fit(identifier: str) -> bool:
    """Whether a dataset may have this id."""
    return bool(identifier.strip()) and not CONTROL.search(identifier)


def _item(item: ServedItem) -> Item:
    return Item(
        id=item.id,
        title=_line(item.title),
        text=_text(item.text),
        domain=_line(item.domain),
        categories=tuple(map(_line, item.categories)),
        attributes=_attributes(item.attributes),
    )


def _user(user_id: str, data: bytes) -> User | None:
    return User(user_id, _attributes(read_profile(data))) if _is_fit(user_id) else None


def _attributes(
    values: Mapping[str, str | float | bool | list[str] | tuple[str, ...]],
) -> dict[str, AttributeValue]:
    found: dict[str, AttributeValue] = {}
    for name, value in values.items():
        if isinstance(value, (list, tuple)):
            found[_line(name)] = tuple(map(_line, value))
        else:
            found[_line(name)] = _text(value) if isinstance(value, str) else value
    return found


def _text(text: str) -> str:
    """What the server takes in may hold characters that a dataset refuses."""
    return CONTROL_IN_TEXT.sub(" ", text)


def _line(text: str) -> str:
    return CONTROL.sub(" ", text)


class _Events:
    """What users did, by column, in the order of time; of what few events have, only theirs.

    Attributes:
        header: Columns of the file.
        user_count: Users with events that are kept.
        notes: What was left out, and what was renamed.
    """

    def __init__(
        self,
        ids: tuple[Mapping[int, str], Mapping[int, str], Mapping[int, str]],
        columns: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]],
        contexts: Mapping[int, bytes],
        propensities: Mapping[int, float],
        notes: list[str],
    ) -> None:
        self._users, self._items, self._kinds = ids
        self._columns, self._contexts, self._propensities = columns, contexts, propensities
        self._order = np.argsort(columns[4], kind="stable")
        self.user_count = len(np.unique(columns[0]))
        self.notes = notes
        self._names = self._context_names()
        extra = (PROPENSITY,) if propensities else ()
        self.header = (*REQUIRED, "event", "weight", *extra, *self._names.values())

    def __len__(self) -> int:
        return len(self._order)

    @classmethod
    def read(cls, snapshot: Snapshot, items: Mapping[str, Item], *, progress: bool) -> _Events:
        """Those of items that there are."""
        users = {key: name for block in snapshot.user_keys() for key, name in block if _is_fit(name)}
        known = {key: name for block in snapshot.item_keys() for key, name in block if name in items}
        blocks = []
        contexts: dict[int, bytes] = {}
        tokens: dict[int, tuple[str, str]] = {}
        count = left_out = 0
        with tqdm(desc="events", unit="", disable=None if progress else True) as bar:
            for block in snapshot.event_rows():
                rows = [row for row in block if row[0] in users and row[1] in known]
                left_out += len(block) - len(rows)
                for place, row in enumerate(rows, start=count):
                    if row[5]:
                        tokens[place] = row[5], known[row[1]]
                    if row[6]:
                        contexts[place] = row[6]
                count += len(rows)
                if rows:
                    blocks.append([np.array(column) for column in list(zip(*rows, strict=True))[:5]])
                bar.update(len(block))
        notes = [f"{left_out:,} events left out: their items are not in the catalogue any more, or not yet"]
        types = (np.int64, np.int64, np.int64, np.float32, np.int64)
        columns = [
            np.concatenate([block[at] for block in blocks]).astype(kind) if blocks else np.empty(0, kind)
            for at, kind in enumerate(types)
        ]
        return cls(
            (users, known, snapshot.kinds()),
            tuple(columns),  # type: ignore[arg-type]  # five, as they are read
            contexts,
            _propensities(snapshot, tokens),
            notes if left_out else [],
        )

    def rows(self, *, progress: bool) -> Iterator[tuple[object, ...]]:
        """In the order of the header."""
        users, items, kinds = self._users, self._items, self._kinds
        user, item, kind, weight, time_ns = (column[self._order] for column in self._columns)
        weights = [np.format_float_positional(value, trim="-") for value in weight]
        seconds = (time_ns // _NANOS).tolist()
        rows = zip(self._order.tolist(), user.tolist(), item.tolist(), kind.tolist(), weights, seconds, strict=True)
        for place, by, what, how, strength, when in tqdm(
            rows, total=len(self), desc="interactions", unit="", disable=None if progress else True
        ):
            row = [users[by], items[what], when, _one_line(kinds[how]), strength]
            if self._propensities:
                propensity = self._propensities.get(place)
                row.append("" if propensity is None else f"{propensity:.7g}")
            context = json.loads(self._contexts[place]) if place in self._contexts else {}
            row += [_one_line(context.get(name, "")) for name in self._names]
            yield tuple(row)

    def _context_names(self) -> dict[str, str]:
        """Names that contexts have, with the columns that they get: the most common ones."""
        counts = collections.Counter(name for context in self._contexts.values() for name in json.loads(context))
        names = sorted(name for name, _ in counts.most_common(_MOST_CONTEXT))
        if len(counts) > len(names):
            self.notes.append(f"{len(counts) - len(names):,} of {len(counts):,} names of contexts left out: rare ones")
        columns: dict[str, str] = {}
        for name in names:
            column = _one_line(name)
            while column in _TAKEN or column in columns.values():
                column = f"context_{column}"
            if column != name:
                self.notes.append(f"context {name!r} is in the column {column!r}")
            columns[name] = column
        return columns


def _propensities(snapshot: Snapshot, tokens: Mapping[int, tuple[str, str]]) -> dict[int, float]:
    """Of events whose list is known and had their item."""
    of_token: dict[str, list[tuple[int, str]]] = {}
    for place, (token, item_id) in tokens.items():
        of_token.setdefault(token, []).append((place, item_id))
    found: dict[int, float] = {}
    for impression in snapshot.impressions() if of_token else ():
        events = of_token.get(impression.attribution_id)
        if events:
            shown = read_impression(impression.data)
            propensities = dict(zip(shown.item_ids, shown.propensities, strict=True))
            found.update((place, propensities[item_id]) for place, item_id in events if item_id in propensities)
    return found


def _one_line(text: str) -> str:
    return " ".join(_line(text).split())
