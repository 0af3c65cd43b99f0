"""Random search on windows of validation."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.export.evaluation.made import ITEMS, dataset_of

from tanager_export.errors import ExportError
from tanager_export.evaluation.evaluate import evaluate
from tanager_export.evaluation.leaks import LeakError
from tanager_export.evaluation.splits import leave_one_out
from tanager_export.evaluation.tuning import tune, tune_and_fit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tanager_export.dataset import Dataset, Interactions
    from tanager_export.evaluation.cases import Cases, Parameter

DATASET = dataset_of([(user, (user + step) % ITEMS, 10 * step + user, 1.0) for user in range(5) for step in range(6)])
TEST = leave_one_out(DATASET)
VALIDATION = leave_one_out(replace(DATASET, interactions=TEST.train))


class Step:
    """Recommends the item so many steps after the last; `noise` does nothing but be there."""

    name = "step"
    space: Mapping[str, Sequence[Parameter]] = {"steps": (0, 1, 2, 3), "noise": ("a", "b", "c")}

    def __init__(self) -> None:
        self.fits: list[tuple[int, dict[str, Parameter], int]] = []

    def fit(
        self, dataset: Dataset, train: Interactions, parameters: Mapping[str, Parameter], *, seed: int
    ) -> StepRecommender:
        self.fits.append((len(train), dict(parameters), seed))
        return StepRecommender(int(parameters["steps"]))


class StepRecommender:
    def __init__(self, steps: int) -> None:
        self._steps = steps

    def score(self, cases: Cases) -> np.ndarray:
        last = cases.histories.item[cases.histories.indptr[1:] - 1]
        scores = np.zeros((len(cases), ITEMS), np.float32)
        scores[np.arange(len(cases)), (last + self._steps) % ITEMS] = 1
        return scores


def test_the_best_of_a_grid_is_found_when_all_of_it_is_tried():
    method = Step()
    tuned = tune(method, DATASET, [VALIDATION], trials=100, seed=0)
    assert tuned.cases == 5
    assert tuned.grid == len(tuned.trials) == len(method.fits) == 12
    assert len({tuple(trial.parameters.values()) for trial in tuned.trials}) == 12
    assert tuned.parameters["steps"] == 1
    assert tuned.score == 1 == max(trial.score for trial in tuned.trials)
    assert {train for train, _, _ in method.fits} == {len(VALIDATION.train)}
    # Of the three that are equally good the first is chosen.
    assert tuned.parameters == next(trial.parameters for trial in tuned.trials if trial.score == 1)


def test_each_case_of_each_window_counts_the_same():
    few = replace(VALIDATION, cases=VALIDATION.cases.take(slice(0, 2)))
    back = dataset_of([(user, (user - step) % ITEMS, 10 * step + user, 1.0) for user in range(5) for step in range(6)])
    other = leave_one_out(back)
    method = Step()
    tuned = tune(method, DATASET, [few, other], trials=12, seed=0, metric="recall@1")
    by_steps = {trial.parameters["steps"]: trial.score for trial in tuned.trials}
    # Of two cases the next item is right, of five the one before, which is none of the steps tried.
    assert by_steps[1] == pytest.approx(2 / 7)
    assert tuned.cases == 7
    assert [train for train, _, _ in method.fits] == 12 * [len(few.train), len(other.train)]


def test_a_budget_is_kept_and_the_seed_draws_without_repetition():
    drawn = []
    for seed in (3, 3, 4):
        method = Step()
        tuned = tune(method, DATASET, [VALIDATION], trials=5, seed=seed)
        assert [parameters for _, parameters, _ in method.fits] == [trial.parameters for trial in tuned.trials]
        assert {fit[2] for fit in method.fits} == {seed}
        drawn.append([tuple(trial.parameters.values()) for trial in tuned.trials])
    assert drawn[0] == drawn[1] != drawn[2]
    assert [len(set(trials)) for trials in drawn] == [5, 5, 5]


def test_the_metric_is_the_one_asked_for():
    tuned = tune(Step(), DATASET, [VALIDATION], trials=12, seed=0, metric="recall@1")
    for trial in tuned.trials:
        outcome = evaluate(StepRecommender(int(trial.parameters["steps"])), VALIDATION)
        assert trial.score == outcome.mean("recall@1")
    assert tuned.metric == "recall@1"


def test_the_best_learns_anew_from_all_that_the_test_may_learn_from():
    method = Step()
    recommender, tuned = tune_and_fit(method, DATASET, [VALIDATION], TEST, trials=12, seed=7)
    assert method.fits[-1] == (len(TEST.train), dict(tuned.parameters), 7)
    assert len(method.fits) == 13
    assert evaluate(recommender, TEST).mean("ndcg@10") == 1


@pytest.mark.parametrize(
    "validation", [TEST, replace(VALIDATION, train=DATASET.interactions)], ids=["targets", "train"]
)
def test_tuning_on_the_test_is_refused(validation):
    method = Step()
    with pytest.raises(LeakError, match="not in train of the test"):
        tune_and_fit(method, DATASET, [VALIDATION, validation], TEST, trials=1, seed=0)
    assert method.fits == []


def test_a_method_without_hyperparameters_is_fitted_once():
    method = Step()
    method.space = {}
    method.fit = lambda *_, **__: StepRecommender(1)  # type: ignore[method-assign]
    assert tune(method, DATASET, [VALIDATION], trials=10, seed=0).trials[0].parameters == {}


def test_what_cannot_be_tuned_is_refused():
    with pytest.raises(ExportError, match="at least one"):
        tune(Step(), DATASET, [VALIDATION], trials=0, seed=0)
    method = Step()
    method.space = {"steps": ()}
    with pytest.raises(ExportError, match="no values of steps"):
        tune(method, DATASET, [VALIDATION], trials=1, seed=0)
