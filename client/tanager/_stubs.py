"""The generated stubs of a channel, with the types that the generator leaves out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from tanager.v1.catalog_pb2_grpc import CatalogServiceStub
from tanager.v1.embedding_pb2_grpc import EmbeddingServiceStub
from tanager.v1.event_pb2_grpc import EventServiceStub
from tanager.v1.model_pb2_grpc import ModelServiceStub
from tanager.v1.recommendation_pb2_grpc import RecommendationServiceStub
from tanager.v1.user_pb2_grpc import UserServiceStub

if TYPE_CHECKING:
    import grpc
    from grpc import UnaryUnaryMultiCallable as Rpc
    from grpc.aio import UnaryUnaryMultiCallable as AsyncRpc

    from tanager.v1 import catalog_pb2, embedding_pb2, event_pb2, model_pb2, recommendation_pb2, user_pb2


class _Recommendation(Protocol):
    Recommend: Rpc[recommendation_pb2.RecommendRequest, recommendation_pb2.RecommendResponse]
    BatchRecommend: Rpc[recommendation_pb2.BatchRecommendRequest, recommendation_pb2.BatchRecommendResponse]
    SimilarItems: Rpc[recommendation_pb2.SimilarItemsRequest, recommendation_pb2.SimilarItemsResponse]
    Rank: Rpc[recommendation_pb2.RankRequest, recommendation_pb2.RankResponse]
    Trending: Rpc[recommendation_pb2.TrendingRequest, recommendation_pb2.TrendingResponse]
    FindAudience: Rpc[recommendation_pb2.FindAudienceRequest, recommendation_pb2.FindAudienceResponse]


class _Embedding(Protocol):
    Embed: Rpc[embedding_pb2.EmbedRequest, embedding_pb2.EmbedResponse]


class _Catalog(Protocol):
    UpsertItems: Rpc[catalog_pb2.UpsertItemsRequest, catalog_pb2.UpsertItemsResponse]
    DeleteItems: Rpc[catalog_pb2.DeleteItemsRequest, catalog_pb2.DeleteItemsResponse]
    GetItem: Rpc[catalog_pb2.GetItemRequest, catalog_pb2.GetItemResponse]
    ListItems: Rpc[catalog_pb2.ListItemsRequest, catalog_pb2.ListItemsResponse]


class _User(Protocol):
    UpsertUsers: Rpc[user_pb2.UpsertUsersRequest, user_pb2.UpsertUsersResponse]
    GetUser: Rpc[user_pb2.GetUserRequest, user_pb2.GetUserResponse]
    PurgeUser: Rpc[user_pb2.PurgeUserRequest, user_pb2.PurgeUserResponse]


class _Event(Protocol):
    WriteEvents: Rpc[event_pb2.WriteEventsRequest, event_pb2.WriteEventsResponse]


class _Model(Protocol):
    GetStatus: Rpc[model_pb2.GetStatusRequest, model_pb2.GetStatusResponse]
    ListBundles: Rpc[model_pb2.ListBundlesRequest, model_pb2.ListBundlesResponse]
    ActivateBundle: Rpc[model_pb2.ActivateBundleRequest, model_pb2.ActivateBundleResponse]
    RollbackBundle: Rpc[model_pb2.RollbackBundleRequest, model_pb2.RollbackBundleResponse]
    StartTrial: Rpc[model_pb2.StartTrialRequest, model_pb2.StartTrialResponse]
    EndTrial: Rpc[model_pb2.EndTrialRequest, model_pb2.EndTrialResponse]
    BackUpState: Rpc[model_pb2.BackUpStateRequest, model_pb2.BackUpStateResponse]


class _AsyncRecommendation(Protocol):
    Recommend: AsyncRpc[recommendation_pb2.RecommendRequest, recommendation_pb2.RecommendResponse]
    BatchRecommend: AsyncRpc[recommendation_pb2.BatchRecommendRequest, recommendation_pb2.BatchRecommendResponse]
    SimilarItems: AsyncRpc[recommendation_pb2.SimilarItemsRequest, recommendation_pb2.SimilarItemsResponse]
    Rank: AsyncRpc[recommendation_pb2.RankRequest, recommendation_pb2.RankResponse]
    Trending: AsyncRpc[recommendation_pb2.TrendingRequest, recommendation_pb2.TrendingResponse]
    FindAudience: AsyncRpc[recommendation_pb2.FindAudienceRequest, recommendation_pb2.FindAudienceResponse]


class _AsyncEmbedding(Protocol):
    Embed: AsyncRpc[embedding_pb2.EmbedRequest, embedding_pb2.EmbedResponse]


class _AsyncCatalog(Protocol):
    UpsertItems: AsyncRpc[catalog_pb2.UpsertItemsRequest, catalog_pb2.UpsertItemsResponse]
    DeleteItems: AsyncRpc[catalog_pb2.DeleteItemsRequest, catalog_pb2.DeleteItemsResponse]
    GetItem: AsyncRpc[catalog_pb2.GetItemRequest, catalog_pb2.GetItemResponse]
    ListItems: AsyncRpc[catalog_pb2.ListItemsRequest, catalog_pb2.ListItemsResponse]


class _AsyncUser(Protocol):
    UpsertUsers: AsyncRpc[user_pb2.UpsertUsersRequest, user_pb2.UpsertUsersResponse]
    GetUser: AsyncRpc[user_pb2.GetUserRequest, user_pb2.GetUserResponse]
    PurgeUser: AsyncRpc[user_pb2.PurgeUserRequest, user_pb2.PurgeUserResponse]


class _AsyncEvent(Protocol):
    WriteEvents: AsyncRpc[event_pb2.WriteEventsRequest, event_pb2.WriteEventsResponse]


class _AsyncModel(Protocol):
    GetStatus: AsyncRpc[model_pb2.GetStatusRequest, model_pb2.GetStatusResponse]
    ListBundles: AsyncRpc[model_pb2.ListBundlesRequest, model_pb2.ListBundlesResponse]
    ActivateBundle: AsyncRpc[model_pb2.ActivateBundleRequest, model_pb2.ActivateBundleResponse]
    RollbackBundle: AsyncRpc[model_pb2.RollbackBundleRequest, model_pb2.RollbackBundleResponse]
    StartTrial: AsyncRpc[model_pb2.StartTrialRequest, model_pb2.StartTrialResponse]
    EndTrial: AsyncRpc[model_pb2.EndTrialRequest, model_pb2.EndTrialResponse]
    BackUpState: AsyncRpc[model_pb2.BackUpStateRequest, model_pb2.BackUpStateResponse]


@dataclass(frozen=True, slots=True)
class Stubs:
    """The generated stubs of a `Client`, by service, for what the typed methods leave out.

    A call through them has no deadline, request id or metadata but its own, and raises `grpc.RpcError`.
    """

    recommendation: _Recommendation
    embedding: _Embedding
    catalog: _Catalog
    user: _User
    event: _Event
    model: _Model


@dataclass(frozen=True, slots=True)
class AsyncStubs:
    """The generated stubs of an `AsyncClient`, by service; see `Stubs`."""

    recommendation: _AsyncRecommendation
    embedding: _AsyncEmbedding
    catalog: _AsyncCatalog
    user: _AsyncUser
    event: _AsyncEvent
    model: _AsyncModel


def stubs(channel: grpc.Channel) -> Stubs:
    """The stubs of a channel."""
    return Stubs(
        recommendation=RecommendationServiceStub(channel),  # type: ignore[no-untyped-call]
        embedding=EmbeddingServiceStub(channel),  # type: ignore[no-untyped-call]
        catalog=CatalogServiceStub(channel),  # type: ignore[no-untyped-call]
        user=UserServiceStub(channel),  # type: ignore[no-untyped-call]
        event=EventServiceStub(channel),  # type: ignore[no-untyped-call]
        model=ModelServiceStub(channel),  # type: ignore[no-untyped-call]
    )


def async_stubs(channel: grpc.aio.Channel) -> AsyncStubs:
    """The stubs of an asyncio channel."""
    return AsyncStubs(
        recommendation=RecommendationServiceStub(channel),  # type: ignore[no-untyped-call]
        embedding=EmbeddingServiceStub(channel),  # type: ignore[no-untyped-call]
        catalog=CatalogServiceStub(channel),  # type: ignore[no-untyped-call]
        user=UserServiceStub(channel),  # type: ignore[no-untyped-call]
        event=EventServiceStub(channel),  # type: ignore[no-untyped-call]
        model=ModelServiceStub(channel),  # type: ignore[no-untyped-call]
    )
