"""A trial as a message and as metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tanager.v1 import model_pb2
from tanager_server.live import CONTROL
from tanager_server.rpc.bundles import served_bundle
from tanager_server.telemetry import TrialRow, VariantRow

if TYPE_CHECKING:
    from tanager_server.engine import Engine
    from tanager_server.live import Trial, VariantCounts

_MICROSECONDS = 1e6


def trial_message(trial: Trial) -> model_pb2.Trial:
    """A trial, and what came of it so far."""
    plan, comparison = trial.plan, trial.comparison
    message = model_pb2.Trial(
        variant=plan.variant,
        mode=f"TRIAL_MODE_{plan.mode.name}",
        share=plan.share,
        bundle=served_bundle(trial.engine),
        control=_counts(trial.control),
        candidate=_counts(trial.candidate),
        compared_count=comparison.compared,
        skipped_count=comparison.skipped,
        mean_overlap=comparison.overlap / comparison.compared if comparison.compared else 0.0,
    )
    message.count_start_time.FromNanoseconds(trial.began_ns)
    return message


def _counts(counts: VariantCounts) -> model_pb2.VariantCounts:
    return model_pb2.VariantCounts(
        list_count=counts.answers,
        failed_count=counts.failed,
        degraded_count=counts.degraded,
        short_count=counts.short,
        mean_us=counts.seconds / counts.answers * _MICROSECONDS if counts.answers else 0.0,
        shown_item_count=counts.shown,
        attributed_event_count=counts.events,
        attributed_weight=counts.weight,
    )


def trial_row(served: Engine, trial: Trial | None) -> TrialRow | None:
    """The same for the metrics, which read it in another thread.

    Args:
        served: the engine that is tried against.
        trial: which; None where nothing is tried.
    """
    if trial is None:
        return None
    comparison = trial.comparison
    variants = [
        VariantRow(
            name,
            engine.generation.manifest.bundle_id,
            (
                counts.answers,
                counts.failed,
                counts.degraded,
                counts.short,
                counts.seconds,
                counts.shown,
                counts.events,
                counts.weight,
            ),
        )
        for name, engine, counts in (
            (CONTROL, served, trial.control),
            (trial.plan.variant, trial.engine, trial.candidate),
        )
    ]
    return TrialRow(trial.plan.share, variants, (comparison.compared, comparison.skipped, comparison.overlap))
