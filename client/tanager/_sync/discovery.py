"""The methods of `Client` that start from items and texts: what trends, what is alike, whom an item is for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tanager import _answers, _requests
from tanager._sync.caller import Caller

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tanager._embeddings import Embeddings
    from tanager._results import Audience, SimilarItems, TrendingItems


class DiscoveryCalls(Caller):
    """What starts from items and texts."""

    def trending(
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
        """Tells what users take up lately.

        Args:
            page_size: How many items to return; None leaves it to the server, which takes 10.
            half_life_h: Half-life of an event, in hours: one of those that the server counts; None for its first.
            filter: Which items may be returned: see `recommend`.
            target_domains: Domains of the items that may be returned; none for all.
            exclude_item_ids: Items that must not be returned.
            timeout_s: See `Client`.
            request_id: See `Client`.
        """
        request = _requests.trending_request(
            page_size=page_size,
            half_life_h=half_life_h,
            filter=filter,
            target_domains=target_domains,
            exclude_item_ids=exclude_item_ids,
        )
        rpc = self._stubs.recommendation.Trending
        return self._call(rpc, request, _answers.trending_items, timeout_s, request_id)

    def find_audience(
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
        """Finds the users who are most likely to want an item, of those that the server knows.

        Args:
            item_id: The item.
            page_size: How many users to return; None leaves it to the server, which takes 100.
            include_seen: Whether users who did something with the item may be returned too.
            filter: Which users, by the attributes of their profiles, for example `age >= 18`; empty for all.
            explain: Whether each user comes with reasons.
            timeout_s: See `Client`.
            request_id: See `Client`.

        Raises:
            NotFoundError: The catalogue has no such item.
        """
        request = _requests.find_audience_request(
            item_id=item_id, page_size=page_size, include_seen=include_seen, filter=filter, explain=explain
        )
        rpc = self._stubs.recommendation.FindAudience
        return self._call(rpc, request, _answers.audience, timeout_s, request_id)

    def similar_items(
        self,
        item_id: str,
        *,
        page_size: int | None = None,
        exclude_item_ids: Iterable[str] = (),
        timeout_s: float | None = None,
        request_id: str | None = None,
    ) -> SimilarItems:
        """Finds items like a given item, which is never among them.

        Args:
            item_id: The item to find like items for.
            page_size: How many items to return; None leaves it to the server, which takes 10.
            exclude_item_ids: Items that must not be returned.
            timeout_s: See `Client`.
            request_id: See `Client`.

        Raises:
            NotFoundError: The catalogue has no such item.
        """
        request = _requests.similar_items_request(
            item_id=item_id, page_size=page_size, exclude_item_ids=exclude_item_ids
        )
        rpc = self._stubs.recommendation.SimilarItems
        return self._call(rpc, request, _answers.similar_items, timeout_s, request_id)

    def embed(
        self, texts: Iterable[str], *, timeout_s: float | None = None, request_id: str | None = None
    ) -> Embeddings:
        """Encodes texts into unit-length vectors with the encoder of the served bundle.

        Args:
            texts: The texts, up to 1,024.
            timeout_s: See `Client`.
            request_id: See `Client`.
        """
        rpc = self._stubs.embedding.Embed
        return self._call(rpc, _requests.embed_request(texts), _answers.embeddings, timeout_s, request_id)
