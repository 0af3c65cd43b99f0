"""Popularity and recent popularity, as one would count by hand."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest
from tests.export.evaluation.baselines.conftest import DAY_S, NOW

from tanager_export.dataset import Dataset, Item
from tanager_export.evaluation.baselines import Popularity, RecentPopularity

ITEMS = tuple(Item(id=f"item-{number}", text="text") for number in range(4))


@pytest.fixture
def faded(interactions_with):
    """Item 0 was taken up by many long ago, item 1 by some last month, item 2 by one today, item 3 by nobody."""
    rows = [(user, 0, NOW - 300 * DAY_S, 1.0) for user in range(5)]
    rows += [(user, 1, NOW - 30 * DAY_S, 1.0) for user in range(3)]
    rows += [(0, 2, NOW, 1.0)]
    return Dataset("faded", ITEMS, interactions_with(rows, 5))


def scores(dataset, cases, **parameters):
    return RecentPopularity().fit(dataset, dataset.interactions, parameters, seed=0).score(cases)


@pytest.fixture
def asked(cases_with):
    def ask(*moments):
        cases = cases_with([[] for _ in moments], [[3] for _ in moments])
        return replace(cases, at=np.array(moments, np.int64))

    return ask


def test_popularity_counts_users_once_and_no_dislikes(interactions_with, asked):
    rows = [(0, 1, 1, 1.0), (0, 1, 2, 1.0), (1, 1, 3, -1.0), (0, 2, 4, 1.0), (1, 2, 5, 0.5), (1, 3, 6, 0.0)]
    dataset = Dataset("made", ITEMS, interactions_with(rows, 2))
    found = Popularity().fit(dataset, dataset.interactions, {}, seed=0).score(asked(NOW, NOW))
    assert found.tolist() == [[0, 1, 2, 0]] * 2


@pytest.mark.parametrize(
    ("kind", "days", "order"),
    [
        pytest.param("decay", 1.0, [2, 1, 0, 3], id="a short half-life"),
        pytest.param("decay", 30.0, [1, 2, 0, 3], id="a month"),
        pytest.param("decay", 1920.0, [0, 1, 2, 3], id="a long one is popularity"),
        pytest.param("window", 7.0, [2, 0, 1, 3], id="a window; popularity for what is outside"),
        pytest.param("window", 60.0, [1, 2, 0, 3], id="a wider window"),
        pytest.param("window", 960.0, [0, 1, 2, 3], id="all of it"),
    ],
)
def test_what_is_recent_comes_first(faded, asked, kind, days, order):
    assert np.argsort(-scores(faded, asked(NOW), kind=kind, days=days)[0], kind="stable").tolist() == order


def test_half_of_an_event_is_left_after_the_half_life(faded, asked):
    found = scores(faded, asked(NOW), kind="decay", days=30.0)[0]
    np.testing.assert_allclose(found / found[1], [5 * 2**-10 / 1.5, 1, 1 / 1.5, 0], atol=1e-5)


@pytest.mark.parametrize("kind", ["decay", "window"])
def test_each_case_is_asked_at_its_own_time_and_nothing_later_is_counted(faded, asked, kind, interactions_with):
    moments = [NOW, NOW - 100 * DAY_S, NOW - 30 * DAY_S, NOW - 100 * DAY_S]
    together = scores(faded, asked(*moments), kind=kind, days=60.0)
    for row, moment in enumerate(moments):
        events = faded.interactions
        past = [
            (int(u), int(i), int(t), 1.0)
            for u, i, t in zip(events.user, events.item, events.timestamp, strict=True)
            if t <= moment
        ]
        alone = replace(faded, interactions=interactions_with(past, 5))
        np.testing.assert_allclose(together[row], scores(alone, asked(moment), kind=kind, days=60.0)[0], rtol=1e-6)


def test_before_anything_happened_nothing_is_popular(faded, asked):
    assert not scores(faded, asked(NOW - 1000 * DAY_S), kind="decay", days=30.0).any()


def test_where_times_are_no_clock_it_is_popularity_and_says_why_once(faded, asked, caplog):
    ordered = replace(faded, times="order")
    method = RecentPopularity()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            found = method.fit(ordered, faded.interactions, {"kind": "decay", "days": 1.0}, seed=0).score(asked(NOW))
    assert found.tolist() == [[5, 3, 1, 0]]
    assert len(caplog.messages) == 1
    assert "no clock (times: order)" in caplog.messages[0]
