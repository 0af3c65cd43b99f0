"""The parts of a hybrid, fitted to behaviour in closed form: B, T, popularity, profiles."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import linalg, sparse

from tanager_export.collaborative import ease_weights
from tanager_export.evaluation.cases import Histories
from tanager_export.training.profiles import Profiles
from tanager_export.training.traits import Expectation, ItemTraits

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tanager_export.dataset import Dataset, Interactions
    from tanager_export.training.sequence import SequenceHead
    from tanager_export.training.structure import Structure

LEAST_SHARE = 1e-3
"""Of the most popular item, added before a logarithm."""

_DAY_S = 86_400
_EXPOSURE_SMOOTHING = 0.1
_SPAN = 10  # events before and after a moment that T is learned from

POPULARITY = ("log recent popularity", "recent popularity", "log rate while on offer")
PRIORS = (*POPULARITY, "new")
"""The figures of an item that count for everybody; an item is new as far as it has no behaviour of its own."""


class Expected(NamedTuple):
    """Coefficients of `ItemTraits`: their product with an item's traits is what is expected of it.

    Attributes:
        collaborative: (traits, warm) float32: of its column of B, over the items that somebody took up.
        transitions: (traits, warm) float32: of its column of T.
        popularity: (traits, 2) float32: of the logarithms of recent popularity and rate while on offer.
    """

    collaborative: NDArray[np.float32]
    transitions: NDArray[np.float32]
    popularity: NDArray[np.float32]


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
        self._traits: ItemTraits | None = None
        self._expected: tuple[float, Expectation] | None = None  # for the last of its hyperparameters

    @cached_property
    def histories(self) -> Histories:
        """What each user took up, in the order of time."""
        return Histories.of_users(self.train, np.arange(len(self.train.user_ids))).uptakes()

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
    def warm(self) -> NDArray[np.int64]:
        """Items that somebody took up."""
        return np.flatnonzero(self.popularity > 0)

    @property
    def traits(self) -> ItemTraits:
        """What is known of the items beside behaviour."""
        if self._traits is None:
            self._traits = ItemTraits.of(self.dataset.items, self.vectors)
        return self._traits

    def _expectation(self, structure: Structure) -> Expectation:
        l2 = structure.traits_l2
        if self._expected is None or self._expected[0] != l2:
            self._expected = l2, Expectation(self.traits.matrix, self.warm, l2=l2)
        return self._expected[1]

    def with_vectors(self, vectors: NDArray[np.float32]) -> Behaviour:
        """The same behaviour, and what of it is fitted already, beside other vectors: to invert B's matrix takes long.

        Args:
            vectors: as those given first.
        """
        other = copy.copy(self)
        other.vectors, other._traits, other._expected = vectors, None, None  # noqa: SLF001
        return other

    def collaborative(self, structure: Structure) -> NDArray[np.float32]:
        """(items, items) B: EASE, of rarely taken up items shrunk towards what their traits let one expect.

        B[h, i] says how much having taken up h speaks for i. An item nobody took up has no figures of its own and
        borrows all of them; so a new item is scored on the scale of the others at once. EASE has nothing to say of h
        itself, and yet h speaks for whatever is like it: what is expected is fitted with a diagonal.
        """
        return self._borrowed(self._ease(structure), structure, itself=structure.likeness)

    def transitions(self, structure: Structure) -> NDArray[np.float32]:
        """(items, items) T: T[h, i] says how much h speaks for i soon after it (SLIST's SLIT; Choi et al., 2021).

        The ridge regression of what follows a moment on what went before, both fading with the distance in events.
        """
        return self._borrowed(self._slit(structure), structure)

    def priors(self, structure: Structure) -> NDArray[np.float32]:
        """(len(PRIORS), items): see `PRIORS`; of rarely taken up items shrunk as B is.

        The rate while on offer is recent popularity per uptake of anything since the item was first taken up: what
        came out last month had a month to be taken up in, and counts alone would bury it.
        """
        figures, logs = self._popular(structure)
        expected = np.maximum(np.exp(self._expectation(structure).of(logs.T).T) - LEAST_SHARE, 0)
        own = self.own(structure.borrow)
        recent, rate = own * figures + (1 - own) * expected
        logged = np.log(np.stack((recent, rate)) + LEAST_SHARE)
        return np.stack((logged[0], recent, logged[1], 1 - own)).astype(np.float32)

    def expected_of_new(self, structure: Structure) -> Expected:
        """What the traits of an item that nobody took up let one expect."""
        expectation, confidence = self._expectation(structure), np.float32(structure.confidence)
        collaborative = self._columns(self._ease(structure), itself=structure.likeness)
        return Expected(
            confidence * expectation.coefficients(collaborative),
            confidence * expectation.coefficients(self._columns(self._slit(structure))),
            expectation.coefficients(self._popular(structure)[1].T),
        )

    def _popular(self, structure: Structure) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """(2, items) recent popularity and rate while on offer, as shares; (2, warm) their logarithms."""
        rows = self.histories
        recent = self._recent(structure)
        first = np.full(self.items, np.iinfo(np.int64).max)
        np.minimum.at(first, rows.item, rows.timestamp)
        order = np.argsort(rows.timestamp, kind="stable")
        fade = self._fade(rows.timestamp[order], structure)
        since = np.concatenate((np.cumsum(fade[::-1])[::-1], [0.0]))
        offered = since[np.searchsorted(rows.timestamp[order], first, side="left")]
        rate = recent / (offered + _EXPOSURE_SMOOTHING * since[0])
        figures = np.stack((recent / recent.max(), rate / rate.max()))
        # Of logarithms, for what is expected of popularity itself would be the few greatest hits.
        return figures, np.log(figures[:, self.warm] + LEAST_SHARE).astype(np.float32)

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

    def _borrowed(
        self, weights: NDArray[np.float32], structure: Structure, *, itself: float = 0.0
    ) -> NDArray[np.float32]:
        """Shrinks columns of B or T, whose diagonal is `itself` as far as it is learned from, and 0 in the end."""
        own = self.own(structure.borrow)
        found: NDArray[np.float32] = weights * own
        expected = self._expectation(structure).of(self._columns(weights, itself=itself)).T
        found[self.warm] += expected * (structure.confidence * (1 - own))
        np.fill_diagonal(found, 0)
        return found

    def _columns(self, weights: NDArray[np.float32], *, itself: float = 0.0) -> NDArray[np.float32]:
        """(warm, warm) float32: a row for each column of B or T, with another diagonal."""
        columns = weights[np.ix_(self.warm, self.warm)].T
        columns[np.diag_indices_from(columns)] = itself
        return columns

    def _ease(self, structure: Structure) -> NDArray[np.float32]:
        key = ("B", structure.l2, structure.dropout)
        if key not in self._cache:
            self._forget("B")
            self._cache[key] = ease_weights(self.taken, l2=structure.l2, dropout=structure.dropout)
        return self._cache[key]

    def _slit(self, structure: Structure) -> NDArray[np.float32]:
        key = ("T", structure.transitions_l2, structure.transitions_decay)
        if key not in self._cache:
            self._forget("T")
            self._cache[key] = self._fit_slit(structure.transitions_l2, structure.transitions_decay)
        return self._cache[key]

    def _forget(self, kind: str) -> None:
        self._cache = {key: value for key, value in self._cache.items() if key[0] != kind}

    def _fit_slit(self, l2: float, decay: float) -> NDArray[np.float32]:
        rows, warm = self.histories, self.warm
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
        # In single precision, which halves the time: the ridge keeps the condition number in the thousands.
        gram = (before.T @ before).toarray().astype(np.float32)
        gram[np.diag_indices_from(gram)] += l2
        factor = linalg.cho_factor(gram, lower=True, overwrite_a=True, check_finite=False)
        crossed = (before.T @ after).toarray().astype(np.float32)
        solved = linalg.cho_solve(factor, crossed, overwrite_b=True, check_finite=False)
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
