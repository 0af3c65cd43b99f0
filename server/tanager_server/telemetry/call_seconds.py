"""A histogram that costs an event loop next to nothing."""

from __future__ import annotations

import time
from bisect import bisect_left
from typing import TYPE_CHECKING

from prometheus_client import Histogram
from prometheus_client.metrics_core import HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample
from prometheus_client.utils import floatToGoString

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from prometheus_client.metrics_core import Metric


class _Series:
    """Of one method and status: calls by bucket, the last of them without a bound, and the sum of their seconds."""

    __slots__ = ("counts", "created", "sum_s")

    def __init__(self, buckets: int) -> None:
        self.counts = [0] * buckets
        self.sum_s = 0.0
        self.created = time.time()


class CallSeconds(Collector):
    """`prometheus_client.Histogram` by method and code for one writer; it takes three locks and a walk an observation.

    Only the event loop observes; the scraper's thread reads copies, which may miss what is being observed meanwhile.

    Args:
        name: of the metric.
        documentation: its help.
        bounds: upper bounds of the buckets in seconds, rising; what exceeds the last is counted as +Inf.
    """

    def __init__(self, name: str, documentation: str, *, bounds: Sequence[float]) -> None:
        self._name, self._documentation = name, documentation
        self._bounds = tuple(bounds)
        self._labels = [*map(floatToGoString, self._bounds), "+Inf"]
        self._series: dict[tuple[str, str], _Series] = {}
        # When a series began is told or not, for all metrics alike; the library has no other way to ask.
        (usual,) = Histogram(name, documentation, registry=None).collect()
        self._tells_created = any(sample.name == f"{name}_created" for sample in usual.samples)

    def observe(self, method: str, code: str, seconds: float) -> None:
        """A call to the method ended so, after as many seconds."""
        series = self._series.get((method, code))
        if series is None:
            series = self._series[method, code] = _Series(len(self._bounds) + 1)
        series.counts[bisect_left(self._bounds, seconds)] += 1
        series.sum_s += seconds

    def describe(self) -> Iterator[Metric]:
        """The metric without its samples, by which the registry knows its names."""
        yield self._family()

    def collect(self) -> Iterator[Metric]:
        """The metric as it is now."""
        family = self._family()
        for (method, code), series in list(self._series.items()):
            total, buckets = 0, []
            for bound, count in zip(self._labels, list(series.counts), strict=True):
                total += count
                buckets.append((bound, float(total)))
            family.add_metric((method, code), buckets, series.sum_s)
            if self._tells_created:
                labels = {"method": method, "code": code}
                family.samples.append(Sample(f"{self._name}_created", labels, series.created))
        yield family

    def _family(self) -> HistogramMetricFamily:
        return HistogramMetricFamily(self._name, self._documentation, labels=("method", "code"))
