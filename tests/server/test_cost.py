"""The cost model: what it learns of an encoder, and what it makes of too little or odd data."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tanager_server.runtime.cost import CostModel


def seen(model, sizes, fixed_s, token_s):
    for size in sizes:
        model.observe(tokens=size, padded_tokens=size, seconds=fixed_s + token_s * size)
    return model


def test_who_knows_nothing_expects_nothing():
    model = CostModel()
    assert (model.predict(1000), model.bound(1000), model.backlog_token_s) == (0, 0, 0)


def test_samples_give_the_line_before_anything_was_served():
    model = CostModel([(16, 0.004), (512, 0.020)])
    assert model.predict(264) == pytest.approx(0.012)
    assert model.bound(264) == model.predict(264)
    assert model.backlog_token_s == pytest.approx(0.016 / 496)


def test_it_learns_a_line():
    model = seen(CostModel(), [16, 100, 300, 512] * 20, 0.002, 0.0001)
    assert (model.fixed_s, model.token_s) == (pytest.approx(0.002), pytest.approx(0.0001))
    assert model.bound(200) == pytest.approx(model.predict(200), rel=0.2)


def test_it_learns_a_line_from_times_that_stray():
    chance, model = random.Random(0), CostModel()
    for _ in range(2000):
        size = chance.randint(16, 512)
        model.observe(tokens=size, padded_tokens=size, seconds=(0.002 + 0.0001 * size) * chance.uniform(0.8, 1.2))
    for size in (16, 256, 512):
        assert model.predict(size) == pytest.approx(0.002 + 0.0001 * size, rel=0.2)


def test_it_follows_a_machine_that_has_become_slower():
    model = seen(CostModel([(16, 0.003), (512, 0.025)]), [16, 256, 512] * 100, 0.002, 0.00005)
    seen(model, [16, 256, 512] * 100, 0.004, 0.0001)
    assert model.predict(512) == pytest.approx(0.004 + 0.0512, rel=0.1)


def test_batches_of_a_single_size_give_a_rate_and_no_slope_out_of_nothing():
    model = seen(CostModel(), [256] * 50, 0.0, 0.0001)
    assert model.predict(256) == pytest.approx(0.0256)
    assert 0 <= model.predict(16) <= 0.0256
    assert model.predict(2560) == pytest.approx(0.256)


def test_batches_of_a_single_size_do_not_make_it_forget_the_slope_it_was_given():
    model = seen(CostModel([(16, 0.0036), (512, 0.0532)]), [512] * 1000, 0.002, 0.0001)
    assert model.predict(16) == pytest.approx(0.0036, rel=0.1)
    assert model.predict(512) == pytest.approx(0.0532, rel=0.1)


def test_larger_batches_that_took_less_time_do_not_make_tokens_pay():
    model = CostModel([(16, 0.010), (512, 0.005)])
    assert model.predict(16) == model.predict(5000) == pytest.approx(0.0075)


def test_a_line_that_would_begin_below_nothing_begins_at_nothing():
    model = CostModel([(100, 0.001), (200, 0.003)])
    assert model.fixed_s == 0
    assert 0.001 / 100 <= model.token_s <= 0.003 / 200


def test_times_that_stray_widen_the_bound():
    model = CostModel([(100, 0.010)])
    for number in range(500):
        model.observe(tokens=100, padded_tokens=100, seconds=0.010 + (0.004 if number % 2 else -0.004))
    assert model.predict(100) == pytest.approx(0.010, rel=0.05)
    assert model.bound(100) == pytest.approx(0.018, rel=0.1)  # two mean deviations above


def test_a_queues_token_costs_its_share_of_padding_and_of_batches():
    model = CostModel()
    for _ in range(100):
        model.observe(tokens=60, padded_tokens=100, seconds=0.012)
    assert model.backlog_token_s == pytest.approx(0.012 / 60)


SAMPLES = [(16, 0.002), (256, 0.014), (512, 0.027)]


def test_a_machine_that_stands_still_for_once_is_not_taken_for_slow():
    model = seen(CostModel(SAMPLES), [16] * 3, 0.0012, 0.00005)
    model.observe(tokens=16, padded_tokens=16, seconds=60.0)
    assert model.predict(16) < 0.01
    assert model.bound(16) < 0.01
    assert model.backlog_token_s < 0.001


def test_an_encoder_that_has_become_slow_is_found_out_within_some_batches():
    model = seen(CostModel(SAMPLES), [16] * 50, 0.0012, 0.00005)
    for _ in range(100):
        model.observe(tokens=16, padded_tokens=16, seconds=0.2)
    assert model.predict(16) > 0.1


def test_a_model_that_is_much_too_slow_is_mended_by_a_few_probes():
    model = seen(CostModel(SAMPLES), [16] * 500, 2.0, 0.001)
    assert model.predict(16) > 1
    for _ in range(10):
        model.observe_probe(padded_tokens=16, seconds=0.002)
    assert model.predict(16) < 0.05
    assert model.bound(16) < 0.05


def test_probes_that_take_as_long_as_was_foretold_change_nothing():
    model = seen(CostModel(SAMPLES), [16, 256, 512] * 100, 0.004, 0.0001)
    for _ in range(10):
        model.observe_probe(padded_tokens=16, seconds=0.0056)
    assert model.predict(16) == pytest.approx(0.0056, rel=0.05)
    assert model.predict(512) == pytest.approx(0.0552, rel=0.05)


@given(
    samples=st.lists(st.tuples(st.integers(1, 100_000), st.floats(0, 100)), max_size=8),
    batches=st.lists(st.tuples(st.integers(1, 100_000), st.floats(0, 100), st.floats(0.01, 1)), max_size=40),
    size=st.integers(1, 1_000_000),
)
def test_whatever_was_measured_no_cost_is_negative_and_none_falls_with_size(samples, batches, size):
    model = CostModel(samples)
    for padded, seconds, share in batches:
        model.observe(tokens=max(1, int(padded * share)), padded_tokens=padded, seconds=seconds)
    assert 0 <= model.predict(size) <= model.predict(2 * size) <= model.bound(2 * size)
    assert model.predict(size) < float("inf")
    assert model.backlog_token_s >= 0
