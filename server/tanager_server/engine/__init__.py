"""One recommendation, stage by stage: resolve, encode, candidates, score, rank."""

from tanager_server.engine.activation import Activator
from tanager_server.engine.audience import Audience, Users
from tanager_server.engine.audiences import AudienceQuery, FoundAudience
from tanager_server.engine.engine import Engine
from tanager_server.engine.exploration import ExplorationPolicy
from tanager_server.engine.impressions import Impressions, Shown, read_impression
from tanager_server.engine.indexing import Indexer, remove_leftovers, rows_for
from tanager_server.engine.known import KnownUsers
from tanager_server.engine.lineage import Lineage
from tanager_server.engine.live import Live
from tanager_server.engine.making import Made
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
    Variant,
)
from tanager_server.engine.served import Arm, Served, Watcher
from tanager_server.engine.trials import CONTROL, NO_TRIAL, Trial, TrialMode, TrialPlan, VariantCounts

__all__ = [
    "CONTROL",
    "NO_EVENTS",
    "NO_TRIAL",
    "Activator",
    "Arm",
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
    "Made",
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
    "Trial",
    "TrialMode",
    "TrialPlan",
    "Users",
    "Variant",
    "VariantCounts",
    "Watcher",
    "read_impression",
    "remove_leftovers",
    "rows_for",
]
