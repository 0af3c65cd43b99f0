"""What is known of items beside behaviour, and what it lets one expect of an item that nobody took up yet."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
from scipy import linalg

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tanager_export.dataset import Item

_LEAST_ITEMS = 3  # with a name, for it to be a trait
_MAX_NAMES = 1_000  # the most frequent
_STEPS = 12  # along the ranks of a number
_WIDTH = 0.08  # of a step's bell, as a share of all items


def item_traits(items: Sequence[Item], vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """(items, traits) float32: the text vector, names (categories and the like), numbers by their rank, and 1.

    A vector of a text says little of a number in it, and a year of release says much of who takes a film up. Vector,
    names and each number are of length 1 and then less their mean, so that they weigh about as much as each other.

    Args:
        items: of the catalogue.
        vectors: (items, dim) of unit length, of their texts.
    """
    blocks: list[NDArray[np.floating]] = [vectors, _names(items), *_numbers(items)]
    centred = [block - block.mean(axis=0) for block in blocks]
    return np.column_stack((*centred, np.ones(len(items)))).astype(np.float32)


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

    def of(self, figures: NDArray[np.float32]) -> NDArray[np.float32]:
        """(items, n) float32, given (fitted, n) of the items that it is fitted to."""
        found = self._traits @ (self._smoother @ figures)
        itself = self._itself[:, None]
        found[self._fitted] = (found[self._fitted] - itself * figures) / (1 - itself)
        return np.asarray(found, np.float32)


def _names(items: Sequence[Item]) -> NDArray[np.float64]:
    """(items, names) rows of length 1 or 0; a rare name says more than a frequent one."""
    rows = [dict.fromkeys(_names_of(item)) for item in items]
    counts = Counter(name for row in rows for name in row)
    frequent = [name for name, count in counts.most_common(_MAX_NAMES) if _LEAST_ITEMS <= count < len(items)]
    place = {name: column for column, name in enumerate(frequent)}
    matrix = np.zeros((len(items), len(frequent)))
    for row, names in enumerate(rows):
        for name in names:
            if name in place:
                matrix[row, place[name]] = np.sqrt(np.log(len(items) / counts[name]))
    return _unit(matrix)


def _names_of(item: Item) -> list[str]:
    names = [f"category={category}" for category in item.categories]
    if item.domain:
        names.append(f"domain={item.domain}")
    for field, value in item.attributes.items():
        if isinstance(value, str | bool):
            names.append(f"{field}={value}")
        elif isinstance(value, tuple):
            names += [f"{field}={part}" for part in value]
    return names


def _numbers(items: Sequence[Item]) -> list[NDArray[np.float64]]:
    """(items, steps) of each numeric attribute: bells along the ranks of its values; zeros where it is not given."""
    found: dict[str, dict[int, float]] = {}
    for row, item in enumerate(items):
        for field, value in item.attributes.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                found.setdefault(field, {})[row] = float(value)
    blocks = []
    for _, values in sorted(found.items()):
        rows, numbers = np.array(list(values)), np.array(list(values.values()))
        ordered = np.sort(numbers)
        rank = (np.searchsorted(ordered, numbers, "left") + np.searchsorted(ordered, numbers, "right")) / 2
        distance = rank[:, None] / len(ordered) - np.linspace(0, 1, _STEPS)
        block = np.zeros((len(items), _STEPS))
        block[rows] = np.exp(-0.5 * (distance / _WIDTH) ** 2)
        blocks.append(_unit(block))
    return blocks


def _unit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(lengths > 0, lengths, 1))
