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
from tanager_server.rpc.interceptor import deadline_s, sent_request_id
from tanager_server.rpc.paging import Pages
from tanager_server.rpc.responses import ResponseEncoder, reasons

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from grpc.aio import ServicerContext

    from tanager_server.engine import Engine, Recommendation
    from tanager_server.live import Live, Served
    from tanager_server.telemetry import Metrics

_MICROSECONDS = 1e6


class RecommendationServicer(recommendation_pb2_grpc.RecommendationServiceServicer):
    """RecommendationService over what is served.

    Args:
        served: what answers.
        live: what is written to it; None for a server without state.
        metrics: what counts degraded answers; None for none.
    """

    def __init__(self, served: Served, live: Live | None = None, metrics: Metrics | None = None) -> None:
        self._served, self._live, self._metrics = served, live, metrics
        self._responses = ResponseEncoder(served.engine.generation)
        self._pages = {served.engine: Pages()}
        served.watch(self)

    @property
    def _engine(self) -> Engine:
        return self._served.engine

    def prepare(self, engine: Engine) -> None:
        """See `Watcher`."""
        self._responses.prepare(engine.generation)
        self._pages[engine] = Pages()

    def swapped(self, engine: Engine) -> None:
        """See `Watcher`: all is prepared."""

    def retired(self, engine: Engine) -> None:
        """See `Watcher`."""
        self._pages.pop(engine, None)
        self._responses.forget(engine.generation)

    def _require(self, token: str) -> None:
        if not token:
            return
        if self._live is None:
            raise StatelessError
        self._live.require(token, field="min_consistency_token")

    def _count(self, answer: Recommendation) -> None:
        if answer.degraded and self._metrics is not None:
            self._metrics.observe_degraded(answer.strategy.name.lower())

    async def Recommend(  # noqa: N802  # gRPC's name
        self, request: recommendation_pb2.RecommendRequest, context: ServicerContext[Message, Message]
    ) -> bytes:
        """See the contract."""
        query = validation.recommend_query(request)
        self._require(request.min_consistency_token)
        arm = self._served.arm(query.user_id)
        pages = self._pages[arm.engine]
        if request.page_token:
            query = query._replace(shown=pages.shown(request))
        if arm.engine.explores:
            query = query._replace(request_id=sent_request_id(context) or "")
        impressions = None if self._live is None else self._live.impressions
        began = 0 if impressions is None else impressions.moment
        answer = await arm.recommend(query, limit_s=deadline_s())
        self._count(answer)
        token = "" if impressions is None else impressions.log(query, answer, began=began)
        if token:
            self._served.show(answer)
        return self._responses.encode(
            recommendation_pb2.RecommendResponse,
            answer,
            first_rank=1 + len(query.shown),
            next_page_token=pages.next_token(request, query, answer),
            attribution_token=token,
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
        answer = await self._served.arm(query.subject.user_id).rank(query, limit_s=deadline_s())
        self._count(answer)
        return self._responses.encode(recommendation_pb2.RankResponse, answer)

    async def Trending(  # noqa: N802  # gRPC's name
        self, request: recommendation_pb2.TrendingRequest, context: ServicerContext[Message, Message]
    ) -> bytes:
        """See the contract."""
        half_lives_h = self._engine.trends.half_lives_h
        answer = self._engine.trending(validation.trending_query(request, half_lives_h))
        return self._responses.encode(recommendation_pb2.TrendingResponse, answer)

    async def BatchRecommend(  # noqa: N802  # gRPC's name
        self, request: recommendation_pb2.BatchRecommendRequest, context: ServicerContext[Message, Message]
    ) -> bytes:
        """See the contract."""
        query = validation.batch_query(request)
        served_by = common_pb2.ServedBy(bundle_id=self._engine.generation.manifest.bundle_id)
        parts = []
        async for user_id, answer in self._served.batch(query, limit_s=deadline_s()):
            parts.append(self._responses.encode_user(user_id, answer))
        parts.append(recommendation_pb2.BatchRecommendResponse(served_by=served_by).SerializeToString())
        return b"".join(parts)

    async def FindAudience(  # noqa: N802  # gRPC's name
        self, request: recommendation_pb2.FindAudienceRequest, context: ServicerContext[Message, Message]
    ) -> recommendation_pb2.FindAudienceResponse:
        """See the contract."""
        query = validation.audience_query(request)
        if self._live is None:
            raise StatelessError
        engine = self._engine
        found = await engine.find_audience(query)
        members = found.members
        response = recommendation_pb2.FindAudienceResponse(
            candidate_count=members.candidates,
            served_by=common_pb2.ServedBy(bundle_id=engine.generation.manifest.bundle_id),
        )
        for rank, (user_id, score) in enumerate(zip(members.user_ids, members.scores, strict=True), start=1):
            member = response.members.add(user_id=user_id, rank=rank, score=score)
            if found.explanations:
                member.reasons.extend(reasons(found.explanations[rank - 1], engine.generation.catalogue))
        return response


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
