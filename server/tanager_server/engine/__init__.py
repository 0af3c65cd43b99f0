"""One recommendation, stage by stage: resolve, encode, candidates, score, rank."""

from tanager_server.engine.activation import Activated, Activator, Lineage
from tanager_server.engine.audience import Audience, Users
from tanager_server.engine.audiences import AudienceQuery, FoundAudience
from tanager_server.engine.engine import Engine
from tanager_server.engine.exploration import ExplorationPolicy
from tanager_server.engine.impressions import Impressions, Shown, read_impression
from tanager_server.engine.indexing import Indexer, rows_for
from tanager_server.engine.known import KnownUsers
from tanager_server.engine.live import Live
from tanager_server.engine.opening import Opened, Opener
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
)
from tanager_server.engine.served import Served, Watcher

__all__ = [
    "NO_EVENTS",
    "Activated",
    "Activator",
    "Audience",
    "AudienceQuery",
    "BatchQuery",
    "Diversity",
    "Engine",
    "Events",
    "Explanation",
    "ExplorationPolicy",
    "FoundAudience",
    "Impressions",
    "Indexer",
    "KnownUsers",
    "Lineage",
    "Live",
    "Opened",
    "Opener",
    "Page",
    "RankQuery",
    "Reason",
    "ReasonKind",
    "RecommendQuery",
    "Recommendation",
    "ScoredItem",
    "Served",
    "Shortfall",
    "Shown",
    "SimilarQuery",
    "Source",
    "Strategy",
    "Timing",
    "TrendingQuery",
    "Users",
    "Watcher",
    "read_impression",
    "rows_for",
]
