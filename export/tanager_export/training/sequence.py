"""The sequence head: a small causal transformer over item vectors, which says what comes next.

An item's vector here is a linear map of its text vector and, where behaviour knows the item, a vector of its own. The
transformer reads these vectors, and its output is multiplied with the same: an item that nobody took up yet is read and
scored by its text alone. In training some items go without their own vectors, so that the text learns to stand in.

The loss is the softmax over all warm items at every position (Klenitskiy & Vasilev, 2023: most of what is between the
figures first published for SASRec and what it can do is its binary loss); items that the history holds already are
left out of it, for they are never asked for.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import special

from tanager_export.errors import ExportError
from tanager_export.evaluation.cases import Histories
from tanager_export.gradients import keep_memory
from tanager_export.training.sequence_network import SequenceNetwork, SequenceOptions, padded
from tanager_export.training.sequence_training import SequenceEpoch, SequenceTraining

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from tanager_export.dataset import Interactions

__all__ = ["SequenceEpoch", "SequenceHead", "SequenceOptions", "fit_sequence_head", "has_order"]

_log = logging.getLogger(__name__)

_SCORED = 256  # histories at a time
_LEAST_EVENTS = 3  # of a user whose last uptake is held out


class SequenceHead:
    """A trained head: `seq_i = <user's vector, item i's vector> + bias_i`, of mean 0 over the catalogue.

    The mean of the catalogue is taken from vectors and biases, so that scores of one user compare with another's.

    Args:
        network: as trained.
        results: of the epochs of the search for their number.

    Attributes:
        options: how it was trained, with the number of epochs that was chosen.
    """

    def __init__(self, network: SequenceNetwork, results: list[SequenceEpoch]) -> None:
        self.network, self.results = network.eval(), results
        self.options = network.options
        with torch.no_grad():
            table, bias = network.table()
            self.mean = table.mean(dim=0).numpy()
            self._mean_bias = float(bias.mean())
            self.vectors: NDArray[np.float32] = table.numpy() - self.mean
            self.bias: NDArray[np.float32] = bias.numpy() - np.float32(self._mean_bias)

    def item_vectors(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """(items, dim) float32 of new items, by their text vectors; the bias of each is `new_bias`."""
        weight = self.network.projection.weight.detach().numpy()
        return np.asarray(vectors @ weight.T - self.mean, np.float32)

    @property
    def new_bias(self) -> float:
        """The bias of an item that nobody took up."""
        return -self._mean_bias

    def user_vectors(self, histories: Histories) -> NDArray[np.float32]:
        """(rows, dim) float32; 0 where a history holds no uptake."""
        latest = histories.uptakes().latest(self.network.options.length)
        found = np.zeros((len(latest), self.vectors.shape[1]), np.float32)
        some = np.flatnonzero(latest.lengths > 0)
        table = torch.from_numpy(self.vectors + self.mean)
        with torch.inference_mode():
            for start in range(0, len(some), _SCORED):
                rows = some[start : start + _SCORED]
                items, there = padded(latest.take(rows))
                found[rows] = self.network(table[items], there, last=True)[:, -1].numpy()
        return found

    def score(self, histories: Histories) -> NDArray[np.float32]:
        """(rows, items) float32; 0 where a history holds no uptake."""
        found = self.user_vectors(histories)
        scores = found @ self.vectors.T + self.bias
        scores[~found.any(axis=1)] = 0.0
        return np.asarray(scores, np.float32)


def fit_sequence_head(
    train: Interactions,
    vectors: NDArray[np.float32],
    *,
    options: SequenceOptions,
    directory: Path,
    seed: int,
    search: bool = True,
    progress: bool = False,
) -> SequenceHead:
    """Trains a head.

    The last uptake of each user is held out first, to see after how many epochs what is learned no longer helps; then
    the head is trained anew for as many on everything, since what happened last says most. What tells is the likelihood
    of what is held out: NDCG of so few cases differs more by chance than by epoch. A checkpoint is written
    after each epoch; a call with the same directory and arguments goes on from there.

    Args:
        train: what may be learned from, dislikes included; they are left out.
        vectors: (items, text dim) float32 of unit length, of the items' texts.
        options: how.
        directory: for checkpoints; made if it is not there.
        seed: of the first weights and the draws.
        search: whether to look for the number of epochs; else it is that of the options.
        progress: whether to show bars on stderr, if that is a terminal.

    Raises:
        ExportError: nobody took up two items, or options that cannot be.
    """
    _require(options)
    directory.mkdir(parents=True, exist_ok=True)
    keep_memory()
    whole = Histories.of_users(train, np.arange(len(train.user_ids))).uptakes()
    if not has_order(train):
        raise ExportError("no user took up two items: there is no order to learn from; leave the sequence head out")
    asked = np.flatnonzero(whole.lengths >= _LEAST_EVENTS) if search else np.empty(0, np.int64)
    searched: list[SequenceEpoch] = []
    if len(asked):
        known, target = _hold_out(whole, asked)
        trained = SequenceTraining(known, vectors, options, directory / "search.pt", seed=seed, progress=progress)
        searched = trained.run(lambda network: _likelihood(SequenceHead(network, []), known.take(asked), target))
        best = max(searched, key=lambda result: result.validation)
        options = replace(options, epochs=best.epoch)
        _log.info("sequence head: log-likelihood %.4f after %d epochs", best.validation, best.epoch)
    final = SequenceTraining(whole, vectors, options, directory / "final.pt", seed=seed, progress=progress)
    final.run(None)
    return SequenceHead(final.average, searched)


def has_order(train: Interactions) -> bool:
    """Whether anybody took up two items."""
    return bool((np.bincount(train.user[train.weight > 0]) > 1).any())


def _hold_out(histories: Histories, asked: NDArray[np.int64]) -> tuple[Histories, NDArray[np.int64]]:
    """All rows, those asked without their last event; and these events' items."""
    kept = np.ones(len(histories.item), np.bool_)
    last = histories.indptr[asked + 1] - 1
    kept[last] = False
    indptr = np.concatenate(([0], np.cumsum(kept)))[histories.indptr].astype(np.int64)
    rest = Histories(indptr, histories.item[kept], histories.timestamp[kept], histories.weight[kept])
    return rest, histories.item[last].astype(np.int64)


def _likelihood(head: SequenceHead, known: Histories, target: NDArray[np.int64]) -> float:
    """Mean log-likelihood of the targets; items of the history are masked, but for the target."""
    total = 0.0
    for start in range(0, len(known), _SCORED):
        part = known.take(slice(start, start + _SCORED))
        scores, wanted = head.score(part), target[start : start + _SCORED]
        row = np.arange(len(part))
        of_target = scores[row, wanted]
        scores[part.row_of_event, part.item] = -np.inf
        scores[row, wanted] = of_target
        total += float((of_target - special.logsumexp(scores, axis=1)).sum())
    return total / len(known)


def _require(options: SequenceOptions) -> None:
    for name in ("dim", "layers", "heads", "length", "epochs", "patience", "positions"):
        if getattr(options, name) < 1:
            raise ExportError(f"{name} is {getattr(options, name)}: give at least 1")
    for name in ("dropout", "without_own", "averaging"):
        if not 0 <= getattr(options, name) < 1:
            raise ExportError(f"{name} is {getattr(options, name)}: give at least 0 and less than 1")
    if options.dim % options.heads:
        raise ExportError(f"heads is {options.heads}: give a divisor of dim, {options.dim}")
