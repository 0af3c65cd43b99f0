"""The servicers: message in, engine, message out. Nothing else happens here."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np
from google.protobuf.timestamp_pb2 import Timestamp

from tanager.v1 import (
    common_pb2,
    embedding_pb2,
    embedding_pb2_grpc,
    model_pb2,
    model_pb2_grpc,
    recommendation_pb2,
    recommendation_pb2_grpc,
)
from tanager_server.errors import StatelessError
from tanager_server.rpc import validation
from tanager_server.rpc.interceptor import deadline_s, sent_request_id
from tanager_server.rpc.paging import Pages
from tanager_server.rpc.responses import ResponseEncoder

if TYPE_CHECKING:
    from datetime import datetime

    from google.protobuf.message import Message
    from grpc.aio import ServicerContext

    from tanager_server.engine import Engine, Live, Recommendation
    from tanager_server.runtime import Calibration
    from tanager_server.telemetry import Metrics

_MICROSECONDS = 1e6


class RecommendationServicer(recommendation_pb2_grpc.RecommendationServiceServicer):
    """RecommendationService over an engine.

    Args:
        engine: what answers.
        live: what is written to it; None for a server without state.
        metrics: what counts degraded answers; None for none.
    """

    def __init__(self, engine: Engine, live: Live | None = None, metrics: Metrics | None = None) -> None:
        self._engine, self._live, self._metrics = engine, live, metrics
        self._responses = ResponseEncoder(engine.generation)
        self._pages = Pages()

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
        pages = self._pages
        if request.page_token:
            query = query._replace(shown=pages.shown(request))
        if self._engine.explores:
            query = query._replace(request_id=sent_request_id(context) or "")
        answer = await self._engine.recommend(query, deadline=self._engine.deadline(deadline_s()))
        self._count(answer)
        return self._responses.encode(
            recommendation_pb2.RecommendResponse,
            answer,
            first_rank=1 + len(query.shown),
            next_page_token=pages.next_token(request, query, answer),
            attribution_token="" if self._live is None else self._live.impressions.log(query, answer),
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
        self._count(answer)
        return self._responses.encode(recommendation_pb2.RankResponse, answer)

    async def Trending(  # noqa: N802  # gRPC's name
        self, request: recommendation_pb2.TrendingRequest, context: ServicerContext[Message, Message]
    ) -> bytes:
        """See the contract."""
        half_lives_h = self._engine.trends.half_lives_h
        answer = self._engine.trending(validation.trending_query(request, half_lives_h))
        return self._responses.encode(recommendation_pb2.TrendingResponse, answer)


class EmbeddingServicer(embedding_pb2_grpc.EmbeddingServiceServicer):
    """EmbeddingService over an engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def Embed(  # noqa: N802  # gRPC's name
        self, request: embedding_pb2.EmbedRequest, context: ServicerContext[Message, Message]
    ) -> embedding_pb2.EmbedResponse:
        """See the contract."""
        texts = validation.embed_texts(request)
        encoded = await self._engine.embed(texts, deadline=self._engine.deadline(deadline_s()))
        vectors = np.stack(encoded.vectors).astype("<f4", copy=False)
        return embedding_pb2.EmbedResponse(
            vectors=vectors.tobytes(),
            dim=vectors.shape[1],
            served_by=common_pb2.ServedBy(bundle_id=self._engine.generation.manifest.bundle_id),
            timing=common_pb2.Timing(
                queue_us=round(encoded.queue_s * _MICROSECONDS),
                tokenize_us=round(encoded.tokenize_s * _MICROSECONDS),
                encode_us=round(encoded.encode_s * _MICROSECONDS),
                batch_size=encoded.batch_size,
            ),
        )


class ModelServicer(model_pb2_grpc.ModelServiceServicer):
    """ModelService over an engine."""

    def __init__(
        self, engine: Engine, *, calibration: Calibration, started: datetime, live: Live | None = None
    ) -> None:
        self._engine, self._live = engine, live
        self._runtime = model_pb2.Runtime(
            threads=calibration.threads,
            workers=calibration.workers,
            max_batch_tokens=calibration.max_batch_tokens,
            batch_cost_tokens=calibration.batch_cost_tokens,
        )
        self._version = version("tanager")
        self._started = Timestamp()
        self._started.FromDatetime(started)

    async def GetStatus(  # noqa: N802  # gRPC's name
        self, request: model_pb2.GetStatusRequest, context: ServicerContext[Message, Message]
    ) -> model_pb2.GetStatusResponse:
        """See the contract."""
        generation = self._engine.generation
        manifest = generation.manifest
        created = Timestamp()
        created.FromDatetime(manifest.created_at)
        return model_pb2.GetStatusResponse(
            server_version=self._version,
            start_time=self._started,
            execution_provider=self._engine.provider,
            queue_depth=self._engine.queue_depth,
            runtime=self._runtime,
            bundle=model_pb2.Bundle(
                bundle_id=manifest.bundle_id,
                create_time=created,
                model_name=manifest.model.name,
                precision=manifest.encoder.precision,
                dim=manifest.encoder.dim,
                max_tokens=manifest.encoder.max_tokens,
                dataset_name=manifest.dataset.name,
                simulated_behaviour=manifest.dataset.simulated_behaviour,
                item_count=manifest.dataset.items,
                domain_item_counts=generation.catalogue.domain_counts,
                quality=manifest.quality,
            ),
            state=None if self._live is None else _state(self._engine, self._live),
        )


def _state(engine: Engine, live: Live) -> model_pb2.State:
    return model_pb2.State(
        consistency_token=live.token(live.seq),
        item_count=len(engine.generation.catalogue),
        user_count=len(engine.known.users),
        event_count=live.event_count,
        unindexed_item_count=engine.items.unindexed,
    )
