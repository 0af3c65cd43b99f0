"""What changes while it serves: writes, indexes, bundles and trials."""

from tanager_server.live.activation import Activator
from tanager_server.live.impressions import Impressions, Shown, read_impression
from tanager_server.live.indexing import Indexer, remove_leftovers, rows_for
from tanager_server.live.lineage import Lineage
from tanager_server.live.making import Made
from tanager_server.live.opening import Opened, Opener
from tanager_server.live.served import Arm, Served, Watcher
from tanager_server.live.trials import CONTROL, NO_TRIAL, Trial, TrialMode, TrialPlan, VariantCounts
from tanager_server.live.writes import Live

__all__ = [
    "CONTROL",
    "NO_TRIAL",
    "Activator",
    "Arm",
    "Impressions",
    "Indexer",
    "Lineage",
    "Live",
    "Made",
    "Opened",
    "Opener",
    "Served",
    "Shown",
    "Trial",
    "TrialMode",
    "TrialPlan",
    "VariantCounts",
    "Watcher",
    "read_impression",
    "remove_leftovers",
    "rows_for",
]
