"""Teaches a student to give the teacher's vectors.

The loss is the distance to the teacher's vector of the same text, and the divergence of how near the texts of a batch
are to each other from how near the teacher has them: neighbours make recommendations (relational distillation: Park et
al., 2019). Embeddings of words are left as they are, so that words no text of the catalogue has still mean what they
meant to the teacher.
"""

from __future__ import annotations

import json
import logging
import math
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional
from tqdm import tqdm

from tanager_export.compression.layers import inner_model
from tanager_export.gradients import keep_memory
from tanager_export.training.encoder import encode, encode_block

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from sentence_transformers import SentenceTransformer

_log = logging.getLogger(__name__)

_LEAST_GAIN = 1e-4  # of the cosine: less is no progress


@dataclass(frozen=True, slots=True)
class DistilOptions:
    """How to teach.

    Attributes:
        epochs: times that each item's text is read, at most.
        patience: epochs without progress before it stops.
        batch: texts of a step.
        learning_rate: after a warm-up of half an epoch, falling to 0 along a cosine.
        weight_decay: of the weights.
        temperature: of the softmax over how near the texts of a batch are.
        relations: what the divergence weighs beside the distance.
        wishes_an_epoch: short texts read an epoch, per text of an item.
    """

    epochs: int = 30
    patience: int = 3
    batch: int = 128
    learning_rate: float = 5e-4
    weight_decay: float = 0.01
    temperature: float = 0.05
    relations: float = 1.0
    wishes_an_epoch: float = 1.0


@dataclass(frozen=True, slots=True)
class Progress:
    """What an epoch came to: mean loss, mean cosine with the teacher over texts held out, seconds taken."""

    epoch: int
    loss: float
    cosine: float
    seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class Taught:
    """Texts and the teacher's vectors of them, (texts, dim) float32 of unit length."""

    texts: Sequence[str]
    vectors: NDArray[np.float32]


def distil(
    student: SentenceTransformer,
    items: Taught,
    wishes: Taught,
    validation: Taught,
    *,
    options: DistilOptions,
    directory: Path,
    seed: int,
) -> list[Progress]:
    """Teaches a student in place and leaves it at its best epoch.

    A checkpoint is written after each epoch; a call with the same directory, and all else the same, goes on from there.

    Args:
        student: from `take_layers`.
        items: texts read once an epoch.
        wishes: short texts, of which some are read each epoch.
        validation: texts never learned from.
        options: how.
        directory: for checkpoints; made if it is not there.
        seed: of the draws.

    Returns:
        A result an epoch, the one before any teaching (epoch 0) first.
    """
    directory.mkdir(parents=True, exist_ok=True)
    keep_memory()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    student.to(device)
    student.eval()  # without dropout: the teacher's vectors are exact, and early stopping regularises
    embeddings: torch.nn.Module = inner_model(student).embeddings
    embeddings.requires_grad_(requires_grad=False)
    texts = [*items.texts, *wishes.texts]
    targets = np.concatenate([items.vectors, wishes.vectors]) if len(wishes.texts) else items.vectors
    random = np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(
        [parameter for parameter in student.parameters() if parameter.requires_grad],
        lr=options.learning_rate,
        weight_decay=options.weight_decay,
    )
    drawn = min(len(wishes.texts), round(options.wishes_an_epoch * len(items.texts)))
    steps = max(1, round((len(items.texts) + drawn) / options.batch))
    total, warm_up = steps * options.epochs, max(1, steps // 2)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min((step + 1) / warm_up, 0.5 * (1 + math.cos(math.pi * min(1.0, step / total)))),
    )
    key: dict[str, object] = {
        "options": asdict(options),
        "seed": seed,
        "weights": sum(parameter.numel() for parameter in student.parameters()),
        "texts": len(texts),
        "targets": float(np.abs(targets).sum()),  # another teacher, or other texts, are another lesson
    }
    state = _State(directory, student, optimizer, schedule, random, key=key)
    done = state.load()
    if not done:
        done = [Progress(0, math.nan, _cosine(student, validation), 0.0)]
        state.save(done, best=True)
    while len(done) <= options.epochs and not _stands_still(done, options.patience):
        epoch, began, losses = len(done), time.monotonic(), []
        read = np.concatenate(
            [np.arange(len(items.texts)), len(items.texts) + random.permutation(len(wishes.texts))[:drawn]]
        )
        batches = np.array_split(random.permutation(read), steps)
        with tqdm(
            batches, desc=f"teaching, epoch {epoch} of {options.epochs}", unit="step", leave=False, disable=None
        ) as bar:
            for batch in bar:
                vectors = encode_block(student, [texts[i] for i in batch])
                loss = _loss(vectors, torch.from_numpy(targets[batch]).to(device), options)
                optimizer.zero_grad(set_to_none=True)
                torch.autograd.backward(loss)
                torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                losses.append(float(loss.detach()))
                bar.set_postfix(loss=f"{np.mean(losses):.4f}")
        cosine = _cosine(student, validation)
        best = cosine > max(one.cosine for one in done)
        done.append(Progress(epoch, float(np.mean(losses)), cosine, time.monotonic() - began))
        state.save(done, best=best)
        _log.info(
            "epoch %d: loss %.4f, cosine with the teacher %.4f, %.0f s",
            epoch,
            np.mean(losses),
            cosine,
            done[-1].seconds,
        )
    state.load_best()
    student.to("cpu")
    return done


