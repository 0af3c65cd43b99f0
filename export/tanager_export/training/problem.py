"""What a blend is learned from: the terms of the cases of some windows, and what weights of them come to."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import optimize

from tanager_export.training.parts import Behaviour
from tanager_export.training.terms import FROM_ZERO, term

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tanager_export.dataset import Dataset
    from tanager_export.evaluation.cases import Cases, Split
    from tanager_export.training.profiles import Profiles
    from tanager_export.training.sequence import SequenceHead
    from tanager_export.training.structure import Structure

TOP = 10
"""Places of a list that count."""
_CELLS = 40_000_000  # cases times items that the blend is learned from at most: a term of them takes 160 MB
_RIDGE = 1e-3  # on weights of terms scaled to a standard deviation of 1
_MASKED = -1e9


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A window: who is asked, and the behaviour known."""

    behaviour: Behaviour
    cases: Cases
    head: SequenceHead | None = None


class Problem:
    """The terms of all cases, and what weights of them come to.

    Attributes:
        names: of the terms.
        targets: (cases, items) float32, the share of each target in its case.
    """

    def __init__(self, views: Sequence[View], names: tuple[str, ...]) -> None:
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
        discount = 1 / torch.log2(torch.arange(2, TOP + 2, dtype=torch.float64))
        lengths = (self.targets > 0).sum(dim=1).clamp(max=TOP)
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
        top = self._logits(weights).topk(min(TOP, self.targets.shape[1]), dim=1).indices
        hits = (self.targets.gather(1, top) > 0).double()
        figures: NDArray[np.float64] = (hits @ self._discount[: hits.shape[1]] / self._ideal).numpy()
        return figures

    def spreads(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """(cases,) float64: the standard deviation over the catalogue of the weighted sum."""
        total = torch.from_numpy(weights.astype(np.float32)) @ self._terms.flatten(1)
        found: NDArray[np.float64] = total.view_as(self._mask).std(dim=1).double().numpy()
        return found

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

    def __init__(self, view: View, structure: Structure) -> None:
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


def views_of(dataset: Dataset, windows: Sequence[Split], vectors: NDArray[np.float32], *, seed: int) -> list[View]:
    """The windows to learn from, each with some of its cases where there are too many, and none of the others."""
    random = np.random.default_rng(seed)
    count = sum(len(window.cases) for window in windows)
    views = []
    for window in windows:
        keep = max(1, round(len(window.cases) * min(1.0, _CELLS / len(vectors) / count)))
        rows = np.sort(random.permutation(len(window.cases))[:keep])
        views.append(View(Behaviour(dataset, window.train, vectors), window.cases.take(rows)))
    return views
