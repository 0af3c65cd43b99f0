"""One run of everything: baselines tuned, Tanager learned, all evaluated on the same cases."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tanager_export.collaborative import MAX_ITEMS, binary_matrix, ease_weights
from tanager_export.dataset.checks.behaviour import popular_attributes
from tanager_export.errors import ExportError
from tanager_export.evaluation.baselines import baselines
from tanager_export.evaluation.diversity import Yardstick
from tanager_export.evaluation.evaluate import evaluate
from tanager_export.evaluation.experiment.answers import Answers
from tanager_export.evaluation.experiment.cold import (
    COLD_ITEM_BASELINES,
    COLD_USER_BASELINES,
    evaluate_cold_items,
    evaluate_cold_user_counts,
)
from tanager_export.evaluation.experiment.diversity import choose, diversity_curve
from tanager_export.evaluation.experiment.encoder import centred
from tanager_export.evaluation.experiment.methods import Backed, Popular, blend_of, contestant, tanager
from tanager_export.evaluation.experiment.result import METRIC, METRICS, TANAGER, Result, Row, Table
from tanager_export.evaluation.experiment.served import ask_server
from tanager_export.evaluation.leaks import LeakError, refuse_leaks
from tanager_export.evaluation.splits import SplitError, cold_users, leave_one_out
from tanager_export.training.windows import held_out, validation_windows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from tanager_export.dataset import Dataset
    from tanager_export.evaluation.cases import Recommender, Split
    from tanager_export.evaluation.experiment.encoder import Encoder
    from tanager_export.evaluation.experiment.result import DiversityPoint
    from tanager_export.training.blend import Blend
    from tanager_export.training.hybrid import Hybrid
    from tanager_export.training.run import Run
    from tanager_export.training.windows import Protocol

_log = logging.getLogger(__name__)

PROTOCOLS = ("global-time", "leave-one-out", "cold-items", "cold-users")
ALL_USERS = ("global-time", "leave-one-out")
BASELINES = tuple(baselines(np.zeros((0, 0), np.float32)))
YARDSTICK_L2 = 200.0
"""Of the EASE that intra-list diversity is measured with: the same for all methods, none of which it is."""
_ITEMS_OF_A_CURVE = 50_000


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do.

    Attributes:
        protocols: some of `PROTOCOLS`.
        baselines: some of `BASELINES`.
        trials: of tuning, for each baseline.
        seeds: of whatever is random; the first one is that of tuning.
        served: address of a server to ask as well.
        repeats: of leave-one-out: see there.
        curve: whether to measure what diversity costs.
    """

    protocols: tuple[str, ...]
    baselines: tuple[str, ...] = BASELINES
    trials: int = 20
    seeds: tuple[int, ...] = (0,)
    served: str | None = None
    repeats: str = "drop"
    curve: bool = True


