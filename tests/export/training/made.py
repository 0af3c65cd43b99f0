"""Small made data for tests of training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tanager_export.dataset import Dataset, Interactions, Item, User

if TYPE_CHECKING:
    from tanager_export.dataset.format import Times

DAY_S = 86_400


def interactions(*rows: tuple[int, int, int] | tuple[int, int, int, float]) -> Interactions:
    """Rows of user, item, day and perhaps weight."""
    users = 1 + max((row[0] for row in rows), default=-1)
    return Interactions(
        np.array([row[0] for row in rows], np.int32),
        np.array([row[1] for row in rows], np.int32),
        np.array([row[2] * DAY_S for row in rows], np.int64),
        np.array([row[3] if len(row) > 3 else 1.0 for row in rows], np.float32),
        tuple(f"u{user}" for user in range(users)),
    )


def dataset(events: Interactions, *, items: int, users: tuple[User, ...] = (), times: Times = "seconds") -> Dataset:
    """A catalogue of so many items, with these events."""
    catalogue = tuple(Item(f"i{at}", text=f"item {at}") for at in range(items))
    return Dataset(name="made", items=catalogue, interactions=events, users=users, times=times)


def unit(random: np.random.Generator, items: int, dim: int = 8) -> np.ndarray:
    """Vectors of unit length, drawn at random."""
    vectors = random.normal(size=(items, dim)).astype(np.float32)
    unit_length: np.ndarray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit_length


def clusters(seed: int = 0, *, users: int = 60, groups: int = 4, size: int = 8, events: int = 9) -> Dataset:
    """Every user takes up items of one group, day after day; an item's text names its group."""
    random = np.random.default_rng(seed)
    rows = []
    for user in range(users):
        group, start = user % groups, int(random.integers(0, 60))
        for day, item in enumerate(random.permutation(size)[: min(events, size)]):
            rows.append((user, group * size + int(item), start + 4 * day))
    topics = ("space", "love", "war", "music", "food", "crime")
    items = tuple(
        Item(f"i{at}", text=f"{topics[at // size]} {chr(97 + at % size)}", categories=(topics[at // size],))
        for at in range(groups * size)
    )
    people = tuple(User(f"u{user}", {"taste": topics[user % groups], "age": 20 + user % 5}) for user in range(users))
    return Dataset(name="clusters", items=items, interactions=interactions(*rows), users=people)
