"""What is known of items beside behaviour, and what it lets one expect of an item that nobody took up yet."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import linalg

from tanager_server.bundle import NumberRanks, TraitLayout
from tanager_server.bundle.traits import names_of, number_of, numbers_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tanager_export.dataset import Item

_LEAST_ITEMS = 3  # with a name, for it to be a trait
_MAX_NAMES = 1_000  # the most frequent
_STEPS = 12  # along the ranks of a number
_WIDTH = 0.08  # of a step's bell, as a share of all items


@dataclass(frozen=True, slots=True, eq=False)
class ItemTraits:
    """The text vector, names (categories and the like), numbers by their rank, and 1.

    A vector of a text says little of a number in it, and a year of release says much of who takes a film up. Vector,
    names and each number are of length 1 and then less their mean, so that they weigh about as much as each other.

    Attributes:
        matrix: (items, traits + 1) float32; the last column is 1.
        mean: (traits,) float64, which was taken away.
        layout: of the columns behind the text vector's.
    """

    matrix: NDArray[np.float32]
    mean: NDArray[np.float64]
    layout: TraitLayout

    @classmethod
    def of(cls, items: Sequence[Item], vectors: NDArray[np.float32]) -> ItemTraits:
        """Reads a catalogue.

        Args:
            items: of the catalogue.
            vectors: (items, dim) of unit length, of their texts.
        """
        layout = _layout(items)
        blocks = vectors, layout.matrix(items)
        means = [block.mean(axis=0) for block in blocks]
        centred = [block - mean for block, mean in zip(blocks, means, strict=True)]
        matrix = np.column_stack((*centred, np.ones(len(items)))).astype(np.float32)
        return cls(matrix, np.concatenate(means).astype(np.float64), layout)

    def as_read(self, coefficients: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Coefficients for traits from which no mean is taken away.

        Args:
            coefficients: (traits + 1, n) for `matrix`.

        Returns:
            (traits, n) float32, and (n,) float32 to be added.
        """
        of_traits = coefficients[:-1]
        return of_traits, (coefficients[-1] - self.mean @ of_traits).astype(np.float32)


class Expectation:
    """Ridge regression on traits of items.

    What it says of an item that it was fitted to is what it would say without that item (leave-one-out, in closed
    form), so that it is worth as much for those items as for others.

    Args:
        traits: (items, traits).
        fitted: items whose figures are known.
        l2: regularisation.
    """

    def __init__(self, traits: NDArray[np.float32], fitted: NDArray[np.int64], *, l2: float) -> None:
        read = traits[fitted].astype(np.float64)
        gram = read.T @ read
        gram[np.diag_indices_from(gram)] += l2
        smoother = linalg.solve(gram, read.T, assume_a="pos", check_finite=False)
        self._traits, self._fitted = traits, fitted
        self._smoother = smoother.astype(np.float32)
        self._itself = np.einsum("ij,ji->i", read, smoother).astype(np.float32)

    def coefficients(self, figures: NDArray[np.float32]) -> NDArray[np.float32]:
        """(traits, n) float32, given (fitted, n): what an item that it is not fitted to is told by."""
        return np.asarray(self._smoother @ figures, np.float32)

    def of(self, figures: NDArray[np.float32]) -> NDArray[np.float32]:
        """(items, n) float32, given (fitted, n) of the items that it is fitted to."""
        found = self._traits @ self.coefficients(figures)
        itself = self._itself[:, None]
        found[self._fitted] = (found[self._fitted] - itself * figures) / (1 - itself)
        return np.asarray(found, np.float32)


def _layout(items: Sequence[Item]) -> TraitLayout:
    counts = Counter(name for item in items for name in names_of(item))
    frequent = [name for name, count in counts.most_common(_MAX_NAMES) if _LEAST_ITEMS <= count < len(items)]
    weights = np.array([np.sqrt(np.log(len(items) / counts[name])) for name in frequent], np.float64)
    fields = sorted(
        {field for item in items for field, value in item.attributes.items() if number_of(value) is not None}
    )
    numbers = tuple(NumberRanks.of(field, numbers_of(items, field)[1]) for field in fields)
    return TraitLayout(tuple(frequent), weights, numbers, steps=_STEPS, width=_WIDTH)
