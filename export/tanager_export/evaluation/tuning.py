"""Choose hyperparameters on windows of validation: random search, with the same budget for every method."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from tanager_export.dataset import Interactions
from tanager_export.errors import ExportError
from tanager_export.evaluation.evaluate import CHUNK, evaluate
from tanager_export.evaluation.leaks import LeakError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tanager_export.dataset import Dataset
    from tanager_export.evaluation.cases import Method, Parameter, Recommender, Split

METRIC = "ndcg@10"


@dataclass(frozen=True, slots=True)
class Trial:
    """Hyperparameters that were tried, and the mean of the metric on validation."""

    parameters: Mapping[str, Parameter]
    score: float


@dataclass(frozen=True, slots=True)
class Tuned:
    """What tuning chose.

    Attributes:
        method: name of the method.
        metric: what was maximised.
        parameters: the best.
        score: what they reached on validation, the mean over the cases of all windows.
        cases: of validation, in all windows.
        trials: all of them, in the order of trying.
        grid: how many combinations the space has.
    """

    method: str
    metric: str
    parameters: Mapping[str, Parameter]
    score: float
    cases: int
    trials: tuple[Trial, ...]
    grid: int


def tune(
    method: Method,
    dataset: Dataset,
    windows: Sequence[Split],
    *,
    trials: int,
    seed: int,
    metric: str = METRIC,
    chunk: int = CHUNK,
    progress: bool = False,
) -> Tuned:
    """Tries combinations of the method's space drawn at random, none twice; all of them where there are no more.

    Args:
        method: what to tune.
        dataset: the catalogue.
        windows: of validation; each fit learns from one of them and is asked what came next in it.
        trials: how many combinations to try.
        seed: of the draw, and of each fit.
        metric: what to maximise; of equally good combinations the first tried is chosen.
        chunk: cases scored at a time.
        progress: whether to show a bar on stderr, if that is a terminal.

    Raises:
        ExportError: no trials, or a hyperparameter without values.
    """
    if trials < 1:
        raise ExportError(f"trials is {trials}: tuning needs at least one")
    for name, values in method.space.items():
        if not values:
            raise ExportError(f"{method.name}: the space has no values of {name}")
    grid = math.prod(map(len, method.space.values()))
    tried: list[Trial] = []
    with tqdm(
        total=min(trials, grid),
        desc=f"tuning {method.name}",
        unit="trial",
        leave=False,
        disable=None if progress else True,
    ) as bar:
        for parameters in _draw(method.space, grid=grid, trials=trials, seed=seed):
            found = [
                evaluate(method.fit(dataset, window.train, parameters, seed=seed), window, chunk=chunk).values(metric)
                for window in windows
            ]
            tried.append(Trial(parameters, float(np.concatenate(found).mean())))
            bar.update()
    best = max(tried, key=lambda trial: trial.score)
    cases = sum(len(window.cases) for window in windows)
    return Tuned(method.name, metric, best.parameters, best.score, cases, tuple(tried), grid)


def tune_and_fit(
    method: Method,
    dataset: Dataset,
    windows: Sequence[Split],
    split: Split,
    *,
    trials: int,
    seed: int,
    metric: str = METRIC,
    chunk: int = CHUNK,
    progress: bool = False,
) -> tuple[Recommender, Tuned]:
    """Tunes on validation, then learns anew, with the best, from all that the test may be learned from.

    Args:
        method: what to tune.
        dataset: the catalogue.
        windows: what to tune on: the same rule within `train` of the test, once or several times.
        split: the test, of which `train` alone is read.
        trials: see `tune`.
        seed: see `tune`.
        metric: see `tune`.
        chunk: see `tune`.
        progress: see `tune`.

    Raises:
        LeakError: validation has events that the test may not learn from.
    """
    for window in windows:
        targets, user = window.cases.targets, window.cases.user[window.cases.targets.row_of_event]
        if not (
            _within(window.train, split.train)
            and _within(Interactions(user, targets.item, targets.timestamp, targets.weight, ()), split.train)
        ):
            raise LeakError(f"{window.name}: validation has events that are not in train of the test: split that train")
    tuned = tune(method, dataset, windows, trials=trials, seed=seed, metric=metric, chunk=chunk, progress=progress)
    return method.fit(dataset, split.train, tuned.parameters, seed=seed), tuned


def _draw(
    space: Mapping[str, Sequence[Parameter]], *, grid: int, trials: int, seed: int
) -> Iterator[dict[str, Parameter]]:
    for number in random.Random(seed).sample(range(grid), min(trials, grid)):  # noqa: S311 (no secret)
        parameters: dict[str, Parameter] = {}
        for name, values in space.items():
            number, position = divmod(number, len(values))
            parameters[name] = values[position]
        yield parameters


def _within(events: Interactions, allowed: Interactions) -> bool:
    """Whether each event, by user, item and time, is among those allowed."""
    both = (events, allowed)
    items = 1 + max(int(part.item.max(initial=0)) for part in both)
    times = np.unique(np.concatenate([part.timestamp for part in both]))
    asked, known = (
        (part.user.astype(np.int64) * items + part.item) * len(times) + np.searchsorted(times, part.timestamp)
        for part in both
    )
    return bool(np.isin(asked, known).all())
