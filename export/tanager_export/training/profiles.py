"""What attributes of users say of what they take up: for people of whom nothing else is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from tanager_export.dataset import AttributeValue, Dataset, Interactions

_RANGES = 6  # into which the values of a number are parted, with as many users in each
_LEAST_USERS = 10  # with an attribute, for it to say anything


@dataclass(frozen=True, slots=True, eq=False)
class ProfileWeights:
    """Log-likelihood ratios of items given an attribute, as in naive Bayes.

    Attributes:
        names: of the attributes, "name=value" or, of numbers, "name=low..high".
        bounds: of each attribute that is a number, the upper ends of all its ranges but the last.
        weights: (attributes, items) float32: ln(share of the item among uptakes of users with the attribute / among
            those of all users), shrunk to 0.
    """

    names: tuple[str, ...]
    bounds: Mapping[str, tuple[float, ...]]
    weights: NDArray[np.float32]

    @classmethod
    def fit(cls, dataset: Dataset, train: Interactions, taken: sparse.csr_array, *, shrinkage: float) -> ProfileWeights:
        """Counts.

        Args:
            dataset: whose users have attributes, or none.
            train: whose `user_ids` are the rows of `taken`.
            taken: (users, items), 1 where a user took up an item.
            shrinkage: uptakes, as if by average users, added to those of each attribute and item's expectation.
        """
        of_user = {user.id: user.attributes for user in dataset.users}
        profiles = [of_user.get(user, {}) for user in train.user_ids]
        bounds = _bounds(profiles)
        sets = [_names(profile, bounds) for profile in profiles]
        names = sorted({name for some in sets for name in some})
        place = {name: at for at, name in enumerate(names)}
        pairs = [(place[name], user) for user, some in enumerate(sets) for name in some]
        shape = (len(names), len(profiles))
        has = sparse.csr_array((np.ones(len(pairs)), tuple(np.array(pairs, np.int64).reshape(-1, 2).T)), shape=shape)
        active = np.asarray(taken.sum(axis=1)).ravel() > 0
        kept = np.flatnonzero(np.asarray(has @ active).ravel() >= _LEAST_USERS)
        uptakes = (has[kept] @ taken).toarray()
        share = np.asarray(taken.sum(axis=0)).ravel() / max(taken.sum(), 1)
        expected = uptakes.sum(axis=1, keepdims=True) * share
        weights = np.log((uptakes + shrinkage) / (expected + shrinkage))
        return cls(tuple(names[at] for at in kept), bounds, weights.astype(np.float32))

    def matrix(self, profiles: Sequence[Mapping[str, AttributeValue]]) -> sparse.csr_array:
        """(profiles, attributes) float32: 1 where a profile has an attribute that is known here."""
        place = {name: at for at, name in enumerate(self.names)}
        pairs = [
            (row, place[name])
            for row, profile in enumerate(profiles)
            for name in _names(profile, self.bounds)
            if name in place
        ]
        entries = (np.ones(len(pairs), np.float32), tuple(np.array(pairs, np.int64).reshape(-1, 2).T))
        return sparse.csr_array(entries, shape=(len(profiles), len(self.names)))


def _bounds(profiles: Sequence[Mapping[str, AttributeValue]]) -> dict[str, tuple[float, ...]]:
    values: dict[str, list[float]] = {}
    for profile in profiles:
        for name, value in profile.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                values.setdefault(name, []).append(float(value))
    quantiles = np.linspace(0, 1, _RANGES + 1)[1:-1]
    return {name: tuple(np.unique(np.quantile(some, quantiles)).tolist()) for name, some in values.items()}


def _names(profile: Mapping[str, AttributeValue], bounds: Mapping[str, tuple[float, ...]]) -> list[str]:
    found = []
    for name, value in profile.items():
        if isinstance(value, bool):
            found.append(f"{name}={str(value).lower()}")
        elif isinstance(value, int | float):
            if name in bounds:
                found.append(f"{name}={_range(float(value), bounds[name])}")
        elif isinstance(value, str):
            found.append(f"{name}={value}")
        else:
            found += [f"{name}={part}" for part in value]
    return found


def _range(value: float, bounds: tuple[float, ...]) -> str:
    at = int(np.searchsorted(bounds, value, side="left"))
    low = f"{bounds[at - 1]:g}" if at > 0 else ""
    high = f"{bounds[at]:g}" if at < len(bounds) else ""
    return f"{low}..{high}"
