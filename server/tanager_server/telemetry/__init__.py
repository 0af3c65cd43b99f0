"""Logs and metrics."""

from tanager_server.telemetry.logs import CallRecord, configure_logging
from tanager_server.telemetry.metrics import Metrics, serve_metrics

__all__ = ["CallRecord", "Metrics", "configure_logging", "serve_metrics"]
