"""Accuracy of each case from the ranks of its targets. What is right is binary: a target, or none."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from tanager_export.errors import ExportError
from tanager_export.evaluation.ranking import MASKED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from tanager_export.evaluation.ranking import Ranks

_NAME = re.compile(r"(?P<metric>[a-z0-9]+)@(?P<k>[1-9][0-9]{0,5})")


def hits(ranks: Ranks, k: int) -> NDArray[np.float64]:
    """`(cases,)`: how many targets are among the first `k`."""
    return _sum(ranks, (ranks.rank <= k).astype(np.float64))


def precision(ranks: Ranks, k: int) -> NDArray[np.float64]:
    """`(cases,)`: the share of the first `k` places that a target takes, though there be fewer candidates."""
    return hits(ranks, k) / k


def recall(ranks: Ranks, k: int) -> NDArray[np.float64]:
    """`(cases,)`: the share of the targets that are among the first `k`, though there be more of them than `k`."""
    return hits(ranks, k) / ranks.lengths


def f1(ranks: Ranks, k: int) -> NDArray[np.float64]:
    """`(cases,)`: the harmonic mean of precision and recall of each case; 0 without a hit."""
    return 2 * hits(ranks, k) / (k + ranks.lengths)


def ndcg(ranks: Ranks, k: int) -> NDArray[np.float64]:
    """`(cases,)`: hits discounted by log2(1 + rank), as a share of what the best order of `k` places would give."""
    found = _sum(ranks, np.where(ranks.rank <= k, 1 / np.log2(1.0 + ranks.rank), 0.0))
    ideal = np.cumsum(1 / np.log2(np.arange(2.0, k + 2)))
    best: NDArray[np.float64] = ideal[np.minimum(ranks.lengths, k) - 1]
    return found / best


def mrr(ranks: Ranks, k: int) -> NDArray[np.float64]:
    """`(cases,)`: 1 / rank of the first target, 0 where it is not among the first `k`."""
    first = np.minimum.reduceat(ranks.rank, ranks.indptr[:-1])
    return np.where(first <= k, 1.0 / first, 0.0)


def hit_rate(ranks: Ranks, k: int) -> NDArray[np.float64]:
    """`(cases,)`: 1 where a target is among the first `k`."""
    return (hits(ranks, k) > 0).astype(np.float64)


def auc(ranks: Ranks) -> NDArray[np.float64]:
    """`(cases,)`: how likely a target comes before a candidate that is none; 0.5 where every candidate is a target.

    A target that is masked comes after all candidates.
    """
    case = ranks.case_of_target
    reachable = ranks.rank != MASKED
    others = (ranks.candidates - np.bincount(case[reachable], minlength=len(ranks)))[case]
    above = np.minimum(ranks.rank - 1 - ranks.better_targets, others)
    before = np.where(others > 0, 1 - above / np.maximum(others, 1), 0.5)
    return _sum(ranks, before) / ranks.lengths


METRICS: Mapping[str, Callable[[Ranks, int], NDArray[np.float64]]] = {
    "ndcg": ndcg,
    "recall": recall,
    "precision": precision,
    "f1": f1,
    "mrr": mrr,
    "hitrate": hit_rate,
}
"""Metrics of the first `k`."""


def metric(ranks: Ranks, name: str) -> NDArray[np.float64]:
    """`(cases,)`: a metric by its name.

    Args:
        ranks: of cases that have a target each.
        name: one of `METRICS` with the number of places, as in "ndcg@10", or "auc".

    Raises:
        ExportError: there is no such metric.
    """
    if name == "auc":
        return auc(ranks)
    match = _NAME.fullmatch(name)
    if match is None or match["metric"] not in METRICS:
        known = ", ".join(f"{known}@K" for known in METRICS)
        raise ExportError(f"no metric {name!r}: there are {known} and auc")
    return METRICS[match["metric"]](ranks, int(match["k"]))


def _sum(ranks: Ranks, of_target: NDArray[np.float64]) -> NDArray[np.float64]:
    total: NDArray[np.float64] = np.add.reduceat(of_target, ranks.indptr[:-1])
    return total
