"""Learns the blend: the weights of the terms, and how the parts under them are fitted.

First the weights maximise the likelihood of what users took up in the windows of validation, under a softmax over the
catalogue of the weighted sum: convex, so the optimum does not depend on where it starts. A hyperparameter is kept where
that likelihood, with the weights learned anew, is best; they are tried one after the other.

But a likelihood is ruled by the uptakes that nobody could have foreseen, and a list by the others. So then weights and
hyperparameters are moved, one at a time, where that lifts NDCG@10 by more than the standard error of the lift: with few
cases little passes, and the likelihood's answer stands.

The sequence head comes last and on trial, in the last window alone, since it takes training: what it says of order
overlaps with what B and T say, so a weight for it is looked for by lists, the other weights move with it, and it stays
at 0 where the lists are not surely better for it.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NoReturn

import numpy as np
from tqdm import tqdm

from tanager_export.training.parts import POPULARITY, PRIORS
from tanager_export.training.problem import TOP, Problem, views_of
from tanager_export.training.structure import OPTIONS, Structure
from tanager_export.training.terms import TERMS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from tanager_export.dataset import Dataset
    from tanager_export.evaluation.cases import Split
    from tanager_export.training.sequence import SequenceHead, SequenceOptions

_log = logging.getLogger(__name__)

_LEAST_GAIN = 1e-5  # of the likelihood
_SURE = 1.0  # standard errors by which lists have to be better
_STEPS = (4.0, 2.0, 1.4)
# Of the sequence term against that of all others together, where it is tried.
_SPREADS = (0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8)
_ROUNDS = len(_STEPS)

# Which terms change with which hyperparameter.
_TOUCHES = {
    "l2": ("collaborative",),
    "dropout": ("collaborative",),
    "half_life": ("collaborative",),
    "transitions_l2": ("transitions",),
    "transitions_decay": ("transitions",),
    "transitions_half_life": ("transitions",),
    "text_half_life": ("text",),
    "popularity_days": tuple(name for name in TERMS if name.partition(", ")[0] in POPULARITY),
    "borrow": ("collaborative", "transitions", *(name for name in TERMS if name.partition(", ")[0] in PRIORS)),
    "profile_shrinkage": ("profile",),
    "known_events": ("profile", *(name for name in TERMS if name.endswith(", known"))),
}


@dataclass(frozen=True, slots=True)
class Blend:
    """What was learned.

    Attributes:
        structure: the hyperparameters chosen.
        weights: of each of `TERMS`, by name.
        loss: mean negative log-likelihood of an uptake in the windows, of the likeliest weights.
        ndcg: mean NDCG@10 in the windows, before the sequence head was tried.
        cases: cases that it was learned from.
        sequence: how the sequence head is trained, where it has a weight.
        without_sequence: the weights as they were before it was tried, where it was.
        ndcg_of_trial: mean NDCG@10 in the last window before and after that.
    """

    structure: Structure
    weights: Mapping[str, float]
    loss: float
    ndcg: float
    cases: int
    sequence: SequenceOptions | None = None
    without_sequence: Mapping[str, float] | None = None
    ndcg_of_trial: tuple[float, float] | None = None

    @property
    def ablated(self) -> Blend | None:
        """The blend without its sequence head, and without what new items are raised by; None where it has none.

        That was priced with the head. As it costs accuracy, what the head brings is understated rather than not.
        """
        if self.sequence is None or self.without_sequence is None:
            return None
        return replace(self, weights=self.without_sequence, sequence=None, without_sequence=None)


def learn_blend(
    dataset: Dataset,
    windows: Sequence[Split],
    vectors: NDArray[np.float32],
    *,
    seed: int,
    structure: Structure | None = None,
    options: Mapping[str, Sequence[float]] = OPTIONS,
    without: frozenset[str] = frozenset(),
    head: SequenceHead | None = None,
    progress: bool = False,
) -> Blend:
    """Learns a blend.

    Args:
        dataset: the catalogue and its users.
        windows: what is asked, and what may be known of it.
        vectors: (items, dim) float32 of unit length, from an encoder that has not seen the windows.
        seed: of the draw of cases, where there are more than are needed.
        structure: where the search starts.
        options: what it tries of each hyperparameter.
        without: terms to leave out.
        head: a sequence head to try, trained on what the last window may know.
        progress: whether to show a bar on stderr, if that is a terminal.
    """
    names = tuple(name for name in TERMS if name not in without and name.partition(", ")[0] != "new")
    views = views_of(dataset, windows, vectors, seed=seed)
    problem = Problem(views, names)
    search = _Search(problem, structure or Structure(), options)
    steps = 2 * sum(map(len, options.values())) + _ROUNDS * len(names)
    with tqdm(
        total=steps, desc="learning the blend", unit="step", leave=False, disable=None if progress else True
    ) as bar:
        search.by_likelihood(bar)
        loss = problem.loss(search.weights)
        first = float(problem.ndcg(search.weights).mean())
        search.by_lists(bar)
    ndcg = float(problem.ndcg(search.weights).mean())

    def weights() -> dict[str, float]:
        return dict.fromkeys(TERMS, 0.0) | dict(zip(names, search.weights.tolist(), strict=True))

    shown = "blend: NDCG@%d %.4f by likelihood, %.4f by lists, over %d cases; %s"
    _log.info(shown, TOP, first, ndcg, len(problem.targets), _shown(weights(), search.structure))
    found = Blend(search.structure, weights(), loss, ndcg, len(problem.targets))
    if head is None or "sequence" in without:
        return found
    before, after = search.try_sequence(Problem([replace(views[-1], head=head)], names))
    paid = search.weights[names.index("sequence")] > 0
    told = _shown(weights(), search.structure) if paid else "off"
    _log.info("sequence head: NDCG@%d %.4f without it, %.4f with it; %s", TOP, before, after, told)
    return replace(
        found,
        weights=weights(),
        sequence=head.options if paid else None,
        without_sequence=found.weights,
        ndcg_of_trial=(before, after),
    )


class _Search:
    """Weights and hyperparameters, moved one at a time."""

    def __init__(self, problem: Problem, structure: Structure, options: Mapping[str, Sequence[float]]) -> None:
        self._problem, self._options = problem, options
        self.structure = structure
        problem.update(structure, [name for name in problem.names if name != "sequence"])
        self.weights = problem.solve()

    def by_likelihood(self, bar: tqdm[NoReturn]) -> None:
        """Keeps what makes the uptakes likelier, with the weights learned anew each time."""
        best = self._problem.loss(self.weights)
        for name, candidate in self._candidates(bar):
            weights = self._problem.solve(self.weights)
            loss = self._problem.loss(weights)
            if loss < best - _LEAST_GAIN:
                best, self.weights, self.structure = loss, weights, candidate
                self._problem.keep(name)
            bar.set_postfix(loss=f"{best:.4f}")

    def by_lists(self, bar: tqdm[NoReturn]) -> None:
        """Keeps what makes the lists better by more than the standard error of the difference."""
        figures = self._problem.ndcg(self.weights)
        for step in _STEPS:
            figures = self._move(figures, (step, 1 / step, 0.0))
            bar.update(len(self.weights))
            bar.set_postfix(ndcg=f"{figures.mean():.4f}")
        for name, candidate in self._candidates(bar):
            before = figures
            figures = self._try(self.weights, figures)
            if figures is not before:
                self.structure = candidate
                self._problem.keep(name)
        self._move(figures, (_STEPS[-1], 1 / _STEPS[-1]))

    def try_sequence(self, problem: Problem) -> tuple[float, float]:
        """Gives the sequence head a weight if that makes the lists of this problem surely better.

        Returns:
            Mean NDCG@10 before and after.
        """
        self._problem, at = problem, problem.names.index("sequence")
        problem.update(self.structure, problem.names)
        before, figures = self.weights.copy(), problem.ndcg(self.weights)
        first = float(figures.mean())
        # It says nothing of users without a history, and is not to be weighed by them, however many they are.
        alone = problem.spreads(np.eye(len(before))[at])
        told = alone > 0
        if not told.any():
            return first, first
        others = _middle(problem.spreads(before)[told]) or 1.0  # where they say nothing, any weight will do
        spread = others / _middle(alone[told])
        tried = []
        for share in _SPREADS:
            weights = before.copy()
            weights[at] = share * spread
            tried.append((float(problem.ndcg(weights).mean()), share, weights))
        figures = self._try(max(tried, key=lambda one: one[:2])[2], figures)
        if self.weights[at] > 0:
            for step in _STEPS:
                figures = self._move(figures, (step, 1 / step, 0.0))
        return first, float(figures.mean())

    def _move(self, figures: NDArray[np.float64], factors: Sequence[float]) -> NDArray[np.float64]:
        """Tries each weight times each factor; the figures of what was kept."""
        for at in range(len(self.weights)):
            for factor in factors:
                moved = self.weights.copy()
                moved[at] *= factor
                figures = self._try(moved, figures)
        return figures

    def _try(self, weights: NDArray[np.float64], before: NDArray[np.float64]) -> NDArray[np.float64]:
        """The figures of these weights if they are surely better, and they are then kept; else those from before."""
        figures = self._problem.ndcg(weights)
        gain = figures - before
        if len(gain) > 1 and gain.mean() > _SURE * gain.std(ddof=1) / math.sqrt(len(gain)):
            self.weights = weights
            return figures
        return before

    def _candidates(self, bar: tqdm[NoReturn]) -> Iterator[tuple[tuple[str, ...], Structure]]:
        """Each other value of each hyperparameter that matters, with the terms under it computed."""
        for name, values in self._options.items():
            touched = tuple(one for one in _TOUCHES[name] if one in self._problem.names)
            if not touched or not self._problem.matters(touched):
                bar.update(len(values))
                continue
            self._problem.keep(touched)
            for value in values:
                bar.update()
                if value != getattr(self.structure, name):
                    candidate = replace(self.structure, **{name: value})
                    self._problem.update(candidate, touched)
                    yield touched, candidate
            self._problem.restore()


def _middle(values: NDArray[np.float64]) -> float:
    return float(np.quantile(values, 0.5, method="lower"))


def _shown(weights: Mapping[str, float], structure: Structure) -> str:
    terms = ", ".join(f"{name} {weight:.3g}" for name, weight in weights.items() if weight)
    return f"{terms}; {structure}"
