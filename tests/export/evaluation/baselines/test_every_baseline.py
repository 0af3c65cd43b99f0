"""What holds for each baseline: it finds structure, repeats itself, reads nothing of the targets, knows its limits."""

from __future__ import annotations

import importlib.util
from dataclasses import replace

import numpy as np
import pytest

from tanager_export.errors import ExportError
from tanager_export.evaluation.baselines import baselines
from tanager_export.evaluation.cases import Histories

NEEDS_IMPLICIT = {"ials", "bpr"}
SAME_FOR_EVERYONE = {"popularity", "recent-popularity"}
NAMES = tuple(baselines(np.eye(3, dtype=np.float32)))

# Small enough for a test, large enough to learn; what is not named here takes the first value of the space.
CHOSEN = {
    "item-knn": {"neighbours": 20, "shrinkage": 3.0},
    "ease": {"l2": 20.0},
    "ials": {"factors": 32, "regularization": 1.0, "alpha": 12.0},
    "hybrid-mf": {"learning_rate": 0.01},
    "sasrec": {"learning_rate": 0.003},
    "bpr": {"factors": 32, "learning_rate": 0.1},
}


def available(name: str):
    there = name not in NEEDS_IMPLICIT or importlib.util.find_spec("implicit") is not None
    return pytest.param(name, marks=pytest.mark.skipif(not there, reason="the extra `evaluate` is not installed"))


EVERY = [available(name) for name in NAMES]
PERSONAL = [available(name) for name in NAMES if name not in SAME_FOR_EVERYONE]


def fit(name, made, vectors, *, train=None, seed=0, **chosen):
    method = baselines(vectors)[name]
    parameters = {key: values[0] for key, values in method.space.items()} | CHOSEN.get(name, {}) | chosen
    train = made.dataset.interactions if train is None else train
    return method.fit(made.dataset, train, parameters, seed=seed)


@pytest.fixture(scope="module")
def fitted(topics, vectors):
    """Each baseline, learned once."""
    learned = {}

    def get(name):
        if name not in learned:
            learned[name] = fit(name, topics, vectors)
        return learned[name]

    return get


def test_names_are_those_of_the_methods(vectors):
    for name, method in baselines(vectors).items():
        assert method.name == name


def test_without_vectors_what_reads_texts_is_left_out(vectors):
    assert set(baselines()) < set(baselines(vectors))


@pytest.mark.parametrize("name", EVERY)
def test_scores_are_finite_floats_of_cases_by_items(name, fitted, topics):
    scores = fitted(name).score(topics.cases)
    assert scores.shape == (len(topics.cases), len(topics.dataset.items))
    assert scores.dtype == np.float32
    assert np.isfinite(scores).all()


@pytest.mark.parametrize("name", PERSONAL)
def test_it_finds_the_topic_of_a_user_it_never_met(name, fitted, topics, quality):
    assert quality(fitted(name), topics.cases) > 1.5 * quality(fitted("popularity"), topics.cases)


@pytest.mark.parametrize("name", EVERY)
def test_it_repeats_itself(name, fitted, topics, vectors):
    np.testing.assert_array_equal(fitted(name).score(topics.cases), fit(name, topics, vectors).score(topics.cases))


@pytest.mark.parametrize("name", EVERY)
def test_a_case_scores_the_same_alone(name, fitted, topics):
    together = fitted(name).score(topics.cases)
    alone = np.concatenate([fitted(name).score(topics.cases.take(slice(row, row + 1))) for row in range(5)])
    np.testing.assert_allclose(alone, together[:5], rtol=1e-4, atol=1e-4 * np.abs(together).max())


@pytest.mark.parametrize("name", EVERY)
def test_the_targets_and_the_users_numbers_are_not_read(name, fitted, topics):
    cases = topics.cases
    count = len(cases)
    elsewhere = replace(
        cases,
        user=np.arange(count, dtype=np.int32),
        targets=Histories(
            np.arange(count + 1), np.zeros(count, np.int32), np.zeros(count, np.int64), np.ones(count, np.float32)
        ),
    )
    np.testing.assert_array_equal(fitted(name).score(elsewhere), fitted(name).score(cases))


@pytest.mark.parametrize("name", EVERY)
def test_of_who_did_nothing_or_only_disliked_popularity_tells(name, fitted, topics, cases_with):
    cases = cases_with([[], [(40, -1.0), (41, 0.0)]], [[1], [1]])
    wanted = np.argsort(-fitted("popularity").score(cases), axis=1, kind="stable")[:, :5]
    if name == "recent-popularity":
        wanted = np.argsort(-fitted(name).score(topics.cases.take(slice(0, 2))), axis=1, kind="stable")[:, :5]
    found = fitted(name).score(cases)
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(np.argsort(-found, axis=1, kind="stable")[:, :5], wanted)


@pytest.mark.parametrize("name", EVERY)
def test_a_dislike_in_a_history_is_no_like(name, fitted, cases_with):
    plain = [[(12, 1.0), (13, 1.0)]]
    with_dislikes = [[(12, 1.0), (0, -1.0), (13, 1.0), (1, 0.0)]]
    np.testing.assert_allclose(
        fitted(name).score(cases_with(with_dislikes, [[5]])), fitted(name).score(cases_with(plain, [[5]])), rtol=1e-6
    )


@pytest.mark.parametrize("name", EVERY)
def test_a_dislike_in_train_is_no_like(name, topics, vectors, fitted):
    events = topics.dataset.interactions
    again = replace(
        events,
        **{
            column: np.concatenate((getattr(events, column), getattr(events, column)[::3]))
            for column in ("user", "timestamp")
        },
        item=np.concatenate((events.item, (events.item[::3] + 20) % len(topics.dataset.items))),
        weight=np.concatenate((events.weight, np.tile([-1, 0], len(events))[: len(events.item[::3])])).astype(
            np.float32
        ),
    )
    np.testing.assert_array_equal(
        fit(name, topics, vectors, train=again).score(topics.cases), fitted(name).score(topics.cases)
    )


@pytest.mark.parametrize("name", EVERY)
def test_a_history_of_items_that_nobody_took_up_is_finite(name, topics, vectors, without_items, cases_with):
    recommender = fit(name, topics, vectors, train=without_items(topics.dataset.interactions, [46, 47]))
    assert np.isfinite(recommender.score(cases_with([[(46, 1.0), (47, 1.0)]], [[1]]))).all()


@pytest.mark.parametrize("name", sorted(NEEDS_IMPLICIT))
def test_a_missing_library_is_named_with_the_mend(name, topics, vectors, monkeypatch):
    def missing(module):
        raise ImportError(f"No module named {module!r}")

    monkeypatch.setattr("importlib.import_module", missing)
    with pytest.raises(ExportError, match=r"implicit.*pip install 'tanager\[evaluate\]'"):
        fit(name, topics, vectors)


@pytest.mark.parametrize("name", EVERY)
def test_every_value_of_the_space_can_be_chosen(name, vectors):
    space = baselines(vectors)[name].space
    assert all(len(values) == len(set(values)) > 0 for values in space.values())
    for values in space.values():
        assert len({isinstance(value, str) for value in values}) == 1
