"""Between the values of the API and the messages of the contract, for both clients.

Bounds are the server's to check. Here is refused only what protobuf could not carry, or would carry as something else.
"""

from __future__ import annotations

import datetime as dt
import numbers
import operator
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, TypeVar

from tanager._errors import InternalError
from tanager._results import (
    Bundle,
    Embeddings,
    Reason,
    ReasonKind,
    Recommendations,
    Result,
    Runtime,
    Shortfall,
    SimilarItems,
    Source,
    Status,
    Strategy,
    Timing,
)
from tanager._values import Attribute, Diversity, Event
from tanager.v1 import common_pb2, embedding_pb2, model_pb2, recommendation_pb2

if TYPE_CHECKING:
    from google.protobuf.internal.enum_type_wrapper import _EnumTypeWrapper

_E = TypeVar("_E", Strategy, Shortfall, Source, ReasonKind)
_V = TypeVar("_V")


def recommend_request(
    *,
    text: str,
    history: Iterable[str | Event],
    page_size: int | None,
    exclude_item_ids: Iterable[str],
    include_seen: bool,
    profile: Mapping[str, Attribute],
    context: Mapping[str, str],
    explain: bool,
    max_reasons: int | None,
    diversity: Diversity | None,
) -> recommendation_pb2.RecommendRequest:
    """The request of `Client.recommend`."""
    return recommendation_pb2.RecommendRequest(
        text=_text("text", text),
        recent_events=[_event(f"history[{n}]", entry) for n, entry in enumerate(_many("history", history))],
        page_size=_integer("page_size", page_size),
        exclude_item_ids=_texts("exclude_item_ids", exclude_item_ids),
        include_seen=include_seen,
        profile={name: _attribute(f"profile[{name!r}]", value) for name, value in _named("profile", profile)},
        context={name: _text(f"context[{name!r}]", text) for name, text in _named("context", context)},
        explain=explain,
        max_reasons=_integer("max_reasons", max_reasons),
        diversity=_diversity(diversity),
    )


def similar_items_request(
    *, item_id: str, page_size: int | None, exclude_item_ids: Iterable[str]
) -> recommendation_pb2.SimilarItemsRequest:
    """The request of `Client.similar_items`."""
    return recommendation_pb2.SimilarItemsRequest(
        item_id=_text("item_id", item_id),
        page_size=_integer("page_size", page_size),
        exclude_item_ids=_texts("exclude_item_ids", exclude_item_ids),
    )


def embed_request(texts: Iterable[str]) -> embedding_pb2.EmbedRequest:
    """The request of `Client.embed`."""
    return embedding_pb2.EmbedRequest(texts=_texts("texts", texts))


def recommendations(response: recommendation_pb2.RecommendResponse, request_id: str) -> Recommendations:
    """The answer of `Client.recommend`."""
    return Recommendations(
        results=_results(response.results),
        strategy=_STRATEGIES.get(response.served_by.strategy, Strategy.UNKNOWN),
        shortfall=_SHORTFALLS.get(response.shortfall, Shortfall.UNKNOWN),
        unknown_item_count=response.unknown_item_count,
        unknown_attribute_count=response.unknown_attribute_count,
        bundle_id=response.served_by.bundle_id,
        timing=_timing(response.timing),
        request_id=request_id,
    )


def similar_items(response: recommendation_pb2.SimilarItemsResponse, request_id: str) -> SimilarItems:
    """The answer of `Client.similar_items`."""
    return SimilarItems(
        results=_results(response.results),
        strategy=_STRATEGIES.get(response.served_by.strategy, Strategy.UNKNOWN),
        shortfall=_SHORTFALLS.get(response.shortfall, Shortfall.UNKNOWN),
        bundle_id=response.served_by.bundle_id,
        timing=_timing(response.timing),
        request_id=request_id,
    )


def embeddings(response: embedding_pb2.EmbedResponse, request_id: str) -> Embeddings:
    """The answer of `Client.embed`.

    Raises:
        InternalError: The bytes are no whole number of vectors.
    """
    if response.dim <= 0 or len(response.vectors) % (4 * response.dim):
        message = f"the server answered with {len(response.vectors)} bytes of vectors of {response.dim} dimensions"
        raise InternalError(message, request_id=request_id)
    return Embeddings(
        data=response.vectors,
        dim=response.dim,
        bundle_id=response.served_by.bundle_id,
        timing=_timing(response.timing),
        request_id=request_id,
    )


def status(response: model_pb2.GetStatusResponse, request_id: str) -> Status:
    """The answer of `Client.status`."""
    bundle, runtime = response.bundle, response.runtime
    return Status(
        server_version=response.server_version,
        start_time=response.start_time.ToDatetime(tzinfo=dt.UTC),
        execution_provider=response.execution_provider,
        queue_depth=response.queue_depth,
        bundle=Bundle(
            bundle_id=bundle.bundle_id,
            create_time=bundle.create_time.ToDatetime(tzinfo=dt.UTC),
            model_name=bundle.model_name,
            precision=bundle.precision,
            dim=bundle.dim,
            max_tokens=bundle.max_tokens,
            dataset_name=bundle.dataset_name,
            simulated_behaviour=bundle.simulated_behaviour,
            item_count=bundle.item_count,
            domain_item_counts=dict(bundle.domain_item_counts),
            quality=dict(bundle.quality),
        ),
        runtime=Runtime(
            threads=runtime.threads,
            workers=runtime.workers,
            max_batch_tokens=runtime.max_batch_tokens,
            batch_cost_tokens=runtime.batch_cost_tokens,
        ),
        request_id=request_id,
    )


