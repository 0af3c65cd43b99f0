"""One state of all that a request reads, behind one reference."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from tanager_server.bundle import manifest as schema
from tanager_server.errors import BundleError
from tanager_server.index._growth import Growth
from tanager_server.index.hnsw import HnswIndex

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from tanager_server.bundle import Bundle, Catalogue, Manifest, Neighbours, NewItems, ProfileWeights, Scoring


@dataclass(frozen=True, slots=True)
class SequenceSpace:
    """The items as the sequence head reads and scores them.

    Attributes:
        vectors: (rows, dim) float32, unit length; rows as in `Generation`.
        index: those of the first items, searchable.
    """

    vectors: NDArray[np.float32]
    index: HnswIndex


@dataclass(frozen=True, slots=True)
class Generation:
    """An immutable snapshot. A request takes the reference once and reads nothing else.

    Attributes:
        manifest: what is served.
        catalogue: the items, by position.
        vectors: (rows, dim) float32, unit length: a row for each item, and some to spare.
        index: the vectors of the first `len(index)` items, searchable.
        neighbours: collaborative weights between the items, B.
        transitions: how much an item follows another, T.
        priors: (2, rows) float32: what is added to an item's score for anybody, and what for a user who is known.
        profile: how much attributes of users speak for items, A.
        scoring: the blend.
        new_items: what items that the bundle does not have are expected to be.
        sequence: what the sequence head works on; None where there is none.
        growth: what was added to B, T, A and the categories for items that were written later.
        number: how many there were before since the server started.
    """

    manifest: Manifest
    catalogue: Catalogue
    vectors: NDArray[np.float32]
    index: HnswIndex
    neighbours: Neighbours
    transitions: Neighbours
    priors: NDArray[np.float32]
    profile: ProfileWeights
    scoring: Scoring
    new_items: NewItems
    sequence: SequenceSpace | None = None
    growth: Growth = field(default_factory=Growth)
    number: int = 0

    def with_room(self, rows: int) -> Generation:
        """The same with arrays of so many rows at least: the same ones, if they have as many.

        Raises:
            ValueError: less rows than there are.
        """
        if rows < len(self.vectors):
            raise ValueError(f"{rows} rows for {len(self.vectors)}")
        if rows == len(self.vectors):
            return self
        vectors, sequence = _longer(self.vectors, rows), self.sequence
        if sequence is not None:
            own = _longer(sequence.vectors, rows)
            sequence = SequenceSpace(own, sequence.index.over(own))
        priors = np.ascontiguousarray(_longer(self.priors.T, rows).T)
        return replace(self, vectors=vectors, index=self.index.over(vectors), priors=priors, sequence=sequence)

    def extended(self, positions: NDArray[np.int64], *, items: int, rows: int, scratch: Path) -> Generation:
        """The same with so many items in its indexes; takes long, and can be done beside calls that read this one.

        Args:
            positions: (n,) int64, those that the indexes do not have, or have with other vectors.
            items: how many items the indexes are to have, from the first.
            rows: as in `with_room`.
            scratch: a file to write over.
        """
        found, info = self.with_room(rows), self.manifest.index
        index = self.index.extended(found.vectors[:items], positions, info=info, scratch=scratch)
        sequence = found.sequence
        if sequence is not None:
            own = sequence.index.extended(sequence.vectors[:items], positions, info=info, scratch=scratch)
            sequence = replace(sequence, index=own)
        return replace(found, index=index, sequence=sequence, number=self.number + 1)

    @property
    def sequence_vectors(self) -> NDArray[np.float32]:
        """(items, dim) float32, with a dim of 0 where there is no sequence head."""
        return np.empty((len(self.vectors), 0), np.float32) if self.sequence is None else self.sequence.vectors

    @classmethod
    def load(cls, bundle: Bundle) -> Generation:
        """Reads a verified bundle.

        Raises:
            BundleError: its files do not fit one another.
        """
        vectors, info, scoring = bundle.read_vectors(), bundle.manifest.index, bundle.read_scoring()
        if scoring.sequence and bundle.manifest.sequence is None:
            raise BundleError(f"{bundle.file(schema.SCORING)}: weighs a sequence head, and the bundle has none")
        sequence = None
        if bundle.manifest.sequence is not None:
            own = bundle.read_sequence_vectors()
            sequence = SequenceSpace(own, HnswIndex.load(bundle.file(schema.SEQUENCE_INDEX), own, info=info))
        return cls(
            manifest=bundle.manifest,
            catalogue=bundle.read_catalogue(),
            vectors=vectors,
            index=HnswIndex.load(bundle.file(schema.INDEX), vectors, info=info),
            neighbours=bundle.read_neighbours(),
            transitions=bundle.read_transitions(),
            priors=bundle.read_priors(),
            profile=bundle.read_profile(),
            scoring=scoring,
            new_items=bundle.read_new_items(),
            sequence=sequence,
        )


def _longer(array: NDArray[np.float32], rows: int) -> NDArray[np.float32]:
    longer = np.zeros((rows, array.shape[1]), np.float32)
    longer[: len(array)] = array
    return longer
