"""Which encoder an evaluation reads items with, and whether it or its blend may know what is asked."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tanager_export.errors import ExportError
from tanager_export.evaluation.leaks import BY_TIME, LeakError
from tanager_export.model import Prompts, SourceModel, find_model

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from tanager_export.dataset import Dataset
    from tanager_export.evaluation.cases import Split
    from tanager_export.training.run import Run

_UNTIL = ("encoder_trained_until", "blend_trained_until")


@dataclass(frozen=True, slots=True)
class Epoch:
    """What an epoch of training came to; without a value where nothing was measured."""

    epoch: int
    loss: float | None
    validation: float | None


@dataclass(frozen=True, slots=True)
class Encoder:
    """The encoder under test.

    Attributes:
        source: the model.
        centred: whether the mean of the catalogue is to be taken from its vectors.
        provenance: what is known of what it learned from, in words.
        run: what it is of, where it was trained by `tanager-export train`; brings its blend along.
        teacher: the key of the run whose encoder taught it this dataset, where it is a student.
        epochs: of its training, where the run tells.
    """

    source: SourceModel
    centred: bool
    provenance: str
    run: Run | None = None
    teacher: Mapping[str, Any] | None = None
    epochs: tuple[Epoch, ...] = ()

    @classmethod
    def find(cls, model: str | None, dataset: Dataset) -> Encoder:
        """A model directory, a hub id, a run of `tanager-export train`, or None for the frozen default.

        Args:
            model: which.
            dataset: what is evaluated; a run of another one is refused.

        Raises:
            ExportError: there is no such model, or it is a part of a run, or the run is of another dataset or is not
                done.
        """
        from tanager_export.training.run import MANIFEST, fingerprint, is_run, learned_from, load_run  # imports torch

        if model is None:
            source = find_model(None)
            return cls(source, centred=True, provenance=f"{source.name}, frozen: it has seen no behaviour")
        path = Path(model)
        if not (is_run(path) or (path / MANIFEST).is_file()):
            if path.is_dir() and is_run(of := path.resolve().parent):
                raise ExportError(f"{path}: is the encoder of a run, which tells what it has seen: name the run, {of}")
            source = find_model(model)
            teacher = learned_from(source.path)
            if teacher is not None and teacher["dataset_sha256"] == fingerprint(dataset):
                held_out = "held the test out" if teacher["options"]["hold_out"] else "held nothing out"
                told = f"a student of a run by {teacher['options']['protocol']} that {held_out}"
                return cls(source, centred=False, provenance=f"{source.name}: {told}", teacher=teacher)
            told = "no manifest says what it learned from; if that was this dataset, its figures are too high"
            return cls(source, centred=False, provenance=f"{source.name} ({source.source}): {told}")
        run = load_run(path)
        if run.manifest.get("dataset_sha256") != fingerprint(dataset):
            raise ExportError(f"{path}: was trained on another dataset, or the dataset changed since: train it anew")
        held_out = "the test held out" if run.manifest.get("hold_out") else "nothing held out"
        until = ", ".join(f"{name.replace('_', ' ')} {run.manifest[name]}" for name in _UNTIL if run.manifest.get(name))
        provenance = f"run {path.name}: {run.source.name}, {run.protocol}, {held_out}{', ' + until if until else ''}"
        return cls(run.source, centred=False, provenance=provenance, run=run, epochs=_epochs(run.manifest))

    def refuse_if_it_knows(self, split: Split, *, seed: int) -> None:
        """Refuses a run that learned from more than `split.train`, and a student of one.

        Args:
            split: what is to be evaluated.
            seed: of the draw of cold items, where the split is of those.

        Raises:
            LeakError: the run says that it learned from later or other events, or does not say.
        """
        if self.teacher is not None:
            options = self.teacher["options"]
            if (
                not options["hold_out"]
                or options["protocol"] != _family(split.name)
                or (split.name == "cold-items" and options["seed"] != seed)
                or self.teacher.get("interactions") != len(split.train)
            ):
                raise LeakError(
                    f"{self.provenance}, so it may know what {split.name} asks: take a student of a run by "
                    f"{_family(split.name)} that held it out"
                )
        if self.run is None:
            return
        run, manifest = self.run, self.run.manifest
        mend = f"train a run with --protocol {_family(split.name)} --hold-out"
        if split.name in BY_TIME:
            last = int(split.train.timestamp.max(initial=np.iinfo(np.int64).min))
            for name in _UNTIL:
                until = manifest.get(name)
                if not isinstance(until, int | float) or isinstance(until, bool):
                    raise LeakError(
                        f"{run.path}: its manifest does not say {name}, so it may know what is asked: {mend}"
                    )
                if until > last:
                    raise LeakError(
                        f"{run.path}: {name} is {until:.0f}, and train of {split.name} ends at {last}: it may have "
                        f"learned from what is asked; {mend}"
                    )
            return
        if not manifest.get("hold_out"):
            raise LeakError(f"{run.path}: nothing was held out, so it has learned from what is asked: {mend}")
        if run.protocol != split.name:
            raise LeakError(
                f"{run.path}: was trained for {run.protocol}, and may have learned from what {split.name} asks: "
                f"{mend}, or evaluate it with --protocol {run.protocol}"
            )
        if split.name == "cold-items" and run.seed != seed:
            raise LeakError(f"{run.path}: other items were cold for it: evaluate it with --seed {run.seed}")
        if (learned_from := manifest.get("interactions")) != len(split.train):
            raise LeakError(
                f"{run.path}: learned from {learned_from} interactions, and train of {split.name} has "
                f"{len(split.train)}: it may have learned from what is asked; {mend}"
            )

    def vectors(self, texts: Sequence[str], *, describe: str = "encoding the catalogue") -> NDArray[np.float32]:
        """`(texts, dim) float32` of unit length, as the model gives them."""
        from tanager_export.training.encoder import encode  # imports torch: only when it is needed

        model = self.source.load()
        prompt = Prompts.of(model).item
        return encode(model, [prompt + text for text in texts], describe=describe)


def centred(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Less their mean, and of unit length again; a vector that is the mean stays 0."""
    moved = vectors - vectors.mean(axis=0)
    lengths = np.linalg.norm(moved, axis=1, keepdims=True)
    return np.asarray(moved / np.where(lengths > 1e-6, lengths, 1), np.float32)


def _family(name: str) -> str:
    return "global-time" if name in BY_TIME else name


def _epochs(manifest: Mapping[str, object]) -> tuple[Epoch, ...]:
    found = manifest.get("epochs")
    if not isinstance(found, list):
        return ()
    return tuple(
        Epoch(int(epoch["epoch"]), _number(epoch.get("loss")), _number(epoch.get("validation"))) for epoch in found
    )


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
