"""The engine: one request from its values to a ranked list."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, NamedTuple

from tanager_server.bundle import KnownProfile
from tanager_server.engine.asking import NOTHING_ASKED, questions
from tanager_server.engine.audiences import Audiences
from tanager_server.engine.diversity import most_candidates
from tanager_server.engine.exploration import OFF, Explorer
from tanager_server.engine.items import LiveItems
from tanager_server.engine.known import NO_PAST, KnownUsers
from tanager_server.engine.ladder import answer_in_time
from tanager_server.engine.ranking import SPARE
from tanager_server.engine.request import (
    Explanation,
    Page,
    Recommendation,
    RecommendQuery,
    Shortfall,
    Source,
    Strategy,
    Timing,
)
from tanager_server.engine.serving import Serving
from tanager_server.engine.subject import resolve_history
from tanager_server.engine.trending import taken_up, trending_page
from tanager_server.errors import DeadlineExpiredError, InvalidRequestError
from tanager_server.state.trends import Trends

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from tanager_server.engine.asking import Answered
    from tanager_server.engine.audiences import AudienceQuery, FoundAudience
    from tanager_server.engine.exploration import ExplorationPolicy
    from tanager_server.engine.items import Mask, Written
    from tanager_server.engine.request import BatchQuery, RankQuery, SimilarQuery, TrendingQuery
    from tanager_server.engine.subject import History
    from tanager_server.engine.trending import TakenUp
    from tanager_server.index import Generation
    from tanager_server.runtime import EncodedTexts, SequenceHead, TextEncoder

_TURN_S = 0.001  # for which a batch may hold up other calls
NO_PROFILE = KnownProfile()


class _Subject(NamedTuple):
    """Whom a list is for: what is known before any text is encoded."""

    history: History
    profile: KnownProfile
    asked_profile: RecommendQuery  # with the stored profile in it
    read_s: float


class Engine:
    """Answers from one generation with one text encoder.

    Args:
        generation: what is recommended.
        texts: encodes wishes.
        sequence: reads histories, where the generation has a sequence head.
        known: users of whom something is stored.
        trends: what is taken up lately.
        exploration: how much of users' lists is left to chance.
    """

    def __init__(
        self,
        generation: Generation,
        texts: TextEncoder,
        sequence: SequenceHead | None = None,
        known: KnownUsers | None = None,
        trends: Trends | None = None,
        exploration: ExplorationPolicy = OFF,
    ) -> None:
        self.items = LiveItems(generation)
        self.trends = Trends((24.0,)) if trends is None else trends
        self.known = KnownUsers(generation.catalogue) if known is None else known
        self._explorer = Explorer(exploration, self.known, self.trends)
        self._texts = texts
        self._serving = Serving(generation, sequence)
        self.audiences = Audiences(self.items, self.known, sequence)

    @property
    def generation(self) -> Generation:
        """What is recommended."""
        return self._serving.generation

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

    @property
    def explores(self) -> bool:
        """Whether any list is left to chance."""
        return self._explorer.on

    def deadline(self, remaining_s: float) -> float:
        """The moment so many seconds from now, as the methods here take it."""
        return self._texts.clock() + remaining_s

    def put(self, written: Written) -> int:
        """Writes an item.

        Returns:
            Its position.

        Raises:
            NoRoomError: there is none for a new item.
        """
        position = self.items.put(written)
        if written.vector is not None:
            self._serving.ranker.forget(position)
        return position

    def serve(self, serving: Serving) -> None:
        """Goes on with a generation that was made of the present one; see `LiveItems.end_indexing`."""
        self.items.end_indexing(serving.generation)
        self._serving.close()
        self._serving = serving
        self._texts.retrieve_by(serving.generation.index.search)

    @property
    def recent_texts(self) -> list[str]:
        """What items were looked up for lately, latest first, prompts included."""
        return self._texts.recent

    def warm(self, texts: Sequence[str]) -> None:
        """Encodes texts beforehand, in the caller's thread; only before anybody else calls.

        Raises:
            EncodeError: the encoder failed.
        """
        self._texts.warm(texts)

    async def close(self) -> None:
        """Ends its threads. What waits to be encoded is failed; nothing is answered any more."""
        self._serving.close()
        await self._texts.close()

    async def embed(self, texts: Sequence[str], *, deadline: float) -> EncodedTexts:
        """Encodes texts, as they are.

        Raises:
            OverloadedError: the queue has no room for all of them.
            DeadlineExpiredError: the deadline passed first.
        """
        return await self._texts.encode_texts(texts, deadline=deadline)

    async def embed_items(self, texts: Sequence[str], *, deadline: float) -> EncodedTexts:
        """The same for texts of items that are written, after whatever callers' answers wait for.

        Raises:
            As `embed`.
        """
        return await self._texts.encode_items(texts, deadline=deadline)

    async def recommend(self, query: RecommendQuery, *, deadline: float) -> Recommendation:
        """Recommends for a wish, a history, a profile, a context, or for none of them (the most popular).

        Where there is no time for what is asked for in words, it is left out: see `ladder`.

        Raises:
            OverloadedError: there is nothing but words, and the queue is full; or too many wait for their reasons.
        """
        mask = self.items.mask(query.filter, query.target_domains)
        subject = self._subject(query)
        excluded = self._excluded(query, subject)
        diversity, page_size = query.diversity, query.page_size
        most = page_size if diversity is None else most_candidates(page_size, diversity)
        beyond = self._explorer.candidates(query)
        reach = max(most, page_size + beyond) + len(excluded) + SPARE
        answered = await self._answer(subject, reach=reach, mask=mask, deadline=deadline)
        # From here to the page nothing waits: the items are those of this moment.
        serving, view = self._serving, self.items.view(None if mask is None else mask())
        history, profile, asked = subject.history, subject.profile, answered.asked
        began = time.monotonic()
        strategy = self._strategy(query, subject, answered)
        taken = None
        if answered.degraded and strategy is Strategy.COLD_START:
            taken = self._taken_up(mask, excluded)
            strategy = Strategy.TRENDING if len(taken.positions) else strategy

        def find(count: int) -> Page:
            if taken is not None and strategy is Strategy.TRENDING:
                return trending_page(taken, page_size=count, excluded=excluded, popular=serving.popular, view=view)
            if strategy is Strategy.WISH and asked is not None:
                return serving.ranker.by_wish(
                    asked, page_size=count, excluded=excluded, attributes=profile.rows, view=view
                )
            if strategy is Strategy.COLD_START:
                return serving.popular.page(page_size=count, excluded=excluded, view=view)
            return serving.ranker.by_history(
                history, page_size=count, excluded=excluded, attributes=profile.rows, asked=asked, view=view
            )

        beyond = 0 if answered.degraded else beyond
        if diversity is None:
            page = find(page_size + beyond)
        else:
            page = serving.diversifier.page(
                find,
                diversity,
                page_size=page_size,
                excluded=excluded,
                history=history,
                attributes=profile.rows,
                asked=asked,
                view=view,
            )
        if beyond:
            page = self._explorer.page(
                query,
                page,
                page if diversity is None else find(page_size + beyond),
                items=self.items,
                excluded=excluded,
                mask=mask,
                score=None
                if strategy is Strategy.WISH  # in whose scores priors count for less
                else lambda positions: serving.ranker.score(
                    positions, history=history, attributes=profile.rows, asked=asked
                ),
            )
        timing = answered.timing
        timing.search_s += subject.read_s + page.found_at - began
        explanations = await self._explain(page, query, subject, answered, strategy, serving)
        timing.rank_s = time.monotonic() - page.found_at
        return Recommendation(
            serving.generation,
            page,
            strategy,
            self._shortfall(page, page_size, len(query.shown)),
            history.unknown,
            timing,
            self._unknown_attributes(profile),
            explanations,
            answered.degraded,
        )

    async def batch(self, query: BatchQuery, *, deadline: float) -> AsyncIterator[Recommendation]:
        """Recommends for many users, one after the other; lets other calls in between.

        Raises:
            As `recommend`.
        """
        turn = time.monotonic()
        for user_id in query.user_ids:
            yield await self.recommend(query.query._replace(user_id=user_id), deadline=deadline)
            if time.monotonic() - turn > _TURN_S:
                if self._texts.clock() > deadline:
                    raise DeadlineExpiredError("user_ids: the deadline passed; ask for fewer users at a time")
                await asyncio.sleep(0)
                turn = time.monotonic()

    async def find_audience(self, query: AudienceQuery) -> FoundAudience:
        """The users who are likeliest to want an item, and why.

        Raises:
            ItemNotFoundError: the catalogue does not have it.
            InvalidRequestError: the filter cannot be read.
        """
        found, explanations = await self.audiences.find(query), []
        if not query.reasons:
            return found
        for user_id in found.members.user_ids:
            explanations.append(await self._explain_item(found.position, user_id, count=query.reasons))
            await asyncio.sleep(0)
        return found._replace(explanations=explanations)

    async def _explain_item(self, position: int, user_id: str, *, count: int) -> Explanation:
        """Why an item is for a user of whom something is stored."""
        subject = self._subject(RecommendQuery(page_size=1, user_id=user_id))
        serving, history, left_out = self._serving, subject.history, None
        if serving.next_items is not None and history.expected is not None:
            left_out = await serving.next_items.left_out(history)
        (explanation,) = serving.explainer.explain(
            [position], history=history, attributes=subject.profile.rows, left_out=left_out, count=count
        )
        return explanation

    async def rank(self, query: RankQuery, *, deadline: float) -> Recommendation:
        """Orders given items for a user.

        Raises:
            As `recommend`.
        """
        subject = self._subject(query.subject)
        answered = await self._answer(subject, reach=1, mask=None, deadline=deadline)
        serving = self._serving
        began = time.monotonic()
        found = serving.generation.catalogue.positions(query.item_ids)
        positions = [position for position in found if position is not None]
        scores, sources = serving.ranker.score(
            positions, history=subject.history, attributes=subject.profile.rows, asked=answered.asked
        )
        order = sorted(range(len(positions)), key=lambda place: (-scores[place], place))
        given = Source.GIVEN.value
        page = Page(
            [positions[place] for place in order],
            [scores[place] for place in order],
            [sources[place] | given for place in order],
            began,
        )
        explanations = await self._explain(page, query.subject, subject, answered, Strategy.RANK, serving)
        timing = answered.timing
        timing.rank_s = time.monotonic() - began
        unknown = found.count(None) + subject.history.unknown
        attributes = self._unknown_attributes(subject.profile)
        return Recommendation(
            serving.generation,
            page,
            Strategy.RANK,
            Shortfall.NONE,
            unknown,
            timing,
            attributes,
            explanations,
            answered.degraded,
        )

    def similar(self, query: SimilarQuery) -> Recommendation:
        """Items like one item, which is never among them.

        Raises:
            ItemNotFoundError: the catalogue does not have the item.
        """
        position = self.items.position(query.item_id)
        excluded = self._known(query.exclude)
        excluded.add(position)
        began = time.monotonic()
        page = self._serving.ranker.by_item(
            position, page_size=query.page_size, excluded=excluded, view=self.items.view()
        )
        timing = Timing(search_s=page.found_at - began, rank_s=time.monotonic() - page.found_at)
        shortfall = self._shortfall(page, query.page_size)
        return Recommendation(self.generation, page, Strategy.SIMILAR, shortfall, 0, timing)

    def trending(self, query: TrendingQuery) -> Recommendation:
        """What users take up lately; behind it, what is popular otherwise.

        Raises:
            InvalidRequestError: the filter cannot be read.
        """
        mask = self.items.mask(query.filter, query.target_domains)
        excluded = self._known(query.exclude)
        page = trending_page(
            self._taken_up(mask, excluded, query.half_life_h),
            page_size=query.page_size,
            excluded=excluded,
            popular=self._serving.popular,
            view=self.items.view(None if mask is None else mask()),
        )
        shortfall = self._shortfall(page, query.page_size)
        return Recommendation(self.generation, page, Strategy.TRENDING, shortfall, 0, Timing())

    def _taken_up(self, mask: Mask | None, excluded: Collection[int], half_life_h: float | None = None) -> TakenUp:
        allowed = self.items.live.astype(bool)
        if mask is not None:
            allowed &= mask()[: len(allowed)] != 0
        allowed[list(excluded)] = False
        return taken_up(self.trends, self.known, allowed, half_life_h=half_life_h)

    def allowed(self, text: str) -> NDArray[np.bool_]:
        """(positions,) bool: items that can be recommended, and that a filter allows.

        Raises:
            InvalidRequestError: the filter cannot be read.
        """
        mask, allowed = self.items.mask(text), self.items.live.astype(bool)
        if mask is not None:
            allowed &= mask()[: len(allowed)] != 0
        return allowed

    def accepts(self, query: RecommendQuery) -> bool:
        """Whether the filter and the domains of a request can be read here."""
        try:
            self.items.mask(query.filter, query.target_domains)
        except InvalidRequestError:
            return False
        return True

    def _subject(self, query: RecommendQuery) -> _Subject:
        generation = self.generation
        past = self.known.past(query.user_id) if query.user_id else NO_PAST
        history = resolve_history(
            query.events,
            catalogue=generation.catalogue,
            scoring=generation.scoring,
            past=past,
            examples=query.examples,
            source_domains=query.source_domains,
        )
        began = time.monotonic()
        if self._serving.next_items is not None:
            history = self._serving.next_items.expected(history)
        read_s = time.monotonic() - began
        if query.user_id and (stored := self.known.profile(query.user_id)):
            query = query._replace(profile={**stored, **query.profile})
        profile = generation.profile.know(query.profile) if query.profile else NO_PROFILE
        return _Subject(history, profile, query, read_s)

    def _excluded(self, query: RecommendQuery, subject: _Subject) -> set[int]:
        excluded = self._known(query.exclude)
        excluded.update(query.shown)
        if not query.include_seen:
            excluded.update(subject.history.seen)
        return excluded

    async def _answer(self, subject: _Subject, *, reach: int, mask: Mask | None, deadline: float) -> Answered:
        query, profile = subject.asked_profile, subject.profile
        words = questions(query, profile, self.generation) if query.text or profile.rest or query.context else ()
        if not words:
            return NOTHING_ASKED._replace(timing=Timing())
        return await answer_in_time(
            words,
            alone=not subject.history.scored and not profile.rows,
            reach=min(len(self.generation.index), reach),
            texts=self._texts,
            items=self.items,
            mask=mask,
            deadline=deadline,
        )

    @staticmethod
    def _strategy(query: RecommendQuery, subject: _Subject, answered: Answered) -> Strategy:
        if subject.history.scored:
            return Strategy.PERSONAL
        if query.text and not answered.degraded:
            return Strategy.WISH
        return Strategy.PROFILE if subject.profile.rows or answered.asked else Strategy.COLD_START

    async def _explain(
        self,
        page: Page,
        query: RecommendQuery,
        subject: _Subject,
        answered: Answered,
        strategy: Strategy,
        serving: Serving,
    ) -> Sequence[Explanation]:
        if not query.reasons:
            return ()
        if strategy is Strategy.TRENDING:  # a count, not a sum of what is known of the user
            return [Explanation([], score) for score in page.scores]
        history, left_out = subject.history, None
        if serving.next_items is not None and history.expected is not None and page.positions:
            left_out = await serving.next_items.left_out(history)
        by_wish = strategy is Strategy.WISH and answered.asked is not None
        return serving.explainer.explain(
            page.positions,
            history=history,
            attributes=subject.profile.rows,
            questions=answered.questions,
            vectors=answered.vectors,
            left_out=left_out,
            scale=serving.generation.scoring.wish_prior if by_wish else 1.0,
            count=query.reasons,
        )

    def _unknown_attributes(self, profile: KnownProfile) -> int:
        return profile.unknown + (0 if self.generation.scoring.profile_text else len(profile.rest))

    def _known(self, item_ids: Sequence[str]) -> set[int]:
        if not item_ids:
            return set()
        return {position for position in self.generation.catalogue.positions(item_ids) if position is not None}

    def _shortfall(self, page: Page, page_size: int, shown: int = 0) -> Shortfall:
        if len(page.positions) == page_size:
            return Shortfall.NONE
        return Shortfall.CATALOGUE if shown + page_size > len(self.generation.catalogue) else Shortfall.FILTER
