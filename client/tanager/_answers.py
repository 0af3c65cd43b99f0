"""Values of the API from the messages that answer with items, vectors, users and what is served."""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING, TypedDict, TypeVar

from tanager._embeddings import Embeddings
from tanager._enums import ReasonKind, Shortfall, Source, Strategy, TrialMode
from tanager._errors import InternalError
from tanager._results import (
    Audience,
    AudienceMember,
    BatchRecommendations,
    Ranking,
    Reason,
    Recommendations,
    Result,
    SimilarItems,
    Timing,
    TrendingItems,
    UserRecommendations,
)
from tanager._status import (
    Activation,
    AvailableBundle,
    Bundle,
    BundleList,
    EndedTrial,
    Runtime,
    StartedTrial,
    State,
    Status,
    Trial,
    VariantCounts,
)
from tanager.v1 import common_pb2, embedding_pb2, model_pb2, recommendation_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable

    from google.protobuf.internal.enum_type_wrapper import _EnumTypeWrapper

_E = TypeVar("_E", Strategy, Shortfall, Source, ReasonKind, TrialMode)


def recommendations(response: recommendation_pb2.RecommendResponse, request_id: str) -> Recommendations:
    """The answer of `Client.recommend`."""
    return Recommendations(
        results=_results(response.results),
        strategy=_strategy(response.served_by.strategy),
        shortfall=_shortfall(response.shortfall),
        unknown_item_count=response.unknown_item_count,
        unknown_attribute_count=response.unknown_attribute_count,
        next_page_token=response.next_page_token,
        attribution_token=response.attribution_token,
        timing=_timing(response.timing),
        **_served(response.served_by, request_id),
    )


def similar_items(response: recommendation_pb2.SimilarItemsResponse, request_id: str) -> SimilarItems:
    """The answer of `Client.similar_items`."""
    return SimilarItems(
        results=_results(response.results),
        strategy=_strategy(response.served_by.strategy),
        shortfall=_shortfall(response.shortfall),
        timing=_timing(response.timing),
        **_served(response.served_by, request_id),
    )


def batch_recommendations(response: recommendation_pb2.BatchRecommendResponse, request_id: str) -> BatchRecommendations:
    """The answer of `Client.batch_recommend`."""
    users = tuple(
        UserRecommendations(
            user_id=user.user_id,
            results=_results(user.results),
            strategy=_strategy(user.strategy),
            shortfall=_shortfall(user.shortfall),
            variant=user.variant,
        )
        for user in response.users
    )
    return BatchRecommendations(users=users, **_served(response.served_by, request_id))


def ranking(response: recommendation_pb2.RankResponse, request_id: str) -> Ranking:
    """The answer of `Client.rank`."""
    return Ranking(
        results=_results(response.results),
        strategy=_strategy(response.served_by.strategy),
        unknown_item_count=response.unknown_item_count,
        timing=_timing(response.timing),
        **_served(response.served_by, request_id),
    )


def trending_items(response: recommendation_pb2.TrendingResponse, request_id: str) -> TrendingItems:
    """The answer of `Client.trending`."""
    return TrendingItems(
        results=_results(response.results),
        strategy=_strategy(response.served_by.strategy),
        shortfall=_shortfall(response.shortfall),
        **_served(response.served_by, request_id),
    )


def audience(response: recommendation_pb2.FindAudienceResponse, request_id: str) -> Audience:
    """The answer of `Client.find_audience`."""
    members = tuple(
        AudienceMember(
            user_id=member.user_id, rank=member.rank, score=member.score, reasons=tuple(map(_reason, member.reasons))
        )
        for member in response.members
    )
    return Audience(
        members=members, candidate_count=response.candidate_count, **_served(response.served_by, request_id)
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
        timing=_timing(response.timing),
        bundle_id=response.served_by.bundle_id,
        request_id=request_id,
    )


