"""Pairs of a history and the item taken up next, drawn at random for training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from tanager_export.evaluation.splits import SplitError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tanager_export.evaluation.cases import Histories


class Pairs:
    """Draws pairs: a user, and one of their uptakes but the first, with what they did before it.

    A user with n pairs is drawn with a chance proportional to sqrt(n): in proportion to n a few busy users would be all
    that is learned from, and with equal chances their many events would go to waste.

    Args:
        histories: rows in the order of time; events of weight 0 or less are no uptakes and are left out.
        items: size of the catalogue.
        half_life: events after which an event of the history counts half.
        limit: events of the history that count.

    Raises:
        SplitError: there is no pair.
    """

    def __init__(self, histories: Histories, *, items: int, half_life: float, limit: int) -> None:
        liked = histories.weight > 0
        row = histories.row_of_event[liked]
        self._item = histories.item[liked].astype(np.int64)
        lengths = np.bincount(row, minlength=len(histories))
        starts = np.concatenate(([0], np.cumsum(lengths)))[:-1]
        self._place = np.arange(len(row)) - starts[row]
        candidates = np.flatnonzero(self._place > 0)
        if not len(candidates):
            why = "no user took up two items before the first window of validation"
            raise SplitError(f"{why}: there is nothing to learn from")
        chance = 1.0 / np.sqrt(np.maximum(lengths[row[candidates]] - 1, 1))
        self._candidates, self._chance = candidates, np.cumsum(chance / chance.sum())
        self._decay = (0.5 ** (np.arange(limit) / half_life)).astype(np.float32)
        self._items = items
        self.popularity = np.bincount(self._item, minlength=items)
        """(items,) int64: uptakes of each item."""

    def draw(self, count: int, random: np.random.Generator) -> tuple[sparse.csr_array, NDArray[np.int64]]:
        """Draws pairs.

        Returns:
            (count, items) float32 weights of the histories, a row's sum 1, and (count,) the item that came next.
        """
        drawn = np.searchsorted(self._chance, random.random(count), side="right")
        chosen = self._candidates[np.minimum(drawn, len(self._candidates) - 1)]
        lengths = np.minimum(self._place[chosen], len(self._decay))
        row = np.repeat(np.arange(count), lengths)
        age = np.arange(len(row)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        weight = self._decay[age]
        matrix = sparse.coo_array(
            (weight, (row, self._item[np.repeat(chosen, lengths) - 1 - age])), shape=(count, self._items)
        ).tocsr()
        total = np.bincount(row, weights=weight, minlength=count)
        matrix.data /= np.repeat(total, np.diff(matrix.indptr)).astype(np.float32)
        return matrix, self._item[chosen]
