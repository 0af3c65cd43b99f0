"""What filtered search gains over hnswlib's own `filter=`, at several selectivities.

    python -m tests.bench.filtered_search
    python -m tests.bench.filtered_search --vectors build/demo/bundle/vectors.npy

Vectors are clustered Gaussians of unit length, drawn by a seed with a spectrum that decays, about as many dimensions of
them counting as of a MiniLM's; or those of a file, from which queries are drawn with noise. Filters are of two kinds:
at random, and against the query: the clusters furthest from it are allowed, and the queries are of clusters that are
not. Random filters alone flatter searches that look around the query.

One query a call, on one thread, from NumPy arrays to NumPy arrays. hnswlib's `ef` is the least of those tried that
reaches the recall asked for, or the highest; its filter is the cheapest function that there is, `bytes.__getitem__` of
the mask. Both are measured in turns, block by block; printed are medians of the blocks' microseconds a query, the ratio
of throughputs as the median of the blocks' ratios, and recall@10 against an exact comparison. The index is kept under
build/, for it takes a minute and more to build.
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import hnswlib
import numpy as np

from tanager_server.bundle import IndexInfo
from tanager_server.index import FilteredIndex, HnswIndex

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

K = 10
INFO = IndexInfo(m=16, ef_construction=200, ef_search=64)
BREADTHS = (10, 14, 20, 28, 40, 80)
_CACHE = Path("build/filtered_search")
_SPREAD, _DECAY, _MEMBERS, _NOISE = 0.8, 0.35, 200, 0.02
# Seconds that one way is tried for, in one block, at most: hnswlib takes 0.1 s for a query that its filter is against.
_BLOCK_S = 0.5


class Space(NamedTuple):
    """What is searched, and for what.

    Attributes:
        vectors: (items, dim) float32, unit length.
        queries: (queries, dim) float32, unit length, near some item.
        clusters: (items,) cluster of each item.
        query_clusters: (queries,) cluster of each query.
        centres: (clusters, dim) float32.
    """

    vectors: NDArray[np.float32]
    queries: NDArray[np.float32]
    clusters: NDArray[np.int64]
    query_clusters: NDArray[np.int64]
    centres: NDArray[np.float32]


def draw(items: int, dim: int, queries: int, *, seed: int) -> Space:
    """Clustered Gaussians, queries from the same clusters."""
    random = np.random.default_rng(seed)
    scale = (np.arange(1, dim + 1) ** -_DECAY).astype(np.float32)
    count = max(items // _MEMBERS, 2)
    centres = random.standard_normal((count, dim), dtype=np.float32) * scale

    def members(clusters: NDArray[np.int64]) -> NDArray[np.float32]:
        noise = random.standard_normal((len(clusters), dim), dtype=np.float32) * scale
        return _unit(centres[clusters] + np.float32(_SPREAD) * noise)

    clusters, of_queries = random.integers(count, size=items), random.integers(count, size=queries)
    return Space(members(clusters), members(of_queries), clusters, of_queries, centres)


def read(path: Path, queries: int, *, seed: int) -> Space:
    """The vectors of a file; clusters are the nearest of some of them."""
    random = np.random.default_rng(seed)
    vectors = _unit(np.load(path).astype(np.float32))
    centres = vectors[random.choice(len(vectors), max(len(vectors) // _MEMBERS, 2), replace=False)]
    near = vectors[random.choice(len(vectors), queries)]
    drawn = _unit(near + np.float32(_NOISE) * random.standard_normal(near.shape, dtype=np.float32))
    return Space(vectors, drawn, np.argmax(vectors @ centres.T, 1), np.argmax(drawn @ centres.T, 1), centres)


def random_filter(space: Space, share: float, *, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """A mask, and the queries to ask under it."""
    count = max(round(share * len(space.vectors)), K)
    mask = np.zeros(len(space.vectors), np.uint8)
    mask[np.random.default_rng(seed).choice(len(mask), count, replace=False)] = 1
    return mask, space.queries


def far_filter(space: Space, share: float) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """The clusters furthest from a query, and the queries nearest to it, none of which are of those clusters."""
    first = space.queries[0]
    order = np.argsort(space.centres @ first, kind="stable")
    sizes = np.cumsum(np.bincount(space.clusters, minlength=len(space.centres))[order])
    allowed = order[: max(int(np.searchsorted(sizes, share * len(space.vectors))), 1)]
    mask = np.isin(space.clusters, allowed).astype(np.uint8)
    # A filter that allows less than a cluster.
    spare = np.flatnonzero(mask)[max(round(share * len(mask)), K) :]
    mask[spare] = 0
    others = space.queries[~np.isin(space.query_clusters, allowed)]
    nearest = np.argsort(-(others @ first), kind="stable")[: max(len(others) // 4, 1)]
    return mask, np.ascontiguousarray(others[nearest])


def index_file(space: Space) -> Path:
    """The index over the vectors, built if it is not there."""
    path = _CACHE / f"{hashlib.sha256(space.vectors.tobytes()).hexdigest()[:16]}.hnsw"
    if not path.exists():
        _CACHE.mkdir(parents=True, exist_ok=True)
        print(f"building the index into {path} …", flush=True)
        built, partial = HnswIndex.build(space.vectors, info=INFO), path.with_suffix(".part")
        built.save(partial)
        partial.replace(path)
    return path


def recall(found: list[NDArray[np.int64]], truth: NDArray[np.int64]) -> float:
    """Share of the truth that was found."""
    return statistics.fmean(len(set(a.tolist()) & set(b.tolist())) / K for a, b in zip(found, truth, strict=False))


def exact(space: Space, queries: NDArray[np.float32], mask: NDArray[np.uint8]) -> NDArray[np.int64]:
    """(queries, K): positions of the nearest allowed."""
    allowed = np.flatnonzero(mask)
    products = queries @ space.vectors[allowed].T
    nearest: NDArray[np.int64] = allowed[np.argpartition(-products, K - 1, axis=1)[:, :K]]
    return nearest


def timed(search: Callable[[NDArray[np.float32]], NDArray[np.int64]], queries: NDArray[np.float32]) -> float:
    """Seconds a query, over as many queries as there is time for."""
    began = time.perf_counter()
    done = 0
    for query in queries:
        search(query)
        done += 1
        if time.perf_counter() - began > _BLOCK_S:
            break
    return (time.perf_counter() - began) / done


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    unit: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=Path, help="a .npy of float32 (items, dim), instead of drawn ones")
    parser.add_argument("--items", type=int, default=200_000)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--queries", type=int, default=400)
    parser.add_argument("--blocks", type=int, default=5)
    parser.add_argument("--selectivities", type=float, nargs="+", default=[50, 10, 5, 2, 1, 0.1], metavar="PERCENT")
    parser.add_argument("--recall", type=float, default=0.95, help="what hnswlib's ef is chosen for")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.vectors is None:
        space = draw(options.items, options.dim, options.queries, seed=options.seed)
    else:
        space = read(options.vectors, options.queries, seed=options.seed)
    path = index_file(space)
    native = hnswlib.Index(space="ip", dim=space.vectors.shape[1])
    native.load_index(str(path))
    began = time.perf_counter()
    filtered = FilteredIndex(HnswIndex.load(path, space.vectors, info=INFO))
    print(f"{len(space.vectors)} x {space.vectors.shape[1]}, codes and links in {time.perf_counter() - began:.1f} s")
    print(
        f"{'filter':<8} {'share %':>7} | {'us/query':>8} {'recall':>6} {'scans %':>7} | "
        f"{'hnswlib us':>10} {'recall':>6} {'ef':>3} | {'ratio':>7} {'least':>7}"
    )
    ratios = []
    for kind in ("random", "far"):
        for percent in options.selectivities:
            if kind == "random":
                mask, queries = random_filter(space, percent / 100, seed=options.seed)
            else:
                mask, queries = far_filter(space, percent / 100)
            ratios.append(measure(space, filtered, native, kind, percent, mask, queries, options))
    print(f"least ratio: {min(ratios):.1f}")


def measure(
    space: Space,
    filtered: FilteredIndex,
    native: hnswlib.Index,
    kind: str,
    percent: float,
    mask: NDArray[np.uint8],
    queries: NDArray[np.float32],
    options: argparse.Namespace,
) -> float:
    """Prints a line; returns the ratio of throughputs."""
    truth, allow = exact(space, queries, mask), mask.tobytes().__getitem__
    own: list[float] = []
    other: list[float] = []
    reached, ef = 0.0, 0
    positions = np.flatnonzero(mask).astype(np.int32)

    def ours(query: NDArray[np.float32]) -> NDArray[np.int64]:
        nearest: NDArray[np.int64] = filtered.search(query[None], K, mask, positions=positions).positions[0]
        return nearest

    def theirs(query: NDArray[np.float32]) -> NDArray[np.int64]:
        labels: NDArray[np.int64] = native.knn_query(query, k=K, num_threads=1, filter=allow)[0][0]
        return labels

    some = queries[: max(20, min(len(queries), int(len(queries) * percent / 10)))]
    for ef in BREADTHS:
        native.set_ef(ef)
        reached = recall([theirs(query) for query in some], truth)
        if reached >= options.recall:
            break
    found: list[NDArray[np.int64]] = []
    scans = 0
    for query in queries:
        found.append(ours(query))
        scans += filtered.taken.scan
    random = np.random.default_rng(options.seed)
    for block in range(options.blocks):
        asked = queries[random.permutation(len(queries))]
        # The one that goes first finds other things in the caches.
        for way in (ours, theirs) if block % 2 else (theirs, ours):
            (own if way is ours else other).append(timed(way, asked))
    each: list[float] = [b / a for a, b in zip(own, other, strict=True)]
    print(
        f"{kind:<8} {percent:>7g} | {statistics.median(own) * 1e6:>8.1f} {recall(found, truth):>6.3f} "
        f"{100 * scans / len(queries):>7.0f} | {statistics.median(other) * 1e6:>10.1f} {reached:>6.3f} {ef:>3} | "
        f"{statistics.median(each):>7.1f} {min(each):>7.1f}",
        flush=True,
    )
    return statistics.median(each)


if __name__ == "__main__":
    main()
