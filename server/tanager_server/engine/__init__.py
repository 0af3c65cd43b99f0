"""One recommendation, stage by stage: resolve, encode, candidates, score, rank."""

from tanager_server.engine.audience import Audience, Users
from tanager_server.engine.audiences import AudienceQuery, FoundAudience
from tanager_server.engine.engine import Engine
from tanager_server.engine.exploration import ExplorationPolicy
from tanager_server.engine.known import KnownUsers
from tanager_server.engine.request import (
    NO_EVENTS,
    BatchQuery,
    Diversity,
    Events,
    Explanation,
    Page,
    RankQuery,
    Reason,
    ReasonKind,
    Recommendation,
    RecommendQuery,
    ScoredItem,
    Shortfall,
    SimilarQuery,
    Source,
    Strategy,
    Timing,
    TrendingQuery,
    Variant,
)

__all__ = [
    "NO_EVENTS",
    "Audience",
    "AudienceQuery",
    "BatchQuery",
    "Diversity",
    "Engine",
    "Events",
    "Explanation",
    "ExplorationPolicy",
    "FoundAudience",
    "KnownUsers",
    "Page",
    "RankQuery",
    "Reason",
    "ReasonKind",
    "RecommendQuery",
    "Recommendation",
    "ScoredItem",
    "Shortfall",
    "SimilarQuery",
    "Source",
    "Strategy",
    "Timing",
    "TrendingQuery",
    "Users",
    "Variant",
]
