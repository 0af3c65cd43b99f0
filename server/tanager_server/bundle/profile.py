"""What a user's profile says about items: `profile.npz`."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tanager_server.bundle.sparse import SparseRows, read_arrays
from tanager_server.errors import BundleError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Self

    from numpy.typing import NDArray

ProfileValue = str | float | bool | tuple[str, ...]

MAX_ATTRIBUTES = 100_000
_Bound = float | None


class _Names(BaseModel):
    """The JSON in the archive. An attribute is called field=value; see `ProfileWeights`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    attributes: tuple[str, ...] = Field(max_length=MAX_ATTRIBUTES)
    ranges: dict[str, tuple[_Bound, _Bound]]

    @model_validator(mode="after")
    def _sound(self) -> Self:
        keys = [_key(*_split(name)) for name in self.attributes]
        if len(set(keys)) != len(keys):
            raise ValueError("two attributes are the same but for upper and lower case")
        if unknown := self.ranges.keys() - set(self.attributes):
            raise ValueError(f"ranges: {min(unknown)!r} is no attribute")
        spans: dict[str, list[tuple[float, float]]] = {}
        for name, (low, high) in self.ranges.items():
            span = (-math.inf if low is None else low, math.inf if high is None else high)
            if span[0] >= span[1]:
                raise ValueError(f"ranges: {name!r} is empty")
            spans.setdefault(_key(*_split(name))[0], []).append(span)
        for field, ordered in ((field, sorted(found)) for field, found in spans.items()):
            if any(one[1] > next_one[0] for one, next_one in itertools.pairwise(ordered)):
                raise ValueError(f"ranges: two of {field!r} overlap")
        return self


class KnownProfile(NamedTuple):
    """A profile as far as a bundle knows it.

    Attributes:
        rows: rows of A, without repetition, in the order of the profile.
        rest: field and text of what the bundle does not know, where it is text.
        unknown: number of values that are neither.
    """

    rows: tuple[int, ...] = ()
    rest: tuple[tuple[str, str], ...] = ()
    unknown: int = 0


@dataclass(frozen=True)
class ProfileWeights:
    """A of the blend: A[attribute, i] is how much an attribute of a user speaks for item i.

    An attribute is called field=value, for example "gender=female"; upper and lower case are one. A number of a profile
    has the attribute of its field in whose range it lies, for example "age=25-34" with the range (25, 35).

    Attributes:
        attributes: their names, row by row.
        ranges: name of an attribute to the least number in its range and the least above it; None is without end.
        indptr: (attributes + 1,) int64; row a lies at indptr[a] : indptr[a + 1].
        indices: (entries,) int32, items.
        weights: (entries,) float32.
    """

    attributes: tuple[str, ...]
    ranges: Mapping[str, tuple[float | None, float | None]]
    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    weights: NDArray[np.float32]

    @classmethod
    def none(cls) -> ProfileWeights:
        """No attribute is known."""
        return cls((), {}, np.zeros(1, np.int64), np.empty(0, np.int32), np.empty(0, np.float32))

    def know(self, profile: Mapping[str, ProfileValue]) -> KnownProfile:
        """Finds the attributes of a profile; every text of a list is one."""
        rows: dict[int, None] = {}
        rest, unknown = [], 0
        for field, value in profile.items():
            for each in value if isinstance(value, tuple) else (value,):
                row = self._row(field, each)
                if row is not None:
                    rows[row] = None
                elif isinstance(each, str):
                    rest.append((field, each))
                else:
                    unknown += 1
        return KnownProfile(tuple(rows), tuple(rest), unknown)

    def _row(self, field: str, value: str | float | bool) -> int | None:
        if isinstance(value, str):
            return self._rows.get(_key(field, value))
        if isinstance(value, bool):
            return self._rows.get(_key(field, str(value)))
        for low, high, row in self._spans.get(field.strip().casefold(), ()):
            if low <= value < high:
                return row
        return self._rows.get(_key(field, f"{value:g}"))

    @cached_property
    def _rows(self) -> dict[tuple[str, str], int]:
        return {_key(*_split(name)): row for row, name in enumerate(self.attributes)}

    @cached_property
    def _spans(self) -> dict[str, list[tuple[float, float, int]]]:
        spans: dict[str, list[tuple[float, float, int]]] = {}
        for row, name in enumerate(self.attributes):
            if name in self.ranges:
                low, high = self.ranges[name]
                span = (-math.inf if low is None else low, math.inf if high is None else high, row)
                spans.setdefault(_key(*_split(name))[0], []).append(span)
        return spans

    def write(self, path: Path) -> None:
        """Writes an uncompressed `.npz`: the matrix, and as bytes the JSON of the names."""
        names = _Names(attributes=self.attributes, ranges=dict(self.ranges))
        content = np.frombuffer(names.model_dump_json().encode(), dtype=np.uint8)
        np.savez(path, names=content, indptr=self.indptr, indices=self.indices, weights=self.weights)

    @classmethod
    def read(cls, path: Path, *, items: int) -> ProfileWeights:
        """Reads the weights and checks that no index reaches beyond attributes and catalogue.

        Raises:
            BundleError: the file is no such archive, or does not fit a catalogue of `items` items.
        """
        content, *arrays = read_arrays(path, ("names", *SparseRows._fields), what="profile")
        if content.ndim != 1 or content.dtype != np.uint8:
            raise BundleError(f"{path}: not a profile file: the names are no bytes")
        try:
            names = _Names.model_validate_json(content.tobytes())
        except ValidationError as error:
            raise BundleError(f"{path}: names: {error.errors()[0]['msg']}") from error
        matrix: list[Any] = list(arrays)
        rows = SparseRows(*matrix)
        if not rows.fits(rows=len(names.attributes), columns=items):
            raise BundleError(f"{path}: does not fit a catalogue of {items} items; export the bundle again")
        return cls(names.attributes, names.ranges, *rows)


def _split(name: str) -> tuple[str, str]:
    field, equals, value = name.partition("=")
    if not equals or not field.strip() or not value.strip():
        raise ValueError(f"{name!r}: an attribute is called field=value")
    return field, value


def _key(field: str, value: str) -> tuple[str, str]:
    return field.strip().casefold(), value.strip().casefold()
