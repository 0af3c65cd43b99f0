"""The paired bootstrap: what it must say of differences that are sure, absent, or of few users."""

from __future__ import annotations

import numpy as np
import pytest

from tanager_export.errors import ExportError
from tanager_export.evaluation import bootstrap
from tanager_export.evaluation.bootstrap import compare, mean_interval


def noisy(seed: int, mean: float, cases: int = 400) -> np.ndarray:
    return mean + np.random.default_rng(seed).normal(0, 1, cases)


def test_a_constant_difference_is_certain():
    theirs = noisy(0, 3)
    found = compare(theirs + 0.5, theirs, draws=500)
    assert (found.difference.value, found.difference.low, found.difference.high) == pytest.approx((0.5, 0.5, 0.5))
    assert found.ratio.low <= found.ratio.value <= found.ratio.high
    assert found.ratio.value == pytest.approx((theirs.mean() + 0.5) / theirs.mean())
    assert found.cases == 400


def test_a_constant_factor_is_certain():
    theirs = noisy(0, 3)
    found = compare(theirs * 1.08, theirs, draws=500)
    assert (found.ratio.value, found.ratio.low, found.ratio.high) == pytest.approx((1.08, 1.08, 1.08))


def test_pairing_sees_what_unpaired_intervals_cannot():
    theirs = noisy(0, 3)
    ours = theirs + 0.05 + 0.1 * noisy(1, 0)
    found = compare(ours, theirs, draws=2000)
    assert found.difference.low > 0
    assert mean_interval(ours, draws=2000).low < mean_interval(theirs, draws=2000).high


def test_the_interval_is_that_of_the_normal_distribution_where_there_are_many_users():
    ours, theirs = noisy(0, 3, 5000), noisy(1, 3, 5000)
    found = compare(ours, theirs, draws=4000).difference
    half = 1.96 * (ours - theirs).std() / np.sqrt(5000)
    assert found.low == pytest.approx((ours - theirs).mean() - half, abs=0.1 * half)
    assert found.high == pytest.approx((ours - theirs).mean() + half, abs=0.1 * half)


def test_ninety_five_of_a_hundred_intervals_hold_the_truth():
    random = np.random.default_rng(5)
    held = 0
    for _ in range(200):
        difference = random.normal(1.0, 1.0, 60)
        interval = compare(difference, np.zeros(60), draws=400).difference
        held += interval.low <= 1.0 <= interval.high
    assert 0.88 <= held / 200 <= 0.99


def test_the_seed_and_nothing_else_decides_the_draws(monkeypatch):
    ours, theirs = noisy(0, 3), noisy(1, 3)
    first = compare(ours, theirs, draws=300)
    assert compare(ours, theirs, draws=300) == first != compare(ours, theirs, draws=300, seed=1)
    monkeypatch.setattr(bootstrap, "_CELLS", 1)  # a draw at a time
    again = compare(ours, theirs, draws=300)
    assert again.difference.low == pytest.approx(first.difference.low)
    assert again.ratio.high == pytest.approx(first.ratio.high)


def test_cases_of_a_user_are_drawn_together():
    ours, theirs = np.repeat(noisy(0, 3, 40), 25), np.zeros(1000)
    user = np.repeat(np.arange(40, dtype=np.int32), 25)
    alone, together = compare(ours, theirs).difference, compare(ours, theirs, user=user).difference
    assert alone.value == together.value
    assert (together.high - together.low) == pytest.approx(5 * (alone.high - alone.low), rel=0.2)


def test_cases_without_a_value_are_left_out_of_both():
    ours, theirs = np.array([1.0, np.nan, 3.0, 5.0]), np.array([1.0, 7.0, np.nan, 3.0])
    found = compare(ours, theirs, draws=50)
    assert found.cases == 2
    assert found.difference.value == 1.0
    assert mean_interval(ours, draws=50).value == 3.0
    assert np.isnan(mean_interval(np.array([np.nan])).value)


def test_a_ratio_to_nothing_has_no_bounds():
    found = compare(np.ones(3), np.zeros(3), draws=50)
    assert np.isinf(found.ratio.value)
    assert found.difference.value == 1.0


@pytest.mark.parametrize(
    ("ours", "theirs", "user", "message"),
    [
        pytest.param(np.ones(3), np.ones(4), None, "cannot be paired", id="lengths"),
        pytest.param(np.ones(3), np.ones(3), np.zeros(2, np.int32), "cannot be paired", id="users"),
        pytest.param(np.full(2, np.nan), np.ones(2), None, "nothing to compare", id="no values"),
        pytest.param(np.ones(0), np.ones(0), None, "nothing to compare", id="no cases"),
    ],
)
def test_what_cannot_be_compared_is_refused(ours, theirs, user, message):
    with pytest.raises(ExportError, match=message):
        compare(ours, theirs, user=user)