def run(dataset: Dataset, encoders: Sequence[Encoder], frozen: Encoder, plan: Plan, *, strict: bool = True) -> Result:
    """Carries out a plan.

    Args:
        dataset: what to evaluate on.
        encoders: under test: one, or one of each seed.
        frozen: for the baselines that read texts.
        plan: what to do.
        strict: whether a protocol that the dataset or the encoder does not allow is an error; else it is left out.

    Raises:
        LeakError: the encoder has learned from what is asked.
        SplitError: the dataset does not allow a protocol.
        ExportError: the server does not answer, or what is to be frozen is not.
    """
    began = time.monotonic()
    encoder = encoders[0]
    if len(encoders) not in (1, len(plan.seeds)):
        raise ExportError(f"--model: {len(encoders)} runs for {len(plan.seeds)} seeds: give one, or one for each seed")
    result = Result(
        dataset=dataset.name,
        simulated=dataset.simulated_behaviour,
        items=len(dataset.items),
        interactions=len(dataset.interactions),
        model="; ".join(one.provenance for one in encoders),
        frozen=frozen.provenance,
        seeds=plan.seeds,
        trials=plan.trials,
        epochs=encoder.epochs,
    )
    if frozen.run is not None:
        raise ExportError(f"--frozen: {frozen.run.path} is a run of `train`, which is not frozen: name its base")
    protocols = _possible(dataset, encoders, plan, result, strict=strict)
    if plan.served is not None and not set(protocols) & set(ALL_USERS):
        raise ExportError("--served asks the cases of global-time or leave-one-out: choose one of them with --protocol")
    if encoder.run is None and encoder.source != frozen.source:
        result.notices.append(f"The encoder under test is {encoder.provenance}.")
    if encoder.run is not None and len(encoders) < len(plan.seeds):
        result.notices.append(
            "Tanager is one run, so it is the same under each seed: seeds are of the baselines alone."
        )
    if dataset.simulated_behaviour:
        result.notices.append("The behaviour in this dataset is simulated: the figures say nothing about people.")
    for name, correlation in popular_attributes(dataset):
        result.notices.append(
            f"The items' attribute {name!r} follows how often they were taken up (rank correlation {correlation:.2f}). "
            "If it was made from behaviour, it tells what is asked, and the figures of what reads it are too high."
        )
    texts = [item.encoder_text for item in dataset.items]
    plain = frozen.vectors(texts, describe="encoding with the frozen encoder")
    vectors = [plain if one.source == frozen.source else one.vectors(texts) for one in encoders]
    vectors = [centred(own) if one.centred else own for one, own in zip(encoders, vectors, strict=True)]
    bench = _Bench(dataset, vectors, plain, plan, result, [one.run for one in encoders if one.run is not None])
    for protocol in protocols:
        _log.info("%s", protocol)
        if protocol in ALL_USERS:
            result.tables.append(bench.table(protocol))
        elif protocol == "cold-users":
            split = bench.splits("global-time")[0]
            ours = bench.tanager("global-time", split)
            asked = [name for name in COLD_USER_BASELINES if name in plan.baselines]
            result.cold_users = evaluate_cold_user_counts(dataset, ours, asked, trials=plan.trials, seeds=plan.seeds)
            result.lack(protocol, result.cold_users.missing)
        else:
            each = vectors if len(vectors) > 1 else vectors * len(plan.seeds)
            asked = [name for name in COLD_ITEM_BASELINES if name in plan.baselines]
            result.cold_items = evaluate_cold_items(dataset, each, plain, asked, trials=plan.trials, seeds=plan.seeds)
            result.lack(protocol, result.cold_items.missing)
            if encoder.run is not None:
                result.notices.append(
                    "cold-items: the blend is not the run's: it is learned anew, where new items come beside others."
                )
    result.seconds = time.monotonic() - began
    return result


def _possible(dataset: Dataset, encoders: Sequence[Encoder], plan: Plan, result: Result, *, strict: bool) -> list[str]:
    """The protocols that the dataset and the encoder allow, looked at before any work is done."""
    possible = []
    for protocol in plan.protocols:
        try:
            each = encoders if len(encoders) > 1 else [encoders[0]] * len(plan.seeds)
            for seed, encoder in zip(plan.seeds, each, strict=True):
                split = _split(dataset, protocol, plan, seed=seed)
                refuse_leaks(split)
                _refuse_what_it_knows(encoder, split, seed=seed)
        except (SplitError, _KnownError) as error:
            if strict or len(plan.protocols) == 1:
                raise
            if isinstance(error, SplitError):
                result.notices.append(f"{protocol} is left out: {error}")
            else:
                result.incomplete.append(f"{protocol} is left out: {error}")
            _log.warning("%s is left out: %s", protocol, error)
        else:
            possible.append(protocol)
    if not possible:
        why = "; ".join((*result.notices, *result.incomplete))
        raise ExportError(f"{dataset.name}: nothing can be measured: {why}")
    return possible


class _KnownError(LeakError):
    """The encoder, unlike the split, leaks: other protocols may do."""


