"""Frozen encoder and ridge text→EASE: what text tells of items that nobody took up."""

from __future__ import annotations

import numpy as np
import pytest

from tanager_export.collaborative import binary_matrix, ease_weights
from tanager_export.errors import ExportError
from tanager_export.evaluation.baselines import FrozenEncoder, RidgeToEase
from tanager_export.evaluation.baselines.text import whitened

RIDGE = {"l2": 20.0, "alpha": 1.0, "rank": 0, "decay": 1.0, "cold_gain": 1.0}
COLD = [10, 11, 22, 23, 34, 35, 46, 47]  # the last two of each topic


@pytest.fixture
def cold_cases(cases_with):
    """Histories of two warm items of a topic; the topic's cold items are the targets."""
    return cases_with(
        [[(12 * topic, 1.0), (12 * topic + 1, 1.0)] for topic in range(4)],
        [[12 * topic + 10, 12 * topic + 11] for topic in range(4)],
    )


@pytest.mark.parametrize("rank", [0, 4])
def test_a_text_tells_who_will_like_an_item_that_nobody_took_up(
    topics, vectors, without_items, cold_cases, quality, rank
):
    train = without_items(topics.dataset.interactions, COLD)
    learned = RidgeToEase(vectors).fit(topics.dataset, train, {**RIDGE, "rank": rank}, seed=0)
    random = np.random.default_rng(0).permutation(vectors)
    confused = RidgeToEase(random).fit(topics.dataset, train, {**RIDGE, "rank": rank}, seed=0)
    scores = learned.score(cold_cases)[:, COLD]
    assert (np.sort(np.argsort(-scores, axis=1)[:, :2], axis=1) == [[0, 1], [2, 3], [4, 5], [6, 7]]).all()
    assert quality(learned, cold_cases) > 1.5 * quality(confused, cold_cases)


def test_what_is_predicted_is_the_ridge_of_the_textbook(topics, vectors, without_items, cases_with):
    train = without_items(topics.dataset.interactions, COLD)
    warm = np.setdiff1d(np.arange(len(vectors)), COLD)
    weights = ease_weights(binary_matrix(train, len(vectors)), l2=20.0)[np.ix_(warm, warm)].astype(np.float64)
    read, asked = (np.column_stack((vectors[part], np.ones(len(part)))) for part in (warm, COLD))
    wanted = asked @ np.linalg.inv(read.T @ read + np.eye(read.shape[1])) @ read.T @ weights.T
    one_at_a_time = cases_with([[(int(item), 1.0)] for item in warm], [[0]] * len(warm))
    found = RidgeToEase(vectors).fit(topics.dataset, train, RIDGE, seed=0).score(one_at_a_time)[:, COLD]
    np.testing.assert_allclose(found, wanted.T, atol=1e-5)


def test_gain_lifts_cold_items_only(topics, vectors, without_items, cold_cases):
    train = without_items(topics.dataset.interactions, COLD)
    one, four = (
        RidgeToEase(vectors).fit(topics.dataset, train, {**RIDGE, "cold_gain": gain}, seed=0).score(cold_cases)
        for gain in (1.0, 4.0)
    )
    np.testing.assert_allclose(four[:, COLD], 4 * one[:, COLD], rtol=1e-3, atol=1e-5)
    warm = np.setdiff1d(np.arange(len(vectors)), COLD)
    np.testing.assert_allclose(four[:, warm], one[:, warm], atol=1e-5)


def test_the_frozen_encoder_is_the_cosine_with_the_faded_mean(topics, vectors, cases_with):
    learned = FrozenEncoder(vectors).fit(
        topics.dataset, topics.dataset.interactions, {"whitening": "none", "decay": 0.5}, seed=0
    )
    mean = 0.25 * vectors[3] + 0.5 * vectors[20] + vectors[41]
    found = learned.score(cases_with([[(3, 1.0), (20, 1.0), (41, 1.0)]], [[0]]))
    np.testing.assert_allclose(found[0], vectors @ mean / np.linalg.norm(mean), atol=1e-5)


@pytest.mark.parametrize("how", ["none", "centre", "full"])
def test_whitened_vectors_are_finite_and_of_length_1(how, vectors):
    flat = np.concatenate((vectors, np.zeros((len(vectors), 2), np.float32)), axis=1)
    np.testing.assert_allclose(np.linalg.norm(whitened(flat, how), axis=1), 1, rtol=1e-5)


def test_full_whitening_decorrelates(vectors):
    centred = np.random.default_rng(0).normal(size=(500, 8)) * np.arange(1, 9)
    found = whitened((centred + 3).astype(np.float32), "full")
    covariance = found.T @ found / len(found)
    np.testing.assert_allclose(covariance, np.eye(8) / 8, atol=0.02)


@pytest.mark.parametrize("baseline", [FrozenEncoder, RidgeToEase])
def test_vectors_of_another_catalogue_are_refused(baseline, topics, vectors):
    method = baseline(vectors[:-1])
    with pytest.raises(ExportError, match=r"vectors of shape \(47, 16\) for 48 items: give one row for each item"):
        method.fit(
            topics.dataset,
            topics.dataset.interactions,
            {key: values[0] for key, values in method.space.items()},
            seed=0,
        )
