"""The catalogue of a bundle: `items.jsonl`."""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tanager_server.errors import BundleError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

AttributeValue = str | int | float | bool | list[str]

_NO_ATTRIBUTES: Mapping[str, AttributeValue] = MappingProxyType({})


class Item(BaseModel):
    """One line of `items.jsonl`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(min_length=1)
    title: str
    text: str = Field(description="what the encoder read")
    domain: str
    categories: tuple[str, ...]
    attributes: dict[str, AttributeValue]
    popularity: float = Field(ge=0, allow_inf_nan=False, description="number of users who took it up")


class Catalogue:
    """What the server keeps of the items, by position: row i of the vectors is item i.

    Attributes:
        ids: item ids.
        titles: display titles, empty where there is none.
        domains: domains, empty where there is none.
        categories: names of all categories.
        category_rows: (items + 1,) int64 and (entries,) int32: item i has the categories of the numbers that lie in the
            second array at first[i] : first[i + 1].
        popularity: (items,) float32: number of users who took it up; a fact to show, no part of the score.
        attributes: by item, what else is known of it; not to be changed.
    """

    def __init__(self, items: Iterable[Item]) -> None:
        ids, titles, domains, popularity, attributes = [], [], [], [], []
        interned: dict[str, str] = {}
        numbers: dict[str, int] = {}
        starts, entries = [0], []
        for item in items:
            entries += sorted({numbers.setdefault(category, len(numbers)) for category in item.categories})
            starts.append(len(entries))
            ids.append(item.id)
            titles.append(item.title)
            domains.append(interned.setdefault(item.domain, item.domain))
            popularity.append(item.popularity)
            attributes.append(_interned(item.attributes, interned) if item.attributes else _NO_ATTRIBUTES)
        self.attributes: tuple[Mapping[str, AttributeValue], ...] = tuple(attributes)
        self.ids = tuple(ids)
        self.titles = tuple(titles)
        self.domains = tuple(domains)
        self.categories = tuple(numbers)
        self.category_rows = np.asarray(starts, dtype=np.int64), np.asarray(entries, dtype=np.int32)
        self.popularity: NDArray[np.float32] = np.asarray(popularity, dtype=np.float32)
        self._positions = {item_id: position for position, item_id in enumerate(ids)}

    def __len__(self) -> int:
        return len(self.ids)

    def position(self, item_id: str) -> int | None:
        """Row of the item, or None if the catalogue does not have it."""
        return self._positions.get(item_id)

    def positions(self, item_ids: Iterable[str]) -> list[int | None]:
        """Row of each of the items, None for those that the catalogue does not have."""
        return list(map(self._positions.get, item_ids))

    @cached_property
    def domain_counts(self) -> dict[str, int]:
        """Number of items in each domain."""
        return dict(Counter(self.domains))

    @classmethod
    def read(cls, path: Path) -> Catalogue:
        """Reads `items.jsonl`.

        Raises:
            BundleError: a line is no item, or two items share an id.
        """

        def items() -> Iterable[Item]:
            with path.open("rb") as lines:
                for number, line in enumerate(lines, start=1):
                    try:
                        yield Item.model_validate_json(line)
                    except ValidationError as error:
                        raise BundleError(f"{path}, line {number}: not an item: {error}") from error

        catalogue = cls(items())
        if len(catalogue._positions) != len(catalogue.ids):
            raise BundleError(f"{path}: two items share an id; export the bundle again from a checked dataset")
        return catalogue


def _interned(attributes: Mapping[str, AttributeValue], interned: dict[str, str]) -> dict[str, AttributeValue]:
    """The attributes with names and texts that items share kept once."""

    def once(text: str) -> str:
        return interned.setdefault(text, text)

    return {
        once(name): once(value)
        if isinstance(value, str)
        else list(map(once, value))
        if isinstance(value, list)
        else value
        for name, value in attributes.items()
    }
