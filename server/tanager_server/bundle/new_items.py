"""What an item that the bundle does not have is expected to be: `new_items.npz`.

Training gives an item that nobody took up columns of B and T and priors by ridge regression on its traits (text vector,
names and numbers), and a vector of the sequence head by its text alone. This file holds what that regression found, so
that an item which comes later gets what training would have given it. A, what attributes of users say, knows nothing of
such an item, and training lets it say nothing.

A bundle whose scores were not learned expects nothing: no entry of B or T, priors of 0; the text carries the item.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tanager_server.bundle.expected import Column, ExpectedColumns, ExpectedPriors, TextProjection, are, bounded
from tanager_server.bundle.sparse import SparseRows, read_arrays
from tanager_server.bundle.traits import Description, NumberRanks, TraitLayout
from tanager_server.errors import BundleError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from tanager_server.bundle.traits import Described

MAX_ENTRIES = 2_000
"""Entries kept of a column of B or T, if not told otherwise. They take 8 bytes each."""
MAX_NAMES = 100_000

_CHUNK = 64  # items at a time: what is held of them is as long as the catalogue
# Products of few rows are made in another way than those of many and differ in the last bit; with these many they do
# not, so that an item alone gets what it gets among others, whenever that is.
_LEAST = 8


class _Names(BaseModel):
    """The JSON in the archive; see `TraitLayout`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    names: tuple[str, ...] = Field(max_length=MAX_NAMES)
    numbers: tuple[str, ...] = Field(max_length=MAX_NAMES)
    steps: int = Field(ge=0, le=1_000)
    width: float = Field(gt=0)
    sequence: bool = Field(description="whether there is a sequence head")

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        for kind in ("names", "numbers"):
            if len(set(getattr(self, kind))) != len(getattr(self, kind)):
                raise ValueError(f"{kind}: one stands there twice")
        return self


class ItemFigures(NamedTuple):
    """What is expected of an item.

    Attributes:
        neighbours: its column of B: how much having taken up each item of the bundle speaks for it.
        transitions: its column of T.
        priors: (2,) float32: what is added to its score for anybody, and what for a user who is known.
        sequence: (dim,) float32, unit length: its vector of the sequence head; None where the bundle has none.
    """

    neighbours: Column
    transitions: Column
    priors: NDArray[np.float32]
    sequence: NDArray[np.float32] | None


class FiguresOfMany(NamedTuple):
    """What is expected of some items.

    Attributes:
        neighbours: their columns of B, each as a row.
        transitions: their columns of T, each as a row.
        priors: (items, 2) float32.
        sequence: (items, dim) float32; None where the bundle has no sequence head.
    """

    neighbours: SparseRows
    transitions: SparseRows
    priors: NDArray[np.float32]
    sequence: NDArray[np.float32] | None

    def of(self, place: int) -> ItemFigures:
        """Those of one of the items."""
        neighbours, transitions = (
            Column(rows.indices[start:end], rows.weights[start:end])
            for rows in (self.neighbours, self.transitions)
            for start, end in [rows.indptr[place : place + 2]]
        )
        return ItemFigures(
            neighbours, transitions, self.priors[place], None if self.sequence is None else self.sequence[place]
        )


