"""Logs and metrics."""

from tanager_server.telemetry.call_log import CallLog
from tanager_server.telemetry.live_metrics import LiveMetrics, LiveReadings
from tanager_server.telemetry.logs import configure_logging
from tanager_server.telemetry.metrics import Metrics, serve_metrics
from tanager_server.telemetry.trial_counts import TrialRow, VariantRow

__all__ = [
    "CallLog",
    "LiveMetrics",
    "LiveReadings",
    "Metrics",
    "TrialRow",
    "VariantRow",
    "configure_logging",
    "serve_metrics",
]