def _text(name: str, value: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {type(value).__name__}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        message = f"{name} has no UTF-8 form: a lone surrogate at position {error.start}"
        raise ValueError(message) from None
    return value


def _many(name: str, values: Iterable[str | Event]) -> Iterable[str | Event]:
    # A string is an iterable of strings, so that forgotten brackets would ask about its letters.
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise TypeError(f"{name} must be an iterable such as a list, not {type(values).__name__}")
    return values


def _texts(name: str, values: Iterable[str]) -> list[str]:
    _many(name, values)
    return [_text(f"{name}[{n}]", value) for n, value in enumerate(values)]


def _named(field: str, values: Mapping[str, _V]) -> Iterable[tuple[str, _V]]:
    if not isinstance(values, Mapping):
        raise TypeError(f"{field} must be a mapping such as a dict, not {type(values).__name__}")
    for name in values:
        _text(f"{field}: a name", name)
    return values.items()


def _attribute(name: str, value: Attribute) -> common_pb2.AttributeValue:
    if isinstance(value, str):
        return common_pb2.AttributeValue(string_value=_text(name, value))
    if isinstance(value, bool):
        return common_pb2.AttributeValue(bool_value=value)
    if isinstance(value, numbers.Real):
        return common_pb2.AttributeValue(number_value=float(value))
    if isinstance(value, Iterable) and not isinstance(value, bytes | Mapping):
        return common_pb2.AttributeValue(string_list=common_pb2.StringList(values=_texts(name, value)))
    raise TypeError(f"{name} must be a str, a number, a bool or a list of str, not {type(value).__name__}")


def _event(name: str, entry: str | Event) -> recommendation_pb2.Event:
    if not isinstance(entry, Event):
        if not isinstance(entry, str):
            raise TypeError(f"{name} must be an item id (a str) or an Event, not {type(entry).__name__}")
        return recommendation_pb2.Event(item_id=_text(name, entry))
    event = recommendation_pb2.Event(item_id=_text(f"{name}.item_id", entry.item_id), weight=entry.weight)
    if entry.time is not None:
        event.event_time.FromDatetime(entry.time)
    return event


def _diversity(value: Diversity | None) -> recommendation_pb2.Diversity | None:
    if value is None:
        return None
    if not isinstance(value, Diversity):
        raise TypeError(f"diversity must be a Diversity, not {type(value).__name__}")
    if value.mmr_lambda is not None and not isinstance(value.mmr_lambda, numbers.Real):
        raise TypeError(f"diversity.mmr_lambda must be a number, not {type(value.mmr_lambda).__name__}")
    return recommendation_pb2.Diversity(
        mmr_lambda=value.mmr_lambda,
        max_per_category=_integer("diversity.max_per_category", value.max_per_category),
        interests=_integer("diversity.interests", value.interests),
    )


def _integer(name: str, value: int | None) -> int | None:
    if value is None:
        return None
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an int, not {type(value).__name__}") from None
    if not -(2**31) <= number < 2**31:
        raise ValueError(f"{name} must fit in 32 bits, not {number}")
    return number


def _members(members: type[_E], wire: _EnumTypeWrapper[int]) -> dict[int, _E]:
    """Number on the wire -> member. STRATEGY_COLD_START, for example, is Strategy.COLD_START."""
    words = re.sub(r"(?<!^)(?=[A-Z])", "_", members.__name__)  # ReasonKind is REASON_KIND
    prefix = f"{words.upper()}_"
    by_name = members.__members__
    return {number: by_name[short] for name, number in wire.items() if (short := name.removeprefix(prefix)) in by_name}


_STRATEGIES = _members(Strategy, common_pb2.Strategy)
_SHORTFALLS = _members(Shortfall, common_pb2.Shortfall)
_SOURCES = _members(Source, common_pb2.Source)
_REASON_KINDS = _members(ReasonKind, common_pb2.ReasonKind)


def _results(results: Iterable[common_pb2.Result]) -> tuple[Result, ...]:
    return tuple(
        Result(
            item_id=result.item_id,
            title=result.title,
            domain=result.domain,
            rank=result.rank,
            score=result.score,
            sources=tuple(_SOURCES.get(source, Source.UNKNOWN) for source in result.sources),
            reasons=tuple(map(_reason, result.reasons)),
            other_contribution=result.other_contribution,
        )
        for result in results
    )


def _reason(reason: common_pb2.Reason) -> Reason:
    return Reason(
        kind=_REASON_KINDS.get(reason.kind, ReasonKind.UNKNOWN),
        item_id=reason.item_id,
        title=reason.title,
        attribute=reason.attribute,
        contribution=reason.contribution,
    )


def _timing(timing: common_pb2.Timing) -> Timing:
    return Timing(
        queue_us=timing.queue_us,
        tokenize_us=timing.tokenize_us,
        encode_us=timing.encode_us,
        search_us=timing.search_us,
        rank_us=timing.rank_us,
        batch_size=timing.batch_size,
    )
