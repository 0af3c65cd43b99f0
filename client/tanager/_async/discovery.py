"""The methods of `AsyncClient` that start from items and texts: what trends, what is alike, whom an item is for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tanager import _answers, _requests
from tanager._async.caller import AsyncCaller

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tanager._embeddings import Embeddings
    from tanager._results import Audience, SimilarItems, TrendingItems


class AsyncDiscoveryCalls(AsyncCaller):
    """What starts from items and texts."""

    async def trending(
        self,
        *,
        page_size: int | None = None,
        half_life_h: float | None = None,
        filter: str = "",  # noqa: A002 - the contract's name
        target_domains: Iterable[str] = (),
        exclude_item_ids: Iterable[str] = (),
        timeout_s: float | None = None,
        request_id: str | None = None,
    ) -> TrendingItems:
        """Tells what users take up lately; see `Client.trending`."""
        request = _requests.trending_request(
            page_size=page_size,
            half_life_h=half_life_h,
            filter=filter,
            target_domains=target_domains,
            exclude_item_ids=exclude_item_ids,
        )
        rpc = self._stubs.recommendation.Trending
        return await self._call(rpc, request, _answers.trending_items, timeout_s, request_id)

    async def find_audience(
        self,
        item_id: str,
        *,
        page_size: int | None = None,
        include_seen: bool = False,
        filter: str = "",  # noqa: A002 - the contract's name
        explain: bool = False,
        timeout_s: float | None = None,
        request_id: str | None = None,
    ) -> Audience:
        """Finds the users who are most likely to want an item; see `Client.find_audience`."""
        request = _requests.find_audience_request(
            item_id=item_id, page_size=page_size, include_seen=include_seen, filter=filter, explain=explain
        )
        rpc = self._stubs.recommendation.FindAudience
        return await self._call(rpc, request, _answers.audience, timeout_s, request_id)

    async def similar_items(
        self,
        item_id: str,
        *,
        page_size: int | None = None,
        exclude_item_ids: Iterable[str] = (),
        timeout_s: float | None = None,
        request_id: str | None = None,
    ) -> SimilarItems:
        """Finds items like a given item; see `Client.similar_items`."""
        request = _requests.similar_items_request(
            item_id=item_id, page_size=page_size, exclude_item_ids=exclude_item_ids
        )
        rpc = self._stubs.recommendation.SimilarItems
        return await self._call(rpc, request, _answers.similar_items, timeout_s, request_id)

    async def embed(
        self, texts: Iterable[str], *, timeout_s: float | None = None, request_id: str | None = None
    ) -> Embeddings:
        """Encodes texts into unit-length vectors; see `Client.embed`."""
        rpc = self._stubs.embedding.Embed
        return await self._call(rpc, _requests.embed_request(texts), _answers.embeddings, timeout_s, request_id)
