"""Methods under test, tuned with the same budget, and Tanager beside them."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from tanager_export.errors import ExportError
from tanager_export.evaluation.baselines.behaviour import FromHistory
from tanager_export.evaluation.baselines.popularity import Popularity, RecentPopularity
from tanager_export.evaluation.leaks import LeakError
from tanager_export.evaluation.ranking import ScoreError
from tanager_export.evaluation.splits import SplitError
from tanager_export.evaluation.tuning import METRIC, tune, tune_and_fit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from tanager_export.dataset import Dataset, Interactions
    from tanager_export.evaluation.cases import Cases, Method, Parameter, Recommender, Split
    from tanager_export.evaluation.hiding import Hidden
    from tanager_export.evaluation.tuning import Tuned
    from tanager_export.training.hybrid import Hybrid

_log = logging.getLogger(__name__)

_ALL = 1_000  # trials: more than any space of what is popular has


@dataclass(slots=True)
class Contestant:
    """A baseline, tuned once and fitted for each seed.

    Attributes:
        name: of the method.
        recommenders: fitted, one for each seed.
        tuned: what tuning chose.
        missing: why there is none.
        seconds: taken.
    """

    name: str
    recommenders: list[Recommender] = field(default_factory=list)
    tuned: Tuned | None = None
    missing: str = ""
    seconds: float = 0.0


def contestant(
    method: Method,
    dataset: Dataset,
    windows: Sequence[Split],
    splits: Sequence[Split],
    *,
    trials: int,
    seeds: Sequence[int],
    metric: str = METRIC,
) -> Contestant:
    """Tunes a method on validation and fits it to `train` of each seed's split.

    A method that cannot be had, for instance because a library is not installed, is a contestant without recommenders.

    Raises:
        LeakError: a split leaks.
        SplitError: a split has nothing to ask.
        ScoreError: the method's scores rank nothing.
    """
    began = time.monotonic()
    found = Contestant(method.name)
    try:
        first, found.tuned = tune_and_fit(
            method, dataset, windows, splits[0], trials=trials, seed=seeds[0], metric=metric, progress=True
        )
        found.recommenders.append(first)
        for split, seed in zip(splits[1:], seeds[1:], strict=True):
            found.recommenders.append(method.fit(dataset, split.train, found.tuned.parameters, seed=seed))
    except (LeakError, SplitError, ScoreError):
        raise
    except ExportError as error:
        found.recommenders, found.missing = [], str(error)
    found.seconds = time.monotonic() - began
    if found.missing:
        _log.warning("%s is left out: %s", method.name, found.missing)
    elif found.tuned is not None:
        tried = found.tuned.trials
        chosen = ", ".join(f"{name} {value}" for name, value in found.tuned.parameters.items()) or "nothing to tune"
        text = "%s: %s %.4f over %d cases of validation, best of %d trials of %d (%s), %.0f s"
        of = (found.tuned.cases, len(tried), found.tuned.grid)
        _log.info(text, method.name, metric, found.tuned.score, *of, chosen, found.seconds)
    return found


def tanager(
    dataset: Dataset,
    train: Interactions,
    windows: Sequence[Split],
    vectors: NDArray[np.float32],
    *,
    seed: int,
    hidden: Hidden | None = None,
) -> Hybrid:
    """Learns the blend on windows within `train`, new items on items `hidden` within it, and fits the parts to all."""
    from tanager_export.gradients import keep_memory
    from tanager_export.training.blend import learn_blend  # imports torch: only when it is needed
    from tanager_export.training.hybrid import Hybrid
    from tanager_export.training.new_items import hidden_within, learn_new_items

    keep_memory()
    blend = learn_blend(dataset, windows, vectors, seed=seed, progress=True)
    hidden = hidden or hidden_within(dataset, train, seed=seed)
    if hidden is not None:
        blend = learn_new_items(dataset, hidden, vectors, blend, seed=seed)
    return Hybrid.fit(dataset, train, vectors, blend)


def blend_of(hybrid: Hybrid) -> dict[str, float]:
    """Weights and hyperparameters, by name."""
    structure = hybrid.blend.structure
    chosen = {f"{name} (chosen)": float(getattr(structure, name)) for name in structure.__dataclass_fields__}
    return {name: float(weight) for name, weight in hybrid.blend.weights.items()} | chosen


@dataclass(frozen=True, slots=True)
class Popular:
    """What is popular, ever or lately, whichever was better for users of whom nothing is known.

    Attributes:
        method: which of the two.
        parameters: what tuning chose for it.
    """

    method: Method
    parameters: Mapping[str, Parameter]

    @classmethod
    def tune(cls, dataset: Dataset, windows: Sequence[Split], *, everybody: bool = False) -> Popular:
        """Tries all there is to try, which is little.

        Args:
            dataset: the catalogue.
            windows: of validation; of each those cases are asked of whom nothing is known, if there are any.
            everybody: whether all cases are asked as if nothing were known of them: histories, which neither of the
                two reads, mask what was seen.
        """
        asked = list(windows) if everybody else []
        for window in () if everybody else windows:
            unknown = np.flatnonzero(window.cases.histories.uptakes().lengths == 0)
            if len(unknown):
                asked.append(replace(window, cases=window.cases.take(unknown)))
        if not asked:
            return cls(Popularity(), {})
        methods: tuple[Method, ...] = (Popularity(), RecentPopularity())
        tuned = [tune(method, dataset, asked, trials=_ALL, seed=0) for method in methods]
        best = max(range(len(methods)), key=lambda one: tuned[one].score)
        return cls(methods[best], tuned[best].parameters)

    def __str__(self) -> str:
        """As it is told."""
        chosen = ", ".join(f"{name} {value}" for name, value in self.parameters.items())
        return self.method.name + (f" ({chosen})" if chosen else "")


class Backed:
    """A method that gives users of whom it knows nothing what is popular. A wrapped one is not seen through.

    Args:
        method: which.
        popular: what they get.
    """

    def __init__(self, method: Method, popular: Popular) -> None:
        self.name, self.space = method.name, method.space
        self._method, self._popular = method, popular

    def fit(
        self, dataset: Dataset, train: Interactions, parameters: Mapping[str, Parameter], *, seed: int
    ) -> Recommender:
        """Fits both."""
        found = self._method.fit(dataset, train, parameters, seed=seed)
        if isinstance(found, FromHistory):
            popular = self._popular
            found.fall_back_on(popular.method.fit(dataset, train, popular.parameters, seed=seed))
        return found


class Among:
    """A method of which only some items are candidates, so that it is tuned for the ranking that it is asked for.

    Args:
        method: which.
        allowed: `(items,)` for a `train` to be tuned on, and for that of the test, by the identity of `train`.
    """

    def __init__(self, method: Method, allowed: Mapping[int, NDArray[np.bool_]]) -> None:
        self.name, self.space = method.name, method.space
        self._method, self._allowed = method, allowed

    def fit(
        self, dataset: Dataset, train: Interactions, parameters: Mapping[str, Parameter], *, seed: int
    ) -> Recommender:
        """Fits the method."""
        return Masked(self._method.fit(dataset, train, parameters, seed=seed), self._allowed[id(train)])


class Masked:
    """A recommender that only ever recommends some items.

    Args:
        recommender: which.
        allowed: `(items,)`.
    """

    def __init__(self, recommender: Recommender, allowed: NDArray[np.bool_]) -> None:
        self._recommender, self._allowed = recommender, allowed

    def score(self, cases: Cases) -> NDArray[np.float32]:
        """`(cases, items)`, -inf where not allowed."""
        scores = self._recommender.score(cases).copy()
        scores[:, ~self._allowed] = -float("inf")
        return scores
