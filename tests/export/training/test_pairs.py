from __future__ import annotations

import numpy as np
import pytest
from tests.export.training.made import interactions

from tanager_export.evaluation.cases import Histories
from tanager_export.evaluation.splits import SplitError
from tanager_export.training.pairs import Pairs


def histories(*rows) -> Histories:
    events = interactions(*rows)
    return Histories.of_users(events, np.arange(len(events.user_ids)))


def test_a_pair_is_an_uptake_and_the_recency_weighted_ones_before_it():
    pairs = Pairs(histories((0, 5, 1), (0, 6, 2), (0, 7, 3)), items=8, half_life=1.0, limit=10)
    rows, targets = pairs.draw(200, np.random.default_rng(0))
    assert set(targets.tolist()) == {6, 7}
    np.testing.assert_allclose(rows.sum(axis=1), 1.0, atol=1e-6)
    of_last = rows[np.flatnonzero(targets == 7)].toarray()
    np.testing.assert_allclose(of_last[:, [5, 6]], np.tile([1 / 3, 2 / 3], (len(of_last), 1)), atol=1e-6)


def test_only_the_latest_events_of_a_history_count():
    pairs = Pairs(histories(*((0, item, item) for item in range(6))), items=6, half_life=1e9, limit=2)
    rows, targets = pairs.draw(300, np.random.default_rng(0))
    last = rows[np.flatnonzero(targets == 5)].toarray()
    np.testing.assert_allclose(last, np.tile([0, 0, 0, 0.5, 0.5, 0], (len(last), 1)), atol=1e-6)


def test_dislikes_are_no_uptakes():
    pairs = Pairs(histories((0, 0, 1), (0, 1, 2, -1.0), (0, 2, 3)), items=3, half_life=1.0, limit=5)
    rows, targets = pairs.draw(50, np.random.default_rng(0))
    assert set(targets.tolist()) == {2}
    assert not rows[:, 1].toarray().any()
    assert pairs.popularity.tolist() == [1, 0, 1]


def test_a_user_is_drawn_by_the_root_of_what_they_did():
    busy = ((0, item, item) for item in range(17))  # 16 pairs
    quiet = ((1, 17, 1), (1, 18, 2))  # one pair
    _, targets = Pairs(histories(*busy, *quiet), items=19, half_life=1.0, limit=5).draw(
        20_000, np.random.default_rng(0)
    )
    assert (targets == 18).mean() == pytest.approx(1 / 5, abs=0.02)


def test_without_a_user_of_two_uptakes_there_is_nothing_to_learn():
    with pytest.raises(SplitError, match="nothing to learn"):
        Pairs(histories((0, 0, 1), (1, 1, 1)), items=2, half_life=1.0, limit=5)
