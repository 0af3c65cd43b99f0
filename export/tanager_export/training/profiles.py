"""What attributes of users say of what they take up: for people of whom nothing else is known."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from tanager_server.bundle import ProfileWeights

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from tanager_export.dataset import AttributeValue, Dataset, Interactions

_RANGES = 6  # into which the values of a number are parted, with as many users in each
_LEAST_USERS = 10  # with an attribute, for it to say anything
_TOP = 500  # items of an attribute that are served


@dataclass(frozen=True, slots=True, eq=False)
class Profiles:
    """Log-likelihood ratios of items given an attribute, as in naive Bayes.

    Attributes:
        known: the attributes, as the server finds them in a profile; without weights.
        weights: (attributes, items) float32: ln(share of the item among uptakes of users with the attribute / among
            those of all users), shrunk to 0.
    """

    known: ProfileWeights
    weights: NDArray[np.float32]

    @classmethod
    def fit(cls, dataset: Dataset, train: Interactions, taken: sparse.csr_array, *, shrinkage: float) -> Profiles:
        """Counts.

        Args:
            dataset: whose users have attributes, or none.
            train: whose `user_ids` are the rows of `taken`.
            taken: (users, items), 1 where a user took up an item.
            shrinkage: uptakes, as if by average users, added to those of each attribute and to what is expected.
        """
        of_user = {user.id: user.attributes for user in dataset.users}
        active = np.asarray(taken.sum(axis=1)).ravel() > 0
        profiles = [
            of_user.get(user, {}) if act else {} for user, act in zip(train.user_ids, active.tolist(), strict=True)
        ]
        candidates = _attributes(profiles)
        has = _matrix(candidates, profiles)
        kept = np.flatnonzero(np.asarray(has.sum(axis=0)).ravel() >= _LEAST_USERS)
        names = tuple(candidates.attributes[at] for at in kept)
        known = _named(names, {name: span for name, span in candidates.ranges.items() if name in names})
        uptakes = (has[:, kept].T @ taken).toarray()
        share = np.asarray(taken.sum(axis=0)).ravel() / max(taken.sum(), 1)
        expected = uptakes.sum(axis=1, keepdims=True) * share
        weights = np.log((uptakes + shrinkage) / (expected + shrinkage))
        return cls(known, weights.astype(np.float32).reshape(len(names), taken.shape[1]))

    def matrix(self, profiles: Sequence[Mapping[str, AttributeValue]]) -> sparse.csr_array:
        """(profiles, attributes) float32: 1 where a profile has an attribute that is known."""
        return _matrix(self.known, profiles)

    def served(self) -> ProfileWeights:
        """What the server reads: of each attribute the items that it says most of, for or against."""
        items = self.weights.shape[1]
        keep = min(_TOP, items)
        columns = np.sort(np.argpartition(-np.abs(self.weights), keep - 1, axis=1)[:, :keep], axis=1)
        return ProfileWeights(
            self.known.attributes,
            self.known.ranges,
            np.arange(len(columns) + 1, dtype=np.int64) * keep,
            columns.ravel().astype(np.int32),
            np.take_along_axis(self.weights, columns, axis=1).ravel(),
        )


def _attributes(profiles: Sequence[Mapping[str, AttributeValue]]) -> ProfileWeights:
    """All attributes that occur; numbers in ranges with as many users in each."""
    numbers: dict[str, list[float]] = {}
    named: dict[str, str] = {}  # upper and lower case are one: the first spelling stands
    for profile in profiles:
        for field, value in profile.items():
            if isinstance(value, bool):
                named.setdefault(f"{field}={value}".casefold(), f"{field}={str(value).lower()}")
            elif isinstance(value, int | float):
                numbers.setdefault(field, []).append(float(value))
            else:
                for part in (value,) if isinstance(value, str) else value:
                    if part.strip():
                        named.setdefault(f"{field}={part}".casefold(), f"{field}={part}")
    names, ranges = sorted(named.values()), {}
    for field, values in sorted(numbers.items()):
        inner = np.unique(np.quantile(values, np.linspace(0, 1, _RANGES + 1)[1:-1]))
        ends = [None, *(float(end) for end in inner if end > min(values)), None]
        for low, high in itertools.pairwise(ends):
            name = f"{field}={'' if low is None else f'{low:g}'}..{'' if high is None else f'{high:g}'}"
            names.append(name)
            ranges[name] = (low, high)
    return _named(tuple(names), ranges)


def _named(names: tuple[str, ...], ranges: Mapping[str, tuple[float | None, float | None]]) -> ProfileWeights:
    indptr = np.zeros(len(names) + 1, np.int64)
    return ProfileWeights(names, ranges, indptr, np.empty(0, np.int32), np.empty(0, np.float32))


def _matrix(known: ProfileWeights, profiles: Sequence[Mapping[str, AttributeValue]]) -> sparse.csr_array:
    pairs = [(row, column) for row, profile in enumerate(profiles) for column in known.know(profile).rows]
    rows, columns = np.array(pairs, np.int64).reshape(-1, 2).T
    return sparse.csr_array(
        (np.ones(len(pairs), np.float32), (rows, columns)), shape=(len(profiles), len(known.attributes))
    )
