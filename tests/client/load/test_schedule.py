import itertools
from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tanager.load.schedule import constant_gaps, poisson_gaps, uniform_draws, zipf_draws


def take(iterator, count):
    return list(itertools.islice(iterator, count))


def test_constant_gaps_make_the_rate():
    assert take(constant_gaps(250), 4) == [0.004] * 4


def test_poisson_gaps_make_the_rate_and_scatter_like_an_exponential():
    gaps = take(poisson_gaps(250, Random(1)), 20_000)
    mean = sum(gaps) / len(gaps)
    deviation = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5
    assert mean == pytest.approx(0.004, rel=0.03)
    assert deviation == pytest.approx(mean, rel=0.03)  # which tells it from any other distribution one would guess
    assert sum(gap < 0.004 for gap in gaps) / len(gaps) == pytest.approx(0.632, abs=0.01)


@given(st.integers(1, 50), st.integers(0, 5))
def test_uniform_draws_repeat_nothing_within_a_round(size, seed):
    draws = uniform_draws(size, Random(seed))
    for _ in range(3):
        assert sorted(take(draws, size)) == list(range(size))


def test_uniform_draws_come_in_another_order_each_round():
    draws = uniform_draws(50, Random(1))
    assert take(draws, 50) != take(draws, 50)


@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.0])
def test_zipf_draws_fall_with_the_exponent(exponent):
    counts = Counter(take(zipf_draws(100, exponent, Random(1)), 50_000))
    weights = [(k + 1) ** -exponent for k in range(100)]
    for position in (0, 1, 9):
        assert counts[position] / 50_000 == pytest.approx(weights[position] / sum(weights), rel=0.08)


@given(st.integers(1, 30), st.floats(0, 4), st.integers(0, 3))
def test_zipf_draws_stay_in_the_pool(size, exponent, seed):
    assert set(take(zipf_draws(size, exponent, Random(seed)), 200)) <= set(range(size))


@pytest.mark.parametrize(
    "make", [lambda r: poisson_gaps(9, r), lambda r: uniform_draws(9, r), lambda r: zipf_draws(9, 1, r)]
)
def test_a_seed_repeats_everything(make):
    assert take(make(Random(7)), 30) == take(make(Random(7)), 30)
    assert take(make(Random(7)), 30) != take(make(Random(8)), 30)
