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
from functools import cached_property
from typing import TYPE_CHECKING, NoReturn

import numpy as np
import torch
from scipy import optimize
from tqdm import tqdm

from tanager_export.training.parts import POPULARITY, PRIORS, Behaviour
from tanager_export.training.structure import OPTIONS, Structure
from tanager_export.training.terms import FROM_ZERO, TERMS, term

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from tanager_export.dataset import Dataset
    from tanager_export.evaluation.cases import Cases, Split
    from tanager_export.training.profiles import Profiles
    from tanager_export.training.sequence import SequenceHead, SequenceOptions

_log = logging.getLogger(__name__)

_CELLS = 40_000_000  # cases times items that the blend is learned from at most: a term of them takes 160 MB
_RIDGE = 1e-3  # on weights of terms scaled to a standard deviation of 1
_MASKED = -1e9
_TOP = 10
_LEAST_GAIN = 1e-5  # of the likelihood
_SURE = 1.0  # standard errors by which lists have to be better
_STEPS = (4.0, 2.0, 1.4)
_SPREADS = (0.25, 0.5, 1.0, 2.0)  # of the sequence term against that of all others together, where it is tried
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
        """The blend without its sequence head; None where it has none."""
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
    names = tuple(name for name in TERMS if name not in without and name != "new")
    views = _views(dataset, windows, vectors, seed=seed)
    problem = _Problem(views, names)
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
    _log.info(shown, _TOP, first, ndcg, len(problem.targets), _shown(weights(), search.structure))
    found = Blend(search.structure, weights(), loss, ndcg, len(problem.targets))
    if head is None or "sequence" in without:
        return found
    before, after = search.try_sequence(_Problem([replace(views[-1], head=head)], names))
    paid = search.weights[names.index("sequence")] > 0
    told = _shown(weights(), search.structure) if paid else "off"
    _log.info("sequence head: NDCG@%d %.4f without it, %.4f with it; %s", _TOP, before, after, told)
    return replace(
        found,
        weights=weights(),
        sequence=head.options if paid else None,
        without_sequence=found.weights,
        ndcg_of_trial=(before, after),
    )


class _Search:
    """Weights and hyperparameters, moved one at a time."""

    def __init__(self, problem: _Problem, structure: Structure, options: Mapping[str, Sequence[float]]) -> None:
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

    def try_sequence(self, problem: _Problem) -> tuple[float, float]:
        """Gives the sequence head a weight if that makes the lists of this problem surely better.

        Returns:
            Mean NDCG@10 before and after.
        """
        self._problem, at = problem, problem.names.index("sequence")
        problem.update(self.structure, problem.names)
        before, figures = self.weights.copy(), problem.ndcg(self.weights)
        first = float(figures.mean())
        spread = problem.spread(before) / problem.spread(np.eye(len(before))[at])
        for share in _SPREADS:
            tried = before.copy()
            tried[at] = share * spread
            figures = self._try(tried, figures)
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
        if gain.mean() > _SURE * gain.std() / math.sqrt(len(gain)):
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


@dataclass(frozen=True, slots=True, eq=False)
class _View:
    """A window: who is asked, and the behaviour known."""

    behaviour: Behaviour
    cases: Cases
    head: SequenceHead | None = None


