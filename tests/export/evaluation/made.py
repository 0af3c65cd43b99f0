"""Small datasets made for one test each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from hypothesis import strategies as st

from tanager_export.dataset import Dataset, Interactions, Item, User
from tanager_export.evaluation.cases import Histories

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ITEMS = 8
USERS = 6

Row = tuple[int, int, int, float]
"""User, item, time, weight."""

some_rows = st.lists(
    st.tuples(
        st.integers(0, USERS - 1),
        st.integers(0, ITEMS - 1),
        st.integers(0, 12),
        st.sampled_from([1.0, 1.0, 3.0, 0.0, -1.0]),
    ),
    min_size=12,
    max_size=40,
)


def interactions_of(rows: Iterable[Row], *, users: int = USERS) -> Interactions:
    columns = list(rows)
    return Interactions(
        user=np.array([row[0] for row in columns], np.int32),
        item=np.array([row[1] for row in columns], np.int32),
        timestamp=np.array([row[2] for row in columns], np.int64),
        weight=np.array([row[3] for row in columns], np.float32),
        user_ids=tuple(f"user-{user}" for user in range(users)),
    )


def dataset_of(
    rows: Iterable[Row], *, items: int = ITEMS, users: int = USERS, profiles: Mapping[str, dict[str, str]] | None = None
) -> Dataset:
    return Dataset(
        name="made",
        items=tuple(Item(id=f"item-{item}", title=f"Item {item}") for item in range(items)),
        interactions=interactions_of(rows, users=users),
        users=tuple(User(name, attributes) for name, attributes in (profiles or {}).items()),
    )


def rows_of(interactions: Interactions) -> list[Row]:
    columns = interactions.user, interactions.item, interactions.timestamp, interactions.weight
    return list(zip(*(column.tolist() for column in columns), strict=True))


def events_of(histories: Histories, row: int) -> list[tuple[int, int, float]]:
    """Item, time and weight of each event of a row."""
    part = slice(histories.indptr[row], histories.indptr[row + 1])
    columns = histories.item[part], histories.timestamp[part], histories.weight[part]
    return list(zip(*(column.tolist() for column in columns), strict=True))


def histories_of(*rows: Iterable[int], timestamp: int = 0) -> Histories:
    """Histories of these items."""
    lists = [list(row) for row in rows]
    item = np.array([item for row in lists for item in row], np.int32)
    return Histories(
        np.cumsum([0, *map(len, lists)]),
        item,
        np.full(len(item), timestamp, np.int64),
        np.ones(len(item), np.float32),
    )
