"""What an evaluation found, as it is written to JSON and shown in tables and in the report."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tanager_export.evaluation.bootstrap import Interval
    from tanager_export.evaluation.cases import Parameter
    from tanager_export.evaluation.experiment.encoder import Epoch

TANAGER = "tanager"
METRIC = "ndcg@10"
METRICS: dict[str, str] = {
    "ndcg@10": "N@10",
    "recall@10": "R@10",
    "precision@10": "P@10",
    "f1@10": "F1@10",
    "mrr@10": "MRR@10",
    "hitrate@10": "HR@10",
    "auc": "AUC",
    "coverage": "coverage",
    "gini": "Gini",
    "novelty": "novelty",
    "category_diversity": "ILD categories",
    "ease_diversity": "ILD EASE",
    "calibration": "calibration",
}
"""Each metric of the table, and its heading."""


@dataclass(frozen=True, slots=True)
class Row:
    """One method on one split.

    Attributes:
        method: its name.
        metrics: the mean of each of `METRICS`; NaN where there is nothing to measure.
        slices: `METRIC` by slice.
        ratio: Tanager's `METRIC` over this method's; None for Tanager itself.
        difference: Tanager's less this method's.
        parameters: what tuning chose.
        validation: what these reached on validation.
        trials: what every trial of tuning reached, in order.
        grid: how many combinations there are to try.
        missing: why there are no figures; empty where there are.
        seconds: taken to tune, fit and evaluate.
    """

    method: str
    metrics: Mapping[str, float] = field(default_factory=dict)
    slices: Mapping[str, Interval] = field(default_factory=dict)
    ratio: Interval | None = None
    difference: Interval | None = None
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    validation: float | None = None
    trials: tuple[float, ...] = ()
    grid: int = 0
    missing: str = ""
    seconds: float = 0.0

    @property
    def is_baseline(self) -> bool:
        """Whether it is neither Tanager nor Tanager without a part of it."""
        return not self.method.startswith(TANAGER)


@dataclass(frozen=True, slots=True)
class DiversityPoint:
    """Lists chosen for diversity, against the lists as they are.

    Attributes:
        kind: "mmr", "category cap", "interests", or "mmr, 3 interests".
        value: lambda, items of a category at most, or interests at most.
        metrics: the mean of each of `METRICS` that a list has.
        ratio: `METRIC` as a share of that of the lists as they are.
        diversity: the ratio of intra-list diversity, by measure.
        coverage: the ratio of coverage.
        chosen: whether it is the strongest of its kind that loses no more than 1 % on validation.
    """

    kind: str
    value: float
    metrics: Mapping[str, float]
    ratio: Interval
    diversity: Mapping[str, Interval]
    coverage: float
    chosen: bool = False


@dataclass(frozen=True, slots=True)
class Served:
    """The same cases, asked of a running server.

    Attributes:
        address: of the server.
        bundle_id: what it served.
        model: the bundle's model and precision.
        cases: how many.
        exact: `METRIC` of exact scores in fp32.
        served: `METRIC` of the answers.
        loss: `METRIC` lost, as a share of the exact one.
        overlap: share of the exact first ten that were answered.
        warnings: why the gap may be no gap of serving.
    """

    address: str
    bundle_id: str
    model: str
    cases: int
    exact: Interval
    served: Interval
    loss: Interval
    overlap: float
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Table:
    """All methods on one split.

    Attributes:
        protocol: which split.
        train: events that may be learned from.
        cases: of all seeds.
        targets: of all seeds.
        slices: cases and targets of each.
        rows: Tanager first.
        blend: weights and hyperparameters that Tanager learned, of the first seed.
        popular: what baselines give users of whom they know nothing.
        curve: accuracy against diversity.
        served: through the server, if asked for.
    """

    protocol: str
    train: int
    cases: int
    targets: int
    slices: Mapping[str, tuple[int, int]]
    rows: tuple[Row, ...]
    blend: Mapping[str, float]
    popular: str = ""
    curve: tuple[DiversityPoint, ...] = ()
    served: Served | None = None


@dataclass(frozen=True, slots=True)
class ColdUsers:
    """The same users with less or more known of them.

    Attributes:
        users: how many.
        ndcg: of each method, by what was shown: `METRIC`.
        ratios: Tanager over each other method, by what was shown.
        parameters: what tuning chose for each baseline.
        popular: what baselines give users of whom they know nothing.
        missing: why there are no figures of a baseline.
    """

    users: int
    ndcg: Mapping[str, Mapping[str, Interval]]
    ratios: Mapping[str, Mapping[str, Interval]]
    parameters: Mapping[str, Mapping[str, Parameter]]
    popular: str
    missing: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ColdItems:
    """A share of the items hidden while learning.

    Attributes:
        hidden: items, of the first seed.
        cases: who took up hidden items, of all seeds.
        among_cold: R@20 of each method where hidden items alone are ranked.
        ratios: Tanager over each other method there.
        among_all: R@20 of hidden items where all items are ranked.
        warm: R@20 of the other items there, of uptakes hidden by the same people.
        share: `among_all` over `warm`, over those who have both.
        warm_loss: N@10 of the other items lost as the hidden ones are ranked too, as a share; hidden items that users
            did take up are neither right nor wrong there.
        together: N@10 of all that was taken up, where hidden items are ranked too, over that where they are not.
        parameters: what tuning chose for each baseline, for the first seed.
        ratios_by_seed: each ratio for each seed. Every seed hides other items: how far these lie apart is not in the
            intervals, which are over users.
        share_by_seed: the share for each seed.
        missing: why there are no figures of a baseline.
    """

    hidden: int
    cases: int
    among_cold: Mapping[str, Interval]
    ratios: Mapping[str, Interval]
    among_all: Interval
    warm: Interval
    share: Interval
    warm_loss: Interval
    together: Interval
    parameters: Mapping[str, Mapping[str, Parameter]]
    ratios_by_seed: Mapping[str, tuple[float, ...]]
    share_by_seed: tuple[float, ...]
    missing: Mapping[str, str]


@dataclass(slots=True)
class Result:
    """All of it.

    Attributes:
        dataset: its name.
        simulated: whether its behaviour was simulated.
        items: in the catalogue.
        interactions: in all.
        model: what the items' texts were encoded with, and what is known of its training.
        frozen: what the baselines that read texts read them with.
        seeds: all that were used.
        trials: of tuning for each baseline.
        tables: of each split of all users.
        cold_users: if asked for.
        cold_items: if asked for.
        epochs: of the encoder's training, where known.
        compression: rows of `tanager-export compress`, if given.
        notices: what a reader has to know.
        incomplete: what was asked for and is missing.
        seconds: taken.
    """

    dataset: str
    simulated: bool
    items: int
    interactions: int
    model: str
    frozen: str
    seeds: tuple[int, ...]
    trials: int
    tables: list[Table] = field(default_factory=list)
    cold_users: ColdUsers | None = None
    cold_items: ColdItems | None = None
    epochs: tuple[Epoch, ...] = ()
    compression: list[dict[str, object]] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    incomplete: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def lack(self, protocol: str, missing: Mapping[str, str]) -> None:
        """Notes baselines that could not be had, and why."""
        self.incomplete += [f"{protocol}: {name} is missing: {why}" for name, why in missing.items()]

    def as_json(self) -> dict[str, Any]:
        """For `json.dump`: NaN and infinities become null."""
        found: dict[str, Any] = _plain(self)
        return found


def _plain(value: Any) -> Any:  # noqa: ANN401
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {one.name: _plain(getattr(value, one.name)) for one in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