@dataclass(frozen=True, slots=True, eq=False)
class NewItems:
    """Figures of items that the bundle does not have. Nothing here changes: threads may share it.

    Attributes:
        dim: of the text vectors.
        layout: of the traits behind the text vector.
        neighbours: towards columns of B.
        transitions: towards columns of T.
        priors: towards priors.
        sequence: towards vectors of the sequence head; None where there is none.
    """

    dim: int
    layout: TraitLayout
    neighbours: ExpectedColumns
    transitions: ExpectedColumns
    priors: ExpectedPriors
    sequence: TextProjection | None = None

    @classmethod
    def none(cls, dim: int) -> NewItems:
        """Nothing was learned, so nothing is expected: the text carries a new item."""
        columns = ExpectedColumns.none(dim=dim)
        return cls(dim, TraitLayout.none(), columns, columns, ExpectedPriors.none(dim))

    def figures(
        self,
        vector: NDArray[np.float32],
        *,
        domain: str = "",
        categories: Sequence[str] = (),
        attributes: Mapping[str, str | float | bool | Sequence[str]] | None = None,
        most: int = MAX_ENTRIES,
    ) -> ItemFigures:
        """Figures of one item.

        Args:
            vector: (dim,) float32, unit length, of its text.
            domain: of the item.
            categories: of the item.
            attributes: of the item.
            most: see `figures_of`.
        """
        return self.figures_of(vector[None], [Description(domain, categories, attributes or {})], most=most)[0]

    def figures_of(
        self, vectors: NDArray[np.float32], items: Sequence[Described], *, most: int = MAX_ENTRIES
    ) -> list[ItemFigures]:
        """Figures of several items, at less cost for each.

        Args:
            vectors: (items, dim) float32, unit length, of their texts.
            items: what is known of them beside.
            most: entries that are kept of a column of B or T, the largest in absolute value; training keeps so many of
                a row and not of a column, so in a large catalogue with few items that nobody took up fewer are kept
                here.
        """
        parts = self.parts(vectors, items, most=most)
        return [part.of(place) for part in parts for place in range(len(part.priors))]

    def parts(
        self, vectors: NDArray[np.float32], items: Sequence[Described], *, most: int = MAX_ENTRIES
    ) -> Iterator[FiguresOfMany]:
        """The same for many items, some of them at a time, in their order; see `figures_of`."""
        for start in range(0, len(items), _CHUNK):
            part = slice(start, start + _CHUNK)
            yield self._part(np.asarray(vectors[part], np.float32), items[part], most)

    def _part(self, vectors: NDArray[np.float32], items: Sequence[Described], most: int) -> FiguresOfMany:
        others = self.layout.matrix(items).astype(np.float32)
        count = len(items)
        if count < _LEAST:
            vectors, others = (
                np.concatenate((rows, np.zeros((_LEAST - count, rows.shape[1]), np.float32)))
                for rows in (vectors, others)
            )
        # Few names of many: the others' rows of the weights are not read.
        used = np.flatnonzero(others.any(axis=0))
        read = vectors, others[:, used], used
        neighbours, transitions = (
            columns.of(*read, count=count, most=most) for columns in (self.neighbours, self.transitions)
        )
        priors = self.priors.of(np.concatenate((vectors, others), axis=1))[:count]
        sequence = None if self.sequence is None else self.sequence.of(vectors)[:count]
        return FiguresOfMany(neighbours, transitions, priors, sequence)

    def write(self, path: Path) -> None:
        """Writes an uncompressed `.npz`: arrays, and as bytes the JSON of the names."""
        layout = self.layout
        names = _Names(
            names=layout.names,
            numbers=tuple(number.field for number in layout.numbers),
            steps=layout.steps,
            width=layout.width,
            sequence=self.sequence is not None,
        )
        sizes = [len(number.values) for number in layout.numbers]
        arrays: dict[str, Any] = {
            "names": np.frombuffer(names.model_dump_json().encode(), np.uint8),
            "name_weights": layout.weights,
            "number_starts": np.cumsum([0, *sizes], dtype=np.int64),
            "number_values": np.concatenate([np.empty(0), *(number.values for number in layout.numbers)]),
            "number_ends": np.concatenate([np.empty(0, np.int64), *(number.ends for number in layout.numbers)]),
        }
        for part in ("neighbours", "transitions", "priors", "sequence"):
            of_part = getattr(self, part)
            if of_part is not None:
                arrays |= {f"{part}_{name}": array for name, array in of_part.arrays().items()}
        np.savez(path, **arrays)

    @classmethod
    def read(cls, path: Path, *, items: int, dim: int, sequence_dim: int | None = None) -> NewItems:
        """Reads what was written, and checks that it fits the rest of a bundle.

        Args:
            path: the file.
            items: of the catalogue.
            dim: of the text vectors.
            sequence_dim: of the sequence head's vectors; None where there is no head.

        Raises:
            BundleError: the file is no such archive, or is of another bundle.
        """
        layout, with_sequence = _read_layout(path)
        if with_sequence != (sequence_dim is not None):
            which = ("the bundle", "it") if with_sequence else ("it", "the bundle")
            raise BundleError(f"{path}: {which[0]} has no sequence head, and {which[1]} has; export the bundle again")
        others = len(layout)
        neighbours, transitions = (
            ExpectedColumns.from_arrays(_read(path, part, ExpectedColumns.STORED), dim=dim, traits=others, items=items)
            for part in ("neighbours", "transitions")
        )
        priors = ExpectedPriors.from_arrays(_read(path, "priors", ExpectedPriors.STORED), traits=dim + others)
        sequence = None
        if sequence_dim is not None:
            stored = _read(path, "sequence", TextProjection.STORED)
            sequence = TextProjection.from_arrays(stored, text_dim=dim, dim=sequence_dim)
        if neighbours is None or transitions is None or priors is None or (sequence is None) != (sequence_dim is None):
            raise BundleError(
                f"{path}: does not fit a catalogue of {items} items with vectors of {dim}; export the bundle again"
            )
        return cls(dim, layout, neighbours, transitions, priors, sequence)


def _read(path: Path, part: str, names: Sequence[str]) -> list[NDArray[np.generic]]:
    return read_arrays(path, [f"{part}_{name}" for name in names], what="new items")


def _read_layout(path: Path) -> tuple[TraitLayout, bool]:
    """The layout, and whether there is a sequence head."""
    stored = ("names", "name_weights", "number_starts", "number_values", "number_ends")
    arrays: list[NDArray[Any]] = list(read_arrays(path, stored, what="new items"))
    content, weights, starts, values, ends = arrays
    if content.ndim != 1 or content.dtype != np.uint8:
        raise BundleError(f"{path}: not a new items file: the names are no bytes")
    try:
        names = _Names.model_validate_json(content.tobytes())
    except ValidationError as error:
        raise BundleError(f"{path}: names: {error.errors()[0]['msg']}") from error
    fields = len(names.numbers)
    expected = (
        (weights, np.float64, (len(names.names),)),
        (starts, np.int64, (fields + 1,)),
        (values, np.float64, (len(values) if values.ndim else 0,)),
        (ends, np.int64, values.shape),
    )
    # Each number has a value at least; within a number values and ends ascend.
    sound = (
        are(expected)
        and bounded(weights)
        and bool(np.isfinite(values).all())
        and (starts[0], starts[-1]) == (0, len(values))
        and bool((np.diff(starts) > 0).all())
    )
    if not sound:
        raise BundleError(f"{path}: its traits do not fit their names; export the bundle again")
    numbers = []
    for field, (start, stop) in zip(names.numbers, itertools.pairwise(starts.tolist()), strict=True):
        number = NumberRanks(field, values[start:stop], ends[start:stop])
        if not (np.diff(number.values) > 0).all() or not (np.diff(number.ends, prepend=0) > 0).all():
            raise BundleError(f"{path}: the values of {field!r} do not ascend; export the bundle again")
        numbers.append(number)
    layout = TraitLayout(names.names, weights, tuple(numbers), steps=names.steps, width=names.width)
    return layout, names.sequence
