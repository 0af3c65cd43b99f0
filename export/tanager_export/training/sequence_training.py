"""Trains the network of the sequence head, epoch by epoch, with a checkpoint after each."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from tanager_export.evaluation.cases import Histories
from tanager_export.gradients import fast
from tanager_export.training.sequence_loss import MASKED, SoftmaxLoss
from tanager_export.training.sequence_network import SequenceNetwork, SequenceOptions, padded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SequenceEpoch:
    """What an epoch came to: mean loss, mean log-likelihood of what is held out (NaN without), seconds taken."""

    epoch: int
    loss: float
    validation: float
    seconds: float


class SequenceTraining:
    """One training, from the first epoch or from a checkpoint to the last."""

    def __init__(
        self,
        histories: Histories,
        vectors: NDArray[np.float32],
        options: SequenceOptions,
        path: Path,
        *,
        seed: int,
        progress: bool,
    ) -> None:
        self._histories, self._options, self._path, self._progress = histories, options, path, progress
        self._random = np.random.default_rng(seed)
        popularity = np.bincount(histories.item, minlength=len(vectors))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._network = SequenceNetwork(vectors, popularity, options)
            self.average = SequenceNetwork(vectors, popularity, options)
            self._torch_state = torch.get_rng_state()
        self.average.load_state_dict(self._network.state_dict())
        self.average.eval()
        decayed = [value for value in self._network.parameters() if value.dim() > 1]
        others = [value for value in self._network.parameters() if value.dim() <= 1]
        self._optimizer = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": options.weight_decay}, {"params": others, "weight_decay": 0.0}],
            lr=options.learning_rate,
        )
        count = np.maximum(histories.lengths, 1).astype(np.float64)
        weight = count ** (options.balance - 1)
        self._weight = (weight * count.sum() / (weight * count).sum()).astype(np.float32)
        self._steps = 0
        self._results: list[SequenceEpoch] = []
        self._key = {
            "options": asdict(options),
            "seed": seed,
            "data": _digest(histories.indptr, histories.item, self._network.texts.numpy()),
        }

    def run(self, validate: Callable[[SequenceNetwork], float] | None) -> list[SequenceEpoch]:
        """Trains; with what to validate by, stops early."""
        self._load()
        self._network.train()
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(self._torch_state)
            while len(self._results) < self._options.epochs and not self._spent():
                began = time.monotonic()
                loss = self._epoch()
                figure = math.nan if validate is None else float(validate(self.average))
                result = SequenceEpoch(len(self._results) + 1, loss, figure, time.monotonic() - began)
                self._results.append(result)
                self._torch_state = torch.get_rng_state()
                self._save()
                told = "" if math.isnan(figure) else f", log-likelihood {figure:.4f}"
                _log.info("sequence head, epoch %d: loss %.4f%s, %.0f s", result.epoch, loss, told, result.seconds)
        return self._results

    def _spent(self) -> bool:
        figures = [result.validation for result in self._results]
        return (
            bool(figures)
            and not math.isnan(figures[0])
            and (len(figures) - 1 - int(np.argmax(figures)) >= self._options.patience)
        )

    def _epoch(self) -> float:
        options = self._options
        shuffled = pieces(self._histories, length=options.length, random=self._random)
        losses: list[float] = []
        weights: list[float] = []
        with tqdm(
            total=len(shuffled[0]),
            desc=f"sequence head, epoch {len(self._results) + 1}",
            unit="piece",
            leave=False,
            disable=None if self._progress else True,
        ) as bar:
            for batch, user in _batches(self._histories, shuffled, positions=options.positions):
                loss, weight = self._step(batch, torch.from_numpy(self._weight[user]))
                losses.append(loss * weight)
                weights.append(weight)
                bar.update(len(batch))
                bar.set_postfix(loss=f"{sum(losses) / sum(weights):.3f}")
        return sum(losses) / sum(weights)

    def _step(self, batch: Histories, user_weight: torch.Tensor) -> tuple[float, float]:
        """Learns from a batch of pieces; the mean loss and the weight of the positions it is over."""
        for group in self._optimizer.param_groups:
            group["lr"] = self._options.learning_rate * min(1.0, (self._steps + 1) / 100)
        items, there = padded(batch)
        with fast():
            table, bias = self._network.table()
            expected = self._network(table[items[:, :-1]], there[:, :-1])
            asked = there[:, :-1]
            target = items[:, 1:][asked]
        row = torch.full(asked.shape, -1, dtype=torch.long)
        row[asked] = torch.arange(len(target))
        place = torch.arange(asked.shape[1])
        piece, at, before = torch.nonzero(
            (place[None, :, None] >= place[None, None, :]) & asked[:, :, None] & asked[:, None, :], as_tuple=True
        )
        seen_row, seen = row[piece, at], items[piece, before]
        fresh = seen != target[seen_row]
        weight = user_weight[:, None].expand(asked.shape)[asked]
        total = weight.sum()
        bias = bias.masked_fill(self._network.log_popularity == 0, MASKED)
        loss: torch.Tensor = SoftmaxLoss.apply(
            expected[asked].float(), table.float(), bias, target, (seen_row[fresh], seen[fresh]), weight / total
        )  # type: ignore[no-untyped-call]
        self._optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self._network.parameters(), 1.0)
        self._optimizer.step()
        self._steps += 1
        decay = min(self._options.averaging, self._steps / (self._steps + 10))
        with torch.no_grad():
            for mean, value in zip(self.average.parameters(), self._network.parameters(), strict=True):
                mean.lerp_(value, 1 - decay)
        return float(loss.detach()), float(total)

    def _load(self) -> None:
        if not self._path.exists():
            return
        saved = torch.load(self._path, weights_only=True)
        if saved["key"] != self._key:
            return
        self._network.load_state_dict(saved["network"])
        self.average.load_state_dict(saved["average"])
        self._optimizer.load_state_dict(saved["optimizer"])
        self._random.bit_generator.state = json.loads(saved["random"])
        self._torch_state = saved["torch"]
        self._steps = saved["steps"]
        self._results = [SequenceEpoch(**result) for result in saved["results"]]
        _log.info("sequence head: going on after epoch %d", len(self._results))

    def _save(self) -> None:
        state = {
            "key": self._key,
            "network": self._network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "random": json.dumps(self._random.bit_generator.state),
            "torch": self._torch_state,
            "steps": self._steps,
            "results": [asdict(result) for result in self._results],
        }
        new = self._path.with_suffix(".new")
        torch.save(state, new)
        new.replace(self._path)


def _digest(*arrays: NDArray[np.generic]) -> str:
    """Tells one set of data from another."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def pieces(
    histories: Histories, *, length: int, random: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Cuts histories into pieces of at most `length` steps, each with the event after its last; anew at each call.

    Where the cuts lie is drawn, so that over the epochs each event is met with histories of every length before it.

    Returns:
        `(pieces,) int64`: the row, the first event and the one after the last, in a random order.
    """
    row, first, last = [], [], []
    for at in np.flatnonzero(histories.lengths > 1):
        start, stop = int(histories.indptr[at]), int(histories.indptr[at + 1])
        cuts = np.arange(start + 1 + random.integers(length), stop - 1, length)
        bounds = np.concatenate(([start], cuts, [stop - 1]))
        row.append(np.full(len(bounds) - 1, at))
        first.append(bounds[:-1])
        last.append(bounds[1:] + 1)
    order = random.permutation(sum(map(len, row)))
    return np.concatenate(row)[order], np.concatenate(first)[order], np.concatenate(last)[order]


def _batches(
    histories: Histories, cut: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]], *, positions: int
) -> Iterator[tuple[Histories, NDArray[np.int64]]]:
    row, first, last = cut
    batch = np.cumsum(last - first - 1) // positions
    for chosen in np.split(np.arange(len(row)), np.flatnonzero(np.diff(batch)) + 1):
        lengths = (last - first)[chosen]
        indptr = np.concatenate(([0], np.cumsum(lengths)))
        events = np.arange(indptr[-1]) + np.repeat(first[chosen] - indptr[:-1], lengths)
        yield (
            Histories(indptr, histories.item[events], histories.timestamp[events], histories.weight[events]),
            row[chosen],
        )
