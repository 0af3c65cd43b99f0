"""Whom an item is for, among all users that the server knows.

Scores are those of `Audience`, and nobody is passed over: for each event of each user a compiled loop adds what the
item gets for it, which takes some nanoseconds. All that depends on the item is put into one table by item number
before: its columns of B and T and the products of its text. The histories are read where `Users` keeps them, so a
change counts at once, and only two things that are kept by slot have to follow it: the rows of A that a profile has,
and what the sequence head expects next.

The text of a large catalogue is read in bytes at first; the users who come of that, and some more, are scored once more
with exact products. So no score that is returned is an estimate.

Items that came after the bundle was made are given by their figures like all others: see `AudienceItem`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from tanager_server.engine._audience import Scorer, products
from tanager_server.engine.audience import Columns
from tanager_server.index.topk import top
from tanager_server.state.ragged import Ragged

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence

    from numpy.typing import NDArray

    from tanager_server.bundle import ProfileWeights, Scoring
    from tanager_server.index import Generation
    from tanager_server.state.users import Snapshot, Users

_PART = 8192  # slots that are scored at a time: about a millisecond
_SPARE = 64  # users beyond those asked for whose scores are looked at once more
_EXACT_ITEMS = 8192  # up to so many the text of all items is multiplied exactly, which takes about two milliseconds
_ITEMS_PART = 32768  # items whose text is multiplied at a time
_HEAD_BATCH = 256  # histories that the sequence head reads at a time
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


class Members(NamedTuple):
    """The users whom an item is for, best first; equals in the order of their slots.

    Attributes:
        user_ids: who.
        scores: what the item scores for each.
        candidates: number of users who might have been among them.
    """

    user_ids: list[str]
    scores: list[float]
    candidates: int


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
    """What is known of users by slot in the terms of one generation. Made by `build`, in any thread.

    Attributes:
        scoring: the blend.
        attributes: rows of A for each slot.
        expected: (slots or more, dim) float32: what the sequence head expects next, times its weight in the score.
        text: the text of items in bytes, where they are many.
    """

    def __init__(self, generation: Generation, head: Head | None) -> None:
        self.scoring: Scoring = generation.scoring
        self._profile: ProfileWeights = generation.profile
        self._head = head if generation.sequence is not None else None
        self._generation = generation
        items = len(generation.vectors)
        self._together = Columns(generation.neighbours, items)
        self._follows = Columns(generation.transitions, items)
        self._by_attribute = Columns(generation.profile, items)
        self.attributes = Ragged(np.int32)
        self.expected = np.zeros((1024, generation.sequence_vectors.shape[1]), np.float32)
        self._stale = np.zeros(1024, bool)  # whose `expected` is not up to date
        self._version = 0
        self.text: TextBytes | None = None

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
        tables, versions = cls(generation, head), []
        if len(items.vectors) > _EXACT_ITEMS:
            tables.text = TextBytes(items.vectors)
        for part in snapshots:
            versions.append(part.version)
            tables._extend(part.first + len(part.profiles))
            for place, profile in enumerate(part.profiles):
                if profile:
                    tables._know(part.first + place, tables._profile.know(profile).rows)
            if tables._head is not None:
                bounds = zip(part.starts[:-1].tolist(), part.starts[1:].tolist(), strict=True)
                events = [(part.numbers[start:end], part.weights[start:end]) for start, end in bounds]
                tables._expect(range(part.first, part.first + len(events)), events, items)
        tables._version = min(versions, default=0)
        return tables

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

    def follow(self, users: Users, items: Items) -> None:
        """Takes in what changed of users since it was last called; of their histories only so much at a time."""
        self._extend(users.slots)
        for slot in users.profiles_changed_since(self._version).tolist():
            profile = users.profile(slot)
            self._know(slot, self._profile.know(profile).rows if profile else ())
        if self._head is not None:
            self._stale[users.changed_since(self._version)] = True
        self._version = users.version
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


class AudienceIndex:
    """Finds the users whom an item is for. Everything but `AudienceTables.build` is for the thread that has the users.

    Args:
        users: all of them.
        tables: made for the generation that items are given in.
    """

    def __init__(self, users: Users, tables: AudienceTables) -> None:
        self._users, self.tables = users, tables

    def publish(self, tables: AudienceTables) -> None:
        """Goes over to another generation: the next search is in its terms."""
        self.tables = tables

    def find(
        self,
        item: AudienceItem,
        count: int,
        *,
        items: Items,
        allowed: NDArray[np.uint8] | None = None,
        include_seen: bool = False,
    ) -> Members:
        """The same as `search`, at once."""
        search = self.search(item, count, items=items, allowed=allowed, include_seen=include_seen)
        while True:
            try:
                next(search)
            except StopIteration as done:
                members: Members = done.value
                return members

    def search(
        self,
        item: AudienceItem,
        count: int,
        *,
        items: Items,
        allowed: NDArray[np.uint8] | None = None,
        include_seen: bool = False,
    ) -> Generator[None, None, Members]:
        """Finds the best users for an item, and lets others run every millisecond or so.

        Users may change meanwhile: those who are returned are scored as they are at the end, and who is gone is not
        among them.

        Args:
            item: what for.
            count: how many users are wanted.
            items: the catalogue.
            allowed: (slots,) uint8, other than 0 for slots of users who may be among them; slots beyond it may not.
                None for all.
            include_seen: whether users who did something with the item may be among them.
        """
        users, tables = self._users, self.tables
        tables.follow(users, items)
        began, slots = users.version, users.slots
        if allowed is None:
            allowed = users.alive[:slots].copy()
        else:
            slots = min(slots, len(allowed))
            allowed = ((allowed[:slots] != 0) & (users.alive[:slots] != 0)).astype(np.uint8)
        if tables.text is None:
            alike = items.vectors @ item.vector
        else:
            alike = yield from tables.text.products(item.vector)
        scorer = _scorer(item, tables, items, alike)
        scores = np.empty(slots, np.float32)
        candidates = 0
        for start in range(0, slots, _PART):
            if start:
                yield
            part = slice(start, min(start + _PART, slots))
            candidates += _score(
                scorer, users, tables, np.arange(part.start, part.stop), allowed, include_seen, scores[part]
            )
        best = top(scores, min(count + _SPARE, candidates)) if candidates else np.empty(0, np.int64)
        if users.version > began:
            # Somebody else may have the slot, for whom `allowed` was not said.
            best = best[[users.same_user_since(slot, began) for slot in best.tolist()]]
            tables.follow(users, items)
        if not len(best):
            return Members([], [], candidates)
        tables.read_again(users, best, items)
        best.sort()
        if tables.text is not None:
            numbers = _numbers_of(users, best, items)
            scorer.correct(numbers, items.vectors[items.of(numbers)] @ item.vector)
        final = np.empty(len(best), np.float32)
        _score(scorer, users, tables, best, allowed, include_seen, final)
        order = top(final, count)
        order = order[np.isfinite(final[order])]
        ids = [users.user_id(slot) or "" for slot in best[order].tolist()]
        return Members(ids, final[order].tolist(), candidates)


def _to_bytes(vectors: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Vectors in steps of a 127th of their largest number, and the steps."""
    steps = np.abs(vectors).max(axis=1) / np.float32(127)
    return np.rint(vectors / np.where(steps > 0, steps, 1)[:, None]).astype(np.int8), steps


