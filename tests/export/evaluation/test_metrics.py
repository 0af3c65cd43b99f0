"""Metrics, against naive Python and against libraries that others wrote."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score, roc_auc_score  # type: ignore[import-untyped]
from tests.export.evaluation.made import histories_of

from tanager_export.errors import ExportError
from tanager_export.evaluation.metrics import METRICS, auc, metric
from tanager_export.evaluation.ranking import ranks

PLACES = (1, 3, 10, 40)


def naive(name: str, order: list[int], wanted: set[int], k: int) -> float:
    """A metric of the order of the candidates; a target that is no candidate is a miss."""
    first = order[:k]
    found = [item for item in first if item in wanted]
    precision, recall = len(found) / k, len(found) / len(wanted)
    if name == "precision":
        return precision
    if name == "recall":
        return recall
    if name == "hitrate":
        return float(bool(found))
    if name == "f1":
        return 2 * precision * recall / (precision + recall) if found else 0.0
    if name == "mrr":
        return 1 / (first.index(found[0]) + 1) if found else 0.0
    assert name == "ndcg"
    gain = sum(1 / math.log2(place + 2) for place, item in enumerate(first) if item in wanted)
    return gain / sum(1 / math.log2(place + 2) for place in range(min(k, len(wanted))))


def naive_auc(order: list[int], wanted: set[int]) -> float:
    others = [place for place, item in enumerate(order) if item not in wanted]
    if not others:
        return 0.5
    places = [order.index(item) if item in order else math.inf for item in wanted]
    return sum(place < other for place in places for other in others) / (len(places) * len(others))


@given(
    scores=st.lists(st.sampled_from([0.0, 1.0, 2.0]), min_size=6, max_size=6),
    wanted=st.sets(st.integers(0, 5), min_size=1),
    seen=st.sets(st.integers(0, 5), max_size=5),
    k=st.integers(1, 8),
)
def test_metrics_are_what_their_definitions_say(scores, wanted, seen, k):
    found = ranks(np.array([scores], np.float32), histories_of(sorted(wanted)), histories_of(sorted(seen)))
    order = sorted(set(range(6)) - seen, key=lambda item: (-scores[item], item in wanted, item))
    for name in METRICS:
        assert metric(found, f"{name}@{k}").tolist() == pytest.approx([naive(name, order, wanted, k)], abs=1e-12)
    if wanted - seen:
        assert metric(found, "auc").tolist() == pytest.approx([naive_auc(order, wanted)], abs=1e-12)


def test_a_masked_target_comes_after_everything():
    found = ranks(np.array([[3.0, 2.0, 1.0, 0.0]]), histories_of([0, 1]), histories_of([0]))
    assert auc(found).tolist() == [0.5]
    assert metric(found, "recall@100").tolist() == [0.5]


@pytest.fixture(scope="module")
def question():
    """Random scores without ties, 1 to 15 targets, some items seen."""
    random = np.random.default_rng(42)
    cases, items = 200, 300
    scores = random.permuted(np.tile(np.linspace(-3, 3, items, dtype=np.float32), (cases, 1)), axis=1)
    drawn = [random.permutation(items) for _ in range(cases)]
    counts = random.integers(1, 16, cases)
    targets = [items[:count].tolist() for items, count in zip(drawn, counts, strict=True)]
    seen = [items[count : count + 20].tolist() for items, count in zip(drawn, counts, strict=True)]
    # Targets are scored higher, or there would be no hits to compare.
    for case, row in enumerate(targets):
        scores[case, row] += random.random(len(row)).astype(np.float32) * 4
    return scores, targets, seen


def test_ndcg_and_auc_agree_with_scikit_learn(question):
    scores, targets, seen = question
    found = ranks(scores, histories_of(*targets), histories_of(*seen))
    for case in range(len(scores)):
        candidates = np.setdiff1d(np.arange(scores.shape[1]), seen[case])
        right, of = np.isin(candidates, targets[case]).astype(int), scores[case, candidates]
        assert auc(found)[case] == pytest.approx(roc_auc_score(right, of), abs=1e-9)
        for k in PLACES:
            expected = ndcg_score([right], [of], k=k, ignore_ties=True)
            assert metric(found, f"ndcg@{k}")[case] == pytest.approx(expected, abs=1e-9)


@pytest.mark.filterwarnings("default")  # the library's own
def test_metrics_of_the_first_places_agree_with_ranx(question):
    ranx = pytest.importorskip("ranx")
    scores, targets, seen = question
    found = ranks(scores, histories_of(*targets), histories_of(*seen))
    right = ranx.Qrels({f"q{case:03}": {str(item): 1 for item in row} for case, row in enumerate(targets)})
    run = ranx.Run(
        {
            f"q{case:03}": {
                str(item): float(score) for item, score in enumerate(scores[case]) if item not in set(seen[case])
            }
            for case in range(len(scores))
        }
    )
    names = {"hitrate": "hit_rate"}
    for k in PLACES:
        asked = [f"{names.get(name, name)}@{k}" for name in METRICS]
        ranx.evaluate(right, run, asked)
        for name in METRICS:
            per_case = run.scores[f"{names.get(name, name)}@{k}"]
            expected = np.array([per_case[f"q{case:03}"] for case in range(len(scores))])
            np.testing.assert_allclose(metric(found, f"{name}@{k}"), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", ["ndcg", "ndcg@0", "ndcg@-1", "map@10", "auc@10", "", "ndcg@10 "])
def test_a_metric_that_there_is_not_is_refused(name):
    found = ranks(np.zeros((1, 2), np.float32), histories_of([0]), histories_of([]))
    with pytest.raises(ExportError, match="no metric"):
        metric(found, name)
