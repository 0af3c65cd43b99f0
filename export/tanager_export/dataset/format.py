"""What a dataset is: items, interactions between users and items, and what is known of the users."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

AttributeValue: TypeAlias = str | int | float | bool | tuple[str, ...]

Times: TypeAlias = Literal["seconds", "order", "none"]
"""What timestamps say: Unix seconds; only the order in which each user did things; or nothing at all."""


@dataclass(frozen=True, slots=True)
class Item:
    """One recommendable thing.

    Attributes:
        id: Unique in the dataset, not blank.
        title: What a person sees; may be empty.
        text: What the encoder reads; may be blank where there is a title.
        domain: For instance "film"; empty when the dataset has one domain only.
        categories: Genres, themes and the like, most telling first.
        attributes: Free facts, to filter on and to show.
    """

    id: str
    title: str = ""
    text: str = ""
    domain: str = ""
    categories: tuple[str, ...] = ()
    attributes: Mapping[str, AttributeValue] = field(default_factory=dict)

    @property
    def encoder_text(self) -> str:
        """The text to encode: `text`, or the title where that is blank."""
        return self.text if self.text.strip() else self.title


@dataclass(frozen=True, slots=True)
class User:
    """What is known of a user beside what they did."""

    id: str
    attributes: Mapping[str, AttributeValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Interactions:
    """Who did something with which item, and when: one column an attribute, in the order of the file.

    Attributes:
        user: `(n,) int32`, index into `user_ids`.
        item: `(n,) int32`, index into the dataset's `items`.
        timestamp: `(n,) int64`, Unix seconds; what else it may be, the dataset's `times` says.
        weight: `(n,) float32`, finite; 1 where the file has no weights.
        user_ids: Ids of the users seen, in order of first appearance.
    """

    user: NDArray[np.int32]
    item: NDArray[np.int32]
    timestamp: NDArray[np.int64]
    weight: NDArray[np.float32]
    user_ids: tuple[str, ...]

    def __post_init__(self) -> None:
        if not len(self.user) == len(self.item) == len(self.timestamp) == len(self.weight):
            raise ValueError("the columns of interactions differ in length")

    def __len__(self) -> int:
        return len(self.user)

    @classmethod
    def empty(cls) -> Interactions:
        """No interactions: the catalogue is all there is."""
        return cls(
            user=np.empty(0, np.int32),
            item=np.empty(0, np.int32),
            timestamp=np.empty(0, np.int64),
            weight=np.empty(0, np.float32),
            user_ids=(),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """A catalogue and the behaviour around it.

    Attributes:
        name: Short name.
        description: What is in it, for people.
        source: Where it comes from, for instance an address.
        licence: Under which terms it may be used.
        simulated_behaviour: True when the interactions come from a model and not from people.
        times: What the timestamps of the interactions say. With "order" those of one user can be compared, but not
            those of two; with "none" they mean nothing, and neither does the order of the rows.
        texts_until: Unix seconds of the latest behaviour that went into texts, such as tags; None where none did, or
            nobody knows. `evaluate` refuses to ask what came before that.
        items: The catalogue, at least one.
        interactions: May be empty.
        users: Users of which something is known; need not have interactions.
    """

    name: str
    items: tuple[Item, ...]
    interactions: Interactions = field(default_factory=Interactions.empty)
    users: tuple[User, ...] = ()
    description: str = ""
    source: str = ""
    licence: str = ""
    simulated_behaviour: bool = False
    times: Times = "seconds"
    texts_until: int | None = None