def _numbers_of(users: Users, slots: NDArray[np.int64], items: Items) -> NDArray[np.int32]:
    """Numbers of all items in histories, as far as the catalogue has them."""
    numbers = np.unique(np.concatenate([users.events.latest(slot, 0) for slot in slots.tolist()]))
    known: NDArray[np.int32] = numbers[items.of(numbers) >= 0]
    return known


def _scorer(item: AudienceItem, tables: AudienceTables, items: Items, alike: NDArray[np.float32]) -> Scorer:
    scoring = tables.scoring
    attributes = np.bincount(item.attributes.indices, item.attributes.weights, minlength=tables.attribute_count)
    return Scorer(
        number=item.number,
        positions=items.positions,
        alike=alike,
        neighbours=item.neighbours,
        follows=item.transitions,
        prior=item.priors[0],
        prior_known=item.priors[1],
        attributes=(scoring.profile * attributes).tolist(),
        sequence=item.sequence.tolist(),
        collaborative=scoring.collaborative,
        collaborative_half_life=scoring.collaborative_half_life,
        transitions=scoring.transitions,
        transitions_half_life=scoring.transitions_half_life,
        history_text=scoring.history_text,
        history_text_half_life=scoring.history_text_half_life,
        history_limit=scoring.history_limit,
        known_events=scoring.known_events,
    )


def _score(
    scorer: Scorer,
    users: Users,
    tables: AudienceTables,
    slots: NDArray[np.int64],
    allowed: NDArray[np.uint8],
    include_seen: bool,
    scores: NDArray[np.float32],
) -> int:
    """Arrays are looked up anew each time: they are replaced when users come."""
    events, attributes = users.events, tables.attributes
    return scorer.score(
        slots,
        include_seen,
        scores,
        numbers=events.blocks[0],
        weights=events.blocks[1],
        starts=events.starts,
        lengths=events.lengths,
        attributes=attributes.blocks[0],
        attribute_starts=attributes.starts,
        attribute_lengths=attributes.lengths,
        allowed=allowed,
        expected=tables.expected,
    )
