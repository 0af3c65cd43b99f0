"""The engine: one request from its values to a ranked list."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tanager_server.bundle import KnownProfile
from tanager_server.engine.asking import NOTHING_ASKED, answer, questions
from tanager_server.engine.diversity import Diversifier, most_candidates
from tanager_server.engine.next_items import NextItems
from tanager_server.engine.popular import PopularItems
from tanager_server.engine.ranking import SPARE, Ranker
from tanager_server.engine.reasons import Explainer
from tanager_server.engine.request import Recommendation, Shortfall, Strategy, Timing
from tanager_server.engine.subject import resolve_history
from tanager_server.errors import ItemNotFoundError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tanager_server.engine.request import Explanation, Page, RecommendQuery, SimilarQuery
    from tanager_server.index import Generation
    from tanager_server.runtime import EncodedTexts, SequenceHead, TextEncoder

_SHOWN_ID_CHARS = 100
NO_PROFILE = KnownProfile()


class Engine:
    """Answers from one generation with one text encoder.

    Args:
        generation: what is recommended.
        texts: encodes wishes.
        sequence: reads histories, where the generation has a sequence head.
    """

    def __init__(self, generation: Generation, texts: TextEncoder, sequence: SequenceHead | None = None) -> None:
        self.generation = generation
        self._texts = texts
        self._next = None if sequence is None else NextItems(sequence, weight=generation.scoring.sequence)
        self._ranker = Ranker(generation)
        self._explainer = Explainer(generation)
        self._diversifier = Diversifier(generation, self._ranker, self._explainer)
        self._popular = PopularItems(generation.priors[0])

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
        """Recommends for a wish, a history, a profile, a context, or for none of them (the most popular).

        Raises:
            OverloadedError: there is something to encode, and the queue is full; or too many wait for their reasons.
            DeadlineExpiredError: the deadline passed before it was encoded.
        """
        generation, catalogue = self.generation, self.generation.catalogue
        history = resolve_history(query.events, catalogue=catalogue, scoring=generation.scoring)
        began = time.monotonic()
        if self._next is not None:
            history = self._next.expected(history)
        read_s = time.monotonic() - began
        profile = generation.profile.know(query.profile) if query.profile else NO_PROFILE
        excluded = self._known(query.exclude)
        if not query.include_seen:
            excluded.update(history.seen)
        page_size, diversity = query.page_size, query.diversity
        timing = Timing()
        answered = NOTHING_ASKED
        words = questions(query, profile, generation) if query.text or profile.rest or query.context else ()
        if words:
            most = page_size if diversity is None else most_candidates(page_size, diversity)
            reach = min(len(catalogue), most + len(excluded) + SPARE)
            answered = await answer(words, reach=reach, texts=self._texts, generation=generation, deadline=deadline)
            timing = answered.timing
        asked = answered.asked
        began = time.monotonic()
        if history.seen:
            strategy = Strategy.PERSONAL
        elif query.text:
            strategy = Strategy.WISH
        else:
            strategy = Strategy.PROFILE if profile.rows or asked else Strategy.COLD_START

        def find(count: int) -> Page:
            if strategy is Strategy.WISH and asked is not None:
                return self._ranker.by_wish(asked, page_size=count, excluded=excluded, attributes=profile.rows)
            if strategy is Strategy.COLD_START:
                return self._popular.page(page_size=count, excluded=excluded)
            return self._ranker.by_history(
                history, page_size=count, excluded=excluded, attributes=profile.rows, asked=asked
            )

        if diversity is None:
            page = find(page_size)
        else:
            page = self._diversifier.page(
                find,
                diversity,
                page_size=page_size,
                excluded=excluded,
                history=history,
                attributes=profile.rows,
                asked=asked,
            )
        explanations: Sequence[Explanation] = ()
        if query.reasons:
            left_out = None
            if self._next is not None and history.expected is not None and page.positions:
                left_out = await self._next.left_out(history)
            explanations = self._explainer.explain(
                page.positions,
                history=history,
                attributes=profile.rows,
                questions=answered.questions,
                vectors=answered.vectors,
                left_out=left_out,
                scale=generation.scoring.wish_prior if strategy is Strategy.WISH and asked is not None else 1.0,
                count=query.reasons,
            )
        timing.search_s += read_s + page.found_at - began
        timing.rank_s = time.monotonic() - page.found_at
        shortfall = self._shortfall(page, page_size)
        unknown = profile.unknown + (0 if generation.scoring.profile_text else len(profile.rest))
        return Recommendation(generation, page, strategy, shortfall, history.unknown, timing, unknown, explanations)

    def similar(self, query: SimilarQuery) -> Recommendation:
        """Items like one item, which is never among them.

        Raises:
            ItemNotFoundError: the catalogue does not have the item.
        """
        position = self.generation.catalogue.position(query.item_id)
        if position is None:
            shown = query.item_id[:_SHOWN_ID_CHARS]  # a status message travels in a header, which has little room
            raise ItemNotFoundError(f"item_id: the catalogue has no item {shown!r}")
        excluded = self._known(query.exclude)
        excluded.add(position)
        began = time.monotonic()
        page = self._ranker.by_item(position, page_size=query.page_size, excluded=excluded)
        timing = Timing(search_s=page.found_at - began, rank_s=time.monotonic() - page.found_at)
        shortfall = self._shortfall(page, query.page_size)
        return Recommendation(self.generation, page, Strategy.SIMILAR, shortfall, 0, timing)

    def _known(self, item_ids: Sequence[str]) -> set[int]:
        if not item_ids:
            return set()
        return {position for position in self.generation.catalogue.positions(item_ids) if position is not None}

    def _shortfall(self, page: Page, page_size: int) -> Shortfall:
        if len(page.positions) == page_size:
            return Shortfall.NONE
        return Shortfall.CATALOGUE if page_size > len(self.generation.catalogue) else Shortfall.FILTER