def status(response: model_pb2.GetStatusResponse, request_id: str) -> Status:
    """The answer of `Client.status`."""
    runtime, state = response.runtime, response.state
    return Status(
        server_version=response.server_version,
        start_time=response.start_time.ToDatetime(tzinfo=dt.UTC),
        execution_provider=response.execution_provider,
        queue_depth=response.queue_depth,
        bundle=_bundle(response.bundle),
        runtime=Runtime(
            threads=runtime.threads,
            workers=runtime.workers,
            max_batch_tokens=runtime.max_batch_tokens,
            batch_cost_tokens=runtime.batch_cost_tokens,
        ),
        state=State(
            consistency_token=state.consistency_token,
            item_count=state.item_count,
            user_count=state.user_count,
            event_count=state.event_count,
            unindexed_item_count=state.unindexed_item_count,
        )
        if response.HasField("state")
        else None,
        trial=_trial(response.trial) if response.HasField("trial") else None,
        request_id=request_id,
    )


def bundle_list(response: model_pb2.ListBundlesResponse, request_id: str) -> BundleList:
    """The answer of `Client.list_bundles`."""
    bundles = tuple(
        AvailableBundle(
            name=found.name,
            bundle=_bundle(found.bundle) if found.HasField("bundle") else None,
            active=found.active,
            problem=found.problem,
        )
        for found in response.bundles
    )
    return BundleList(bundles=bundles, request_id=request_id)


def activation(
    response: model_pb2.ActivateBundleResponse | model_pb2.RollbackBundleResponse, request_id: str
) -> Activation:
    """The answer of `Client.activate_bundle` and of `Client.rollback_bundle`."""
    return Activation(bundle=_bundle(response.bundle), encoded_count=response.encoded_count, request_id=request_id)


def started_trial(response: model_pb2.StartTrialResponse, request_id: str) -> StartedTrial:
    """The answer of `Client.start_trial`."""
    return StartedTrial(trial=_trial(response.trial), request_id=request_id)


def ended_trial(response: model_pb2.EndTrialResponse, request_id: str) -> EndedTrial:
    """The answer of `Client.end_trial`."""
    return EndedTrial(trial=_trial(response.trial) if response.HasField("trial") else None, request_id=request_id)


def _trial(message: model_pb2.Trial) -> Trial:
    return Trial(
        variant=message.variant,
        mode=_TRIAL_MODES.get(message.mode, TrialMode.UNKNOWN),
        share=message.share,
        bundle=_bundle(message.bundle),
        count_start_time=message.count_start_time.ToDatetime(tzinfo=dt.UTC),
        control=_counts(message.control),
        candidate=_counts(message.candidate),
        compared_count=message.compared_count,
        skipped_count=message.skipped_count,
        mean_overlap=message.mean_overlap,
    )


def _counts(message: model_pb2.VariantCounts) -> VariantCounts:
    return VariantCounts(
        list_count=message.list_count,
        failed_count=message.failed_count,
        degraded_count=message.degraded_count,
        short_count=message.short_count,
        mean_us=message.mean_us,
        shown_item_count=message.shown_item_count,
        attributed_event_count=message.attributed_event_count,
        attributed_weight=message.attributed_weight,
    )


def backup_size(response: model_pb2.BackUpStateResponse, request_id: str) -> int:
    """The answer of `Client.back_up_state`."""
    return response.size_bytes


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
_TRIAL_MODES = _members(TrialMode, model_pb2.TrialMode)


class _ServedBy(TypedDict):
    bundle_id: str
    request_id: str
    generation: int
    degraded: bool
    variant: str


def _served(served_by: common_pb2.ServedBy, request_id: str) -> _ServedBy:
    return {
        "bundle_id": served_by.bundle_id,
        "request_id": request_id,
        "generation": served_by.generation,
        "degraded": served_by.degraded,
        "variant": served_by.variant,
    }


def _strategy(number: int) -> Strategy:
    return _STRATEGIES.get(number, Strategy.UNKNOWN)


def _shortfall(number: int) -> Shortfall:
    return _SHORTFALLS.get(number, Shortfall.UNKNOWN)


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
            propensity=result.propensity or 1.0,  # a server that does not tell does not explore
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


def _bundle(bundle: model_pb2.Bundle) -> Bundle:
    return Bundle(
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
    )
