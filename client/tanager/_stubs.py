"""The generated stubs of a channel, with the types that the generator leaves out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from tanager.v1.embedding_pb2_grpc import EmbeddingServiceStub
from tanager.v1.model_pb2_grpc import ModelServiceStub
from tanager.v1.recommendation_pb2_grpc import RecommendationServiceStub

if TYPE_CHECKING:
    import grpc
    from grpc import UnaryUnaryMultiCallable as Rpc
    from grpc.aio import UnaryUnaryMultiCallable as AsyncRpc

    from tanager.v1 import embedding_pb2, model_pb2, recommendation_pb2


class _Recommendation(Protocol):
    Recommend: Rpc[recommendation_pb2.RecommendRequest, recommendation_pb2.RecommendResponse]
    SimilarItems: Rpc[recommendation_pb2.SimilarItemsRequest, recommendation_pb2.SimilarItemsResponse]


class _Embedding(Protocol):
    Embed: Rpc[embedding_pb2.EmbedRequest, embedding_pb2.EmbedResponse]


class _Model(Protocol):
    GetStatus: Rpc[model_pb2.GetStatusRequest, model_pb2.GetStatusResponse]


class _AsyncRecommendation(Protocol):
    Recommend: AsyncRpc[recommendation_pb2.RecommendRequest, recommendation_pb2.RecommendResponse]
    SimilarItems: AsyncRpc[recommendation_pb2.SimilarItemsRequest, recommendation_pb2.SimilarItemsResponse]


class _AsyncEmbedding(Protocol):
    Embed: AsyncRpc[embedding_pb2.EmbedRequest, embedding_pb2.EmbedResponse]


class _AsyncModel(Protocol):
    GetStatus: AsyncRpc[model_pb2.GetStatusRequest, model_pb2.GetStatusResponse]


@dataclass(frozen=True, slots=True)
class Stubs:
    """The generated stubs of a `Client`, by service, for what the typed methods leave out.

    A call through them has no deadline, request id or metadata but its own, and raises `grpc.RpcError`.
    """

    recommendation: _Recommendation
    embedding: _Embedding
    model: _Model


@dataclass(frozen=True, slots=True)
class AsyncStubs:
    """The generated stubs of an `AsyncClient`, by service; see `Stubs`."""

    recommendation: _AsyncRecommendation
    embedding: _AsyncEmbedding
    model: _AsyncModel


def stubs(channel: grpc.Channel) -> Stubs:
    """The stubs of a channel."""
    return Stubs(
        recommendation=RecommendationServiceStub(channel),  # type: ignore[no-untyped-call]
        embedding=EmbeddingServiceStub(channel),  # type: ignore[no-untyped-call]
        model=ModelServiceStub(channel),  # type: ignore[no-untyped-call]
    )


def async_stubs(channel: grpc.aio.Channel) -> AsyncStubs:
    """The stubs of an asyncio channel."""
    return AsyncStubs(
        recommendation=RecommendationServiceStub(channel),  # type: ignore[no-untyped-call]
        embedding=EmbeddingServiceStub(channel),  # type: ignore[no-untyped-call]
        model=ModelServiceStub(channel),  # type: ignore[no-untyped-call]
    )
