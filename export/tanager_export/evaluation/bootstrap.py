"""How sure a comparison of two recommenders is: the paired bootstrap over users."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tanager_export.errors import ExportError

if TYPE_CHECKING:
    from numpy.typing import NDArray

DRAWS = 10_000
CONFIDENCE = 0.95

_CELLS = 1 << 16  # users drawn at a time: their counts stay in the processor's cache


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure and where it may lie: the percentile interval of the bootstrap.

    Attributes:
        value: of the cases as they are.
        low: the lower end.
        high: the upper end.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """A recommender against another, over the same cases.

    Attributes:
        ratio: mean of the one over mean of the other; infinite or NaN where the other's is 0.
        difference: mean of the one less mean of the other.
        cases: how many were compared.
    """

    ratio: Interval
    difference: Interval
    cases: int


def compare(
    ours: NDArray[np.float64],
    theirs: NDArray[np.float64],
    *,
    user: NDArray[np.int32] | None = None,
    seed: int = 0,
    draws: int = DRAWS,
    confidence: float = CONFIDENCE,
) -> Comparison:
    """Draws users with replacement, the same for both, and compares the means over their cases.

    Cases where either has no value (NaN) are left out of both.

    Args:
        ours: `(cases,)`, a metric of each case.
        theirs: the same of another recommender, of the same cases in the same order.
        user: `(cases,)`, whose case it is; by default each is of another user. The cases of a user are drawn together.
        seed: of the draws.
        draws: how many.
        confidence: of the intervals.
    """
    if ours.shape != theirs.shape or ours.ndim != 1 or (user is not None and user.shape != ours.shape):
        raise ExportError(
            f"values of {ours.shape} and {theirs.shape} cannot be paired: evaluate both on the same cases"
        )
    known = ~(np.isnan(ours) | np.isnan(theirs))
    if not known.any():
        raise ExportError("no case has a value of both: there is nothing to compare")
    pair = np.stack((ours[known], theirs[known]))
    means = _resampled_means(pair, None if user is None else user[known], seed=seed, draws=draws)
    mean = pair.mean(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio, ratios = mean[0] / mean[1], means[0] / means[1]
    return Comparison(
        ratio=_interval(ratio, ratios, confidence),
        difference=_interval(mean[0] - mean[1], means[0] - means[1], confidence),
        cases=int(known.sum()),
    )


def mean_interval(
    values: NDArray[np.float64],
    *,
    user: NDArray[np.int32] | None = None,
    seed: int = 0,
    draws: int = DRAWS,
    confidence: float = CONFIDENCE,
) -> Interval:
    """The mean of a metric over the cases that have one, and where it may lie; the arguments are those of `compare`."""
    known = ~np.isnan(values)
    if not known.any():
        return Interval(float("nan"), float("nan"), float("nan"))
    row = values[known][None]
    means = _resampled_means(row, None if user is None else user[known], seed=seed, draws=draws)
    return _interval(row.mean(), means[0], confidence)


def _resampled_means(
    values: NDArray[np.float64], user: NDArray[np.int32] | None, *, seed: int, draws: int
) -> NDArray[np.float64]:
    """`(rows, draws)`: the mean of each row of `values` over the cases of users drawn with replacement."""
    if user is None:
        sums, sizes = values, np.ones(values.shape[1])
    else:
        _, group = np.unique(user, return_inverse=True)
        sums = np.stack([np.bincount(group, weights=row) for row in values])
        sizes = np.bincount(group).astype(np.float64)
    users = sums.shape[1]
    columns = np.concatenate((sums, sizes[None])).T
    random = np.random.default_rng(seed)
    totals = np.empty((draws, columns.shape[1]))
    step = max(1, _CELLS // users)
    for start in range(0, draws, step):
        count = min(step, draws - start)
        drawn = random.integers(0, users, (count, users)) + np.arange(count)[:, None] * users
        often = np.bincount(drawn.ravel(), minlength=count * users).reshape(count, users)
        totals[start : start + count] = often @ columns
    means: NDArray[np.float64] = (totals[:, :-1] / totals[:, -1:]).T
    return means


def _interval(value: np.floating, draws: NDArray[np.float64], confidence: float) -> Interval:
    tail = (1 - confidence) / 2
    with np.errstate(invalid="ignore"):
        low, high = np.quantile(draws, (tail, 1 - tail))
    return Interval(float(value), float(low), float(high))
