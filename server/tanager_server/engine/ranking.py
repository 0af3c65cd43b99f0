"""Candidates and their scores: the additive hybrid.

    score(i) = sum over history h of w_h * (a * B[h, i] + b * <e_h, e_i>) + c * <q, e_i> + d * pop_i

with the weights a, b, c, d of the bundle's `scoring.json`. A cold item has no column in B: its text carries it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tanager_server.engine.request import Source

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tanager_server.engine.subject import Subject
    from tanager_server.index import Generation

# Candidates taken from a source beyond what the page and the exclusions need, for the other terms to reorder.
_SPARE = 50
# Latest liked items whose neighbourhoods are searched one by one, so that several interests all find candidates.
_INTERESTS = 4
# Candidates of each, where other sources make sure that there are enough.
_INTEREST_REACH = 64


@dataclass(frozen=True, slots=True)
class Candidates:
    """Items worth scoring.

    Attributes:
        positions: (n,) int64, ascending.
        sources: (n,) uint8, `Source` flags.
        collaborative: (items,) float32, the history's sum over B; None without a history.
        profile: (dim,) float32, the history's weighted sum of item vectors; None without a history.
    """

    positions: NDArray[np.int64]
    sources: NDArray[np.uint8]
    collaborative: NDArray[np.float32] | None
    profile: NDArray[np.float32] | None


def find_candidates(
    generation: Generation, subject: Subject, *, page_size: int, excluded: NDArray[np.int64], popular: bool
) -> Candidates:
    """Collects candidates from every source.

    Args:
        generation: what to search.
        subject: whom for.
        page_size: how many items are wanted.
        excluded: (m,) int64, distinct positions that must not be among them.
        popular: whether the most popular items are candidates too.

    Returns:
        At least `page_size` candidates, or all items that are not excluded if they are fewer.
    """
    catalogue, items = generation.catalogue, len(generation.catalogue)
    reach = min(items, page_size + len(excluded) + _SPARE)
    sources = np.zeros(items, dtype=np.uint8)
    profile = collaborative = None
    if subject.wish is not None:
        _mark(sources, _nearest(generation, subject.wish[None], reach), Source.WISH)
    if popular:
        _mark(sources, catalogue.by_popularity[:reach], Source.POPULAR)
    if len(subject.history):
        profile = subject.weights @ generation.vectors[subject.history]
        if (liked := _interests(generation, subject, profile)) is not None:
            each = reach if len(liked) == 1 else min(reach, _INTEREST_REACH)
            _mark(sources, _nearest(generation, liked, each), Source.TEXT)
        collaborative = generation.neighbours.weighted_sum(subject.history, subject.weights)
        positive = np.flatnonzero(collaborative > 0)
        if len(positive) > reach:
            positive = positive[np.argpartition(-collaborative[positive], reach - 1)[:reach]]
        _mark(sources, positive, Source.COLLABORATIVE)
    sources[excluded] = 0
    positions = np.flatnonzero(sources)
    return Candidates(positions, sources[positions], collaborative, profile)


def score(
    generation: Generation, subject: Subject, candidates: Candidates, *, with_popularity: bool
) -> NDArray[np.float32]:
    """The blend, for each candidate: (n,) float32."""
    scoring, positions = generation.scoring, candidates.positions
    scores = np.zeros(len(positions), dtype=np.float32)
    direction = np.zeros(generation.vectors.shape[1], dtype=np.float32)
    if candidates.profile is not None:
        direction += np.float32(scoring.history_text) * candidates.profile
    if subject.wish is not None:
        direction += np.float32(scoring.wish) * subject.wish
    if direction.any():
        scores += generation.vectors[positions] @ direction
    if candidates.collaborative is not None:
        scores += np.float32(scoring.collaborative) * candidates.collaborative[positions]
    if with_popularity:
        scores += np.float32(scoring.popularity) * generation.catalogue.popularity[positions]
    return scores


def _nearest(generation: Generation, queries: NDArray[np.float32], reach: int) -> NDArray[np.int64]:
    return generation.index.search(queries, reach).positions.ravel()


def _interests(generation: Generation, subject: Subject, profile: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """(up to _INTERESTS + 1, dim) unit vectors to search: the latest liked items, and all of the history as one."""
    liked = np.unique(subject.history[subject.weights > 0][-_INTERESTS:])
    length = float(np.linalg.norm(profile))
    if len(liked) <= 1 or length < 1e-6:
        return generation.vectors[liked] if len(liked) else None
    return np.vstack([generation.vectors[liked], (profile / length)[None]])


def _mark(sources: NDArray[np.uint8], positions: NDArray[np.int64], source: Source) -> None:
    sources[positions] |= np.uint8(source)
