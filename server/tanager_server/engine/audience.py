"""Whom an item is for: scores of many users for one item, by the same blend that scores many items for one user.

score(u, i) is that of `Scoring`, without a wish. By user the history's rows of B and T are added up; by item it is one
column that is looked up for every event of every user, so that it takes time by events and not by users times items.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tanager_server.bundle import Neighbours, ProfileWeights
    from tanager_server.index import Generation
    from tanager_server.runtime import SequenceHead

_HEAD_BATCH = 256  # histories that the sequence head reads at a time


class Users(NamedTuple):
    """Users by what they did and who they are, in compressed-sparse-row form.

    Attributes:
        starts: (users + 1,) int64; the events of user u lie at starts[u] : starts[u + 1], oldest first.
        items: (events,) int64, positions in the catalogue.
        weights: (events,) float, signed.
        attribute_starts: (users + 1,) int64, likewise of the attributes.
        attributes: (attributes,) int64, rows of A, without repetition for a user.
    """

    starts: NDArray[np.int64]
    items: NDArray[np.int64]
    weights: NDArray[np.floating[Any]]
    attribute_starts: NDArray[np.int64]
    attributes: NDArray[np.int64]

    @classmethod
    def of(
        cls,
        histories: Sequence[tuple[Sequence[int], Sequence[float]]],
        attributes: Sequence[Sequence[int]] | None = None,
    ) -> Users:
        """Puts together histories, each of positions and weights, and attributes, of which there may be none."""
        known = [()] * len(histories) if attributes is None else attributes
        if len(known) != len(histories):
            raise ValueError(f"attributes of {len(known)} users for histories of {len(histories)}")
        return cls(
            np.cumsum([0, *(len(items) for items, _ in histories)]),
            np.array([item for items, _ in histories for item in items], dtype=np.int64),
            np.array([weight for _, weights in histories for weight in weights], dtype=np.float64),
            np.cumsum([0, *map(len, known)]),
            np.array([row for rows in known for row in rows], dtype=np.int64),
        )


class Audience:
    """Scores users for items of one generation. Holds B, T and A once more, by column; thread-safe.

    Args:
        generation: whose items.
        sequence: reads histories, where the generation has a sequence head.
    """

    def __init__(self, generation: Generation, sequence: SequenceHead | None = None) -> None:
        self._generation, self._sequence = generation, sequence
        items = len(generation.vectors)
        self._together = Columns(generation.neighbours, items)
        self._follows = Columns(generation.transitions, items)
        self._attributes = Columns(generation.profile, items)

    def score(self, positions: Sequence[int], users: Users) -> NDArray[np.float32]:
        """(positions, users) float32: what each item scores for each user.

        Args:
            positions: the items.
            users: whom to score; of a history only the latest `history_limit` events count.

        Raises:
            ValueError: arrays do not fit one another.
            IndexError: there is no such item or attribute.
        """
        generation, scoring = self._generation, self._generation.scoring
        _check(users, items=len(generation.vectors), attributes=len(generation.profile.attributes))
        for position in positions:
            if not 0 <= position < len(generation.vectors):
                raise IndexError(f"no such item: {position}")
        lengths = np.diff(users.starts)
        count = len(lengths)
        owner = np.repeat(np.arange(count), lengths)
        ages = users.starts[1:][owner] - 1 - np.arange(len(users.items))
        scored = ages < scoring.history_limit
        owner, ages, items = owner[scored], ages[scored], users.items[scored]
        weights = users.weights[scored].astype(np.float64)
        expected = self._expected(owner[weights > 0], items[weights > 0], count)

        def by_user(of_events: NDArray[np.float64]) -> NDArray[np.float64]:
            sums: NDArray[np.float64] = np.bincount(owner, weights=of_events, minlength=count).astype(np.float64)
            return sums

        def decayed(half_life: float) -> NDArray[np.float64]:
            faded: NDArray[np.float64] = weights * np.exp2(-ages / half_life)
            return faded

        together = scoring.collaborative * decayed(scoring.collaborative_half_life)
        follows = scoring.transitions * decayed(scoring.transitions_half_life)
        text = decayed(scoring.history_text_half_life)
        total = by_user(np.abs(text))
        text *= scoring.history_text / np.where(total > 0.0, total, 1.0)[owner]
        events = np.minimum(lengths, scoring.history_limit)
        with np.errstate(invalid="ignore"):  # 0 / 0 of who did nothing, where known_events is 0
            known = np.where(events > 0, events / (events + scoring.known_events), 0.0)
        of_profile = scoring.profile * (1.0 - known)
        profile_owner = np.repeat(np.arange(count), np.diff(users.attribute_starts))
        distinct, places = np.unique(items, return_inverse=True)
        vectors = generation.vectors[distinct]

        scores = np.empty((len(positions), count), dtype=np.float32)
        for row, position in enumerate(positions):
            alike = (vectors @ generation.vectors[position]).astype(np.float64)
            scores[row] = by_user(
                together * self._together.column(position)[items]
                + follows * self._follows.column(position)[items]
                + text * alike[places]
            )
            own = self._attributes.column(position)[users.attributes]
            scores[row] += of_profile * np.bincount(profile_owner, weights=own, minlength=count)
            scores[row] += generation.priors[0, position] + known * generation.priors[1, position]
            scores[row] += expected @ generation.sequence_vectors[position]
        return scores

    def _expected(self, owner: NDArray[np.int64], items: NDArray[np.int64], count: int) -> NDArray[np.float32]:
        """(users, dim) float32: what the sequence head says comes next for each, times its weight in the score."""
        expected = np.zeros((count, self._generation.sequence_vectors.shape[1]), np.float32)
        if self._sequence is None:
            return expected
        some, starts = np.unique(owner, return_index=True)
        histories = [part.tolist() for part in np.split(items, starts[1:])]
        for start in range(0, len(some), _HEAD_BATCH):
            part = slice(start, start + _HEAD_BATCH)
            expected[some[part]] = self._generation.scoring.sequence * self._sequence.expect(histories[part])
        return expected


class Columns:
    """A sparse matrix by column.

    Args:
        matrix: by row.
        columns: how many there are.
    """

    def __init__(self, matrix: Neighbours | ProfileWeights, columns: int) -> None:
        self._height = len(matrix.indptr) - 1
        order = np.argsort(matrix.indices, kind="stable")
        rows = np.repeat(np.arange(self._height, dtype=np.int32), np.diff(matrix.indptr))
        self._rows, self._weights = rows[order], matrix.weights[order]
        self._starts = np.searchsorted(matrix.indices[order], np.arange(columns + 1))

    def column(self, position: int) -> NDArray[np.float64]:
        """(rows,) float64."""
        rows, weights = self.entries(position)
        return np.bincount(rows, weights=weights, minlength=self._height).astype(np.float64)

    def entries(self, position: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Rows that have an entry in the column, in ascending order, and the entries."""
        part = slice(self._starts[position], self._starts[position + 1])
        return self._rows[part], self._weights[part]


def _check(users: Users, *, items: int, attributes: int) -> None:
    for name, starts, entries, most in (
        ("starts", users.starts, users.items, items),
        ("attribute_starts", users.attribute_starts, users.attributes, attributes),
    ):
        fits = (
            starts.ndim == entries.ndim == 1
            and len(starts) > 0
            and starts[0] == 0
            and starts[-1] == len(entries)
            and bool((np.diff(starts) >= 0).all())
        )
        if not fits:
            raise ValueError(f"{name}: must rise from 0 to the number of entries, {len(entries)}")
        if len(entries) and not (entries.min() >= 0 and entries.max() < most):
            raise IndexError(f"{name}: an entry is beyond {most}")
    if users.weights.shape != users.items.shape or len(users.starts) != len(users.attribute_starts):
        raise ValueError("weights: one for each event, and as many users in both parts")
