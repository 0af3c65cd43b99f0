"""One state of all that a request reads, behind one reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tanager_server.bundle import manifest as schema
from tanager_server.errors import BundleError
from tanager_server.index.hnsw import HnswIndex

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tanager_server.bundle import Bundle, Catalogue, Manifest, Neighbours, NewItems, ProfileWeights, Scoring


@dataclass(frozen=True, slots=True)
class SequenceSpace:
    """The items as the sequence head reads and scores them.

    Attributes:
        vectors: (items, dim) float32, unit length.
        index: the same vectors, searchable.
    """

    vectors: NDArray[np.float32]
    index: HnswIndex


@dataclass(frozen=True, slots=True)
class Generation:
    """An immutable snapshot. A request takes the reference once and reads nothing else.

    Attributes:
        manifest: what is served.
        catalogue: the items, by position.
        vectors: (items, dim) float32, unit length.
        index: the same vectors, searchable.
        neighbours: collaborative weights between the items, B.
        transitions: how much an item follows another, T.
        priors: (2, items) float32: what is added to an item's score for anybody, and what for a user who is known.
        profile: how much attributes of users speak for items, A.
        scoring: the blend.
        new_items: what items that the bundle does not have are expected to be.
        sequence: what the sequence head works on; None where there is none.
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
