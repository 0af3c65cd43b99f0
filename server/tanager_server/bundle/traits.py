"""What is known of an item beside its text and its behaviour, as numbers: names it bears, and numbers by their rank.

Training lays the columns out and fits to them; the bundle keeps the layout, so that an item which came later is read
in the same way.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray


class Described(Protocol):
    """What traits are read of."""

    @property
    def domain(self) -> str:
        """Empty where there is none."""
        ...

    @property
    def categories(self) -> Sequence[str]:
        """Their names."""
        ...

    @property
    def attributes(self) -> Mapping[str, str | float | bool | Sequence[str]]:
        """Free facts, by field."""
        ...


class Description(NamedTuple):
    """The plainest `Described`."""

    domain: str = ""
    categories: Sequence[str] = ()
    attributes: Mapping[str, str | float | bool | Sequence[str]] = MappingProxyType({})


class NumberRanks(NamedTuple):
    """The values that a numeric attribute has in the catalogue.

    Attributes:
        field: name of the attribute.
        values: (values,) float64, ascending, each once.
        ends: (values,) int64: how many items have this value or a smaller one.
    """

    field: str
    values: NDArray[np.float64]
    ends: NDArray[np.int64]

    @classmethod
    def of(cls, field: str, numbers: NDArray[np.float64]) -> NumberRanks:
        """The ranks of some numbers."""
        values, counts = np.unique(numbers, return_counts=True)
        return cls(field, values, np.cumsum(counts, dtype=np.int64))

    def share(self, numbers: NDArray[np.float64]) -> NDArray[np.float64]:
        """The rank of each number as a share of all, from 0 to 1; equal ones lie in the middle of their ranks."""
        ends = np.concatenate(([0], self.ends))
        below, up_to = (ends[np.searchsorted(self.values, numbers, side)] for side in ("left", "right"))
        return np.asarray((below + up_to) / 2 / ends[-1], np.float64)


@dataclass(frozen=True)
class TraitLayout:
    """The columns of traits: one for each name, then some steps along the ranks of each number.

    A name is field=value, as "category=horror", "domain=film" or "director=Jane Campion". Names and fields of numbers
    that the layout does not have say nothing.

    Attributes:
        names: of the first columns.
        weights: (names,) float64: what a name counts for; a rare one says more than a frequent one.
        numbers: what the other columns tell of.
        steps: columns of a number.
        width: of the bell around a step, as a share of all ranks.
    """

    names: tuple[str, ...]
    weights: NDArray[np.float64]
    numbers: tuple[NumberRanks, ...]
    steps: int
    width: float

    @classmethod
    def none(cls) -> TraitLayout:
        """No columns."""
        return cls((), np.empty(0), (), steps=0, width=1.0)

    def __len__(self) -> int:
        """Number of columns."""
        return len(self.names) + self.steps * len(self.numbers)

    def matrix(self, items: Sequence[Described]) -> NDArray[np.float64]:
        """(items, columns) float64: names are of length 1 together, and so is each number; 0 where there is none."""
        whole = np.zeros((len(items), len(self)))
        names = whole[:, : len(self.names)]
        for row, item in enumerate(items):
            for name in names_of(item):
                column = self._column.get(name)
                if column is not None:
                    names[row, column] = self.weights[column]
        _to_unit(names)
        middle = np.linspace(0, 1, self.steps)
        for at, number in enumerate(self.numbers):
            rows, values = numbers_of(items, number.field)
            first = len(self.names) + at * self.steps
            block = whole[:, first : first + self.steps]
            block[rows] = np.exp(-0.5 * ((number.share(values)[:, None] - middle) / self.width) ** 2)
            _to_unit(block)
        return whole

    @cached_property
    def _column(self) -> dict[str, int]:
        return {name: column for column, name in enumerate(self.names)}


def names_of(item: Described) -> dict[str, None]:
    """The names that an item bears, each once."""
    names = [f"category={category}" for category in item.categories]
    if item.domain:
        names.append(f"domain={item.domain}")
    for field, value in item.attributes.items():
        if isinstance(value, str | bool):
            names.append(f"{field}={value}")
        elif not isinstance(value, int | float):
            names += [f"{field}={part}" for part in value]
    return dict.fromkeys(names)


def number_of(value: object) -> float | None:
    """The number that the value of an attribute is, if it is one and finite."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:  # an integer of hundreds of digits
        return None
    return number if math.isfinite(number) else None


def numbers_of(items: Sequence[Described], field: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """(n,) which items have a number in this field, and (n,) the numbers."""
    found = [
        (row, number) for row, item in enumerate(items) if (number := number_of(item.attributes.get(field))) is not None
    ]
    rows, numbers = np.array(found, np.float64).reshape(-1, 2).T
    return rows.astype(np.int64), numbers


def _to_unit(rows: NDArray[np.float64]) -> None:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    rows /= np.where(lengths > 0, lengths, 1)
