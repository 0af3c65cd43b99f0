"""What is asked for in words: the wish, what the profile says that the bundle has not learned, and the context."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tanager_server.engine.ranking import Asked
from tanager_server.engine.request import Source, Timing
from tanager_server.index import Neighbourhood

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tanager_server.bundle import KnownProfile
    from tanager_server.engine.items import LiveItems, Mask
    from tanager_server.engine.request import RecommendQuery
    from tanager_server.index import Generation
    from tanager_server.runtime import TextEncoder

# Texts that cancel one another out ask for nothing.
_LEAST_LENGTH = 1e-6


class Question(NamedTuple):
    """A text to encode.

    Attributes:
        kind: `Source` of the items nearest to it: the wish, or the user as the profile and the context have it.
        text: prompt included.
        weight: what its products with items count for.
        is_context: whether it is the context.
    """

    kind: Source
    text: str
    weight: float
    is_context: bool = False


class Answered(NamedTuple):
    """The texts of a request, encoded.

    Attributes:
        questions: the texts.
        vectors: one (dim,) float32 for each.
        asked: all of them as one vector, with the items nearest to it; None where they say nothing.
        timing: what it took.
        degraded: whether texts were left out, as there was no time or no room for them.
    """

    questions: Sequence[Question]
    vectors: Sequence[NDArray[np.float32]]
    asked: Asked | None
    timing: Timing
    degraded: bool = False


NOTHING_ASKED = Answered((), (), None, Timing())


def questions(query: RecommendQuery, profile: KnownProfile, generation: Generation) -> list[Question]:
    """The texts of a request that count for anything."""
    scoring, encoder = generation.scoring, generation.manifest.encoder
    asked = []
    if query.text:
        asked.append(Question(Source.WISH, encoder.query_prompt + query.text, scoring.wish))
    if profile.rest and scoring.profile_text:
        asked.append(Question(Source.PROFILE, encoder.profile_prompt + _told(profile.rest), scoring.profile_text))
    if query.context and scoring.context_text:
        text = encoder.context_prompt + _told(sorted(query.context.items()))
        asked.append(Question(Source.PROFILE, text, scoring.context_text, is_context=True))
    return asked


async def answer(
    asked: Sequence[Question], *, reach: int, texts: TextEncoder, items: LiveItems, mask: Mask | None, deadline: float
) -> Answered:
    """Encodes the texts of a request and finds the items nearest to them.

    Sums of products are products with a sum: several texts are searched for as one vector, sum_k weight_k * text_k.

    Args:
        asked: at least one text.
        reach: how many items to find.
        texts: what encodes.
        items: where to search, as they are when the texts are encoded.
        mask: of the items that a filter allows; None for no filter.
        deadline: on the clock of `texts`.

    Raises:
        OverloadedError: the queue is full.
        DeadlineExpiredError: the deadline passed first.
    """
    kind = Source(0)
    for question in asked:
        kind |= question.kind
    if len(asked) == 1 and mask is None:
        wish = await texts.encode_wish(asked[0].text, reach=reach, deadline=deadline)
        timing = Timing(
            wish.tokenize_s, wish.queue_s, wish.encode_s, search_s=wish.search_s, batch_size=wish.batch_size
        )
        view, near = items.view(), wish.nearest
        if view.allowed is not None:
            near = _allowed(near, view.allowed, reach)
        if view.allowed is not None and len(near.positions) < reach:
            near = items.generation.index.search_allowed(wish.vector, reach, view.allowed)
        found = Asked(wish.vector, near.positions[:reach], near.similarities[:reach], asked[0].weight, kind.value)
        return Answered(asked, [wish.vector], found, timing)
    encoded = await texts.encode_texts([question.text for question in asked], deadline=deadline, bulk=False)
    timing = Timing(encoded.tokenize_s, encoded.queue_s, encoded.encode_s, batch_size=encoded.batch_size)
    weights = np.array([question.weight for question in asked], dtype=np.float32)
    together = weights @ np.stack(encoded.vectors)
    length = float(np.linalg.norm(together))
    if length < _LEAST_LENGTH:
        return Answered(asked, encoded.vectors, None, timing)
    direction = together / np.float32(length)
    view = items.view(None if mask is None else mask())
    near = Neighbourhood(np.empty(0, np.int64), np.empty(0, np.float32))
    if view.share:
        near = items.generation.index.search_allowed(direction, reach, view.allowed)
    found = Asked(direction, near.positions, near.similarities, length, kind.value)
    return Answered(asked, encoded.vectors, found, timing)


def _allowed(near: Neighbourhood, allowed: NDArray[np.uint8], reach: int) -> Neighbourhood:
    keep = allowed[near.positions] != 0
    return Neighbourhood(near.positions[keep][:reach], near.similarities[keep][:reach])


def _told(parts: Sequence[tuple[str, str]]) -> str:
    return "; ".join(f"{name}: {text}" for name, text in parts)
