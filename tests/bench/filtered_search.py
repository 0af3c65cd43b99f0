"""What filtered search gains over hnswlib's own `filter=`, at several selectivities.

    python -m tests.bench.filtered_search
    python -m tests.bench.filtered_search --vectors build/demo/bundle/vectors.npy

Vectors are clustered Gaussians of unit length, drawn by a seed with a spectrum that decays, about as many dimensions of
them counting as of a MiniLM's; or those of a file, from which queries are drawn with noise. Filters are of two kinds:
at random, and against the query: the clusters furthest from it are allowed, and the queries are of clusters that are
not. Random filters alone flatter searches that look around the query.

Both sides search the same graph, under the same masks, from NumPy arrays to NumPy arrays: one query a call on one
thread; and many a call on `--threads`, hnswlib's on one as well, of which the quicker counts, for its filter takes the
interpreter's lock. Each side has the least breadth (`ef`) of those tried that reaches the recall asked for, or the
highest; `def.` is this server's own choice of it. hnswlib's filter is the cheapest function that there is,
`bytes.__getitem__` of the mask. The ways are measured in turns, block by block; printed are medians of the blocks'
microseconds a query, the ratio of throughputs as the median of the blocks' ratios, and recall@10 against an exact
comparison. The index is kept under build/, for it takes a minute and more to build.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import hnswlib
import numpy as np
from numpy.typing import NDArray

from tanager_server.bundle import IndexInfo
from tanager_server.index import FilteredIndex, HnswIndex

K = 10
INFO = IndexInfo(m=16, ef_construction=200, ef_search=64)
BREADTHS = (10, 11, 12, 14, 16, 20, 28, 40, 80)
_CACHE = Path("build/filtered_search")
_SPREAD, _DECAY, _MEMBERS, _NOISE = 0.8, 0.35, 200, 0.02
# Seconds that one way is tried for, in one block, at most: hnswlib takes 0.1 s for a query that its filter is against.
_BLOCK_S = 0.5


Search = Callable[[NDArray[np.float32]], NDArray[np.int64]]


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


def timed(search: Search, queries: NDArray[np.float32]) -> float:
    """Seconds a query, one a call, over as many queries as there is time for."""
    began = time.perf_counter()
    done = 0
    for query in queries:
        search(query[None])
        done += 1
        if time.perf_counter() - began > _BLOCK_S:
            break
    return (time.perf_counter() - began) / done


def timed_together(search: Search, queries: NDArray[np.float32]) -> float:
    """Seconds a query, all in one call."""
    began = time.perf_counter()
    search(queries)
    return (time.perf_counter() - began) / len(queries)


def cheapest(
    search: Callable[[int], Search], queries: NDArray[np.float32], truth: NDArray[np.int64], least: float
) -> int:
    """The least breadth that reaches a recall, or the highest."""
    for ef in BREADTHS:
        if recall([found[0] for found in map(search(ef), queries[:, None])], truth) >= least:
            return ef
    return BREADTHS[-1]


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
    parser.add_argument("--recall", type=float, default=0.95, help="what each side's ef is chosen for")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="for many queries in one call")
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
    filtered = HnswIndex.load(path, space.vectors, info=INFO).prepare()
    print(f"{len(space.vectors)} x {space.vectors.shape[1]}, codes and links in {time.perf_counter() - began:.1f} s")
    print(
        f"one query a call, on one thread; then many, on {options.threads} or, of hnswlib, on 1 where that is quicker"
    )
    print(
        f"{'filter':<6} {'share %':>7} | {'ef':>3} {'recall':>6} {'us':>7} {'def. us':>7} {'recall':>6} {'scans %':>7} "
        f"| {'ef':>3} {'recall':>6} {'hnswlib us':>10} | {'ratio':>7} | {'many us':>7} {'hnswlib us':>10} {'ratio':>7}"
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
    """Prints a line; returns the ratio of throughputs, one query a call."""
    truth, allow = exact(space, queries, mask), mask.tobytes().__getitem__
    positions = np.flatnonzero(mask).astype(np.int32)

    def ours(ef: int | None, threads: int = 1) -> Search:
        def search(asked: NDArray[np.float32]) -> NDArray[np.int64]:
            nearest = filtered.search(asked, K, mask, positions=positions, ef=ef, threads=threads)
            return nearest.positions

        return search

    def theirs(ef: int, threads: int = 1) -> Search:
        native.set_ef(ef)

        def search(asked: NDArray[np.float32]) -> NDArray[np.int64]:
            labels: NDArray[np.int64] = native.knn_query(asked, k=K, num_threads=threads, filter=allow)[0]
            return labels

        return search

    # hnswlib takes so long where little is allowed that some queries have to do.
    some = queries[: max(20, min(len(queries), int(len(queries) * percent / 10)))]
    ef, their_ef = cheapest(ours, queries, truth, options.recall), cheapest(theirs, some, truth, options.recall)
    reached, default = (
        recall([search(query[None])[0] for query in queries], truth) for search in (ours(ef), ours(None))
    )
    scans = 0
    for query in queries:
        ours(None)(query[None])
        scans += filtered.taken.scan
    search = theirs(their_ef)
    their_recall = recall([search(query[None])[0] for query in some], truth)
    singles = {"own": ours(ef), "default": ours(None), "other": search}
    batches = {"own": ours(ef, options.threads), "other": search, "others": theirs(their_ef, options.threads)}
    one: dict[str, list[float]] = {name: [] for name in singles}
    many: dict[str, list[float]] = {name: [] for name in batches}
    random = np.random.default_rng(options.seed)
    for block in range(options.blocks):
        asked = queries[random.permutation(len(queries))]
        # The one that goes first finds other things in the caches.
        for name in sorted(singles, reverse=block % 2 == 1):
            one[name].append(timed(singles[name], asked))
        together = asked[: max(10, int(_BLOCK_S / one["other"][-1]))]
        for name in sorted(batches, reverse=block % 2 == 1):
            many[name].append(timed_together(batches[name], together))
    ratio = statistics.median(b / a for a, b in zip(one["own"], one["other"], strict=True))
    best = [min(pair) for pair in zip(many["other"], many["others"], strict=True)]
    together_ratio = statistics.median(b / a for a, b in zip(many["own"], best, strict=True))
    own, chosen, other, own_many, other_many = (
        statistics.median(values) * 1e6 for values in (one["own"], one["default"], one["other"], many["own"], best)
    )
    print(
        f"{kind:<6} {percent:>7g} | {ef:>3} {reached:>6.3f} {own:>7.1f} {chosen:>7.1f} {default:>6.3f} "
        f"{100 * scans / len(queries):>7.0f} | {their_ef:>3} {their_recall:>6.3f} {other:>10.1f} | {ratio:>7.1f} | "
        f"{own_many:>7.1f} {other_many:>10.1f} {together_ratio:>7.1f}",
        flush=True,
    )
    return ratio


if __name__ == "__main__":
    main()
