"""Requests that read, as plain values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tanager_server.engine import (
    NO_EVENTS,
    AudienceQuery,
    BatchQuery,
    Diversity,
    Events,
    RankQuery,
    RecommendQuery,
    SimilarQuery,
    TrendingQuery,
)
from tanager_server.rpc.checks import (
    NANOS,
    NO_VALUES,
    Violations,
    attribute_values,
    check_count,
    check_distinct,
    check_id,
    check_text,
    check_time,
    check_weight,
    context_texts,
    sound_time,
    sound_weight,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tanager.v1 import embedding_pb2, recommendation_pb2

MAX_EVENTS = 10_000
MAX_EXCLUDED = 10_000
MAX_PAGE_SIZE = 1_000
MAX_TEXTS = 1_024
MAX_EXAMPLES = 100
MAX_DOMAINS = 100
MAX_BATCH_USERS = 10_000
MAX_BATCH_PAGE_SIZE = 100
MAX_BATCH_RESULTS = 100_000
MAX_AUDIENCE = 10_000
DEFAULT_AUDIENCE = 100
DEFAULT_PAGE_SIZE = 10
MAX_WORKED_PAGE_SIZE = 100
"""Results that can be explained, or chosen for diversity: that takes time, in which no other call is answered."""
MAX_PER_CATEGORY = 100
MAX_INTERESTS = 8
MAX_REASONS = 20
DEFAULT_REASONS = 3


def recommend_query(request: recommendation_pb2.RecommendRequest) -> RecommendQuery:
    """Checks and converts a RecommendRequest, but for its tokens.

    Raises:
        InvalidRequestError: fields are out of their bounds.
    """
    violations = Violations()
    if request.text:
        check_text("text", request.text, violations)
    if request.filter:
        check_text("filter", request.filter, violations)
    page_size = _page_size(request, violations)
    query = RecommendQuery(
        page_size=page_size,
        text=request.text,
        events=_events(request.recent_events, violations),
        exclude=_excluded(request.exclude_item_ids, violations),
        include_seen=request.include_seen,
        profile=attribute_values("profile", request.profile, violations) if request.profile else NO_VALUES,
        context=context_texts("context", request.context, violations) if request.context else NO_VALUES,
        reasons=_reasons(request, page_size, violations) if request.explain else 0,
        diversity=_diversity(request.diversity, page_size, violations) if request.HasField("diversity") else None,
        user_id=_user_id(request.user_id, violations),
        examples=_examples(request.examples, violations),
        source_domains=_domains("source_domains", request.source_domains, violations),
        target_domains=_domains("target_domains", request.target_domains, violations),
        filter=request.filter,
    )
    violations.check()
    return query


def rank_query(request: recommendation_pb2.RankRequest) -> RankQuery:
    """Checks and converts a RankRequest.

    Raises:
        InvalidRequestError: fields are out of their bounds.
    """
    violations = Violations()
    if request.text:
        check_text("text", request.text, violations)
    count = len(request.item_ids)
    if check_count("item_ids", request.item_ids, violations, most=MAX_PAGE_SIZE, what="ids"):
        check_distinct("item_ids", request.item_ids, violations)
    subject = RecommendQuery(
        page_size=count,
        text=request.text,
        events=_events(request.recent_events, violations),
        profile=attribute_values("profile", request.profile, violations) if request.profile else NO_VALUES,
        context=context_texts("context", request.context, violations) if request.context else NO_VALUES,
        reasons=_reasons(request, count, violations) if request.explain else 0,
        user_id=_user_id(request.user_id, violations),
    )
    violations.check()
    return RankQuery(tuple(request.item_ids), subject)


def batch_query(request: recommendation_pb2.BatchRecommendRequest) -> BatchQuery:
    """Checks and converts a BatchRecommendRequest.

    Raises:
        InvalidRequestError: fields are out of their bounds.
    """
    violations = Violations()
    if request.filter:
        check_text("filter", request.filter, violations)
    page_size = request.page_size if request.HasField("page_size") else DEFAULT_PAGE_SIZE
    if not 1 <= page_size <= MAX_BATCH_PAGE_SIZE:
        violations.add("page_size", f"must be 1 to {MAX_BATCH_PAGE_SIZE}, is {page_size}")
    if check_count("user_ids", request.user_ids, violations, most=MAX_BATCH_USERS, what="ids"):
        check_distinct("user_ids", request.user_ids, violations)
        for index, user_id in enumerate(request.user_ids):
            check_id(f"user_ids[{index}]", user_id, violations)
        if len(request.user_ids) * page_size > MAX_BATCH_RESULTS:
            violations.add("user_ids", f"all results together may be {MAX_BATCH_RESULTS} at most; send fewer")
    query = RecommendQuery(
        page_size=page_size,
        exclude=_excluded(request.exclude_item_ids, violations),
        include_seen=request.include_seen,
        source_domains=_domains("source_domains", request.source_domains, violations),
        target_domains=_domains("target_domains", request.target_domains, violations),
        filter=request.filter,
    )
    violations.check()
    return BatchQuery(tuple(request.user_ids), query)


def audience_query(request: recommendation_pb2.FindAudienceRequest) -> AudienceQuery:
    """Checks and converts a FindAudienceRequest.

    Raises:
        InvalidRequestError: fields are out of their bounds.
    """
    violations = Violations()
    check_id("item_id", request.item_id, violations)
    if request.filter:
        check_text("filter", request.filter, violations)
    page_size = request.page_size if request.HasField("page_size") else DEFAULT_AUDIENCE
    if not 1 <= page_size <= MAX_AUDIENCE:
        violations.add("page_size", f"must be 1 to {MAX_AUDIENCE}, is {page_size}")
    if request.explain and page_size > MAX_WORKED_PAGE_SIZE:
        violations.add("explain", f"page_size must be at most {MAX_WORKED_PAGE_SIZE} with it, is {page_size}")
    violations.check()
    reasons = DEFAULT_REASONS if request.explain else 0
    return AudienceQuery(request.item_id, page_size, request.include_seen, request.filter, reasons)


def trending_query(request: recommendation_pb2.TrendingRequest, half_lives_h: Sequence[float]) -> TrendingQuery:
    """Checks and converts a TrendingRequest.

    Args:
        request: as it came.
        half_lives_h: those that are counted.

    Raises:
        InvalidRequestError: fields are out of their bounds.
    """
    violations = Violations()
    half_life_h = request.half_life_h if request.HasField("half_life_h") else None
    if half_life_h is not None and half_life_h not in half_lives_h:
        violations.add("half_life_h", f"must be one of {', '.join(f'{one:g}' for one in half_lives_h)}")
    if request.filter:
        check_text("filter", request.filter, violations)
    query = TrendingQuery(
        page_size=_page_size(request, violations),
        half_life_h=half_life_h,
        filter=request.filter,
        target_domains=_domains("target_domains", request.target_domains, violations),
        exclude=_excluded(request.exclude_item_ids, violations),
    )
    violations.check()
    return query


def similar_query(request: recommendation_pb2.SimilarItemsRequest) -> SimilarQuery:
    """Checks and converts a SimilarItemsRequest.

    Raises:
        InvalidRequestError: fields are out of their bounds.
    """
    violations = Violations()
    if not request.item_id:
        violations.add("item_id", "is required")
    query = SimilarQuery(
        item_id=request.item_id,
        page_size=_page_size(request, violations),
        exclude=_excluded(request.exclude_item_ids, violations),
    )
    violations.check()
    return query


def embed_texts(request: embedding_pb2.EmbedRequest) -> tuple[str, ...]:
    """Checks and converts an EmbedRequest.

    Raises:
        InvalidRequestError: fields are out of their bounds.
    """
    violations = Violations()
    texts = tuple(request.texts)
    if not 1 <= len(texts) <= MAX_TEXTS:
        violations.add("texts", f"must hold 1 to {MAX_TEXTS} texts, holds {len(texts)}")
    else:
        for index, text in enumerate(texts):
            check_text(f"texts[{index}]", text, violations)
    violations.check()
    return texts


def _page_size(
    request: recommendation_pb2.RecommendRequest
    | recommendation_pb2.SimilarItemsRequest
    | recommendation_pb2.TrendingRequest,
    violations: Violations,
) -> int:
    if not request.HasField("page_size"):
        return DEFAULT_PAGE_SIZE
    if not 1 <= request.page_size <= MAX_PAGE_SIZE:
        violations.add("page_size", f"must be 1 to {MAX_PAGE_SIZE}, is {request.page_size}")
    return request.page_size


def _reasons(
    request: recommendation_pb2.RecommendRequest | recommendation_pb2.RankRequest,
    page_size: int,
    violations: Violations,
) -> int:
    if page_size > MAX_WORKED_PAGE_SIZE:
        violations.add("explain", f"page_size must be at most {MAX_WORKED_PAGE_SIZE} with it, is {page_size}")
    if not request.HasField("max_reasons"):
        return DEFAULT_REASONS
    if not 1 <= request.max_reasons <= MAX_REASONS:
        violations.add("max_reasons", f"must be 1 to {MAX_REASONS}, is {request.max_reasons}")
    return request.max_reasons


def _diversity(message: recommendation_pb2.Diversity, page_size: int, violations: Violations) -> Diversity | None:
    mmr_lambda = message.mmr_lambda if message.HasField("mmr_lambda") else None
    if mmr_lambda is not None and not 0.0 <= mmr_lambda <= 1.0:  # nor does NaN lie between them
        violations.add("diversity.mmr_lambda", "must be 0 to 1")
    for name, most in (("max_per_category", MAX_PER_CATEGORY), ("interests", MAX_INTERESTS)):
        if not 0 <= (value := getattr(message, name)) <= most:
            violations.add(f"diversity.{name}", f"must be 0 to {most}, is {value}")
    found = Diversity(mmr_lambda, message.max_per_category, message.interests)
    if found == (None, 0, 0):
        return None
    if page_size > MAX_WORKED_PAGE_SIZE:
        violations.add("diversity", f"page_size must be at most {MAX_WORKED_PAGE_SIZE} with it, is {page_size}")
    return found


def _excluded(item_ids: Sequence[str], violations: Violations) -> Sequence[str]:
    if len(item_ids) > MAX_EXCLUDED:
        violations.add("exclude_item_ids", f"must hold at most {MAX_EXCLUDED} ids, holds {len(item_ids)}")
        return ()
    return tuple(item_ids)


def _user_id(user_id: str, violations: Violations) -> str:
    if user_id:
        check_id("user_id", user_id, violations)
    return user_id


def _domains(field: str, domains: Sequence[str], violations: Violations) -> frozenset[str]:
    if len(domains) > MAX_DOMAINS:
        violations.add(field, f"must hold at most {MAX_DOMAINS} domains, holds {len(domains)}")
        return frozenset()
    return frozenset(domains)


def _examples(messages: Sequence[recommendation_pb2.Example], violations: Violations) -> Events:
    if not messages:
        return NO_EVENTS
    if len(messages) > MAX_EXAMPLES:
        violations.add("examples", f"must hold at most {MAX_EXAMPLES} items, holds {len(messages)}")
        return NO_EVENTS
    for index, message in enumerate(messages):
        check_id(f"examples[{index}].item_id", message.item_id, violations)
        check_weight(f"examples[{index}].weight", message.weight, violations)
    weights = [message.weight if message.HasField("weight") else 1.0 for message in messages]
    return Events([message.item_id for message in messages], weights)


def _events(messages: Sequence[recommendation_pb2.Event], violations: Violations) -> Events:
    if not messages:
        return NO_EVENTS
    if len(messages) > MAX_EVENTS:
        violations.add(
            "recent_events", f"must hold at most {MAX_EVENTS} events, holds {len(messages)}; send the most recent ones"
        )
        return NO_EVENTS
    item_ids, weights, times_ns = [], [], []
    sound = True
    for message in messages:
        item_id = message.item_id
        item_ids.append(item_id)
        if not item_id:
            sound = False
        if message.HasField("weight"):
            weight = message.weight
            weights.append(weight)
            if not sound_weight(weight):
                sound = False
        else:
            weights.append(1.0)
        if message.HasField("event_time"):
            time = message.event_time
            times_ns.append(time.seconds * NANOS + time.nanos)
            if not sound_time(time):
                sound = False
    if not sound:
        for index, message in enumerate(messages):
            if not message.item_id:
                violations.add(f"recent_events[{index}].item_id", "is required")
            check_weight(f"recent_events[{index}].weight", message.weight, violations)
            check_time(f"recent_events[{index}].event_time", message.event_time, violations)
    return Events(item_ids, weights, times_ns if len(times_ns) == len(item_ids) else None)
