"""Logs and metrics."""

from tanager_server.telemetry.call_log import CallLog
from tanager_server.telemetry.logs import configure_logging
from tanager_server.telemetry.metrics import Metrics, serve_metrics

__all__ = ["CallLog", "Metrics", "configure_logging", "serve_metrics"]
