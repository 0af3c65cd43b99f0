"""The requests that ask for items, vectors and users, from the arguments of the clients' methods."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tanager import _wire
from tanager._values import Attribute, Diversity, Event, Example
from tanager.v1 import embedding_pb2, recommendation_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def recommend_request(
    *,
    text: str,
    user_id: str,
    history: Iterable[str | Event],
    examples: Iterable[str | Example],
    page_size: int | None,
    page_token: str,
    filter: str,  # noqa: A002 - the contract's name
    target_domains: Iterable[str],
    source_domains: Iterable[str],
    exclude_item_ids: Iterable[str],
    include_seen: bool,
    profile: Mapping[str, Attribute],
    context: Mapping[str, str],
    explain: bool,
    max_reasons: int | None,
    diversity: Diversity | None,
    min_consistency_token: str,
) -> recommendation_pb2.RecommendRequest:
    """The request of `Client.recommend`."""
    return recommendation_pb2.RecommendRequest(
        text=_wire.text("text", text),
        user_id=_wire.text("user_id", user_id),
        recent_events=_events(history),
        examples=[_example(f"examples[{n}]", entry) for n, entry in enumerate(_wire.many("examples", examples))],
        page_size=_wire.integer("page_size", page_size),
        page_token=_wire.text("page_token", page_token),
        filter=_wire.text("filter", filter),
        target_domains=_wire.texts("target_domains", target_domains),
        source_domains=_wire.texts("source_domains", source_domains),
        exclude_item_ids=_wire.texts("exclude_item_ids", exclude_item_ids),
        include_seen=include_seen,
        profile=_wire.attributes("profile", profile),
        context=_wire.named_texts("context", context),
        explain=explain,
        max_reasons=_wire.integer("max_reasons", max_reasons),
        diversity=_diversity(diversity),
        min_consistency_token=_wire.text("min_consistency_token", min_consistency_token),
    )


def batch_recommend_request(
    *,
    user_ids: Iterable[str],
    page_size: int | None,
    filter: str,  # noqa: A002 - the contract's name
    target_domains: Iterable[str],
    source_domains: Iterable[str],
    exclude_item_ids: Iterable[str],
    include_seen: bool,
) -> recommendation_pb2.BatchRecommendRequest:
    """The request of `Client.batch_recommend`."""
    return recommendation_pb2.BatchRecommendRequest(
        user_ids=_wire.texts("user_ids", user_ids),
        page_size=_wire.integer("page_size", page_size),
        filter=_wire.text("filter", filter),
        target_domains=_wire.texts("target_domains", target_domains),
        source_domains=_wire.texts("source_domains", source_domains),
        exclude_item_ids=_wire.texts("exclude_item_ids", exclude_item_ids),
        include_seen=include_seen,
    )


def rank_request(
    *,
    item_ids: Iterable[str],
    user_id: str,
    text: str,
    history: Iterable[str | Event],
    profile: Mapping[str, Attribute],
    context: Mapping[str, str],
    explain: bool,
    max_reasons: int | None,
) -> recommendation_pb2.RankRequest:
    """The request of `Client.rank`."""
    return recommendation_pb2.RankRequest(
        item_ids=_wire.texts("item_ids", item_ids),
        user_id=_wire.text("user_id", user_id),
        text=_wire.text("text", text),
        recent_events=_events(history),
        profile=_wire.attributes("profile", profile),
        context=_wire.named_texts("context", context),
        explain=explain,
        max_reasons=_wire.integer("max_reasons", max_reasons),
    )


def trending_request(
    *,
    page_size: int | None,
    half_life_h: float | None,
    filter: str,  # noqa: A002 - the contract's name
    target_domains: Iterable[str],
    exclude_item_ids: Iterable[str],
) -> recommendation_pb2.TrendingRequest:
    """The request of `Client.trending`."""
    return recommendation_pb2.TrendingRequest(
        page_size=_wire.integer("page_size", page_size),
        half_life_h=_wire.number("half_life_h", half_life_h),
        filter=_wire.text("filter", filter),
        target_domains=_wire.texts("target_domains", target_domains),
        exclude_item_ids=_wire.texts("exclude_item_ids", exclude_item_ids),
    )


def find_audience_request(
    *,
    item_id: str,
    page_size: int | None,
    include_seen: bool,
    filter: str,  # noqa: A002 - the contract's name
    explain: bool,
) -> recommendation_pb2.FindAudienceRequest:
    """The request of `Client.find_audience`."""
    return recommendation_pb2.FindAudienceRequest(
        item_id=_wire.text("item_id", item_id),
        page_size=_wire.integer("page_size", page_size),
        include_seen=include_seen,
        filter=_wire.text("filter", filter),
        explain=explain,
    )


def similar_items_request(
    *, item_id: str, page_size: int | None, exclude_item_ids: Iterable[str]
) -> recommendation_pb2.SimilarItemsRequest:
    """The request of `Client.similar_items`."""
    return recommendation_pb2.SimilarItemsRequest(
        item_id=_wire.text("item_id", item_id),
        page_size=_wire.integer("page_size", page_size),
        exclude_item_ids=_wire.texts("exclude_item_ids", exclude_item_ids),
    )


def embed_request(texts: Iterable[str]) -> embedding_pb2.EmbedRequest:
    """The request of `Client.embed`."""
    return embedding_pb2.EmbedRequest(texts=_wire.texts("texts", texts))


def _events(history: Iterable[str | Event]) -> list[recommendation_pb2.Event]:
    return [_event(f"history[{n}]", entry) for n, entry in enumerate(_wire.many("history", history))]


def _event(name: str, entry: str | Event) -> recommendation_pb2.Event:
    if not isinstance(entry, Event):
        if not isinstance(entry, str):
            raise TypeError(f"{name} must be an item id (a str) or an Event, not {type(entry).__name__}")
        return recommendation_pb2.Event(item_id=_wire.text(name, entry))
    event = recommendation_pb2.Event(item_id=_wire.text(f"{name}.item_id", entry.item_id), weight=entry.weight)
    if entry.time is not None:
        event.event_time.FromDatetime(entry.time)
    return event


def _example(name: str, entry: str | Example) -> recommendation_pb2.Example:
    if not isinstance(entry, Example):
        if not isinstance(entry, str):
            raise TypeError(f"{name} must be an item id (a str) or an Example, not {type(entry).__name__}")
        return recommendation_pb2.Example(item_id=_wire.text(name, entry))
    return recommendation_pb2.Example(item_id=_wire.text(f"{name}.item_id", entry.item_id), weight=entry.weight)


def _diversity(value: Diversity | None) -> recommendation_pb2.Diversity | None:
    if value is None:
        return None
    if not isinstance(value, Diversity):
        raise TypeError(f"diversity must be a Diversity, not {type(value).__name__}")
    return recommendation_pb2.Diversity(
        mmr_lambda=_wire.number("diversity.mmr_lambda", value.mmr_lambda),
        max_per_category=_wire.integer("diversity.max_per_category", value.max_per_category),
        interests=_wire.integer("diversity.interests", value.interests),
    )
