"""The servicers: message in, engine, message out. Nothing else happens here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tanager.v1 import (
    common_pb2,
    embedding_pb2,
    embedding_pb2_grpc,
    recommendation_pb2,
    recommendation_pb2_grpc,
)
from tanager_server.errors import StatelessError
from tanager_server.rpc import validation
from tanager_server.rpc.interceptor import deadline_s
from tanager_server.rpc.paging import Pages
from tanager_server.rpc.responses import ResponseEncoder

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from grpc.aio import ServicerContext

    from tanager_server.engine import Engine, Live, Served

_MICROSECONDS = 1e6


class RecommendationServicer(recommendation_pb2_grpc.RecommendationServiceServicer):
    """RecommendationService over what is served.

    Args:
        served: what answers.
        live: what is written to it; None for a server without state.
    """

    def __init__(self, served: Served, live: Live | None = None) -> None:
        self._served, self._live = served, live
        self._responses = ResponseEncoder(served.engine.generation)
        self._pages = Pages()
        served.watch(self)

    @property
    def _engine(self) -> Engine:
        return self._served.engine

    def prepare(self, engine: Engine) -> None:
        """See `Watcher`."""
        self._responses.prepare(engine.generation)

    def swapped(self, engine: Engine) -> None:
        """See `Watcher`."""
        self._pages = Pages()  # calls in flight go on with their own

    def retired(self, engine: Engine) -> None:
        """See `Watcher`."""
        self._responses.forget(engine.generation)

    def _require(self, token: str) -> None:
        if not token:
            return
        if self._live is None:
            raise StatelessError
        self._live.require(token, field="min_consistency_token")

    async def Recommend(  # noqa: N802  # gRPC's name
        self, request: recommendation_pb2.RecommendRequest, context: ServicerContext[Message, Message]
    ) -> bytes:
        """See the contract."""
        query = validation.recommend_query(request)
        self._require(request.min_consistency_token)
        pages = self._pages
        if request.page_token:
            query = query._replace(shown=pages.shown(request))
        answer = await self._engine.recommend(query, deadline=self._engine.deadline(deadline_s()))
        token = pages.next_token(request, query, answer)
        return self._responses.encode(
            recommendation_pb2.RecommendResponse, answer, first_rank=1 + len(query.shown), next_page_token=token
        )

    async def SimilarItems(  # noqa: N802  # gRPC's name
        self, request: recommendation_pb2.SimilarItemsRequest, context: ServicerContext[Message, Message]
    ) -> bytes:
        """See the contract."""
        answer = self._engine.similar(validation.similar_query(request))
        return self._responses.encode(recommendation_pb2.SimilarItemsResponse, answer)

    async def Rank(  # noqa: N802  # gRPC's name
        self, request: recommendation_pb2.RankRequest, context: ServicerContext[Message, Message]
    ) -> bytes:
        """See the contract."""
        query = validation.rank_query(request)
        answer = await self._engine.rank(query, deadline=self._engine.deadline(deadline_s()))
        return self._responses.encode(recommendation_pb2.RankResponse, answer)

    async def Trending(  # noqa: N802  # gRPC's name
        self, request: recommendation_pb2.TrendingRequest, context: ServicerContext[Message, Message]
    ) -> bytes:
        """See the contract."""
        half_lives_h = self._engine.trends.half_lives_h
        answer = self._engine.trending(validation.trending_query(request, half_lives_h))
        return self._responses.encode(recommendation_pb2.TrendingResponse, answer)


class EmbeddingServicer(embedding_pb2_grpc.EmbeddingServiceServicer):
    """EmbeddingService over what is served."""

    def __init__(self, served: Served) -> None:
        self._served = served

    async def Embed(  # noqa: N802  # gRPC's name
        self, request: embedding_pb2.EmbedRequest, context: ServicerContext[Message, Message]
    ) -> embedding_pb2.EmbedResponse:
        """See the contract."""
        texts = validation.embed_texts(request)
        engine = self._served.engine
        encoded = await engine.embed(texts, deadline=engine.deadline(deadline_s()))
        vectors = np.stack(encoded.vectors).astype("<f4", copy=False)
        return embedding_pb2.EmbedResponse(
            vectors=vectors.tobytes(),
            dim=vectors.shape[1],
            served_by=common_pb2.ServedBy(bundle_id=engine.generation.manifest.bundle_id),
            timing=common_pb2.Timing(
                queue_us=round(encoded.queue_s * _MICROSECONDS),
                tokenize_us=round(encoded.tokenize_s * _MICROSECONDS),
                encode_us=round(encoded.encode_s * _MICROSECONDS),
                batch_size=encoded.batch_size,
            ),
        )
