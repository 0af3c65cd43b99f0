"""The methods of `AsyncClient` that answer with items for a user."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from tanager import _answers, _requests
from tanager._async.caller import AsyncCaller
from tanager._paging import next_token

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping

    from tanager._results import BatchRecommendations, Ranking, Recommendations
    from tanager._values import Attribute, Diversity, Event, Example
    from tanager.v1 import recommendation_pb2


class AsyncRecommendationCalls(AsyncCaller):
    """Lists for a user, and for many."""

    async def recommend(
        self,
        *,
        text: str = "",
        user_id: str = "",
        history: Iterable[str | Event] = (),
        examples: Iterable[str | Example] = (),
        page_size: int | None = None,
        page_token: str = "",
        filter: str = "",  # noqa: A002 - the contract's name
        target_domains: Iterable[str] = (),
        source_domains: Iterable[str] = (),
        exclude_item_ids: Iterable[str] = (),
        include_seen: bool = False,
        profile: Mapping[str, Attribute] = MappingProxyType({}),
        context: Mapping[str, str] = MappingProxyType({}),
        explain: bool = False,
        max_reasons: int | None = None,
        diversity: Diversity | None = None,
        min_consistency_token: str = "",
        timeout_s: float | None = None,
        request_id: str | None = None,
    ) -> Recommendations:
        """Recommends items; see `Client.recommend`."""
        request = _requests.recommend_request(
            text=text,
            user_id=user_id,
            history=history,
            examples=examples,
            page_size=page_size,
            page_token=page_token,
            filter=filter,
            target_domains=target_domains,
            source_domains=source_domains,
            exclude_item_ids=exclude_item_ids,
            include_seen=include_seen,
            profile=profile,
            context=context,
            explain=explain,
            max_reasons=max_reasons,
            diversity=diversity,
            min_consistency_token=min_consistency_token,
        )
        rpc = self._stubs.recommendation.Recommend
        return await self._call(rpc, request, _answers.recommendations, timeout_s, request_id)

    def iter_recommendation_pages(
        self,
        *,
        text: str = "",
        user_id: str = "",
        history: Iterable[str | Event] = (),
        examples: Iterable[str | Example] = (),
        page_size: int | None = None,
        filter: str = "",  # noqa: A002 - the contract's name
        target_domains: Iterable[str] = (),
        source_domains: Iterable[str] = (),
        exclude_item_ids: Iterable[str] = (),
        include_seen: bool = False,
        profile: Mapping[str, Attribute] = MappingProxyType({}),
        context: Mapping[str, str] = MappingProxyType({}),
        explain: bool = False,
        max_reasons: int | None = None,
        diversity: Diversity | None = None,
        min_consistency_token: str = "",
        timeout_s: float | None = None,
    ) -> AsyncIterator[Recommendations]:
        """Recommends items page by page; see `Client.iter_recommendation_pages`."""
        request = _requests.recommend_request(
            text=text,
            user_id=user_id,
            history=history,
            examples=examples,
            page_size=page_size,
            page_token="",
            filter=filter,
            target_domains=target_domains,
            source_domains=source_domains,
            exclude_item_ids=exclude_item_ids,
            include_seen=include_seen,
            profile=profile,
            context=context,
            explain=explain,
            max_reasons=max_reasons,
            diversity=diversity,
            min_consistency_token=min_consistency_token,
        )
        return self._recommendation_pages(request, timeout_s)

    async def _recommendation_pages(
        self, request: recommendation_pb2.RecommendRequest, timeout_s: float | None
    ) -> AsyncIterator[Recommendations]:
        rpc = self._stubs.recommendation.Recommend
        while True:
            page = await self._call(rpc, request, _answers.recommendations, timeout_s, None)
            yield page
            request.page_token = next_token(request.page_token, page.next_page_token, page.request_id)
            if not request.page_token:
                return

    async def batch_recommend(
        self,
        user_ids: Iterable[str],
        *,
        page_size: int | None = None,
        filter: str = "",  # noqa: A002 - the contract's name
        target_domains: Iterable[str] = (),
        source_domains: Iterable[str] = (),
        exclude_item_ids: Iterable[str] = (),
        include_seen: bool = False,
        timeout_s: float | None = None,
        request_id: str | None = None,
    ) -> BatchRecommendations:
        """Recommends items for many users at once; see `Client.batch_recommend`."""
        request = _requests.batch_recommend_request(
            user_ids=user_ids,
            page_size=page_size,
            filter=filter,
            target_domains=target_domains,
            source_domains=source_domains,
            exclude_item_ids=exclude_item_ids,
            include_seen=include_seen,
        )
        rpc = self._stubs.recommendation.BatchRecommend
        return await self._call(rpc, request, _answers.batch_recommendations, timeout_s, request_id)

    async def rank(
        self,
        item_ids: Iterable[str],
        *,
        user_id: str = "",
        text: str = "",
        history: Iterable[str | Event] = (),
        profile: Mapping[str, Attribute] = MappingProxyType({}),
        context: Mapping[str, str] = MappingProxyType({}),
        explain: bool = False,
        max_reasons: int | None = None,
        timeout_s: float | None = None,
        request_id: str | None = None,
    ) -> Ranking:
        """Orders given items for a user; see `Client.rank`."""
        request = _requests.rank_request(
            item_ids=item_ids,
            user_id=user_id,
            text=text,
            history=history,
            profile=profile,
            context=context,
            explain=explain,
            max_reasons=max_reasons,
        )
        rpc = self._stubs.recommendation.Rank
        return await self._call(rpc, request, _answers.ranking, timeout_s, request_id)
