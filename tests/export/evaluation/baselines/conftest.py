"""Made behaviour with a structure that a baseline ought to find, and popularity ought not to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tanager_export.dataset import Dataset, Interactions, Item, User
from tanager_export.evaluation.cases import Cases, Histories, Recommender

if TYPE_CHECKING:
    from numpy.typing import NDArray

TOPICS = ("boats", "trains", "planes", "bicycles")
ITEMS_A_TOPIC = 12
ITEMS = len(TOPICS) * ITEMS_A_TOPIC
USERS = 160
DAY_S = 86_400
NOW = 1_700_000_000

Row = tuple[int, int, int, float]


@dataclass(frozen=True)
class Made:
    dataset: Dataset
    cases: Cases


def interactions(rows: list[Row], users: int) -> Interactions:
    user, item, timestamp, weight = zip(*rows, strict=True) if rows else ((), (), (), ())
    return Interactions(
        np.array(user, np.int32),
        np.array(item, np.int32),
        np.array(timestamp, np.int64),
        np.array(weight, np.float32),
        tuple(f"user-{number}" for number in range(users)),
    )


def histories(rows: list[list[tuple[int, float]]], *, until: int = NOW) -> Histories:
    """Rows of item and weight, an hour apart, the last of each at `until`."""
    lengths = [len(row) for row in rows]
    return Histories(
        np.concatenate(([0], np.cumsum(lengths))).astype(np.int64),
        np.array([item for row in rows for item, _ in row], np.int32),
        np.array([until - 3600 * back for row in rows for back in reversed(range(len(row)))], np.int64),
        np.array([weight for row in rows for _, weight in row], np.float32),
    )


def cases_of(
    rows: list[list[tuple[int, float]]], targets: list[list[int]], *, profiles: list[dict[str, str]] | None = None
) -> Cases:
    return Cases(
        np.zeros(len(rows), np.int32),
        histories(rows),
        histories([[(item, 1.0) for item in row] for row in targets], until=NOW + DAY_S),
        profiles or [{} for _ in rows],
        np.full(len(rows), NOW, np.int64),
    )


def catalogue() -> tuple[Item, ...]:
    return tuple(
        Item(
            id=f"item-{number}",
            text=f"About {TOPICS[number // ITEMS_A_TOPIC]}",
            categories=(TOPICS[number // ITEMS_A_TOPIC],),
        )
        for number in range(ITEMS)
    )


def draw(random: np.random.Generator, topic: int, count: int) -> list[int]:
    """Distinct items of a topic, the first of it far more often, so that popularity has something to say."""
    chance = 1 / np.arange(1, ITEMS_A_TOPIC + 1)
    return [
        int(topic * ITEMS_A_TOPIC + item) for item in random.choice(ITEMS_A_TOPIC, count, False, chance / chance.sum())
    ]


@pytest.fixture(scope="session")
def topics() -> Made:
    """Every user takes up six items of one topic, which their profile names; users of the first topic are the most."""
    random = np.random.default_rng(0)
    rows, users = [], []
    for user in range(USERS):
        topic = int(random.choice(4, p=[0.4, 0.2, 0.2, 0.2]))
        users.append(User(f"user-{user}", {"fond_of": TOPICS[topic]}))
        rows += [(user, item, NOW - int(random.integers(1, 900)) * DAY_S, 1.0) for item in draw(random, topic, 6)]
    asked, targets = [], []
    for number in range(40):
        items = draw(random, number % 4, 6)
        asked.append([(item, 1.0) for item in items[:4]])
        targets.append(items[4:])
    dataset = Dataset("topics", catalogue(), interactions(rows, USERS), tuple(users))
    return Made(dataset, cases_of(asked, targets))


@pytest.fixture(scope="session")
def chains() -> Made:
    """Every user walks from a random item to the next of its topic, and the next: only the last tells what follows."""
    random = np.random.default_rng(1)

    def walk(length: int) -> list[int]:
        topic, start = int(random.integers(4)), int(random.integers(ITEMS_A_TOPIC))
        return [topic * ITEMS_A_TOPIC + (start + step) % ITEMS_A_TOPIC for step in range(length)]

    rows = [
        (user, item, NOW - DAY_S + 60 * position, 1.0) for user in range(USERS) for position, item in enumerate(walk(5))
    ]
    asked = [walk(5) for _ in range(40)]
    cases = cases_of([[(item, 1.0) for item in row[:4]] for row in asked], [row[4:] for row in asked])
    return Made(Dataset("chains", catalogue(), interactions(rows, USERS)), cases)


Quality = Callable[[Recommender, Cases], float]


@pytest.fixture(scope="session")
def quality() -> Quality:
    """Mean reciprocal rank of the first target, seen items masked, ties counted against."""

    def measure(recommender: Recommender, cases: Cases) -> float:
        scores = np.array(recommender.score(cases), np.float64)
        scores[cases.histories.row_of_event, cases.histories.item] = -np.inf
        row = cases.targets.row_of_event
        ranks = (scores[row] >= scores[row, cases.targets.item][:, None]).sum(axis=1)
        best = np.full(len(cases), np.inf)
        np.minimum.at(best, row, ranks)
        return float((1 / best).mean())

    return measure


@pytest.fixture(scope="session")
def vectors() -> NDArray[np.float32]:
    """`(items, dim)`: a topic's items near each other, as a text encoder would have them."""
    random = np.random.default_rng(2)
    centres = random.normal(size=(len(TOPICS), 16))
    found = np.repeat(centres, ITEMS_A_TOPIC, axis=0) + 0.5 * random.normal(size=(ITEMS, 16))
    unit: NDArray[np.float32] = (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)
    return unit


@pytest.fixture
def cases_with() -> Callable[..., Cases]:
    return cases_of


@pytest.fixture
def interactions_with() -> Callable[[list[Row], int], Interactions]:
    return interactions


@pytest.fixture
def without_items() -> Callable[[Interactions, list[int]], Interactions]:
    """The interactions without some items: nobody ever took them up."""

    def leave_out(events: Interactions, items: list[int]) -> Interactions:
        keep = ~np.isin(events.item, items)
        return replace(
            events,
            user=events.user[keep],
            item=events.item[keep],
            timestamp=events.timestamp[keep],
            weight=events.weight[keep],
        )

    return leave_out
