"""The engine: one request from its values to a ranked list."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from tanager_server.engine import ranking
from tanager_server.engine.request import Recommendation, ScoredItem, Shortfall, Source, Strategy, Timing
from tanager_server.engine.subject import Subject, resolve_history
from tanager_server.errors import ItemNotFoundError
from tanager_server.index import top

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tanager_server.engine.request import RecommendQuery, SimilarQuery
    from tanager_server.index import Generation
    from tanager_server.runtime import EncodedTexts, TextEncoder

_SHOWN_ID_CHARS = 100
# Making a flag of a number is slow.
_SOURCES = tuple(Source(flags) for flags in range(1 << len(Source)))


class Engine:
    """Answers from one generation with one text encoder.

    Args:
        generation: what is recommended.
        texts: encodes wishes.
    """

    def __init__(self, generation: Generation, texts: TextEncoder) -> None:
        self.generation = generation
        self._texts = texts

    @property
    def provider(self) -> str:
        """ONNX Runtime execution provider in use."""
        return self._texts.provider

    @property
    def queue_depth(self) -> int:
        """Texts that wait to be encoded."""
        return self._texts.queue_depth

    @property
    def stuck(self) -> bool:
        """Whether the encoder has stopped answering."""
        return self._texts.stuck

    def deadline(self, remaining_s: float) -> float:
        """The moment so many seconds from now, as the methods here take it."""
        return self._texts.clock() + remaining_s

    async def embed(self, texts: Sequence[str], *, deadline: float) -> EncodedTexts:
        """Encodes texts, as they are.

        Raises:
            OverloadedError: the queue has no room for all of them.
            DeadlineExpiredError: the deadline passed first.
        """
        return await self._texts.encode_texts(texts, deadline=deadline)

    async def recommend(self, query: RecommendQuery, *, deadline: float) -> Recommendation:
        """Recommends for a wish, for a history, for both, or for neither (the most popular).

        Raises:
            OverloadedError: there is a wish, and the queue is full.
            DeadlineExpiredError: the deadline passed before the wish was encoded.
        """
        generation = self.generation
        timing = Timing()
        wish = None
        if query.text:
            prompt = generation.manifest.encoder.query_prompt
            encoded = await self._texts.encode_wish(prompt + query.text, reach=1, deadline=deadline)
            wish = encoded.vector
            timing = Timing(encoded.tokenize_s, encoded.queue_s, encoded.encode_s, batch_size=encoded.batch_size)
        history = resolve_history(query.events, catalogue=generation.catalogue, scoring=generation.scoring)
        excluded = generation.catalogue.positions(query.exclude)
        if not query.include_seen:
            excluded = np.concatenate([excluded, history.seen])
        without_history = Strategy.COLD_START if wish is None else Strategy.WISH
        strategy = Strategy.PERSONAL if len(history.seen) else without_history
        items, shortfall = _rank(
            generation,
            Subject(history.subject.history, history.subject.weights, wish),
            page_size=query.page_size,
            excluded=np.unique(excluded),
            # A wish in words is answered by what it says; popularity only orders what is equally near.
            popular=strategy is not Strategy.WISH,
            timing=timing,
        )
        return Recommendation(
            items, strategy, shortfall, generation.manifest.bundle_id, unknown_items=history.unknown, timing=timing
        )

    def similar(self, query: SimilarQuery) -> Recommendation:
        """Items like one item, which is never among them.

        Raises:
            ItemNotFoundError: the catalogue does not have the item.
        """
        generation = self.generation
        position = generation.catalogue.position(query.item_id)
        if position is None:
            shown = query.item_id[:_SHOWN_ID_CHARS]  # a status message travels in a header, which has little room
            raise ItemNotFoundError(f"item_id: the catalogue has no item {shown!r}")
        excluded = np.append(generation.catalogue.positions(query.exclude), position)
        timing = Timing()
        items, shortfall = _rank(
            generation,
            Subject(np.array([position]), np.ones(1, dtype=np.float32)),
            page_size=query.page_size,
            excluded=np.unique(excluded),
            popular=False,
            timing=timing,
        )
        return Recommendation(items, Strategy.SIMILAR, shortfall, generation.manifest.bundle_id, timing=timing)


def _rank(
    generation: Generation,
    subject: Subject,
    *,
    page_size: int,
    excluded: NDArray[np.int64],
    popular: bool,
    timing: Timing,
) -> tuple[tuple[ScoredItem, ...], Shortfall]:
    catalogue = generation.catalogue
    began = time.monotonic()
    candidates = ranking.find_candidates(generation, subject, page_size=page_size, excluded=excluded, popular=popular)
    found = time.monotonic()
    scores = ranking.score(generation, subject, candidates, with_popularity=popular or subject.wish is not None)
    items = tuple(
        ScoredItem(
            item_id=catalogue.ids[position],
            title=catalogue.titles[position],
            domain=catalogue.domains[position],
            score=float(scores[index]),
            sources=_SOURCES[candidates.sources[index]],
        )
        for index in top(scores, page_size).tolist()
        for position in (int(candidates.positions[index]),)
    )
    timing.search_s, timing.rank_s = found - began, time.monotonic() - found
    if len(items) == page_size:
        shortfall = Shortfall.NONE
    else:
        shortfall = Shortfall.CATALOGUE if page_size > len(catalogue) else Shortfall.FILTER
    return items, shortfall
