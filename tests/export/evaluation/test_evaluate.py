"""The evaluator: what it hands over, what it refuses, and what comes out."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.export.evaluation.made import ITEMS, dataset_of, interactions_of, rows_of

from tanager_export.errors import ExportError
from tanager_export.evaluation.diversity import Yardstick
from tanager_export.evaluation.evaluate import evaluate, evaluate_cold_users
from tanager_export.evaluation.leaks import LeakError
from tanager_export.evaluation.ranking import ScoreError
from tanager_export.evaluation.splits import SplitError, cold_items, global_time, leave_one_out

if TYPE_CHECKING:
    from tanager_export.dataset import Interactions
    from tanager_export.evaluation.cases import Cases, Split

ROWS = [(user, (user + step) % ITEMS, 10 * step + user, 1.0) for user in range(5) for step in range(7)]
DATASET = dataset_of(ROWS)


class Fixed:
    """The same scores for everybody; remembers what it was shown."""

    def __init__(self, scores: list[float] | None = None, *, items: int = ITEMS) -> None:
        self._scores = np.arange(items, dtype=np.float32) if scores is None else np.array(scores, np.float32)
        self.shown: list[Cases] = []

    def score(self, cases: Cases) -> np.ndarray:
        self.shown.append(cases)
        return np.tile(self._scores, (len(cases), 1))


class Next:
    """Knows that everybody goes on with the item after their last; reads the history only."""

    def score(self, cases: Cases) -> np.ndarray:
        scores = np.zeros((len(cases), ITEMS), np.float32)
        for row in range(len(cases)):
            events = cases.histories.item[cases.histories.indptr[row] : cases.histories.indptr[row + 1]]
            if len(events):
                scores[row, (events[-1] + 1) % ITEMS] = 1
        return scores


@pytest.fixture
def split() -> Split:
    return leave_one_out(DATASET)


def with_event(train: Interactions, *row: float) -> Interactions:
    return interactions_of([*rows_of(train), row])  # type: ignore[list-item]


def test_who_knows_how_it_goes_on_is_always_right_and_who_does_not_is_not(split):
    right, wrong = evaluate(Next(), split), evaluate(Fixed(), split)
    assert right.mean("ndcg@10") == right.mean("mrr@10") == right.mean("auc") == 1
    assert wrong.mean("ndcg@1") < 1
    found = right.compare(wrong, "ndcg@1")
    assert found.difference.value == 1 - wrong.mean("ndcg@1")
    assert found.cases == len(split.cases)
    assert right.interval("ndcg@10").low == 1


def test_a_recommender_does_not_get_the_targets(split):
    recommender = Fixed()
    evaluate(recommender, split, chunk=2)
    assert [len(cases) for cases in recommender.shown] == [2, 2, 1]
    for cases in recommender.shown:
        assert len(cases.targets.item) == len(cases.targets.timestamp) == 0
        assert cases.targets.lengths.tolist() == [0] * len(cases)
    shown = np.concatenate([cases.histories.item for cases in recommender.shown])
    np.testing.assert_array_equal(shown, split.cases.histories.item)


def test_chunks_make_no_difference(split):
    whole, parts = evaluate(Next(), split), evaluate(Next(), split, chunk=2)
    for name in ("ndcg@3", "recall@3", "auc"):
        np.testing.assert_array_equal(whole.values(name), parts.values(name))
    np.testing.assert_array_equal(whole.ranks.top, parts.ranks.top)


class TestLeaks:
    """A split that leaks is refused, and the recommender never sees it."""

    @pytest.fixture
    def split(self) -> Split:
        return global_time(DATASET, share=0.3)

    def refused(self, split: Split, message: str) -> None:
        recommender = Fixed()
        with pytest.raises(LeakError, match=message):
            evaluate(recommender, split)
        assert recommender.shown == []

    def test_a_future_event(self, split):
        evaluate(Fixed(), split)
        at = int(split.cases.at[0])
        self.refused(replace(split, train=with_event(split.train, 5, 0, at + 1, 1.0)), "train lies after")

    def test_a_target_in_train(self, split):
        user, item = int(split.cases.user[0]), int(split.cases.targets.item[0])
        leaky = replace(split, train=with_event(split.train, user, item, 0, 1.0))
        self.refused(leaky, "target is in train")

    def test_a_target_in_the_history(self, split):
        histories = split.cases.histories
        item = histories.item.copy()
        item[0] = split.cases.targets.item[0]
        cases = replace(split.cases, histories=replace(histories, item=item))
        self.refused(replace(split, cases=cases), "target is in the history")

    def test_a_target_in_what_is_masked(self, split):
        targets = split.cases.targets
        with pytest.raises(LeakError, match="target is in the history"):
            evaluate(Fixed(), split, seen=replace(targets, timestamp=np.zeros_like(targets.timestamp)))


def test_what_is_seen_is_not_ranked(split):
    outcome = evaluate(Fixed(), split, k=ITEMS)
    for row in range(len(split.cases)):
        histories = split.cases.histories
        seen = set(histories.item[histories.indptr[row] : histories.indptr[row + 1]].tolist())
        listed = [item for item in outcome.ranks.top[row].tolist() if item >= 0]
        assert set(listed) == set(range(ITEMS)) - seen
        assert listed == sorted(listed, reverse=True)


def test_a_repeated_target_is_a_miss_whoever_recommends():
    rows = [(0, item, time, 1.0) for time, item in enumerate([0, 1, 2, 0])]
    counted = leave_one_out(dataset_of(rows), repeats="count")
    outcome = evaluate(Fixed([9, 0, 0, 0, 0, 0, 0, 0]), counted)
    assert outcome.mean("recall@10") == outcome.mean("auc") == 0


def test_candidates_may_be_the_cold_items_only():
    split = cold_items(DATASET, share=0.3, seed=0)
    cold = ~np.isin(np.arange(ITEMS), split.train.item)
    outcome = evaluate(Fixed(), split, among=cold)
    assert set(outcome.ranks.top[outcome.ranks.top >= 0].tolist()) <= set(np.flatnonzero(cold).tolist())
    assert outcome.ranks.candidates.max() == cold.sum()
    with pytest.raises(ExportError, match="not among the candidates"):
        evaluate(Fixed(), split, among=~cold)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        pytest.param([0.0] * (ITEMS - 1), "shape", id="too few items"),
        pytest.param([0.0] * (ITEMS + 1), "shape", id="too many items"),
        pytest.param([np.nan] + [0.0] * (ITEMS - 1), "NaN", id="nan"),
        pytest.param([np.inf] + [0.0] * (ITEMS - 1), "infinite", id="infinite"),
    ],
)
def test_scores_that_rank_nothing_are_refused(split, scores, message):
    with pytest.raises(ScoreError, match=message):
        evaluate(Fixed(scores), split)


def test_slices_are_of_the_same_answers():
    split = global_time(DATASET, share=0.3)
    outcome = evaluate(Next(), split, yardstick=Yardstick.of(DATASET, split.train))
    assert len(outcome.values("ndcg@3", slice_name="warm")) <= len(outcome.values("ndcg@3"))
    assert len(outcome.values("novelty")) == len(split.cases)
    assert outcome.overall["coverage"] > 0
    # Of all targets but each user's first, the first is neither right nor wrong.
    later = np.ones(len(outcome.target), np.bool_)
    later[outcome.ranks.indptr[:-1]] = False
    sliced = replace(outcome, slices={**outcome.slices, "later": later})
    kept = outcome.ranks.lengths > 1
    assert len(sliced.values("mrr@10", slice_name="later")) == kept.sum()
    for wrong in ("nothing", "cold_users"):
        with pytest.raises(ExportError, match="no slice"):
            outcome.values("ndcg@3", slice_name=wrong)


def test_outcomes_of_other_cases_are_not_compared(split):
    before = leave_one_out(replace(DATASET, interactions=leave_one_out(DATASET).train))
    with pytest.raises(ExportError, match="not the same cases"):
        evaluate(Next(), split).compare(evaluate(Next(), before), "ndcg@10")


def test_cold_users_are_the_same_users_of_whom_less_is_shown():
    dataset = dataset_of(ROWS, profiles={f"user-{user}": {"age": "25"} for user in range(5)})
    split = leave_one_out(dataset)
    recommender = Fixed()
    found = evaluate_cold_users(recommender, split, counts=(0, 1, 5))
    assert list(found) == ["events_0", "events_1", "events_5", "profile_only"]
    assert [cases.histories.lengths.tolist() for cases in recommender.shown] == [[n] * 5 for n in (0, 1, 5, 0)]
    assert [all(cases.profiles) for cases in recommender.shown] == [False, False, False, True]
    # The same candidates, so the same answer to who scores the same.
    for outcome in found.values():
        np.testing.assert_array_equal(outcome.ranks.rank, found["events_0"].ranks.rank)
    informed = evaluate_cold_users(Next(), split, counts=(0, 1))
    assert informed["events_1"].compare(informed["events_0"], "mrr@10").difference.low > 0
    assert "profile_only" not in evaluate_cold_users(Next(), leave_one_out(DATASET), counts=(0, 1))
    with pytest.raises(SplitError, match="history of 50 events"):
        evaluate_cold_users(Next(), split, counts=(0, 50))
