"""What is odd about times: impossible ones, silences, and events whose order nobody knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tanager_export.dataset.checks.finding import Finding, Severity, interaction_places
from tanager_export.dataset.times import MILLISECONDS_FROM

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from tanager_export.dataset.format import Interactions
    from tanager_export.dataset.reader import LocatedDataset

_DAY_S = 86_400
_SILENCE_DAYS = 7
_SILENCE_RATIO = 10  # times the gap that 95 in 100 gaps between active days stay below
_FEW_DAYS = 20  # active days below which nothing is usual
_MANY_TIES = 0.1
_BURST = 5


def check_times(located: LocatedDataset, now_s: float) -> Iterator[Finding]:
    """What is odd about the times, as far as the dataset says that there are any.

    Args:
        located: The dataset.
        now_s: What is the future from here on, in Unix seconds.
    """
    dataset, columns = located.dataset, located.dataset.interactions
    if not len(columns):
        return
    if dataset.times == "seconds":
        yield from _check_range(columns.timestamp, located.interaction_lines, now_s)
        yield from _check_silences(columns.timestamp)
        yield from _check_short_lives(columns)
    else:
        message = f"the dataset says that its times are {dataset.times!r}: it cannot be split by global time"
        yield Finding(Severity.INFO, "times", message, len(columns), (), "if real times are known, give them")
    if dataset.times != "none":
        yield from _check_ties(located)


def _check_range(seconds: NDArray[np.int64], lines: NDArray[np.int64], now_s: float) -> Iterator[Finding]:
    milli = np.abs(seconds) >= MILLISECONDS_FROM
    if count := int(milli.sum()):
        message = f"{count:,} timestamps look like milliseconds: as seconds they lie beyond the year 5000"
        places = interaction_places(lines, milli)
        yield Finding(Severity.ERROR, "time-milliseconds", message, count, places, "divide them by 1000")
    future = (seconds > now_s + _DAY_S) & ~milli
    if count := int(future.sum()):
        message = f"{count:,} interactions lie in the future"
        places = interaction_places(lines, future)
        yield Finding(Severity.WARNING, "time-future", message, count, places, "mend the clock, or drop them")
    first, last = int(seconds.min()), int(seconds.max())
    if first == last and len(seconds) > 1:
        message = "all timestamps are equal: nothing can be split or weighted by time"
        mend = 'give the real times, or say in dataset.json that there are none: "times": "none"'
        yield Finding(Severity.WARNING, "time-constant", message, len(seconds), (), mend)
    days = (last - first) / _DAY_S
    message = f"from {_date(first)} to {_date(last)} ({days:,.0f} days)"
    yield Finding(Severity.INFO, "time-range", message, len(seconds))


def _check_silences(seconds: NDArray[np.int64]) -> Iterator[Finding]:
    """Days on end without anything: data is lost, or the set was joined of two."""
    days = np.unique(seconds // _DAY_S)
    if len(days) < _FEW_DAYS:
        return
    gaps = np.diff(days)
    usual = float(np.quantile(gaps, 0.95))
    silent = np.flatnonzero(gaps > max(_SILENCE_DAYS, _SILENCE_RATIO * usual))
    if len(silent):
        longest = silent[np.argmax(gaps[silent])]
        start, end = (_date(int(day) * _DAY_S) for day in days[longest : longest + 2])
        message = (
            f"{len(silent):,} silences: the longest is of {gaps[longest]:,} days, from {start} to {end}; 95 % of gaps "
            f"between active days are at most {usual:.0f}"
        )
        mend = "see whether events were lost; do not split by time inside or beside a silence"
        yield Finding(Severity.WARNING, "time-gaps", message, len(silent), (), mend)


def _check_short_lives(columns: Interactions) -> Iterator[Finding]:
    """Users who did all they did within a day: a split by time has most of them on one side."""
    n_users = len(columns.user_ids)
    several = np.bincount(columns.user, minlength=n_users) > 1
    first = np.full(n_users, np.iinfo(np.int64).max)
    last = np.full(n_users, np.iinfo(np.int64).min)
    np.minimum.at(first, columns.user, columns.timestamp)
    np.maximum.at(last, columns.user, columns.timestamp)
    short = several & (last - first < _DAY_S)
    if count := int(short.sum()):
        share = count / int(several.sum())
        message = f"{count:,} users ({share:.0%} of those with two interactions or more) did all of it within 24 hours"
        mend = "count on new users: a split by global time has these on one side only" if share > 0.5 else ""
        yield Finding(Severity.WARNING if share > 0.5 else Severity.INFO, "one-day-users", message, count, (), mend)


def _check_ties(located: LocatedDataset) -> Iterator[Finding]:
    columns = located.dataset.interactions
    order = np.lexsort((columns.timestamp, columns.user))
    user, moment = columns.user[order], columns.timestamp[order]
    starts = np.concatenate(([True], (np.diff(user) != 0) | (np.diff(moment) != 0)))
    sizes = np.diff(np.append(np.flatnonzero(starts), len(order)))
    tied = np.empty(len(order), np.bool_)
    tied[order] = np.repeat(sizes > 1, sizes)
    if not (count := int(tied.sum())):
        return
    at = "at the same time" if located.dataset.times == "seconds" else "in the same place of their order"
    message = f"{count:,} interactions ({count / len(order):.0%}) are {at} as another of their user"
    if bursts := int((sizes >= _BURST).sum()):
        message += f"; {bursts:,} times there are {_BURST} or more at once, at most {sizes.max():,}"
    mend = "their order is the file's and means nothing: learn no sequences of it, keep them on one side of a split"
    many = count > _MANY_TIES * len(order)
    places = interaction_places(located.interaction_lines, tied)
    yield Finding(Severity.WARNING if many else Severity.INFO, "time-ties", message, count, places, mend)


def _date(seconds: int) -> str:
    return str(np.datetime64(seconds, "s")).partition("T")[0]