class _Problem:
    """The terms of all cases, and what weights of them come to.

    Attributes:
        names: of the terms.
        targets: (cases, items) float32, the share of each target in its case.
    """

    def __init__(self, views: Sequence[_View], names: tuple[str, ...]) -> None:
        self._views, self.names = views, names
        items = views[0].behaviour.items
        count = sum(len(view.cases) for view in views)
        self._terms = torch.zeros((len(names), count, items))
        self._kept: tuple[tuple[str, ...], torch.Tensor] = ((), torch.empty(0))
        self.targets = torch.zeros((count, items))
        self._mask = torch.zeros((count, items))
        start = 0
        for view in views:
            histories, targets = view.cases.histories, view.cases.targets
            seen = start + torch.from_numpy(histories.row_of_event), torch.from_numpy(histories.item).long()
            self._mask[seen] = _MASKED
            share = torch.from_numpy((1.0 / targets.lengths[targets.row_of_event]).astype(np.float32))
            self.targets[start + torch.from_numpy(targets.row_of_event), torch.from_numpy(targets.item).long()] = share
            start += len(view.cases)
        # What nobody takes up in any window, before it or in it, could only ever be wrong.
        taken_up = sum(view.behaviour.popularity for view in views) + self.targets.sum(dim=0).numpy()
        self._mask[:, torch.from_numpy(taken_up == 0)] = _MASKED
        self.targets[self._mask < 0] = 0.0  # what was seen is never asked for
        discount = 1 / torch.log2(torch.arange(2, _TOP + 2, dtype=torch.float64))
        lengths = (self.targets > 0).sum(dim=1).clamp(max=_TOP)
        self._discount = discount
        self._ideal = torch.cat((torch.ones(1, dtype=torch.float64), torch.cumsum(discount, 0)))[lengths]

    def update(self, structure: Structure, touched: Sequence[str]) -> None:
        """Computes some terms anew."""
        start = 0
        for view in self._views:
            parts = _LazyParts(view, structure)
            stop = start + len(view.cases)
            for name in touched:
                found = np.require(term(name, parts, view.cases, structure), requirements="W")
                self._terms[self.names.index(name), start:stop] = torch.from_numpy(found)
            start = stop

    def keep(self, touched: tuple[str, ...]) -> None:
        """Takes some terms as they are for those to go back to."""
        self._kept = touched, self._terms[[self.names.index(name) for name in touched]].clone()

    def restore(self) -> None:
        """Goes back."""
        for name, column in zip(*self._kept, strict=True):
            self._terms[self.names.index(name)] = column

    def matters(self, touched: Sequence[str]) -> bool:
        """Whether any of these terms is anything but 0."""
        return any(bool(self._terms[self.names.index(name)].any()) for name in touched)

    def ndcg(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """(cases,) float64: NDCG@10 of each list."""
        top = self._logits(weights).topk(_TOP, dim=1).indices
        hits = (self.targets.gather(1, top) > 0).double()
        figures: NDArray[np.float64] = (hits @ self._discount / self._ideal).numpy()
        return figures

    def spread(self, weights: NDArray[np.float64]) -> float:
        """The standard deviation over the catalogue of the weighted sum, in the middle of the cases."""
        total = torch.from_numpy(weights.astype(np.float32)) @ self._terms.flatten(1)
        return max(float(total.view_as(self._mask).std(dim=1).median()), 1e-9)

    def loss(self, weights: NDArray[np.float64]) -> float:
        """Mean negative log-likelihood of an uptake, and the ridge."""
        scale = self._scale()
        return self._loss(weights * scale, scale)[0]

    def solve(self, start: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """(terms,) the likeliest weights."""
        scale = self._scale()
        bounds = [(0, None) if name in FROM_ZERO else (None, None) for name in self.names]
        first = np.full(len(scale), 0.1) if start is None else start * scale
        first[~self._terms.flatten(1).any(dim=1).numpy()] = 0.0  # what says nothing has no weight
        found = optimize.minimize(
            self._loss, first, args=(scale,), jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-6}
        )
        weights: NDArray[np.float64] = found.x / scale
        return weights

    def _loss(self, scaled: NDArray[np.float64], scale: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        log_chance = torch.log_softmax(self._logits(scaled / scale), dim=1)
        value = -float((self.targets * log_chance).sum()) / len(log_chance)
        residual = log_chance.exp_().sub_(self.targets).div_(len(log_chance))
        gradient = (self._terms.flatten(1) @ residual.flatten()).double().numpy() / scale
        return value + _RIDGE * float(scaled @ scaled), gradient + 2 * _RIDGE * scaled

    def _logits(self, weights: NDArray[np.float64]) -> torch.Tensor:
        flat = torch.from_numpy(weights.astype(np.float32)) @ self._terms.flatten(1)
        return flat.view_as(self._mask) + self._mask

    def _scale(self) -> NDArray[np.float64]:
        """(terms,) the standard deviation of each, over some of the cases."""
        some = self._terms[:, :: max(1, self._terms.shape[1] // 256)]
        scale: NDArray[np.float64] = some.flatten(1).std(dim=1).double().numpy()
        scale[scale == 0] = 1.0
        return scale


class _LazyParts:
    """`Parts` that are fitted when a term asks for them."""

    def __init__(self, view: _View, structure: Structure) -> None:
        self._behaviour, self._structure = view.behaviour, structure
        self.sequence = view.head

    @property
    def vectors(self) -> NDArray[np.float32]:
        return self._behaviour.vectors

    @property
    def collaborative(self) -> NDArray[np.float32]:
        return self._behaviour.collaborative(self._structure)

    @property
    def transitions(self) -> NDArray[np.float32]:
        return self._behaviour.transitions(self._structure)

    @cached_property
    def priors(self) -> NDArray[np.float32]:
        return self._behaviour.priors(self._structure)

    @property
    def profiles(self) -> Profiles:
        return self._behaviour.profiles(self._structure)


def _views(dataset: Dataset, windows: Sequence[Split], vectors: NDArray[np.float32], *, seed: int) -> list[_View]:
    random = np.random.default_rng(seed)
    count = sum(len(window.cases) for window in windows)
    views = []
    for window in windows:
        keep = max(1, round(len(window.cases) * min(1.0, _CELLS / len(vectors) / count)))
        rows = np.sort(random.permutation(len(window.cases))[:keep])
        views.append(_View(Behaviour(dataset, window.train, vectors), window.cases.take(rows)))
    return views


def _shown(weights: Mapping[str, float], structure: Structure) -> str:
    terms = ", ".join(f"{name} {weight:.3g}" for name, weight in weights.items() if weight)
    return f"{terms}; {structure}"
