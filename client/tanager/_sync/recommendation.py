"""The methods of `Client` that answer with items, vectors and users."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from tanager import _answers, _requests
from tanager._paging import next_token
from tanager._sync.caller import Caller

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from tanager._embeddings import Embeddings
    from tanager._results import Audience, BatchRecommendations, Ranking, Recommendations, SimilarItems, TrendingItems
    from tanager._values import Attribute, Diversity, Event, Example
    from tanager.v1 import recommendation_pb2


class RecommendationCalls(Caller):
    """Recommendations and what is akin to them."""

    def recommend(
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
        """Recommends items for a user, a wish, a history, a profile, a context, or for none (the most popular items).

        Fewer items than asked for is no error: see `Recommendations.shortfall`.

        Args:
            text: What the user wishes for, in words.
            user_id: Who the user is: what the server knows of that user counts before what is said here.
            history: What the user did lately, oldest first: item ids, or `Event` for a weight or a time.
            examples: Items that say what is wanted now: item ids, or `Example` for a weight, negative for the unwanted.
            page_size: How many items to return; None leaves it to the server, which takes 10.
            page_token: `next_page_token` of the page before, for the same request; empty for the first page.
            filter: Which items may be returned, for example `domain = "film" AND year >= 1990`; empty for all.
            target_domains: Domains of the items that may be returned; none for all.
            source_domains: Domains of the items of the history that count; none for all.
            exclude_item_ids: Items that must not be returned.
            include_seen: Whether items of the history may be returned too.
            profile: Who the user is: attributes by name, for example `{"gender": "female", "age": 25}`.
            context: Where the user is, in words by name, for example `{"occasion": "a rainy evening"}`.
            explain: Whether each result comes with reasons: the largest terms of its score.
            max_reasons: How many reasons at most; None leaves it to the server, which takes 3.
            diversity: How to choose among the best; None takes the best as they are.
            min_consistency_token: `consistency_token` of a write that the answer must know of; empty for any state.
            timeout_s: See `Client`.
            request_id: See `Client`.

        Raises:
            FailedPreconditionError: The server does not know the write of `min_consistency_token`.
        """
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
        return self._call(rpc, request, _answers.recommendations, timeout_s, request_id)

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
    ) -> Iterator[Recommendations]:
        """Recommends items page by page, asking for each page when it is wanted. No item comes twice.

        The arguments are those of `recommend`; `page_size` and `timeout_s` are those of one page. Each page has an
        attribution token and a request id of its own.

        Args:
            text: See `recommend`.
            user_id: See `recommend`.
            history: See `recommend`.
            examples: See `recommend`.
            page_size: How many items a page has; None leaves it to the server, which takes 10.
            filter: See `recommend`.
            target_domains: See `recommend`.
            source_domains: See `recommend`.
            exclude_item_ids: See `recommend`.
            include_seen: See `recommend`.
            profile: See `recommend`.
            context: See `recommend`.
            explain: See `recommend`.
            max_reasons: See `recommend`.
            diversity: See `recommend`.
            min_consistency_token: See `recommend`.
            timeout_s: See `Client`.
        """
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

    def _recommendation_pages(
        self, request: recommendation_pb2.RecommendRequest, timeout_s: float | None
    ) -> Iterator[Recommendations]:
        rpc = self._stubs.recommendation.Recommend
        while True:
            page = self._call(rpc, request, _answers.recommendations, timeout_s, None)
            yield page
            request.page_token = next_token(request.page_token, page.next_page_token, page.request_id)
            if not request.page_token:
                return

    def batch_recommend(
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
        """Recommends items for many users at once, far cheaper for each than single calls.

        Args:
            user_ids: The users, up to 10,000. Thousands may need a longer `timeout_s`.
            page_size: How many items for each; None leaves it to the server, which takes 10.
            filter: Which items may be returned: see `recommend`.
            target_domains: Domains of the items that may be returned; none for all.
            source_domains: Domains of the items of the histories that count; none for all.
            exclude_item_ids: Items that must not be returned.
            include_seen: Whether items of a user's history may be returned too.
            timeout_s: See `Client`.
            request_id: See `Client`.
        """
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
        return self._call(rpc, request, _answers.batch_recommendations, timeout_s, request_id)

    def rank(
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
        """Orders given items for a user.

        Args:
            item_ids: The items, up to 1,000, none twice. Those the catalogue does not have are left out and counted.
            user_id: Who the user is, as in `recommend`.
            text: What the user wishes for, in words.
            history: What the user did lately, oldest first.
            profile: Who the user is, by attributes.
            context: Where the user is, in words by name.
            explain: Whether each result comes with reasons.
            max_reasons: How many reasons at most; None leaves it to the server, which takes 3.
            timeout_s: See `Client`.
            request_id: See `Client`.
        """
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
        return self._call(rpc, request, _answers.ranking, timeout_s, request_id)

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
