from __future__ import annotations

import numpy as np
import pytest
from tests.export.training.made import unit

from tanager_export.dataset import Item
from tanager_export.training.traits import Expectation, ItemTraits


def test_an_expectation_of_a_fitted_item_is_that_without_it():
    random = np.random.default_rng(0)
    traits = random.normal(size=(12, 4)).astype(np.float32)
    fitted, figures = np.arange(3, 12), random.normal(size=(9, 2)).astype(np.float32)
    found = Expectation(traits, fitted, l2=2.0).of(figures)

    def ridge(rows: np.ndarray, values: np.ndarray) -> np.ndarray:
        return np.linalg.solve(rows.T @ rows + 2.0 * np.eye(4), rows.T @ values)

    for row, item in enumerate(fitted):
        others = np.delete(np.arange(9), row)
        np.testing.assert_allclose(
            found[item], traits[item] @ ridge(traits[fitted[others]], figures[others]), atol=1e-4
        )
    np.testing.assert_allclose(found[:3], traits[:3] @ ridge(traits[fitted], figures), atol=1e-4)


def test_nothing_fitted_lets_one_expect_nothing():
    found = Expectation(np.ones((3, 2), np.float32), np.empty(0, np.int64), l2=1.0).of(np.empty((0, 5), np.float32))
    assert found.shape == (3, 5)
    assert not found.any()


def test_years_that_are_near_are_alike_and_none_is_like_none():
    items = [Item(str(year), text="film", attributes={"year": year}) for year in range(1950, 2000)]
    items.append(Item("unknown", text="film"))
    traits = ItemTraits.of(items, np.zeros((51, 3), np.float32)).matrix
    alike = traits @ traits.T
    assert alike[10, 11] > alike[10, 14] > alike[10, 30]
    assert alike[10, 30] == pytest.approx(alike[10, 45], abs=0.15)
    assert np.abs(alike[50]).max() < alike[10, 11]


def test_names_are_categories_domains_and_texts_of_attributes_that_several_items_have():
    rows = [
        Item(
            "a", categories=("red", "once"), domain="film", attributes={"by": "Ann", "cast": ("Bo", "Cy"), "new": True}
        ),
        *(Item(name, categories=("red",), attributes={"by": "Ann", "cast": ("Bo",)}) for name in "bc"),
        *(Item(name, categories=("blue",), domain="book") for name in "defg"),
    ]
    vectors = unit(np.random.default_rng(0), len(rows), dim=2)
    traits = ItemTraits.of(rows, vectors).matrix
    assert traits.shape == (7, 2 + 5 + 1)  # red, blue, by Ann, with Bo, book; film and the others are of one item
    assert (traits[:, -1] == 1).all()
    np.testing.assert_allclose(traits[:, :-1].mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(traits[1, 2:], traits[2, 2:], atol=1e-6)  # of the same names
    assert traits[1, 2:-1] @ traits[0, 2:-1] > traits[1, 2:-1] @ traits[4, 2:-1]
