"""Candidates and their scores: the additive hybrid of `Scoring`.

The sums over B, T and A are cheap; products with an item's vector are not, since the vector has to come from memory. So
every candidate gets its sums and its priors, the products that are known because it is a neighbour of an item of the
history, and in place of the others what they are on average; only those that may still reach the page are scored
exactly. What the sequence head says comes next is searched for, and its products are computed for every candidate: its
vectors are short. Where the text alone may carry an item onto the page, the nearest items are searched for. The best by
priors are taken from two lists, for who is not known and for who is well known: for anybody else the order lies
between, and where the lists may not have been enough they are read on. No call takes time that grows with the
catalogue, but for what rows of A hold. The loops are in `_ranking.cpp`.

A cold item has no column in B or T: its text and its priors carry it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tanager_server.engine import _ranking
from tanager_server.engine.request import Page, Source
from tanager_server.engine.text_space import TextSpace
from tanager_server.index import EVERYTHING, TextNeighbours, View, best_first

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray

    from tanager_server.engine.subject import History
    from tanager_server.index import Generation

SPARE = 50
"""Candidates taken from a source beyond what the page and the exclusions need, for the other terms to reorder."""
# Latest liked items whose neighbours are candidates.
_INTERESTS = 8
# How far from the average the text of a candidate is taken to lie at most, and that of an item which is none, in
# multiples of the spread. More is slower, less misses items: see tests/bench/candidate_recall.py.
_CANDIDATE_SPREADS = 5.0
_OUTSIDE_SPREADS = 6.0
# Places in the lists by priors that are read where text tells items apart too.
_MOST_LISTED = 1024
# Equal vectors may have averages that differ by rounding.
_ROUNDING = 1e-5


class Asked(NamedTuple):
    """A wish as the encoder gave it, or whatever else was asked for in words.

    Attributes:
        vector: (dim,) float32, unit length.
        positions: (k,) int64, the items nearest to it, nearest first; at least as many as the page and the exclusions
            need, or all.
        similarities: (k,) float32, their products with the vector.
        weight: what its products with items count for.
        source: the `Source` of the items nearest to it, as a number.
    """

    vector: NDArray[np.float32]
    positions: NDArray[np.int64]
    similarities: NDArray[np.float32]
    weight: float
    source: int


class Ranker:
    """Ranks items of one generation.

    Keeps arrays as long as the catalogue between calls, and touches of them only what a call needs: not thread-safe.

    Attributes:
        mean: (dim,) float32, the mean vector of the items.
    """

    def __init__(self, generation: Generation) -> None:
        scoring, neighbours, transitions = generation.scoring, generation.neighbours, generation.transitions
        profile, priors = generation.profile, generation.priors
        indexed = len(generation.index)
        text = TextSpace(generation.vectors[:indexed])
        average = np.zeros(len(generation.vectors), np.float32)  # only items of the index are estimated by it
        average[:indexed] = text.average
        self.mean = text.mean
        self._text_neighbours = text_neighbours = TextNeighbours(generation.index, generation.vectors)

        def search(query: NDArray[np.float32], count: int, allowed: NDArray[np.uint8] | None) -> NDArray[np.int64]:
            return generation.index.search_allowed(query[0], count, allowed).positions

        def search_sequence(
            query: NDArray[np.float32], count: int, allowed: NDArray[np.uint8] | None
        ) -> NDArray[np.int64]:
            assert generation.sequence is not None
            return generation.sequence.index.search_allowed(query[0], count, allowed).positions

        self._native = _ranking.Ranking(
            growth=generation.growth,
            vectors=generation.vectors,
            sequence_vectors=generation.sequence_vectors,
            neighbours=(neighbours.indptr, neighbours.indices, neighbours.weights),
            transitions=(transitions.indptr, transitions.indices, transitions.weights),
            attributes=(profile.indptr, profile.indices, profile.weights),
            priors=priors,
            by_prior=np.stack([best_first(priors[0, :indexed]), best_first(priors[:, :indexed].sum(axis=0))]),
            average=average,
            mean=text.mean,
            near=text_neighbours.rows,
            similarities=text_neighbours.similarities,
            near_found=text_neighbours.found,
            collaborative=scoring.collaborative,
            collaborative_half_life=scoring.collaborative_half_life,
            transitions_weight=scoring.transitions,
            transitions_half_life=scoring.transitions_half_life,
            history_text=scoring.history_text,
            history_text_half_life=scoring.history_text_half_life,
            wish_prior=scoring.wish_prior,
            profile=scoring.profile,
            known_events=scoring.known_events,
            spread=text.spread,
            spare=SPARE,
            interests=_INTERESTS,
            candidate_spreads=_CANDIDATE_SPREADS,
            outside_spreads=_OUTSIDE_SPREADS,
            most_listed=_MOST_LISTED,
            rounding=_ROUNDING,
            from_text=Source.TEXT.value,
            from_collaborative=Source.COLLABORATIVE.value,
            from_popular=Source.POPULAR.value,
            from_transition=Source.TRANSITION.value,
            from_profile=Source.PROFILE.value,
            from_sequence=Source.SEQUENCE.value,
            search=search,
            search_sequence=search_sequence,
            fill_neighbours=text_neighbours.fill,
        )

    def forget(self, position: int) -> None:
        """An item has another vector: what is near it is searched for anew."""
        self._text_neighbours.found[position] = 0

    def by_wish(
        self,
        wish: Asked,
        *,
        page_size: int,
        excluded: Collection[int],
        attributes: Collection[int] = (),
        view: View = EVERYTHING,
    ) -> Page:
        """What lies nearest to a wish; priors and the profile only order what is about equally near."""
        return Page(*self._native.by_wish(wish, attributes, page_size, excluded, view))

    def by_history(
        self,
        history: History,
        *,
        page_size: int,
        excluded: Collection[int],
        attributes: Collection[int] = (),
        asked: Asked | None = None,
        view: View = EVERYTHING,
    ) -> Page:
        """What fits a history, a profile, and what is asked for in words, as far as there is any of them.

        Args:
            history: what is scored of it may be nothing.
            page_size: how many items are wanted.
            excluded: distinct positions that must not be among them.
            attributes: rows of A, without repetition.
            asked: comes on top.
            view: what they are chosen from; `asked` has been searched for in it.

        Returns:
            `page_size` items, or all that are not excluded if they are fewer.
        """
        return Page(
            *self._native.by_history(
                history.scored, history.weights, attributes, asked, history.expected, page_size, excluded, True, view
            )
        )

    def score(
        self,
        positions: Sequence[int],
        *,
        history: History,
        attributes: Collection[int] = (),
        asked: Asked | None = None,
    ) -> tuple[list[float], list[int]]:
        """Scores of some items, in their order, and their `Source` flags by B, T and A."""
        return self._native.score_items(positions, history.scored, history.weights, attributes, asked, history.expected)

    def by_item(self, position: int, *, page_size: int, excluded: Collection[int], view: View = EVERYTHING) -> Page:
        """What the same users like, or what reads alike; neither what follows an item nor priors count."""
        return Page(*self._native.by_history([position], [1.0], (), None, None, page_size, excluded, False, view))
