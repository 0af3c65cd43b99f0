"""Why an item is in a list: the largest terms of the very sum that is its score.

A term is what one item of the history adds by B, by T or by its text, one text that was asked for, one attribute of the
profile, or the priors. The terms that are told and the rest add up to the score.

What the sequence head adds is no sum over events, so an item's term is how much less it would add if the item had not
been there; what is left beside these terms is among the rest. Of the items that it read, the latest are looked at.

By B, T and the sequence head, the score falls by just that term when the weights of the item's events are set to 0;
the others keep their places in time. The text of a history is a mean: when a share p of it (of the absolute weights) is
taken out, the rest counts for more, so that the text's part m of the score falls by (term - p * m) / (1 - p).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tanager_server.engine import _terms
from tanager_server.engine.request import Explanation, Reason, ReasonKind, Source

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from tanager_server.engine.asking import Question
    from tanager_server.engine.subject import History
    from tanager_server.index import Generation


class LeftOut(NamedTuple):
    """What the sequence head says if an item had not been there.

    Attributes:
        items: positions of the items left out, one by one.
        without: (items, dim) float32, the vector of what comes next, times its weight in the score, without each.
    """

    items: Sequence[int]
    without: NDArray[np.float32]


# The kinds of the compiled loops, by number, but for texts that were asked for.
_COLLABORATIVE, _TRANSITION, _TEXT, _SEQUENCE, _WORDS, _ATTRIBUTE, _PRIOR = range(7)
_OF_ITEMS = {
    _COLLABORATIVE: ReasonKind.COLLABORATIVE,
    _TRANSITION: ReasonKind.TRANSITION,
    _TEXT: ReasonKind.TEXT,
    _SEQUENCE: ReasonKind.SEQUENCE,
}


class Explainer:
    """Explains scores of items of one generation."""

    def __init__(self, generation: Generation) -> None:
        scoring, neighbours, transitions = generation.scoring, generation.neighbours, generation.transitions
        profile = generation.profile
        self._attributes = profile.attributes
        self._terms = _terms.Terms(
            growth=generation.growth,
            vectors=generation.vectors,
            sequence_vectors=generation.sequence_vectors,
            neighbours=(neighbours.indptr, neighbours.indices, neighbours.weights),
            transitions=(transitions.indptr, transitions.indices, transitions.weights),
            attributes=(profile.indptr, profile.indices, profile.weights),
            priors=generation.priors,
            collaborative=scoring.collaborative,
            collaborative_half_life=scoring.collaborative_half_life,
            transitions_weight=scoring.transitions,
            transitions_half_life=scoring.transitions_half_life,
            history_text=scoring.history_text,
            history_text_half_life=scoring.history_text_half_life,
            profile=scoring.profile,
            known_events=scoring.known_events,
        )

    def explain(
        self,
        positions: Sequence[int],
        *,
        history: History,
        attributes: Sequence[int] = (),
        questions: Sequence[Question] = (),
        vectors: Sequence[NDArray[np.float32]] = (),
        left_out: LeftOut | None = None,
        scale: float = 1.0,
        count: int,
    ) -> list[Explanation]:
        """Takes the scores of some items apart.

        Args:
            positions: the items.
            history: what was scored of it.
            attributes: rows of A.
            questions: the texts that were asked for.
            vectors: one for each of them.
            left_out: what the sequence head would say without items of the history, where it says anything.
            scale: what priors and attributes count for: less than 1 in a wish without a history.
            count: how many reasons to tell of each at most.
        """
        words = [(vector, question.weight) for question, vector in zip(questions, vectors, strict=True)]
        items, without = ((), None) if left_out is None else left_out
        found = self._terms.explain(
            positions,
            history.scored,
            history.weights,
            attributes,
            words,
            history.expected,
            items,
            without,
            scale,
            count,
        )
        return [
            Explanation([self._reason(kind, subject, added, questions) for kind, subject, added in terms], other)
            for terms, other in found
        ]

    def shares(
        self, positions: Sequence[int], *, history: History, groups: Sequence[int], count: int
    ) -> NDArray[np.float64]:
        """(positions, count) float64: what each group of events adds to the scores of some items by B, T and text.

        Args:
            positions: the items.
            history: what was scored of it.
            groups: of each scored event; events of a negative one are in none.
            count: how many groups there are.
        """
        return self._terms.shares(positions, history.scored, history.weights, groups, count)

    def _reason(self, kind: int, subject: int, contribution: float, questions: Sequence[Question]) -> Reason:
        if kind in _OF_ITEMS:
            return Reason(_OF_ITEMS[kind], subject, "", contribution)
        if kind == _ATTRIBUTE:
            return Reason(ReasonKind.PROFILE, -1, self._attributes[subject], contribution)
        if kind == _PRIOR:
            return Reason(ReasonKind.POPULARITY, -1, "", contribution)
        question = questions[subject]
        if question.kind is Source.WISH:
            return Reason(ReasonKind.WISH, -1, "", contribution)
        return Reason(ReasonKind.CONTEXT if question.is_context else ReasonKind.PROFILE_TEXT, -1, "", contribution)
