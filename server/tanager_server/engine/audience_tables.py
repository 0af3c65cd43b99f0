"""What an audience is found by and has to be kept by user: rows of A, and what the sequence head expects next.

Made once for a generation, of all users, which takes a second for a hundred thousand of them; after that they follow
what changes. The text of a large catalogue's items is kept in bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from tanager_server.engine._audience import products
from tanager_server.engine.audience import Columns
from tanager_server.state.ragged import Ragged

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence

    from numpy.typing import NDArray

    from tanager_server.bundle import ProfileWeights, Scoring
    from tanager_server.index import Generation
    from tanager_server.state.users import Snapshot, Users

_EXACT_ITEMS = 8192  # up to so many the text of all items is multiplied exactly, which takes about two milliseconds
_ITEMS_PART = 32768  # items whose text is multiplied at a time
_HEAD_BATCH = 256  # histories that the sequence head reads at a time
_PROFILES_PART = 128  # profiles that are looked up at a time: about a millisecond
# Users whose histories changed and are read anew before anybody is scored. If they are more, those of the best are.
_MOST_REFRESHED = 256


class Head(Protocol):
    """What `SequenceHead` does."""

    def expect(self, histories: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """(histories, dim) float32: the vector of what comes next after each history of positions."""
        ...


class Column(NamedTuple):
    """A column of a sparse matrix.

    Attributes:
        indices: (entries,) int32, rows.
        weights: (entries,) float32.
    """

    indices: NDArray[np.int32]
    weights: NDArray[np.float32]


class AudienceItem(NamedTuple):
    """An item as far as its scores go.

    Attributes:
        number: its number; users with an event of it have seen it.
        vector: (dim,) float32, unit length.
        neighbours: its column of B, by position.
        transitions: its column of T, by position.
        priors: what is added to its score for anybody, and what for a user who is known.
        attributes: its column of A, by row.
        sequence: (dim,) float32, its vector of the sequence head; of dim 0 where there is none.
    """

    number: int
    vector: NDArray[np.float32]
    neighbours: Column
    transitions: Column
    priors: tuple[float, float]
    attributes: Column
    sequence: NDArray[np.float32]


class Items(NamedTuple):
    """The catalogue as it is.

    Attributes:
        positions: (numbers,) int32: position of the item with each number, -1 where the catalogue has none.
        vectors: (rows, dim) float32: a row for each position at least.
    """

    positions: NDArray[np.int32]
    vectors: NDArray[np.float32]

    def of(self, numbers: NDArray[np.int32]) -> NDArray[np.int32]:
        """Positions of items by their numbers, -1 where there is none."""
        found = np.full(len(numbers), -1, np.int32)
        has = numbers < len(self.positions)
        found[has] = self.positions[numbers[has]]
        return found


class TextBytes:
    """Vectors of items in a byte for each dimension, for products that are about right.

    Args:
        vectors: (rows, dim) float32.
    """

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        self._rows, self._scales = np.zeros(vectors.shape, np.int8), np.zeros(len(vectors), np.float32)
        for start in range(0, len(vectors), _ITEMS_PART):
            part = slice(start, start + _ITEMS_PART)
            self._rows[part], self._scales[part] = _to_bytes(vectors[part])

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def nbytes(self) -> int:
        """Memory that is held."""
        return self._rows.nbytes + self._scales.nbytes

    def put(self, positions: NDArray[np.integer[Any]], vectors: NDArray[np.float32]) -> None:
        """Takes over what items have now.

        Args:
            positions: (n,) of items that are new, or whose vectors changed.
            vectors: (rows, dim) float32, of all items.
        """
        if len(vectors) > len(self._rows):
            rows, scales = np.zeros(vectors.shape, np.int8), np.zeros(len(vectors), np.float32)
            rows[: len(self._rows)], scales[: len(self._scales)] = self._rows, self._scales
            self._rows, self._scales = rows, scales
        self._rows[positions], self._scales[positions] = _to_bytes(vectors[positions])

    def products(self, vector: NDArray[np.float32]) -> Generator[None, None, NDArray[np.float32]]:
        """(rows,) float32: products of a vector with all of them; lets others run now and then."""
        rows, scales = self._rows, self._scales
        of_vector, scale = _to_bytes(vector[None])
        found = np.empty(len(rows), np.int32)
        for start in range(0, len(rows), _ITEMS_PART):
            part = slice(start, start + _ITEMS_PART)
            products(rows[part], of_vector[0], found[part])
            yield
        products_of_items: NDArray[np.float32] = found.astype(np.float32) * (scales * scale[0])
        return products_of_items


class AudienceTables:
    """What is known of users by slot in the terms of one generation. May be made in any thread; `read` gives it users.

    Args:
        generation: whose figures count.
        head: reads histories, where the generation has a sequence head.
        items: the catalogue.

    Attributes:
        scoring: the blend.
        attributes: rows of A for each slot.
        expected: (slots or more, dim) float32: what the sequence head expects next, times its weight in the score.
        text: the text of items in bytes, where they are many.
    """

    def __init__(self, generation: Generation, head: Head | None, items: Items) -> None:
        self.scoring: Scoring = generation.scoring
        self._profile: ProfileWeights = generation.profile
        self._head = head if generation.sequence is not None else None
        self._generation = generation
        rows = len(generation.vectors)
        self._together = Columns(generation.neighbours, rows)
        self._follows = Columns(generation.transitions, rows)
        self._by_attribute = Columns(generation.profile, rows)
        self.attributes = Ragged(np.int32)
        self.expected = np.zeros((1024, generation.sequence_vectors.shape[1]), np.float32)
        self._stale = np.zeros(1024, bool)  # whose `expected` is not up to date
        self._version = 0
        self.text: TextBytes | None = TextBytes(items.vectors) if len(items.vectors) > _EXACT_ITEMS else None

    @classmethod
    def build(
        cls, generation: Generation, snapshots: Iterable[Snapshot], *, items: Items, head: Head | None = None
    ) -> AudienceTables:
        """Reads all users. Touches nothing that is shared, so any thread may do it.

        Args:
            generation: whose figures count.
            snapshots: of all users, with their events where there is a head.
            items: the catalogue.
            head: reads histories, where the generation has a sequence head.
        """
        tables = cls(generation, head, items)
        for part in snapshots:
            tables.read(part, items)
        return tables

    def read(self, part: Snapshot, items: Items) -> None:
        """Takes in some users, before anything is asked of the tables; in any thread.

        Args:
            part: with their events where `reads_histories`; parts must be given in their order.
            items: the catalogue.
        """
        if part.first == 0:
            self._version = part.version
        self._extend(part.first + len(part.profiles))
        for place, profile in enumerate(part.profiles):
            if profile:
                self._know(part.first + place, self._profile.know(profile).rows)
        if self._head is not None:
            bounds = zip(part.starts[:-1].tolist(), part.starts[1:].tolist(), strict=True)
            events = [(part.numbers[start:end], part.weights[start:end]) for start, end in bounds]
            self._expect(range(part.first, part.first + len(events)), events, items)

    @property
    def reads_histories(self) -> bool:
        """Whether there is a sequence head, for which `read` has need of events."""
        return self._head is not None

    def item(self, position: int, number: int) -> AudienceItem:
        """An item that the generation has from its bundle."""
        generation = self._generation
        return AudienceItem(
            number,
            generation.vectors[position],
            Column(*self._together.entries(position)),
            Column(*self._follows.entries(position)),
            (float(generation.priors[0, position]), float(generation.priors[1, position])),
            Column(*self._by_attribute.entries(position)),
            generation.sequence_vectors[position],
        )

    @property
    def attribute_count(self) -> int:
        """Rows of A."""
        return len(self._profile.attributes)

    @property
    def nbytes(self) -> int:
        """Memory that is held."""
        text = 0 if self.text is None else self.text.nbytes
        return self.attributes.nbytes + self.expected.nbytes + self._stale.nbytes + text

    def put_items(self, positions: NDArray[np.integer[Any]], items: Items) -> None:
        """Takes in items that are new, or whose vectors changed. Must be called for all of them.

        Args:
            positions: (n,) where they are.
            items: the catalogue with them.
        """
        if self.text is not None:
            self.text.put(positions, items.vectors)
        elif len(items.vectors) > 2 * _EXACT_ITEMS:
            self.text = TextBytes(items.vectors)

    def follow(self, users: Users, items: Items) -> Generator[None, None, None]:
        """Takes in what changed of users since it was last called, and lets others run now and then.

        Of histories only so much is read: see `read_again`. Users may change meanwhile; at the end it knows of that.
        """
        while True:
            began = users.version
            self._extend(users.slots)
            if self._head is not None:
                self._stale[users.changed_since(self._version)] = True
            changed = users.profiles_changed_since(self._version)
            for start in range(0, len(changed), _PROFILES_PART):
                if start:
                    yield
                for slot in changed[start : start + _PROFILES_PART].tolist():
                    profile = users.profile(slot)
                    self._know(slot, self._profile.know(profile).rows if profile else ())
            self._version = began
            if users.version == began:
                break
        if self._head is not None:
            stale = np.flatnonzero(self._stale)
            if len(stale) <= _MOST_REFRESHED:
                self.read_again(users, stale, items)

    def read_again(self, users: Users, slots: NDArray[np.int64], items: Items) -> None:
        """Has the sequence head read histories that changed, of these slots."""
        changed = slots[self._stale[slots]].tolist()
        if changed:
            self._expect(changed, [(users.events.latest(s, 0), users.events.latest(s, 1)) for s in changed], items)
            self._stale[changed] = False

    def _extend(self, slots: int) -> None:
        self.attributes.extend(slots)
        if slots > len(self.expected):
            count = max(slots, 2 * len(self.expected))
            expected, stale = np.zeros((count, self.expected.shape[1]), np.float32), np.zeros(count, bool)
            expected[: len(self.expected)], stale[: len(self._stale)] = self.expected, self._stale
            self.expected, self._stale = expected, stale

    def _know(self, slot: int, rows: Sequence[int]) -> None:
        if rows:
            self.attributes.replace(slot, np.array(rows, np.int32))
        else:
            self.attributes.clear(slot)

    def _expect(
        self, slots: Sequence[int], events: Sequence[tuple[NDArray[np.int32], NDArray[np.float32]]], items: Items
    ) -> None:
        assert self._head is not None
        histories: list[list[int]] = []
        for numbers, weights in events:
            positions = items.of(numbers)
            known = np.flatnonzero(positions >= 0)[-self.scoring.history_limit :]
            histories.append(positions[known[weights[known] > 0]].tolist())
        liked = [place for place, history in enumerate(histories) if history]
        self.expected[list(slots)] = 0.0
        for start in range(0, len(liked), _HEAD_BATCH):
            part = liked[start : start + _HEAD_BATCH]
            found = self._head.expect([histories[place] for place in part])
            self.expected[[slots[place] for place in part]] = np.float32(self.scoring.sequence) * found


def _to_bytes(vectors: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Vectors in steps of a 127th of their largest number, and the steps."""
    steps = np.abs(vectors).max(axis=1) / np.float32(127)
    return np.rint(vectors / np.where(steps > 0, steps, 1)[:, None]).astype(np.int8), steps
