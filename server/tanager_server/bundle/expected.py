"""How what is known of a new item becomes its figures: what training found, applied.

Each is an affine map of the item's traits: text vector, then the columns of a `TraitLayout`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from tanager_server.bundle.sparse import MAX_ABS_WEIGHT, SparseRows

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import DTypeLike, NDArray

_LARGEST_HALF = 2.0**15  # what float16 holds
_LARGEST_SCALE = 16.0
_LEAST_LARGEST = 2.0**-60  # for the scale to be a number of float32
_MAX_LOG = 10.0  # of a share of the most popular item, which is 0; e^10 is out of the question, and still a number


class Column(NamedTuple):
    """A sparse column of B or T.

    Attributes:
        indices: (n,) int32, ascending: items that speak for this one, or against it.
        weights: (n,) float32: how much.
    """

    indices: NDArray[np.int32]
    weights: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class ExpectedColumns:
    """How traits become columns of B or T: an affine map, held in float16 but for the part that every item needs.

    Attributes:
        items: (n,) int32, ascending: items of the bundle that speak for others.
        of_text: (dim, n) float32: weights of the text vector.
        of_others: (traits, n) float16: weights of the other traits, to be multiplied with `scale`.
        scale: a power of two.
        offset: (n,) float32, to be added.
        least: (n,) float32: the smallest absolute weight that counts, as an item speaks for so many others only.
    """

    STORED: ClassVar = ("items", "text", "others", "scale", "offset", "least")

    items: NDArray[np.int32]
    of_text: NDArray[np.float32]
    of_others: NDArray[np.float16]
    scale: float
    offset: NDArray[np.float32]
    least: NDArray[np.float32]

    @classmethod
    def none(cls, *, dim: int, traits: int = 0) -> ExpectedColumns:
        """No item speaks for any other."""
        nothing = np.empty(0, np.float32)
        text, others = np.empty((dim, 0), np.float32), np.empty((traits, 0), np.float16)
        return cls(np.empty(0, np.int32), text, others, 1.0, nothing, nothing)

    @classmethod
    def fit(
        cls,
        items: NDArray[np.int32],
        weights: NDArray[np.float32],
        offset: NDArray[np.float32],
        least: NDArray[np.float32],
        *,
        dim: int,
    ) -> ExpectedColumns:
        """Rounds to float16, whose range a scale makes the most of.

        Args:
            items: see `items`.
            weights: (dim + traits, n) float32.
            offset: see `offset`.
            least: see `least`.
            dim: of the text vectors.
        """
        largest = float(np.abs(weights).max(initial=0.0))
        scale = 2.0 ** math.ceil(math.log2(max(largest, _LEAST_LARGEST) / _LARGEST_HALF))
        rounded = (weights / scale).astype(np.float16)
        text = rounded[:dim].astype(np.float32) * np.float32(scale)
        return cls(items, text, rounded[dim:].copy(), scale, offset, least)

    def of(
        self,
        vectors: NDArray[np.float32],
        others: NDArray[np.float32],
        used: NDArray[np.int64],
        *,
        count: int,
        most: int,
    ) -> SparseRows:
        """The columns of some items, each as a row, of ascending indices.

        Args:
            vectors: (items, dim) float32, of their texts.
            others: (items, used) float32, the other traits of which any of these items has something.
            used: (used,) which these are; the weights of the rest are not read.
            count: of the first items, whose columns are wanted.
            most: entries of a column that are kept, the largest in absolute value.
        """
        found = (vectors @ self.of_text)[:count]
        found += (others @ (self.of_others[used].astype(np.float32) * np.float32(self.scale)))[:count]
        found += self.offset
        starts = np.zeros(count + 1, np.int64)
        if len(self.items) > most:
            places = [self._largest(row, most) for row in found]
            np.cumsum([len(of_row) for of_row in places], out=starts[1:])
            rows = np.repeat(np.arange(count), np.diff(starts))
            columns = np.concatenate([np.empty(0, np.int64), *places])
            return SparseRows(starts, self.items[columns], found[rows, columns])
        kept = np.abs(found)
        kept = (kept >= self.least) & (kept > 0)
        np.cumsum(np.count_nonzero(kept, axis=1), out=starts[1:])
        if starts[-1] == kept.size:
            return SparseRows(starts, np.tile(self.items, count), found.reshape(-1))
        return SparseRows(starts, self.items[np.nonzero(kept)[1]], found[kept])

    def _largest(self, row: NDArray[np.float32], most: int) -> NDArray[np.int64]:
        size = np.abs(row)
        kept = np.flatnonzero((size >= self.least) & (size > 0))
        return kept if len(kept) <= most else np.sort(kept[np.argpartition(-size[kept], most - 1)[:most]])

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """As they are stored, by the names of `STORED`."""
        text = (self.of_text / np.float32(self.scale)).astype(np.float16)
        scale = np.array(self.scale)
        stored = self.items, text, self.of_others, scale, self.offset, self.least
        return dict(zip(self.STORED, stored, strict=True))

    @classmethod
    def from_arrays(
        cls, arrays: Sequence[NDArray[Any]], *, dim: int, traits: int, items: int
    ) -> ExpectedColumns | None:
        """From what is stored; None where it is of another kind or reaches beyond a catalogue of so many items."""
        own, text, others, scale, offset, least = arrays
        count = len(own) if own.ndim else 0
        expected = (
            (own, np.int32, (count,)),
            (text, np.float16, (dim, count)),
            (others, np.float16, (traits, count)),
            (scale, np.float64, ()),
            (offset, np.float32, (count,)),
            (least, np.float32, (count,)),
        )
        if not are(expected) or not ((own >= 0) & (own < items)).all() or not (np.diff(own) > 0).all():
            return None
        sound = 0 < scale <= _LARGEST_SCALE and np.isfinite(text).all() and np.isfinite(others).all()
        if not sound or not bounded(offset, least):
            return None
        return cls(own, text.astype(np.float32) * np.float32(scale), others, float(scale), offset, least)


@dataclass(frozen=True, slots=True, eq=False)
class ExpectedPriors:
    """How traits become priors.

    What is expected are the logarithms of recent popularity and of the rate of uptakes while on offer, as shares of the
    highest in the catalogue.

    Attributes:
        weights: (traits, 2) float32.
        offset: (2,) float32: what is added to the product of traits and weights.
        least_share: what was added to the shares before their logarithm was taken.
        of_figures: (2, 4) float32: what log popularity, popularity, log rate and being new count for, in the prior for
            anybody and in that for a user who is known.
    """

    STORED: ClassVar = ("weights", "offset", "least_share", "of_figures")

    weights: NDArray[np.float32]
    offset: NDArray[np.float32]
    least_share: float
    of_figures: NDArray[np.float32]

    @classmethod
    def none(cls, traits: int) -> ExpectedPriors:
        """Priors of 0."""
        return cls(np.zeros((traits, 2), np.float32), np.zeros(2, np.float32), 1.0, np.zeros((2, 4), np.float32))

    def of(self, traits: NDArray[np.float32]) -> NDArray[np.float32]:
        """(items, 2) float32, given (items, traits)."""
        logs = np.minimum(traits @ self.weights + self.offset, _MAX_LOG)
        share = np.maximum(np.exp(logs) - self.least_share, 0)
        log_popularity, log_rate = np.log(share + self.least_share).T
        figures = np.stack((log_popularity, share[:, 0], log_rate, np.ones(len(traits))))
        return np.asarray((self.of_figures @ figures).T, np.float32)

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """As they are stored, by the names of `STORED`."""
        stored = self.weights, self.offset, np.array(self.least_share), self.of_figures
        return dict(zip(self.STORED, stored, strict=True))

    @classmethod
    def from_arrays(cls, arrays: Sequence[NDArray[Any]], *, traits: int) -> ExpectedPriors | None:
        """From what is stored; None where it is of another kind."""
        weights, offset, least_share, of_figures = arrays
        expected = (
            (weights, np.float32, (traits, 2)),
            (offset, np.float32, (2,)),
            (least_share, np.float64, ()),
            (of_figures, np.float32, (2, 4)),
        )
        if not are(expected) or not bounded(weights, offset, of_figures) or not 0 < least_share <= 1:
            return None
        return cls(weights, offset, float(least_share), of_figures)


@dataclass(frozen=True, slots=True, eq=False)
class TextProjection:
    """How a text vector becomes a vector of the sequence head.

    Attributes:
        weights: (text dim, dim - 2) float32.
        offset: (dim - 2,) float32: what is added to the product of vector and weights.
        bias: the coordinate behind these, alike for all items that nobody took up.
        longest: length that the last coordinate fills them up to before all are divided by it.
    """

    STORED: ClassVar = ("weights", "offset", "bias", "longest")

    weights: NDArray[np.float32]
    offset: NDArray[np.float32]
    bias: float
    longest: float

    def of(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """(items, dim) float32 of unit length, given (items, text dim).

        A text that would make a longer vector than any of the catalogue's makes one of that length, and so of its
        direction.
        """
        own = vectors @ self.weights + self.offset
        whole = np.column_stack((own, np.full(len(own), self.bias))).astype(np.float64) / self.longest
        whole /= np.maximum(np.linalg.norm(whole, axis=1, keepdims=True), 1.0)
        rest = np.sqrt(np.maximum(1.0 - (whole**2).sum(axis=1), 0.0))
        return np.column_stack((whole, rest)).astype(np.float32)

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """As they are stored, by the names of `STORED`."""
        stored = self.weights, self.offset, np.array(self.bias), np.array(self.longest)
        return dict(zip(self.STORED, stored, strict=True))

    @classmethod
    def from_arrays(cls, arrays: Sequence[NDArray[Any]], *, text_dim: int, dim: int) -> TextProjection | None:
        """From what is stored; None where it is of another kind."""
        weights, offset, bias, longest = arrays
        expected = (
            (weights, np.float32, (text_dim, dim - 2)),
            (offset, np.float32, (dim - 2,)),
            (bias, np.float64, ()),
            (longest, np.float64, ()),
        )
        if not are(expected) or not bounded(weights, offset, bias) or not 0 < longest <= MAX_ABS_WEIGHT:
            return None
        return cls(weights, offset, float(bias), float(longest))


def are(expected: Iterable[tuple[NDArray[Any], DTypeLike, tuple[int, ...]]]) -> bool:
    """Whether arrays are of these kinds and shapes."""
    return all(array.dtype == kind and array.shape == shape for array, kind, shape in expected)


def bounded(*arrays: NDArray[Any]) -> bool:
    """Whether there are only numbers in them, and none beyond `MAX_ABS_WEIGHT`."""
    return all(bool((np.abs(array) <= MAX_ABS_WEIGHT).all()) for array in arrays)
