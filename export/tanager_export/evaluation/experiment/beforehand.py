"""What can be known before any work is done: which protocols can be asked, and what a reader has to know of them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from tanager_export.dataset.checks.behaviour import popular_attributes
from tanager_export.errors import ExportError
from tanager_export.evaluation.experiment.plan import ALL_USERS
from tanager_export.evaluation.experiment.served import require_served
from tanager_export.evaluation.leaks import BY_TIME, LeakError, refuse_leaks, refuse_texts
from tanager_export.evaluation.splits import SplitError, cold_users, leave_one_out
from tanager_export.training.windows import held_out, validation_windows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tanager_export.dataset import Dataset
    from tanager_export.evaluation.cases import Split
    from tanager_export.evaluation.experiment.encoder import Encoder
    from tanager_export.evaluation.experiment.plan import Plan
    from tanager_export.evaluation.experiment.result import Result
    from tanager_export.training.windows import Protocol

_log = logging.getLogger(__name__)


def possible(dataset: Dataset, encoders: Sequence[Encoder], plan: Plan, result: Result, *, strict: bool) -> list[str]:
    """The protocols that dataset, encoders and server allow; the result is told of the others.

    Args:
        dataset: what to evaluate on.
        encoders: under test: one, or one of each seed.
        plan: what to do.
        result: is told of what is left out, and why.
        strict: whether a protocol that is not allowed is an error.

    Raises:
        LeakError: strict, and an encoder, a text or the server may know what is asked.
        SplitError: strict, and the dataset does not allow a protocol.
        ExportError: none is left, or the server cannot be asked.
    """
    found: list[str] = []
    for protocol in plan.protocols:
        try:
            each = encoders if len(encoders) > 1 else [encoders[0]] * len(plan.seeds)
            for seed, encoder in zip(plan.seeds, each, strict=True):
                split = test_of(dataset, protocol, plan, seed=seed)
                refuse_leaks(split)
                windows_of(dataset, protocol, split, seed=seed)
                _refuse_what_is_known(dataset, encoder, split, seed=seed)
        except (SplitError, _KnownError) as error:
            if strict or len(plan.protocols) == 1:
                raise
            if isinstance(error, SplitError):
                result.notices.append(f"{protocol} is left out: {error}")
            else:
                result.incomplete.append(f"{protocol} is left out: {error}")
            _log.warning("%s is left out: %s", protocol, error)
        else:
            found.append(protocol)
    if not found:
        why = "; ".join((*result.notices, *result.incomplete))
        raise ExportError(f"{dataset.name}: nothing can be measured: {why}")
    if plan.served is not None:
        asked = [test_of(dataset, protocol, plan, seed=plan.seeds[0]) for protocol in found if protocol in ALL_USERS]
        if not asked:
            raise ExportError(
                "--served asks the cases of global-time or leave-one-out: choose one of them with --protocol"
            )
        require_served(plan.served, dataset, asked)
    return found


def test_of(dataset: Dataset, protocol: str, plan: Plan, *, seed: int) -> Split:
    """What a protocol asks.

    Args:
        dataset: what to evaluate on.
        protocol: one of `PROTOCOLS`.
        plan: says how often the same may be asked.
        seed: of the draw of cold items.

    Raises:
        SplitError: the dataset does not allow the protocol.
    """
    if protocol == "leave-one-out":
        return leave_one_out(dataset, repeats="count" if plan.repeats == "count" else "drop")
    if protocol == "cold-users":
        return cold_users(dataset)
    return held_out(dataset, protocol="cold-items" if protocol == "cold-items" else "global-time", seed=seed)


def windows_of(dataset: Dataset, protocol: str, split: Split, *, seed: int) -> list[Split]:
    """What baselines are tuned on for a protocol, within what may be learned from.

    Raises:
        SplitError: that is too little.
    """
    names: dict[str, Protocol] = {"leave-one-out": "leave-one-out", "cold-items": "cold-items"}
    name = "cold-users" if protocol == "cold-users" else names.get(protocol, "global-time")
    return validation_windows(dataset, split.train, protocol=name, seed=seed)


def notices(
    dataset: Dataset, encoders: Sequence[Encoder], frozen: Encoder, plan: Plan, protocols: Sequence[str]
) -> list[str]:
    """What a reader of the figures has to know.

    Args:
        dataset: what is evaluated on.
        encoders: under test.
        frozen: for the baselines that read texts.
        plan: what is to be done.
        protocols: what is asked of it.
    """
    found, encoder = [], encoders[0]
    if encoder.run is None and encoder.source != frozen.source:
        found.append(f"The encoder under test is {encoder.provenance}.")
    if encoder.run is not None and encoder.run.manifest.get("base") != frozen.source.weights_sha256:
        found.append(
            f"The run began with {encoder.run.manifest.get('base_name')}, and the baselines that read texts encode "
            f"with {frozen.source.name}: what is gained over them is not of training alone. --frozen names another."
        )
    if encoder.run is not None and len(encoders) < len(plan.seeds):
        found.append("Tanager is one run, so it is the same under each seed: seeds are of the baselines alone.")
    if dataset.simulated_behaviour:
        found.append("The behaviour in this dataset is simulated: the figures say nothing about people.")
    for name, correlation in popular_attributes(dataset):
        found.append(
            f"The items' attribute {name!r} follows how often they were taken up (rank correlation {correlation:.2f}). "
            "If it was made from behaviour, it tells what is asked, and the figures of what reads it are too high."
        )
    beside = [name for name in protocols if name not in BY_TIME]
    if dataset.texts_until is not None and beside:
        found.append(
            f"{', '.join(beside)}: texts hold behaviour, such as tags, up to {dataset.texts_until}, some of it by the "
            "users and after the events that are asked."
        )
    return found


class _KnownError(LeakError):
    """Texts or the encoder, unlike the split, leak: other protocols may do."""


def _refuse_what_is_known(dataset: Dataset, encoder: Encoder, split: Split, *, seed: int) -> None:
    try:
        refuse_texts(dataset, split)
        encoder.refuse_if_it_knows(split, seed=seed)
    except LeakError as error:
        raise _KnownError(str(error)) from error
