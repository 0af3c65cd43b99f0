"""One state of all that a request reads, behind one reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tanager_server.bundle import manifest as schema
from tanager_server.index.hnsw import HnswIndex

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tanager_server.bundle import Bundle, Catalogue, Manifest, Neighbours, ProfileWeights, Scoring


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

    @classmethod
    def load(cls, bundle: Bundle) -> Generation:
        """Reads a verified bundle.

        Raises:
            BundleError: its files do not fit one another.
        """
        vectors = bundle.read_vectors()
        return cls(
            manifest=bundle.manifest,
            catalogue=bundle.read_catalogue(),
            vectors=vectors,
            index=HnswIndex.load(bundle.file(schema.INDEX), vectors, info=bundle.manifest.index),
            neighbours=bundle.read_neighbours(),
            transitions=bundle.read_transitions(),
            priors=bundle.read_priors(),
            profile=bundle.read_profile(),
            scoring=bundle.read_scoring(),
        )
