"""Where targets come in a ranking of the full catalogue: seen items masked, ties counted against the recommender."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tanager_export.errors import ExportError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tanager_export.evaluation.cases import Histories

TOP = 10
MASKED = 1 << 62
"""The rank of a target that is no candidate: a miss, however many places count."""


class ScoreError(ExportError):
    """Scores that do not rank anything."""


@dataclass(frozen=True, slots=True, eq=False)
class Ranks:
    """Where the targets of some cases come, and what comes first.

    Items of the same score are ordered against the recommender: the targets among them last. Of what remains equal, the
    lower position in the catalogue comes first. So each case has one order, which all metrics and lists share.

    Attributes:
        indptr: `(cases + 1,) int64`: the targets of case `c` are `indptr[c]` to `indptr[c + 1]`, as they were given.
        rank: `(targets,) int64`, from 1; `MASKED` where the target is no candidate.
        candidates: `(cases,) int64`: how many items were ranked.
        top: `(cases, k) int32`: positions of the first `k`, best first; -1 where there are fewer candidates.
    """

    indptr: NDArray[np.int64]
    rank: NDArray[np.int64]
    candidates: NDArray[np.int64]
    top: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.indptr) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """`(cases,) int64`: how many targets each case has."""
        return np.diff(self.indptr)

    @property
    def case_of_target(self) -> NDArray[np.int64]:
        """`(targets,) int64`."""
        return np.repeat(np.arange(len(self)), self.lengths)

    @property
    def better_targets(self) -> NDArray[np.int64]:
        """`(targets,) int64`: how many targets of the same case come before each."""
        case = self.case_of_target
        order = np.lexsort((self.rank, case))
        better = np.empty_like(self.rank)
        better[order] = np.arange(len(order)) - self.indptr[case[order]]
        return better

    def only(self, chosen: NDArray[np.bool_]) -> tuple[Ranks, NDArray[np.int64]]:
        """As if only some of the targets were asked for, and the others were no candidates: neither right nor wrong.

        Args:
            chosen: `(targets,)`, which to keep.

        Returns:
            The ranks, and which cases they are of: those without a target of these are left out. The lists stay.
        """
        case, left_out = self.case_of_target, ~chosen
        order = np.lexsort((self.rank, case))
        dropped = left_out[order]
        total = np.cumsum(dropped)
        first = self.indptr[:-1][case[order]]
        before = np.empty_like(self.rank)
        before[order] = total - dropped - (total[first] - dropped[first])
        cases = np.unique(case[chosen])
        masked = self.rank == MASKED
        gone = np.bincount(case[left_out & ~masked], minlength=len(self))
        ranks = Ranks(
            indptr=np.concatenate(([0], np.cumsum(np.bincount(case[chosen], minlength=len(self))[cases]))),
            rank=np.where(masked, self.rank, self.rank - before)[chosen],
            candidates=(self.candidates - gone)[cases],
            top=self.top[cases],
        )
        return ranks, cases

    @classmethod
    def concatenate(cls, parts: Sequence[Ranks]) -> Ranks:
        """The cases of all the parts, in order."""
        return cls(
            indptr=np.concatenate(([0], np.cumsum(np.concatenate([part.lengths for part in parts])))),
            rank=np.concatenate([part.rank for part in parts]),
            candidates=np.concatenate([part.candidates for part in parts]),
            top=np.concatenate([part.top for part in parts]),
        )


def ranks(
    scores: NDArray[np.floating],
    targets: Histories,
    seen: Histories,
    *,
    k: int = TOP,
    among: NDArray[np.bool_] | None = None,
) -> Ranks:
    """Ranks each target among all items that its case has not seen.

    Args:
        scores: `(cases, items)`, the higher the better; `-inf` for what is never to be recommended.
        targets: a row for each case.
        seen: a row for each case; these items are masked.
        k: length of the lists.
        among: `(items,)`: which items are candidates at all; by default all are.

    Raises:
        ScoreError: the scores have the wrong shape, or there is a NaN or `+inf` among them.
    """
    require_scores(scores, cases=len(targets))
    cases, items = scores.shape
    blocked = np.zeros(scores.shape, np.bool_) if among is None else np.tile(~among, (cases, 1))
    blocked[seen.row_of_event, seen.item] = True
    masked = np.where(blocked, -np.inf, scores)
    ascending = np.sort(masked, axis=1)
    count_blocked = blocked.sum(axis=1)

    case = targets.row_of_event
    score = masked[case, targets.item]
    at_least = np.empty(len(score), np.int64)
    for row in range(cases):
        part = slice(targets.indptr[row], targets.indptr[row + 1])
        at_least[part] = items - np.searchsorted(ascending[row], score[part], side="left")
    at_least -= np.where(np.isneginf(score), count_blocked[case], 0)  # what is masked is there at the end as well
    unreachable = blocked[case, targets.item]
    rank = np.where(unreachable, MASKED, at_least - _tied_behind(case, score, targets.item, unreachable))

    is_target = np.zeros(scores.shape, np.bool_)
    is_target[case, targets.item] = True
    top = np.full((cases, k), -1, np.int32)
    for row in range(cases):
        listed = _first(masked[row], ascending[row], blocked[row], is_target[row], k=min(k, items))
        top[row, : len(listed)] = listed
    return Ranks(targets.indptr, rank, items - count_blocked, top)


def require_scores(scores: NDArray[np.floating], *, cases: int, items: int | None = None) -> None:
    """Refuses what cannot be ranked.

    Raises:
        ScoreError: the scores have the wrong shape, or there is a NaN or `+inf` among them.
    """
    if scores.ndim != 2 or len(scores) != cases or (items is not None and scores.shape[1] != items):
        expected = f"({cases}, {'items' if items is None else items})"
        raise ScoreError(f"the scores have the shape {scores.shape}, not {expected}")
    if not np.issubdtype(scores.dtype, np.floating):
        raise ScoreError(f"the scores are {scores.dtype}, not floating-point numbers")
    # The largest of a row is NaN when there is any NaN in it.
    wrong = ~(scores.max(axis=1, initial=-np.inf) < np.inf)
    if wrong.any():
        row = int(np.argmax(wrong))
        item = int(np.argmax(~(scores[row] < np.inf)))
        what = f"case {row} gives item {item} {scores[row, item]}"
        raise ScoreError(f"{int(wrong.sum()):,} cases have scores that are NaN or infinite: {what}")


def _tied_behind(
    case: NDArray[np.int64], score: NDArray[np.floating], item: NDArray[np.int32], unreachable: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """`(targets,)`: how many targets of the same case and score lie at higher positions, and so come after each."""
    behind = np.zeros(len(case), np.int64)
    here = np.flatnonzero(~unreachable)
    order = here[np.lexsort((item[here], score[here], case[here]))]
    starts = np.ones(len(order), np.bool_)
    starts[1:] = (np.diff(case[order]) != 0) | (score[order][1:] != score[order][:-1])
    group = np.cumsum(starts) - 1
    ends = np.append(np.flatnonzero(starts)[1:], len(order))
    behind[order] = ends[group] - 1 - np.arange(len(order)) if len(order) else 0
    return behind


def _first(
    row: NDArray[np.floating],
    ascending: NDArray[np.floating],
    blocked: NDArray[np.bool_],
    is_target: NDArray[np.bool_],
    *,
    k: int,
) -> NDArray[np.int64]:
    """Positions of the first `k` of a row in the order of `Ranks`."""
    if not k:
        return np.empty(0, np.int64)
    least = ascending[-k]
    above = np.flatnonzero(row > least)
    above = above[np.lexsort((above, is_target[above], -row[above]))]
    level = np.flatnonzero(row == least) if least > -np.inf else np.flatnonzero((row == least) & ~blocked)
    level = np.concatenate((level[~is_target[level]], level[is_target[level]]))
    return np.concatenate((above, level[: k - len(above)]))
