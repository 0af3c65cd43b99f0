"""What came of a trial, as metrics: read from its counts at each scrape."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from prometheus_client import Metric

_COUNTED = (
    ("lists", "Lists that were made"),
    ("failed_lists", "Lists that could not be made, but for invalid requests"),
    ("degraded_lists", "Lists without what they were asked for in words"),
    ("short_lists", "Lists with fewer items than asked for"),
    ("list_seconds", "Time that all lists took together"),
    ("shown_items", "Items of lists with an attribution token"),
    ("events", "Events with a positive weight that were attributed to them"),
    ("event_weight", "Weight of those events together"),
)
_COMPARED = (
    ("compared_lists", "Lists of both bundles for the same request, in a shadow"),
    ("skipped_lists", "Lists that were not compared, as too many were under way"),
    ("overlap", "Share of each compared list's items that the other list has too, all added up"),
)


class VariantRow(NamedTuple):
    """Counts of one variant.

    Attributes:
        variant: its name.
        bundle_id: what it is answered from.
        counts: as many as `tanager_trial_*` counts for each variant, in that order: lists, failed, degraded and short
            ones, seconds, items shown, events, their weight.
    """

    variant: str
    bundle_id: str
    counts: Sequence[float]


class TrialRow(NamedTuple):
    """Counts of a trial.

    Attributes:
        share: of the users.
        variants: control and the other one.
        compared: lists compared, lists skipped, overlap.
    """

    share: float
    variants: Sequence[VariantRow]
    compared: Sequence[float]


class TrialCollector(Collector):
    """Metrics of the trial under way, none while there is none.

    Args:
        trial: reads it; called in another thread.
    """

    def __init__(self, trial: Callable[[], TrialRow | None]) -> None:
        self._trial = trial

    def collect(self) -> Iterable[Metric]:
        """See prometheus_client."""
        trial = self._trial()
        labels = ("variant", "bundle_id")
        for place, (name, text) in enumerate(_COUNTED):
            counter = CounterMetricFamily(f"tanager_trial_{name}", f"{text}.", labels=labels)
            for row in () if trial is None else trial.variants:
                counter.add_metric((row.variant, row.bundle_id), row.counts[place])
            yield counter
        for place, (name, text) in enumerate(_COMPARED):
            counter = CounterMetricFamily(f"tanager_trial_{name}", f"{text}.", labels=())
            if trial is not None:
                counter.add_metric((), trial.compared[place])
            yield counter
        share = GaugeMetricFamily("tanager_trial_share", "Share of the users that the trial takes.", labels=())
        if trial is not None:
            share.add_metric((), trial.share)
        yield share
