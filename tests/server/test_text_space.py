"""Estimates of products with vectors, against the products."""

from __future__ import annotations

import numpy as np
import pytest

from tanager_server.engine.text_space import TextSpace


@pytest.fixture
def vectors(unit_vectors):
    """That share much of their direction, as those of a text encoder do."""
    vectors = unit_vectors(1000, 48) + 0.8 * unit_vectors(1, 48, seed=1)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_the_average_is_the_mean_product_with_all_items(vectors):
    np.testing.assert_allclose(TextSpace(vectors).average, (vectors @ vectors.T).mean(axis=1), atol=1e-5)


@pytest.mark.parametrize("count", [1, 5, 100])
def test_products_scatter_as_estimated(vectors, count):
    random = np.random.default_rng(count)
    history = vectors[random.integers(0, 1000, count)]
    weights = random.random(count).astype(np.float32)
    space, direction = TextSpace(vectors), weights @ history
    lift = float(weights.sum())
    mean, deviation = space.project(direction, lift)
    products = vectors @ direction
    assert mean == pytest.approx(float(products.mean()), rel=1e-4)
    assert deviation == pytest.approx(float((products - lift * space.average).std()), rel=0.25)


def test_without_a_direction_there_is_nothing_to_estimate(vectors):
    assert TextSpace(vectors).project(np.zeros(48, np.float32), 0.0) == (0.0, 0.0)


@pytest.mark.parametrize("items", [1, 2])
def test_catalogues_of_one_or_two(vectors, items):
    space = TextSpace(vectors[:items])
    assert space.average.shape == (items,)
    assert np.isfinite(space.project(vectors[5], 1.0)).all()


def test_equal_items_do_not_scatter(unit_vectors):
    vectors = np.repeat(unit_vectors(1), 50, axis=0)
    mean, deviation = TextSpace(vectors).project(vectors[0], 1.0)
    assert mean == pytest.approx(1, abs=1e-5)
    assert deviation == pytest.approx(0, abs=1e-3)
