"""One recommendation, stage by stage: resolve, encode, candidates, score, rank."""

from tanager_server.engine.engine import Engine
from tanager_server.engine.request import (
    Event,
    Recommendation,
    RecommendQuery,
    ScoredItem,
    Shortfall,
    SimilarQuery,
    Source,
    Strategy,
    Timing,
)

__all__ = [
    "Engine",
    "Event",
    "RecommendQuery",
    "Recommendation",
    "ScoredItem",
    "Shortfall",
    "SimilarQuery",
    "Source",
    "Strategy",
    "Timing",
]
