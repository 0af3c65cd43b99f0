"""One run of everything: baselines tuned, Tanager learned, all evaluated on the same cases."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from tanager_export.collaborative import MAX_ITEMS, binary_matrix, ease_weights
from tanager_export.errors import ExportError
from tanager_export.evaluation.baselines import baselines
from tanager_export.evaluation.diversity import Yardstick
from tanager_export.evaluation.evaluate import evaluate
from tanager_export.evaluation.experiment.answers import Answers
from tanager_export.evaluation.experiment.beforehand import notices, possible, test_of, windows_of
from tanager_export.evaluation.experiment.cold import (
    COLD_ITEM_BASELINES,
    COLD_USER_BASELINES,
    evaluate_cold_items,
    evaluate_cold_user_counts,
)
from tanager_export.evaluation.experiment.diversity import choose, diversity_curve
from tanager_export.evaluation.experiment.encoder import centred
from tanager_export.evaluation.experiment.methods import Backed, Popular, blend_of, contestant, tanager
from tanager_export.evaluation.experiment.plan import ALL_USERS
from tanager_export.evaluation.experiment.result import METRIC, METRICS, TANAGER, Result, Row, Table
from tanager_export.evaluation.experiment.served import ask_server

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from tanager_export.dataset import Dataset
    from tanager_export.evaluation.cases import Recommender, Split
    from tanager_export.evaluation.experiment.encoder import Encoder
    from tanager_export.evaluation.experiment.plan import Plan
    from tanager_export.evaluation.experiment.result import DiversityPoint
    from tanager_export.training.blend import Blend
    from tanager_export.training.hybrid import Hybrid
    from tanager_export.training.run import Run

_log = logging.getLogger(__name__)

YARDSTICK_L2 = 200.0
"""Of the EASE that intra-list diversity is measured with: the same for all methods, none of which it is."""
_ITEMS_OF_A_CURVE = 50_000


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
    protocols = possible(dataset, encoders, plan, result, strict=strict)
    result.notices += notices(dataset, encoders, frozen, plan, protocols)
    texts = [item.encoder_text for item in dataset.items]
    plain = frozen.vectors(texts, describe="encoding with the frozen encoder")
    vectors = [plain if one.source == frozen.source else one.vectors(texts) for one in encoders]
    vectors = [centred(own) if one.centred else own for one, own in zip(encoders, vectors, strict=True)]
    bench = _Bench(dataset, vectors, plain, plan, result, [one.run for one in encoders if one.run is not None])
    for protocol in protocols:
        _log.info("%s", protocol)
        try:
            bench.measure(protocol)
        except ExportError as error:  # what the others came to is not to be lost
            if len(protocols) == 1:
                raise
            result.incomplete.append(f"{protocol}: {error}")
    if not (result.tables or result.cold_users or result.cold_items):
        raise ExportError(f"{dataset.name}: nothing could be measured: {'; '.join(result.incomplete)}")
    result.seconds = time.monotonic() - began
    return result


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
        self._frozen, self._runs = frozen, runs
        self._methods = baselines(frozen)
        self._splits: dict[str, Split] = {}
        self._tanager: dict[str, list[Hybrid]] = {}

    def splits(self, protocol: str) -> list[Split]:
        """The same for every seed: nothing is drawn."""
        if protocol not in self._splits:
            self._splits[protocol] = test_of(self._dataset, protocol, self._plan, seed=0)
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
                    windows_of(self._dataset, protocol, split, seed=seed),
                    self._vectors[0],
                    seed=seed,
                )
                for seed in self._plan.seeds
            ]
        return self._tanager[protocol]

    def measure(self, protocol: str) -> None:
        """Carries a protocol out, into the result."""
        dataset, plan, result = self._dataset, self._plan, self._result
        if protocol in ALL_USERS:
            result.tables.append(self.table(protocol))
        elif protocol == "cold-users":
            ours = self.tanager("global-time", self.splits("global-time")[0])
            asked = [name for name in COLD_USER_BASELINES if name in plan.baselines]
            result.cold_users = evaluate_cold_user_counts(dataset, ours, asked, trials=plan.trials, seeds=plan.seeds)
            result.lack(protocol, result.cold_users.missing)
        else:
            each = self._vectors if len(self._vectors) > 1 else [self._vectors[0]] * len(plan.seeds)
            asked = [name for name in COLD_ITEM_BASELINES if name in plan.baselines]
            result.cold_items = evaluate_cold_items(
                dataset, each, self._frozen, asked, trials=plan.trials, seeds=plan.seeds
            )
            result.lack(protocol, result.cold_items.missing)
            if self._runs:
                result.notices.append(
                    "cold-items: the blend is not the run's: it is learned anew, where new items come beside others."
                )

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
        windows = windows_of(self._dataset, protocol, split, seed=seeds[0])
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
            try:
                served = ask_server(self._plan.served, self._dataset, split, first.outcomes[0], learned=learned)
            except ExportError as error:  # hours of figures are not to be lost with the server
                self._result.incomplete.append(f"{protocol}: --served: {error}")
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
        windows = windows_of(self._dataset, protocol, split, seed=self._plan.seeds[0])
        hybrids = [Hybrid.fit(self._dataset, window.train, self._vectors[0], plain) for window in windows]
        return choose(self._dataset, hybrids, windows)

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