def _refuse_what_it_knows(encoder: Encoder, split: Split, *, seed: int) -> None:
    try:
        encoder.refuse_if_it_knows(split, seed=seed)
    except LeakError as error:
        raise _KnownError(str(error)) from error


def _split(dataset: Dataset, protocol: str, plan: Plan, *, seed: int) -> Split:
    if protocol == "leave-one-out":
        return leave_one_out(dataset, repeats="count" if plan.repeats == "count" else "drop")
    if protocol == "cold-users":
        return cold_users(dataset)
    return held_out(dataset, protocol="cold-items" if protocol == "cold-items" else "global-time", seed=seed)


class _Bench:
    """Splits and what was learned on them, kept for the protocols that share them."""

    def __init__(
        self,
        dataset: Dataset,
        vectors: Sequence[NDArray[np.float32]],
        frozen: NDArray[np.float32],
        plan: Plan,
        result: Result,
        runs: Sequence[Run],
    ) -> None:
        self._dataset, self._vectors, self._plan, self._result = dataset, vectors, plan, result
        self._runs = runs
        self._methods = baselines(frozen)
        self._splits: dict[str, Split] = {}
        self._tanager: dict[str, list[Hybrid]] = {}

    def splits(self, protocol: str) -> list[Split]:
        """The same for every seed: nothing is drawn."""
        if protocol not in self._splits:
            self._splits[protocol] = _split(self._dataset, protocol, self._plan, seed=0)
        return [self._splits[protocol]] * len(self._plan.seeds)

    def tanager(self, protocol: str, split: Split) -> list[Hybrid]:
        """Learned for each seed; where runs bring their blends along, one for each of these."""
        from tanager_export.training.hybrid import Hybrid

        if protocol not in self._tanager and self._runs:
            found = [
                Hybrid.fit(self._dataset, split.train, own, one.blend, seed=one.seed, progress=True)
                for own, one in zip(self._vectors, self._runs, strict=True)
            ]
            self._tanager[protocol] = found if len(found) > 1 else found * len(self._plan.seeds)
        if protocol not in self._tanager:
            self._tanager[protocol] = [
                tanager(
                    self._dataset,
                    split.train,
                    self._windows(protocol, split, seed=seed),
                    self._vectors[0],
                    seed=seed,
                )
                for seed in self._plan.seeds
            ]
        return self._tanager[protocol]

    def table(self, protocol: str) -> Table:
        """All methods on the cases of a protocol."""
        splits = self.splits(protocol)
        split = splits[0]
        _log.info("%s cases, %s targets", f"{len(split.cases):,}", f"{len(split.cases.targets.item):,}")
        yardstick = self._yardstick(split)
        began = time.monotonic()
        ours = self.tanager(protocol, split)
        learned_s = time.monotonic() - began
        first = self._answers(ours, splits, yardstick)
        rows = [_row(TANAGER, first, seconds=learned_s)]
        if (row := self._without_sequence(ours, first, splits, yardstick)) is not None:
            rows.append(row)
        trials, seeds = self._plan.trials, self._plan.seeds
        windows = self._windows(protocol, split, seed=seeds[0])
        popular = Popular.tune(self._dataset, windows) if self._plan.baselines else None
        for name in self._plan.baselines:
            method = self._methods[name] if popular is None else Backed(self._methods[name], popular)
            found = contestant(method, self._dataset, windows, splits, trials=trials, seeds=seeds)
            if not found.recommenders or found.tuned is None:
                rows.append(Row(name, missing=found.missing))
                self._result.lack(protocol, {name: found.missing})
                continue
            began = time.monotonic()
            answers = self._answers(found.recommenders, splits, yardstick)
            compared = first.compare(answers, METRIC)
            row = _row(name, answers, seconds=found.seconds + time.monotonic() - began)
            rows.append(
                replace(
                    row,
                    ratio=compared.ratio,
                    difference=compared.difference,
                    parameters=found.tuned.parameters,
                    validation=found.tuned.score,
                    trials=tuple(trial.score for trial in found.tuned.trials),
                    grid=found.tuned.grid,
                )
            )
            _log.info("%s: %s %.4f; tanager %.4f", name, METRIC, answers.mean(METRIC), first.mean(METRIC))
        curve: tuple[DiversityPoint, ...] = ()
        if self._plan.curve and len(self._dataset.items) <= _ITEMS_OF_A_CURVE:
            _log.info("diversity")
            settings = self._diversity_settings(protocol, split, ours[0].blend)
            yardsticks = [yardstick] * len(splits)
            curve = diversity_curve(self._dataset, ours, splits, first.outcomes, yardsticks, settings)
        served = None
        if self._plan.served is not None:
            _log.info("asking %s", self._plan.served)
            learned = ours[0].parts.profiles.known.attributes
            served = ask_server(self._plan.served, self._dataset, split, first.outcomes[0], learned=learned)
        return Table(
            protocol,
            train=len(split.train),
            cases=first.count()[0],
            targets=first.count()[1],
            slices={name: first.count(name) for name in first.slices},
            rows=tuple(rows),
            blend=blend_of(ours[0]),
            popular="" if popular is None else str(popular),
            curve=curve,
            served=served,
        )

    def _without_sequence(
        self, ours: Sequence[Hybrid], first: Answers, splits: Sequence[Split], yardstick: Yardstick
    ) -> Row | None:
        """The same with the weights of before the sequence head; none, where it has no weight."""
        from tanager_export.training.hybrid import Hybrid

        if not any(one.blend.ablated for one in ours):
            return None
        ablated = [Hybrid(one.parts, one.blend.ablated or one.blend) for one in ours]
        answers = self._answers(ablated, splits, yardstick)
        compared = first.compare(answers, METRIC)
        row = _row(f"{TANAGER} without its sequence head", answers, seconds=0.0)
        return replace(row, ratio=compared.ratio, difference=compared.difference)

    def _answers(self, recommenders: Sequence[Recommender], splits: Sequence[Split], yardstick: Yardstick) -> Answers:
        return Answers(
            [
                evaluate(recommender, split, yardstick=yardstick, progress=True)
                for recommender, split in zip(recommenders, splits, strict=True)
            ]
        )

    def _diversity_settings(self, protocol: str, split: Split, blend: Blend) -> Mapping[str, float]:
        """What validation would choose, with the same blend but for its sequence head, which takes training."""
        from tanager_export.training.hybrid import Hybrid

        plain = blend.ablated or blend
        windows = self._windows(protocol, split, seed=self._plan.seeds[0])
        hybrids = [Hybrid.fit(self._dataset, window.train, self._vectors[0], plain) for window in windows]
        return choose(self._dataset, hybrids, windows)

    def _windows(self, protocol: str, split: Split, *, seed: int) -> list[Split]:
        name: Protocol = "leave-one-out" if protocol == "leave-one-out" else "global-time"
        return validation_windows(self._dataset, split.train, protocol=name, seed=seed)

    def _yardstick(self, split: Split) -> Yardstick:
        items = len(self._dataset.items)
        taken = binary_matrix(split.train, items)
        if np.count_nonzero(taken.sum(axis=0)) > MAX_ITEMS:
            self._result.notices.append(
                f"{split.name}: more than {MAX_ITEMS:,} items were taken up: no diversity in EASE space"
            )
            return Yardstick.of(self._dataset, split.train)
        return Yardstick.of(self._dataset, split.train, vectors=ease_weights(taken, l2=YARDSTICK_L2))


def _row(name: str, answers: Answers, *, seconds: float) -> Row:
    return Row(
        name,
        metrics={one: answers.mean(one) for one in METRICS},
        slices={one: answers.interval(METRIC, one) for one in answers.slices},
        seconds=seconds,
    )
