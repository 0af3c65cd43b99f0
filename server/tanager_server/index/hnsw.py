"""Approximate nearest neighbours by inner product over unit vectors (HNSW: Malkov & Yashunin, 2018)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import hnswlib
import numpy as np

from tanager_server.errors import BundleError
from tanager_server.index.filtered import FilteredIndex
from tanager_server.index.graph import read_graph
from tanager_server.index.nearest import Nearest, Neighbourhood
from tanager_server.index.topk import top

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from tanager_server.bundle import IndexInfo

# hnswlib's inner-product space has poor recall on vectors that are not of unit length; on those that are it orders
# as the cosine does.
SPACE = "ip"

# Elements of an index that are compared with the vectors that it should be over.
_COMPARED = 16

# When more than one item in this many is wanted, comparing with all of them is quicker than walking the graph.
_EXACT_SHARE = 8

_ADDED_AT_A_TIME = 256


class HnswIndex:
    """An index over unit vectors. Searching is thread-safe; the index never changes once built."""

    def __init__(self, native: hnswlib.Index, vectors: NDArray[np.float32]) -> None:
        self._native = native
        self._vectors = vectors
        self._filtered: FilteredIndex | None = None

    def __len__(self) -> int:
        return len(self._vectors)

    @property
    def vectors(self) -> NDArray[np.float32]:
        """(items, dim) float32, unit length."""
        return self._vectors

    @classmethod
    def build(cls, vectors: NDArray[np.float32], *, info: IndexInfo, seed: int = 0) -> HnswIndex:
        """Builds the index on all cores.

        Args:
            vectors: (items, dim) float32, unit length.
            info: its parameters.
            seed: for the random layer of each node.
        """
        count, dim = vectors.shape
        native = hnswlib.Index(space=SPACE, dim=dim)
        native.init_index(count, M=info.m, ef_construction=info.ef_construction, random_seed=seed)
        native.add_items(vectors, np.arange(count))
        native.set_ef(info.ef_search)
        return cls(native, vectors)

    def save(self, path: Path) -> None:
        """Writes the index; not synced to disk, which is the caller's part."""
        self._native.save_index(str(path))

    @classmethod
    def load(cls, path: Path, vectors: NDArray[np.float32], *, info: IndexInfo) -> HnswIndex:
        """Loads an index that was saved over these vectors. The file must have been verified: hnswlib trusts it.

        Raises:
            BundleError: the file is no index over as many vectors.
        """
        count, dim = vectors.shape
        native = hnswlib.Index(space=SPACE, dim=dim)
        try:
            native.load_index(str(path))
        except RuntimeError as error:
            raise BundleError(f"{path}: not an HNSW index: {error}") from error
        if native.get_current_count() != count:
            raise BundleError(f"{path}: holds {native.get_current_count()} vectors where the catalogue has {count}")
        # Of another dim it would be read beyond its elements; so it is looked at from the first one on.
        some = np.unique(np.linspace(0, count - 1, min(count, _COMPARED)).astype(int))
        if not np.allclose(np.asarray(native.get_items(some.tolist())), vectors[some], atol=1e-6):
            raise BundleError(f"{path}: is over other vectors than the bundle's; export the bundle again")
        native.set_ef(info.ef_search)  # not part of the file: hnswlib resets it to 10 on load
        return cls(native, vectors)

    def over(self, vectors: NDArray[np.float32]) -> HnswIndex:
        """The same index, whose vectors are the first rows of other arrays."""
        return HnswIndex(self._native, vectors[: len(self)])

    def extended(
        self, vectors: NDArray[np.float32], positions: NDArray[np.int64], *, info: IndexInfo, scratch: Path
    ) -> HnswIndex:
        """A new index, made of this one on one core; this one can be searched all the while.

        Args:
            vectors: (items, dim) float32, unit length: all that it is to be over.
            positions: (n,) int64, rows that this index does not have, or has with other vectors.
            info: its parameters.
            scratch: a file to write over, which takes as much space as the index does.
        """
        self._native.save_index(str(scratch))
        native = hnswlib.Index(space=SPACE, dim=vectors.shape[1])
        native.load_index(str(scratch), max_elements=len(vectors))
        for start in range(0, len(positions), _ADDED_AT_A_TIME):
            some = positions[start : start + _ADDED_AT_A_TIME]
            native.add_items(vectors[some], some, num_threads=1)
        native.set_ef(info.ef_search)
        return HnswIndex(native, vectors)

    def search_allowed(self, query: NDArray[np.float32], k: int, allowed: NDArray[np.uint8] | None) -> Neighbourhood:
        """The nearest items of one query that are allowed; all of them if they are fewer.

        Args:
            query: (dim,) float32, unit length.
            k: how many.
            allowed: (items or more,) uint8, other than 0 for the items that may be found; None for all.
        """
        if allowed is None:
            found = self.search(query[None], k)
            return Neighbourhood(found.positions[0], found.similarities[0])
        found = self.prepare().search(query[None], k, allowed)
        return Neighbourhood(found.positions[0], found.similarities[0])

    def prepare(self) -> FilteredIndex:
        """Makes, once, what searches that do not allow all items take: in seconds, where there are many."""
        if self._filtered is None:
            self._filtered = FilteredIndex(self._vectors, read_graph(self._native))
        return self._filtered

    def search(self, queries: NDArray[np.float32], k: int) -> Nearest:
        """The nearest items of each query, in one native call.

        Args:
            queries: (queries, dim) float32, unit length.
            k: how many; all items if there are fewer.
        """
        k = min(k, len(self))
        if k * _EXACT_SHARE > len(self):
            return self.search_exact(queries, k)
        try:
            labels, distances = self._native.knn_query(queries, k=k, num_threads=1)
        except RuntimeError:
            # hnswlib raises when the graph reaches fewer than k nodes: many equal vectors can cut it apart.
            return self.search_exact(queries, k)
        # hnswlib's distance is 1 - <q, e>.
        return Nearest(labels.astype(np.int64), np.subtract(1.0, distances, dtype=np.float32))

    def search_exact(self, queries: NDArray[np.float32], k: int) -> Nearest:
        """Like `search`, by comparing with every item; equals in the order of the catalogue."""
        similarities = queries @ self._vectors.T
        positions = np.stack([top(row, min(k, len(self))) for row in similarities])
        return Nearest(positions, np.take_along_axis(similarities, positions, axis=1))
