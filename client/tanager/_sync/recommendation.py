"""The methods of `Client` that answer with items for a user."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from tanager import _answers, _requests
from tanager._paging import next_token
from tanager._sync.caller import Caller

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from tanager._results import BatchRecommendations, Ranking, Recommendations
    from tanager._values import Attribute, Diversity, Event, Example
    from tanager.v1 import recommendation_pb2


class RecommendationCalls(Caller):
    """Lists for a user, and for many."""

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
