"""When calls are sent, and which request each of them carries. Everything follows from a seed."""

from __future__ import annotations

import itertools
from bisect import bisect_right
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random


def constant_gaps(rate: float) -> Iterator[float]:
    """Seconds from each call to the next, all the same."""
    return itertools.repeat(1 / rate)


def poisson_gaps(rate: float, random: Random) -> Iterator[float]:
    """Seconds from each call to the next where callers know nothing of each other: exponentially distributed."""
    while True:
        yield random.expovariate(rate)


def uniform_draws(size: int, random: Random) -> Iterator[int]:
    """Positions in a pool, all equally often: round after round, each in another order.

    Nothing is drawn twice before everything was drawn once, so that what a server caches helps as little as it can.
    """
    order = list(range(size))
    while True:
        random.shuffle(order)
        yield from order


def zipf_draws(size: int, exponent: float, random: Random) -> Iterator[int]:
    """Positions in a pool of which a few are drawn again and again: the k-th in proportion to k to the -`exponent`."""
    bounds = list(itertools.accumulate((position + 1) ** -exponent for position in range(size)))
    total, last = bounds[-1], size - 1
    while True:
        # The product can round up to the total.
        yield min(bisect_right(bounds, random.random() * total), last)
