"""The parts of a hybrid, fitted to behaviour in closed form: B, T, popularity, profiles."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy import linalg, sparse

from tanager_export.collaborative import ease_weights
from tanager_export.evaluation.cases import Histories
from tanager_export.training.profiles import Profiles

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tanager_export.dataset import Dataset, Interactions
    from tanager_export.training.sequence import SequenceHead
    from tanager_export.training.structure import Structure

_DAY_S = 86_400
_NEIGHBOURS = 20
_SHARPNESS = 10.0  # of the softmax over the cosines of neighbours
_LEAST_SHARE = 1e-3  # of the most popular item, added before a logarithm
_EXPOSURE_SMOOTHING = 0.1
_SPAN = 10  # events before and after a moment that T is learned from
_CHUNK = 512

PRIORS = ("log recent popularity", "recent popularity", "log rate while on offer")
"""The figures of an item that count for everybody."""


class Behaviour:
    """Who took up what, prepared once for the fits of all parts.

    Args:
        dataset: the catalogue and its users.
        train: what may be learned from.
        vectors: (items, dim) float32 of unit length, of the items' texts.
    """

    def __init__(self, dataset: Dataset, train: Interactions, vectors: NDArray[np.float32]) -> None:
        self.dataset, self.train, self.vectors = dataset, train, vectors
        self.items = len(dataset.items)
        self._cache: dict[tuple[object, ...], NDArray[np.float32]] = {}

    @cached_property
    def histories(self) -> Histories:
        """What each user took up, in the order of time."""
        train = self.train
        rows = Histories.of_users(train, np.arange(len(train.user_ids)))
        liked = rows.weight > 0
        indptr = np.concatenate(([0], np.cumsum(liked)))[rows.indptr]
        return Histories(indptr, rows.item[liked], rows.timestamp[liked], rows.weight[liked])

    @cached_property
    def taken(self) -> sparse.csr_array:
        """(users, items) float32: 1 where a user took up an item."""
        rows = self.histories
        pairs = np.unique(rows.row_of_event * self.items + rows.item)
        return sparse.csr_array(
            (np.ones(len(pairs), np.float32), np.divmod(pairs, self.items)), shape=(len(rows), self.items)
        )

    @cached_property
    def popularity(self) -> NDArray[np.float64]:
        """(items,) how many users took up each item."""
        return np.asarray(self.taken.sum(axis=0), np.float64).ravel()

    @cached_property
    def _warm(self) -> NDArray[np.int64]:
        return np.flatnonzero(self.popularity > 0)

    @cached_property
    def _nearest(self) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """(items, k) the warm items nearest by text, never the item itself, and weights, a row's sum 1."""
        warm = self._warm
        count = min(_NEIGHBOURS, len(warm) - 1)
        columns = np.empty((self.items, count), np.int64)
        weights = np.empty((self.items, count), np.float32)
        candidates = self.vectors[warm]
        place = np.full(self.items, -1)
        place[warm] = np.arange(len(warm))
        for start in range(0, self.items, _CHUNK):
            rows = np.arange(start, min(start + _CHUNK, self.items))
            cosines = self.vectors[rows] @ candidates.T
            itself = np.flatnonzero(place[rows] >= 0)
            cosines[itself, place[rows[itself]]] = -np.inf
            found = np.argpartition(-cosines, count - 1, axis=1)[:, :count]
            near = np.take_along_axis(cosines, found, axis=1)
            near = np.exp(_SHARPNESS * (near - near.max(axis=1, keepdims=True)))
            columns[rows], weights[rows] = warm[found], near / near.sum(axis=1, keepdims=True)
        return columns, weights

    def collaborative(self, structure: Structure) -> NDArray[np.float32]:
        """(items, items) B: EASE, of rarely taken up items shrunk towards their neighbours by text.

        B[h, i] says how much having taken up h speaks for i. An item nobody took up has no figures of its own and
        borrows all of them; so a new item is scored on the scale of the others at once.
        """
        key = ("B", structure.l2, structure.dropout)
        if key not in self._cache:
            self._forget("B")
            self._cache[key] = ease_weights(self.taken, l2=structure.l2, dropout=structure.dropout)
        weights = self._borrowed(self._cache[key], structure.borrow)
        np.fill_diagonal(weights, 0)
        return weights

    def transitions(self, structure: Structure) -> NDArray[np.float32]:
        """(items, items) T: T[h, i] says how much h speaks for i soon after it (SLIST's SLIT; Choi et al., 2021).

        The ridge regression of what follows a moment on what went before, both fading with the distance in events.
        """
        key = ("T", structure.transitions_l2, structure.transitions_decay)
        if key not in self._cache:
            self._forget("T")
            self._cache[key] = self._slit(structure.transitions_l2, structure.transitions_decay)
        weights = self._borrowed(self._cache[key], structure.borrow)
        np.fill_diagonal(weights, 0)
        return weights

    def priors(self, structure: Structure) -> NDArray[np.float32]:
        """(len(PRIORS), items): see `PRIORS`; of rarely taken up items shrunk towards their neighbours by text.

        The rate while on offer is recent popularity per uptake of anything since the item was first taken up: what
        came out last month had a month to be taken up in, and counts alone would bury it.
        """
        rows = self.histories
        recent = self._recent(structure)
        first = np.full(self.items, np.iinfo(np.int64).max)
        np.minimum.at(first, rows.item, rows.timestamp)
        order = np.argsort(rows.timestamp, kind="stable")
        fade = self._fade(rows.timestamp[order], structure)
        since = np.concatenate((np.cumsum(fade[::-1])[::-1], [0.0]))
        offered = since[np.searchsorted(rows.timestamp[order], first, side="left")]
        rate = recent / (offered + _EXPOSURE_SMOOTHING * since[0])
        recent, rate = (self._shrunk(figure / figure.max(), structure.borrow) for figure in (recent, rate))
        return np.stack((np.log(recent + _LEAST_SHARE), recent, np.log(rate + _LEAST_SHARE))).astype(np.float32)

    def profiles(self, structure: Structure) -> Profiles:
        """What attributes of users say of what they take up."""
        return Profiles.fit(self.dataset, self.train, self.taken, shrinkage=structure.profile_shrinkage)

    def _recent(self, structure: Structure) -> NDArray[np.float64]:
        rows = self.histories
        fade = self._fade(rows.timestamp, structure)
        return np.bincount(rows.item, weights=fade, minlength=self.items).astype(np.float64)

    def _fade(self, timestamp: NDArray[np.int64], structure: Structure) -> NDArray[np.float64]:
        if self.dataset.times != "seconds":
            return np.ones(len(timestamp))
        age = self.train.timestamp.max() - timestamp
        return np.asarray(0.5 ** (age / (_DAY_S * structure.popularity_days)), np.float64)

    def own(self, borrow: float) -> NDArray[np.float32]:
        """(items,) float32 from 0 to 1: how much each item's own behaviour weighs."""
        return np.asarray(self.popularity / (self.popularity + borrow), np.float32)

    def _borrowed(self, weights: NDArray[np.float32], borrow: float) -> NDArray[np.float32]:
        columns, near = self._nearest
        own = self.own(borrow)
        lenders = sparse.csr_array(
            (near.ravel(), columns.ravel(), np.arange(0, columns.size + 1, columns.shape[1])),
            shape=(self.items, self.items),
        )
        lent: NDArray[np.float32] = (lenders @ weights.T).T  # (history item, item): what the item's neighbours get
        return np.asarray(weights * own + lent * (1 - own), np.float32)

    def _shrunk(self, figure: NDArray[np.float64], borrow: float) -> NDArray[np.float64]:
        columns, near = self._nearest
        own = self.own(borrow)
        return np.asarray(own * figure + (1 - own) * (near * figure[columns]).sum(axis=1), np.float64)

    def _forget(self, kind: str) -> None:
        self._cache = {key: value for key, value in self._cache.items() if key[0] != kind}

    def _slit(self, l2: float, decay: float) -> NDArray[np.float32]:
        rows, warm = self.histories, self._warm
        column = np.zeros(self.items, np.int64)
        column[warm] = np.arange(len(warm))
        item, row, count = column[rows.item], rows.row_of_event, len(rows.item)
        place = np.arange(count)
        past: list[tuple[NDArray[np.int64], NDArray[np.int64], float]] = []
        future: list[tuple[NDArray[np.int64], NDArray[np.int64], float]] = []
        # A moment lies before each event; its past are the events before it, its future that event and the next ones.
        for distance in range(_SPAN):
            fade = float(np.exp(-distance / decay))
            before = place[(place - 1 - distance >= 0) & (row == row[np.maximum(place - 1 - distance, 0)])]
            past.append((before, item[before - 1 - distance], fade))
            after = place[(place + distance < count) & (row == row[np.minimum(place + distance, count - 1)])]
            future.append((after, item[after + distance], fade))
        before, after = (_moments(parts, shape=(count, len(warm))) for parts in (past, future))
        gram = (before.T @ before).toarray()
        gram[np.diag_indices_from(gram)] += l2
        factor = linalg.cho_factor(gram, lower=True, overwrite_a=True, check_finite=False)
        solved = linalg.cho_solve(factor, (before.T @ after).toarray(), overwrite_b=True, check_finite=False)
        weights = np.zeros((self.items, self.items), np.float32)
        weights[np.ix_(warm, warm)] = solved
        return weights


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """The parts of a hybrid, fitted.

    Attributes:
        collaborative: (items, items) float32, B.
        transitions: (items, items) float32, T.
        vectors: (items, dim) float32 of unit length.
        priors: (len(PRIORS), items) float32.
        profiles: what attributes of users say.
        own: (items,) float32 from 0 to 1: how far an item's figures rest on its own behaviour.
        sequence: what comes next; None where the blend has no use for it.
    """

    collaborative: NDArray[np.float32]
    transitions: NDArray[np.float32]
    vectors: NDArray[np.float32]
    priors: NDArray[np.float32]
    profiles: Profiles
    own: NDArray[np.float32]
    sequence: SequenceHead | None = None

    @classmethod
    def fit(cls, behaviour: Behaviour, structure: Structure, sequence: SequenceHead | None = None) -> Parts:
        """Fits all of them, but for the sequence head, which takes training."""
        return cls(
            behaviour.collaborative(structure),
            behaviour.transitions(structure),
            behaviour.vectors,
            behaviour.priors(structure),
            behaviour.profiles(structure),
            behaviour.own(structure.borrow),
            sequence,
        )


def _moments(
    parts: list[tuple[NDArray[np.int64], NDArray[np.int64], float]], *, shape: tuple[int, int]
) -> sparse.csr_array:
    row = np.concatenate([part[0] for part in parts])
    column = np.concatenate([part[1] for part in parts])
    weight = np.concatenate([np.full(len(part[0]), part[2]) for part in parts])
    return sparse.coo_array((weight, (row, column)), shape=shape).tocsr()
