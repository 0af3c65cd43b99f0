from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import optimize
from tests.export.training.made import clusters, unit

from tanager_export.evaluation.evaluate import evaluate
from tanager_export.training.blend import learn_blend
from tanager_export.training.hybrid import Hybrid
from tanager_export.training.problem import Problem, views_of
from tanager_export.training.sequence import SequenceOptions
from tanager_export.training.structure import Structure
from tanager_export.training.terms import TERMS, term, total
from tanager_export.training.windows import validation_windows

FROM_HISTORY = ("collaborative", "transitions", "text", "sequence")


@pytest.fixture(scope="module")
def data():
    return clusters()


@pytest.fixture(scope="module")
def vectors(data):
    return unit(np.random.default_rng(5), len(data.items))


@pytest.fixture(scope="module")
def windows(data):
    return validation_windows(data, data.interactions, protocol="leave-one-out")


@pytest.fixture(scope="module")
def blend(data, windows, vectors):
    return learn_blend(data, windows, vectors, seed=0)


def test_it_learns_what_tells_the_next_item(data, windows, vectors, blend):
    """Behaviour tells the group, vectors drawn at random tell nothing."""
    hybrid = Hybrid.fit(data, windows[0].train, vectors, blend)
    found = evaluate(hybrid, windows[0])
    assert found.mean("ndcg@10") > 0.5  # by chance: about .13
    assert blend.weights["collaborative"] > 0
    parts, cases = hybrid.parts, windows[0].cases
    text = blend.weights["text"] * term("text", parts, cases, blend.structure)
    collaborative = blend.weights["collaborative"] * term("collaborative", parts, cases, blend.structure)
    assert text.std() < 0.3 * collaborative.std()


def test_ndcg_is_that_of_the_evaluation(data, windows, vectors, blend):
    hybrid = Hybrid.fit(data, windows[0].train, vectors, blend)
    assert evaluate(hybrid, windows[0]).mean("ndcg@10") == pytest.approx(blend.ndcg, abs=1e-9)


def test_the_gradient_is_that_of_the_loss(data, windows, vectors):
    problem = Problem(views_of(data, windows, vectors, seed=0), TERMS)
    problem.update(Structure(), TERMS)
    scale = problem._scale()
    random = np.random.default_rng(0)
    at = random.uniform(0.1, 0.5, len(TERMS))
    error = optimize.check_grad(
        lambda x: problem._loss(x, scale)[0], lambda x: problem._loss(x, scale)[1], at, epsilon=1e-3
    )
    assert error < 1e-2 * max(1.0, float(np.linalg.norm(problem._loss(at, scale)[1])))


def test_weights_that_cannot_be_negative_are_not(blend):
    assert all(blend.weights[name] >= 0 for name in ("collaborative", "transitions", "text", "profile"))


def test_terms_left_out_have_no_weight(data, windows, vectors):
    without = learn_blend(data, windows, vectors, seed=0, options={}, without=frozenset(("text", "collaborative")))
    assert without.weights["text"] == without.weights["collaborative"] == 0


def test_the_total_is_the_sum_of_the_terms(data, windows, vectors, blend):
    parts, cases = Hybrid.fit(data, windows[0].train, vectors, blend).parts, windows[0].cases
    weights = [place / 10 for place in range(1, len(TERMS) + 1)]
    weighted = [w * term(name, parts, cases, Structure()) for w, name in zip(weights, TERMS, strict=True)]
    np.testing.assert_allclose(total(weights, parts, cases, Structure()), np.sum(weighted, axis=0), atol=1e-4)


def test_somebody_unknown_gets_priors_and_profile_alone(data, windows, vectors, blend):
    from tanager_export.evaluation.splits import with_history

    parts = Hybrid.fit(data, windows[0].train, vectors, blend).parts
    unknown = with_history(windows[0].cases, 0)
    for name in TERMS:
        anything = term(name, parts, unknown, Structure()).any()
        assert anything == (not name.endswith(", known") and name not in FROM_HISTORY), name


class Told:
    """A sequence head that gives each case scores of its own."""

    options = SequenceOptions(epochs=7)

    def __init__(self, scores):
        self._scores = scores

    def score(self, histories):
        assert len(histories) == len(self._scores)
        return self._scores


def noise(windows, data):
    return np.random.default_rng(3).normal(size=(len(windows[0].cases), len(data.items))).astype(np.float32)


def test_a_sequence_head_that_helps_gets_a_weight(data, windows, vectors):
    weak: Any = {"without": frozenset(("collaborative", "transitions", "profile")), "options": {}}
    targets = windows[0].cases.targets
    scores = noise(windows, data)
    scores[targets.row_of_event, targets.item] += 3
    head: Any = Told(scores)
    found = learn_blend(data, windows, vectors, seed=0, head=head, **weak)
    alone = learn_blend(data, windows, vectors, seed=0, **weak)
    assert found.weights["sequence"] > 0
    assert found.sequence == Told.options
    assert found.ndcg_of_trial is not None
    assert found.ndcg_of_trial[0] == pytest.approx(alone.ndcg)
    assert found.ndcg_of_trial[1] > alone.ndcg + 0.1
    assert found.without_sequence == alone.weights
    assert found.ablated is not None
    assert (found.ablated.weights, found.ablated.sequence) == (alone.weights, None)


def test_a_sequence_head_that_says_nothing_stays_off(data, windows, vectors, blend):
    head: Any = Told(noise(windows, data))
    found = learn_blend(data, windows, vectors, seed=0, head=head)
    assert found.weights["sequence"] == 0
    assert found.weights == blend.weights
    assert (found.sequence, found.ablated) == (None, None)
    assert found.ndcg_of_trial == pytest.approx((blend.ndcg, blend.ndcg))


def test_a_sequence_head_is_weighed_by_those_it_speaks_of(data, windows, vectors):
    """Where most users are new it says nothing of most, and a weight for the middle of all would have no bound."""
    weak: Any = {"without": frozenset(("collaborative", "transitions", "profile")), "options": {}}
    targets, cases = windows[0].cases.targets, len(windows[0].cases)
    scores = noise(windows, data)
    scores[targets.row_of_event, targets.item] += 3
    weights = []
    for told in (cases, cases * 2 // 5):
        scores[told:] = 0
        head: Any = Told(scores)
        weights.append(learn_blend(data, windows, vectors, seed=0, head=head, **weak).weights["sequence"])
    assert 0 < weights[1] < 10 * weights[0]


def test_a_sequence_head_that_speaks_of_nobody_stays_off(data, windows, vectors):
    head: Any = Told(np.zeros((len(windows[0].cases), len(data.items)), np.float32))
    found = learn_blend(data, windows, vectors, seed=0, options={}, head=head)
    alone = learn_blend(data, windows, vectors, seed=0, options={})
    assert (found.weights, found.sequence) == (alone.weights, None)


def test_a_sequence_head_gets_a_weight_where_all_else_says_nothing(data, windows, vectors):
    targets = windows[0].cases.targets
    scores = noise(windows, data)
    scores[targets.row_of_event, targets.item] += 3
    head: Any = Told(scores)
    rest = frozenset(TERMS) - {"sequence", "profile"}
    silent = [replace(window, cases=replace(window.cases, profiles=[{}] * len(window.cases))) for window in windows]
    found = learn_blend(data, silent, vectors, seed=0, options={}, head=head, without=rest)
    assert found.weights["sequence"] > 0
