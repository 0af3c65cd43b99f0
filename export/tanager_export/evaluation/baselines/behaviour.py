"""What the baselines share: likes as matrices, recency weights, and what is popular for those who are unknown."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from tanager_export.collaborative import binary_matrix
from tanager_export.errors import ExportError
from tanager_export.evaluation.cases import Histories

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from tanager_export.dataset import AttributeValue, Interactions
    from tanager_export.evaluation.cases import Cases, Recommender

_TIE = 1e-6
"""Popularity's share of a score, relative to the row's largest: it orders what would be tied, and nothing else."""


def require_likes(taken: sparse.csr_array, name: str) -> None:
    """Refuses to learn from nothing."""
    if taken.nnz == 0:
        raise ExportError(
            f"{name}: no interaction of positive weight to learn from: give the baseline more of the dataset"
        )


def item_popularity(train: Interactions, items: int) -> NDArray[np.float32]:
    """`(items,)`: how many users took up each item."""
    return np.asarray(binary_matrix(train, items).sum(axis=0), np.float32).ravel()


def sequences(train: Interactions) -> Histories:
    """What each user took up, in the order of time; row `r` is `train.user_ids[r]`, who may have taken up nothing."""
    return Histories.of_users(train, np.arange(len(train.user_ids))).uptakes()


def recency_weights(histories: Histories, decay: float) -> NDArray[np.float32]:
    """`(events,)`: 1 for the last of a row, times `decay` for each event back; `decay` 1 forgets the order."""
    return np.asarray(decay**histories.age_of_event, np.float32)


def profile_matrix(histories: Histories, items: int, decay: float = 1.0) -> sparse.csr_array:
    """`(rows, items)`: what each row took up, weighted by recency; of an item taken up again the last time counts."""
    pair = histories.row_of_event * items + histories.item
    # The last event of a pair: the first one met from the end.
    _, from_end = np.unique(pair[::-1], return_index=True)
    events = np.sort(len(pair) - 1 - from_end)
    entries = (recency_weights(histories, decay)[events], np.divmod(pair[events], items))
    return sparse.csr_array(entries, shape=(len(histories), items))


class FromHistory(ABC):
    """A recommender that needs to know something of a user, and falls back on what is popular where it does not.

    Popularity also orders what the model leaves tied, for ties count against a recommender.

    Args:
        popularity: `(items,)`, not negative.
    """

    def __init__(self, popularity: NDArray[np.float32]) -> None:
        self._popularity = popularity / max(float(popularity.max(initial=0)), 1.0)
        self._unknown: Recommender | None = None

    def fall_back_on(self, recommender: Recommender) -> None:
        """Has another recommender, and not popularity, answer for users of whom nothing is known."""
        self._unknown = recommender

    def score(self, cases: Cases) -> NDArray[np.float32]:
        """`(cases, items) float32`."""
        histories = cases.histories.uptakes()
        knows = self.knows(histories, cases.profiles)
        known, unknown = np.flatnonzero(knows), np.flatnonzero(~knows)
        scores = np.empty((len(cases), len(self._popularity)), np.float32)
        if len(unknown) > 0:
            scores[unknown] = self._popularity if self._unknown is None else self._unknown.score(cases.take(unknown))
        if len(known) > 0:
            found = self.score_known(histories.take(known), [cases.profiles[row] for row in known.tolist()])
            scale = np.abs(found).max(axis=1, keepdims=True)
            scores[known] = found + _TIE * np.where(scale > 0, scale, 1) * self._popularity
        return scores

    def knows(
        self,
        histories: Histories,
        profiles: Sequence[Mapping[str, AttributeValue]],
    ) -> NDArray[np.bool_]:
        """`(rows,)`: of whom there is anything to go by."""
        return histories.lengths > 0

    @abstractmethod
    def score_known(
        self, histories: Histories, profiles: Sequence[Mapping[str, AttributeValue]]
    ) -> NDArray[np.float32]:
        """`(rows, items)`, for users of whom something is known; the histories hold likes only."""