def _loss(vectors: torch.Tensor, targets: torch.Tensor, options: DistilOptions) -> torch.Tensor:
    vectors = functional.normalize(vectors, dim=1)
    distance = (1 - (vectors * targets).sum(dim=1)).mean()
    if len(vectors) < 3:  # one other text is always the nearest
        return distance
    itself = torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
    near, expected = (
        functional.log_softmax((rows @ rows.T / options.temperature).masked_fill(itself, -1e4), dim=1)
        for rows in (vectors, targets)
    )
    relations = functional.kl_div(near, expected, reduction="batchmean", log_target=True)
    return distance + options.relations * relations


def _cosine(student: SentenceTransformer, validation: Taught) -> float:
    vectors = encode(student, validation.texts, describe="validating")
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return float(np.einsum("td,td->t", vectors, validation.vectors).mean())


def _stands_still(done: Sequence[Progress], patience: int) -> bool:
    best = at = 0
    figure = -math.inf
    for at, one in enumerate(done):
        if one.cosine > figure + _LEAST_GAIN:
            best, figure = at, one.cosine
    return at - best >= patience


class _State:
    """What is needed to go on after a kill; files are written beside and renamed."""

    def __init__(
        self,
        directory: Path,
        student: SentenceTransformer,
        optimizer: torch.optim.Optimizer,
        schedule: torch.optim.lr_scheduler.LambdaLR,
        random: np.random.Generator,
        *,
        key: dict[str, object],
    ) -> None:
        self._last, self._best = directory / "last.pt", directory / "best.pt"
        self._student, self._optimizer, self._schedule = student, optimizer, schedule
        self._random, self._key = random, key

    def load(self) -> list[Progress]:
        """Goes back to where it was left, if that was the same teaching; results of the epochs done."""
        if not self._last.exists():
            return []
        saved = torch.load(self._last, map_location=self._student.device, weights_only=True)
        if saved["key"] != self._key:
            return []
        self._student.load_state_dict(saved["student"])
        self._optimizer.load_state_dict(saved["optimizer"])
        self._schedule.load_state_dict(saved["schedule"])
        self._random.bit_generator.state = json.loads(saved["random"])
        done = [Progress(**one) for one in saved["done"]]
        _log.info("going on after epoch %d", done[-1].epoch)
        return done

    def save(self, done: Sequence[Progress], *, best: bool) -> None:
        """Writes the state; as the best as well, if it is."""
        weights = self._student.state_dict()
        if best:
            _write(weights, self._best)
        state = {
            "key": self._key,
            "student": weights,
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
            "random": json.dumps(self._random.bit_generator.state),
            "done": [asdict(one) for one in done],
        }
        _write(state, self._last)

    def load_best(self) -> None:
        """The student of the best epoch."""
        self._student.load_state_dict(torch.load(self._best, map_location=self._student.device, weights_only=True))


def _write(value: object, path: Path) -> None:
    new = path.with_suffix(".new")
    torch.save(value, new)
    new.replace(path)
