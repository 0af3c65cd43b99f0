"""Ranks and lists, against an order made by sorting."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.export.evaluation.made import histories_of

from tanager_export.evaluation import ranking
from tanager_export.evaluation.ranking import MASKED, Ranks, ScoreError, ranks

SCORES = [-np.inf, -1.0, 0.0, 0.5, 2.0]


@st.composite
def questions(draw):
    """Scores with ties, targets, seen items (a target may be among them), candidates."""
    items, cases = draw(st.integers(2, 9)), draw(st.integers(1, 4))
    some, any_of_them = (st.sets(st.integers(0, items - 1), min_size=least) for least in (1, 0))
    scores = draw(
        st.lists(st.lists(st.sampled_from(SCORES), min_size=items, max_size=items), min_size=cases, max_size=cases)
    )
    targets = [draw(st.permutations(sorted(draw(some)))) for _ in range(cases)]
    seen = [sorted(draw(any_of_them)) for _ in range(cases)]
    among = draw(st.none() | st.lists(st.booleans(), min_size=items, max_size=items))
    return (
        np.array(scores, np.float32),
        targets,
        seen,
        None if among is None else np.array(among),
        draw(st.integers(1, 12)),
    )


def naive_order(scores, targets, seen, among) -> list[int]:
    """All candidates: by score; of equals those that are no targets first; then by position."""
    candidates = [item for item in range(len(scores)) if item not in seen and (among is None or among[item])]
    return sorted(candidates, key=lambda item: (-scores[item], item in targets, item))


@given(questions())
def test_ranks_and_lists_are_those_of_the_sorted_catalogue(question):
    scores, targets, seen, among, k = question
    found = ranks(scores, histories_of(*targets), histories_of(*seen), k=k, among=among)
    assert found.lengths.tolist() == [len(row) for row in targets]
    for case, wanted in enumerate(targets):
        order = naive_order(scores[case], wanted, seen[case], among)
        expected = [order.index(item) + 1 if item in order else MASKED for item in wanted]
        assert found.rank[found.indptr[case] : found.indptr[case + 1]].tolist() == expected
        assert found.candidates[case] == len(order)
        assert found.top[case].tolist() == (order + [-1] * k)[:k]


@given(questions(), st.randoms(use_true_random=False))
def test_targets_left_out_are_neither_right_nor_wrong(question, random):
    scores, targets, seen, among, k = question
    chosen = [[random.random() < 0.5 for _ in row] for row in targets]
    found, cases = ranks(scores, histories_of(*targets), histories_of(*seen), k=k, among=among).only(
        np.array([keep for row in chosen for keep in row])
    )
    assert cases.tolist() == [case for case, row in enumerate(chosen) if any(row)]
    for row, case in enumerate(cases.tolist()):
        kept = [item for item, keep in zip(targets[case], chosen[case], strict=True) if keep]
        dropped = set(targets[case]).difference(kept)
        order = [item for item in naive_order(scores[case], targets[case], seen[case], among) if item not in dropped]
        expected = [order.index(item) + 1 if item in order else MASKED for item in kept]
        assert found.rank[found.indptr[row] : found.indptr[row + 1]].tolist() == expected
        assert found.candidates[row] == len(order)


@given(questions())
def test_the_targets_of_a_case_are_counted_from_the_first(question):
    scores, targets, seen, among, _ = question
    found = ranks(scores, histories_of(*targets), histories_of(*seen), among=among)
    for case in range(len(found)):
        part = slice(found.indptr[case], found.indptr[case + 1])
        order = np.argsort(found.rank[part], kind="stable")
        assert found.better_targets[part][order].tolist() == list(range(part.stop - part.start))


def test_equal_scores_count_against_the_recommender():
    found = ranks(np.zeros((1, 10), np.float32), histories_of([0, 4]), histories_of([9]), k=3)
    assert found.rank.tolist() == [8, 9]
    assert found.top.tolist() == [[1, 2, 3]]


def test_a_double_is_not_rounded_to_a_tie():
    scores = np.array([[1.0, 1.0 + 1e-12, 0.0]])
    assert ranks(scores, histories_of([1]), histories_of([])).rank.tolist() == [1]


def test_chunks_put_together_are_the_whole():
    random = np.random.default_rng(0)
    scores = random.integers(0, 5, (6, 20)).astype(np.float32)
    targets = histories_of(*([int(random.integers(0, 20))] for _ in range(3)), [1, 2], [3], [4, 5, 6])
    seen = histories_of(*([7, 8] for _ in range(6)))
    whole = ranks(scores, targets, seen)
    parts = [
        ranks(scores[part], targets.take(part), seen.take(part)) for part in (slice(0, 2), slice(2, 5), slice(5, 6))
    ]
    joined = Ranks.concatenate(parts)
    for column in ("indptr", "rank", "candidates", "top"):
        np.testing.assert_array_equal(getattr(joined, column), getattr(whole, column))


def test_scores_are_not_changed():
    scores = np.ones((1, 4), np.float32)
    ranks(scores, histories_of([0]), histories_of([1]))
    assert (scores == 1).all()


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        pytest.param(np.array([[0, np.nan, 1], [0, 0, 0]], np.float32), "case 0 gives item 1 nan", id="nan"),
        pytest.param(np.array([[0, 0, 0], [0, 0, np.inf]], np.float32), "case 1 gives item 2 inf", id="infinite"),
        pytest.param(np.full((2, 3), np.nan, np.float32), "2 cases", id="all nan"),
        pytest.param(np.zeros((3, 3), np.float32), r"shape \(3, 3\)", id="cases"),
        pytest.param(np.zeros(3, np.float32), r"shape \(3,\)", id="one row"),
        pytest.param(np.zeros((2, 3), np.int64), "int64", id="integers"),
    ],
)
def test_scores_that_rank_nothing_are_refused(scores, message):
    with pytest.raises(ScoreError, match=message):
        ranks(scores, histories_of([0], [1]), histories_of([], []))


def test_scores_of_another_catalogue_are_refused():
    with pytest.raises(ScoreError, match=r"not \(1, 5\)"):
        ranking.require_scores(np.zeros((1, 4), np.float32), cases=1, items=5)
