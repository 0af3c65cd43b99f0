"""The sequence head: a small causal transformer over item vectors, which says what comes next.

An item's vector here is a linear map of its text vector and, where behaviour knows the item, a vector of its own. The
transformer reads these vectors, and its output is multiplied with the same: an item that nobody took up yet is read and
scored by its text alone. In training some items go without their own vectors, so that the text learns to stand in.

The loss is the softmax over all warm items at every position (Klenitskiy & Vasilev, 2023: most of what is between the
figures first published for SASRec and what it can do is its binary loss); items that the history holds already are
left out of it, for they are never asked for.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from tqdm import tqdm

from tanager_export.errors import ExportError
from tanager_export.evaluation.cases import Histories
from tanager_export.training.encoder import keep_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from tanager_export.dataset import Interactions

_log = logging.getLogger(__name__)

_SCORED = 256  # histories at a time
_TOP = 10
_ROWS = 128  # of logits at a time
_LEAST_EVENTS = 3  # of a user whose last uptake is held out
_MASKED = -1e4  # of a logit; bfloat16 holds it


@dataclass(frozen=True, slots=True)
class SequenceOptions:
    """How the head is built and trained.

    Attributes:
        dim: of the vectors.
        layers: of the transformer.
        heads: of its attention; they divide `dim`.
        length: events of a history that count, the latest.
        dropout: of the vectors read and of each layer's output.
        without_own: share of the items that go without their own vectors, drawn for each step.
        epochs: at most.
        patience: epochs without a better validation before it stops.
        positions: events that a step's loss is over, about.
        learning_rate: after a short warm-up.
        weight_decay: of AdamW.
        averaging: decay, for each step, of the average of the weights that is used in the end.
        balance: a user of n events counts as n ** balance of them.
    """

    dim: int = 64
    layers: int = 2
    heads: int = 2
    length: int = 50
    dropout: float = 0.3
    without_own: float = 0.1
    epochs: int = 60
    patience: int = 5
    positions: int = 1024
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    averaging: float = 0.99
    balance: float = 1.0


@dataclass(frozen=True, slots=True)
class SequenceEpoch:
    """What an epoch came to: mean loss, NDCG@10 of the uptakes held out (NaN where none are), seconds taken."""

    epoch: int
    loss: float
    validation: float
    seconds: float


class SequenceNetwork(nn.Module):
    """The transformer and the table of item vectors.

    Args:
        vectors: (items, text dim) float32 of unit length, of the items' texts.
        popularity: (items,) uptakes of each item; items without any have no vector of their own.
        options: how it is built.
    """

    def __init__(self, vectors: NDArray[np.float32], popularity: NDArray[np.int64], options: SequenceOptions) -> None:
        super().__init__()
        self.options = options
        items, text_dim = vectors.shape
        self.texts: torch.Tensor
        self.log_popularity: torch.Tensor
        self.register_buffer("texts", torch.from_numpy(vectors), persistent=False)
        self.register_buffer("log_popularity", torch.from_numpy(np.log1p(popularity)).float(), persistent=False)
        self.projection = nn.Linear(text_dim, options.dim, bias=False)
        self.own = nn.Parameter(torch.randn(items, options.dim) * 0.5 * options.dim**-0.5)
        self.popular = nn.Parameter(torch.tensor(0.5))
        self.own_bias = nn.Parameter(torch.zeros(items))
        self.read = nn.Dropout(options.dropout)
        self.blocks = nn.ModuleList(SequenceBlock(options) for _ in range(options.layers))
        self.norm = nn.LayerNorm(options.dim)

    def table(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(items, dim) vectors and (items,) biases; in training, some items without what is their own."""
        kept = (self.log_popularity > 0).float()
        if self.training:
            kept = kept * (torch.rand_like(kept) >= self.options.without_own)
        return (
            self.projection(self.texts) + kept[:, None] * self.own,
            self.popular * self.log_popularity + kept * self.own_bias,
        )

    def forward(self, vectors: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        """(rows, events, dim) of what was read to the same of what is expected next; `there` is 0 for padding."""
        read = self.read(vectors * math.sqrt(self.options.dim))
        for block in self.blocks:
            read = block(read, there)
        found: torch.Tensor = self.norm(read)
        return found


class SequenceBlock(nn.Module):
    """Attention to what came before, with a bias for each distance in events, then a feed-forward layer."""

    def __init__(self, options: SequenceOptions) -> None:
        super().__init__()
        dim, self.heads = options.dim, options.heads
        self.before_attention, self.before_mixing = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.asked, self.known, self.told, self.out = (nn.Linear(dim, dim) for _ in range(4))
        self.by_distance = nn.Parameter(torch.zeros(options.heads, options.length))
        self.wide, self.narrow = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.dropout = nn.Dropout(options.dropout)

    def forward(self, read: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        """(rows, events, dim) to the same."""
        rows, events, dim = read.shape
        normed = self.before_attention(read)
        shape = (rows, events, self.heads, dim // self.heads)
        asked, known, told = (part(normed).view(shape).transpose(1, 2) for part in (self.asked, self.known, self.told))
        place = torch.arange(events, device=read.device)
        distance = place[:, None] - place[None, :]
        weights = (
            asked @ known.transpose(2, 3) / math.sqrt(dim // self.heads) + self.by_distance[:, distance.clamp(min=0)]
        )
        hidden = (distance < 0)[None, None] | ~there[:, None, None, :]
        weights = torch.softmax(weights.masked_fill(hidden, _MASKED), dim=3)
        heard = (weights @ told).transpose(1, 2).reshape(rows, events, dim)
        read = read + self.dropout(self.out(heard))
        mixed: torch.Tensor = self.narrow(functional.gelu(self.wide(self.before_mixing(read))))
        return read + self.dropout(mixed)


class SequenceHead:
    """A trained head: `seq_i = <user's vector, item i's vector> + bias_i`, of mean 0 over the catalogue.

    The mean of the catalogue is taken from vectors and biases, so that scores of one user compare with another's.

    Args:
        network: as trained.
        results: of the epochs.
    """

    def __init__(self, network: SequenceNetwork, results: list[SequenceEpoch]) -> None:
        self.network, self.results = network.eval(), results
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
        latest = uptakes(histories).latest(self.network.options.length)
        found = np.zeros((len(latest), self.vectors.shape[1]), np.float32)
        some = np.flatnonzero(latest.lengths > 0)
        table = torch.from_numpy(self.vectors + self.mean)
        with torch.inference_mode():
            for start in range(0, len(some), _SCORED):
                rows = some[start : start + _SCORED]
                items, there = padded(latest.take(rows))
                found[rows] = self.network(table[items], there)[:, -1].numpy()
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
    progress: bool = False,
) -> SequenceHead:
    """Trains a head.

    The last uptake of each user is held out first, to see after how many epochs what is learned no longer helps; then
    the head is trained anew for as many on everything, since what happened last says most. A checkpoint is written
    after each epoch; a call with the same directory and arguments goes on from there.

    Args:
        train: what may be learned from, dislikes included; they are left out.
        vectors: (items, text dim) float32 of unit length, of the items' texts.
        options: how.
        directory: for checkpoints; made if it is not there.
        seed: of the first weights and the draws.
        progress: whether to show bars on stderr, if that is a terminal.

    Raises:
        ExportError: nobody took up two items, or options that cannot be.
    """
    _require(options)
    directory.mkdir(parents=True, exist_ok=True)
    keep_memory()
    whole = uptakes(Histories.of_users(train, np.arange(len(train.user_ids))))
    if not (whole.lengths > 1).any():
        raise ExportError("no user took up two items: there is no order to learn from; leave the sequence head out")
    asked = np.flatnonzero(whole.lengths >= _LEAST_EVENTS)
    searched: list[SequenceEpoch] = []
    if len(asked):
        known, target = _hold_out(whole, asked)
        search = _Training(known, vectors, options, directory / "search.pt", seed=seed, progress=progress)
        searched = search.run(lambda head: _ndcg(head, known.take(asked), target))
        best = max(searched, key=lambda result: result.validation)
        options = replace(options, epochs=best.epoch)
        _log.info("sequence head: NDCG@%d %.4f after %d epochs", _TOP, best.validation, best.epoch)
    final = _Training(whole, vectors, options, directory / "final.pt", seed=seed, progress=progress)
    final.run(None)
    return SequenceHead(final.average, searched)


class _Training:
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
            "items": len(vectors),
            "events": len(histories.item),
            "texts": float(np.abs(vectors).sum(dtype=np.float64)),
        }

    def run(self, validate: Callable[[SequenceHead], float] | None) -> list[SequenceEpoch]:
        """Trains; with what to validate by, stops early."""
        self._load()
        self._network.train()
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(self._torch_state)
            while len(self._results) < self._options.epochs and not self._spent():
                began = time.monotonic()
                loss = self._epoch()
                figure = math.nan if validate is None else validate(SequenceHead(self.average, []))
                result = SequenceEpoch(len(self._results) + 1, loss, figure, time.monotonic() - began)
                self._results.append(result)
                self._torch_state = torch.get_rng_state()
                self._save()
                _log.info("sequence head, %s", result)
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
        with _fast():
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
        bias = bias.masked_fill(self._network.log_popularity == 0, _MASKED)
        loss: torch.Tensor = _SoftmaxLoss.apply(
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


class _SoftmaxLoss(torch.autograd.Function):
    """Cross-entropy of `expected @ table.T + bias`, a few rows at a time, and its gradients along with it.

    The logits of a whole step would go through memory some ten times; those of a few rows stay in the cache.
    """

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        expected: torch.Tensor,
        table: torch.Tensor,
        bias: torch.Tensor,
        target: torch.Tensor,
        seen: tuple[torch.Tensor, torch.Tensor],
        weight: torch.Tensor,
    ) -> torch.Tensor:
        """The weighted sum of the rows' losses; `seen` are rows in order and the items to leave out of them."""
        kind = torch.bfloat16 if _fast_available() else torch.float32
        narrow_expected, narrow_table = expected.to(kind), table.to(kind)
        by_expected, by_table, by_bias = (torch.zeros_like(of) for of in (expected, table, bias))
        loss = expected.new_zeros(())
        starts = torch.arange(0, len(expected), _ROWS)
        bounds = torch.searchsorted(seen[0], torch.cat((starts, torch.tensor([len(expected)])))).tolist()
        for start, first, last in zip(starts.tolist(), bounds[:-1], bounds[1:], strict=True):
            rows = slice(start, start + _ROWS)
            logits = (narrow_expected[rows] @ narrow_table.T).float().add_(bias)
            logits[seen[0][first:last] - start, seen[1][first:last]] = _MASKED
            place = torch.arange(len(logits)), target[rows]
            of_target = logits[place]
            highest = logits.amax(dim=1, keepdim=True)
            sums = logits.sub_(highest).exp_().sum(dim=1, keepdim=True)
            share = weight[rows]
            loss += ((highest + sums.log()).squeeze(1) - of_target) @ share
            logits.mul_(share[:, None] / sums)
            logits[place] -= share
            by_bias += logits.sum(dim=0)
            narrow = logits.to(kind)
            by_expected[rows] = narrow @ narrow_table
            by_table += narrow.T @ narrow_expected[rows]
        ctx.save_for_backward(by_expected, by_table, by_bias)
        return loss

    @staticmethod
    def backward(
        ctx: torch.autograd.function.BackwardCFunction, *grad: torch.Tensor
    ) -> tuple[torch.Tensor | None, ...]:
        """The gradients, which are known already."""
        by_expected, by_table, by_bias = ctx.saved_tensors  # type: ignore[attr-defined]
        return by_expected * grad[0], by_table * grad[0], by_bias * grad[0], None, None, None


def uptakes(histories: Histories) -> Histories:
    """The same without events of weight 0 or less."""
    liked = histories.weight > 0
    indptr = np.concatenate(([0], np.cumsum(liked)))[histories.indptr].astype(np.int64)
    return Histories(indptr, histories.item[liked], histories.timestamp[liked], histories.weight[liked])


def padded(histories: Histories) -> tuple[torch.Tensor, torch.Tensor]:
    """(rows, events) int64 items, ending together, and where there are any."""
    events = int(histories.lengths.max(initial=1))
    items, there = (np.zeros((len(histories), events), kind) for kind in (np.int64, np.bool_))
    place = histories.row_of_event, events - 1 - histories.age_of_event
    items[place], there[place] = histories.item, True
    return torch.from_numpy(items), torch.from_numpy(there)


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


def _hold_out(histories: Histories, asked: NDArray[np.int64]) -> tuple[Histories, NDArray[np.int64]]:
    """All rows, those asked without their last event; and these events' items."""
    kept = np.ones(len(histories.item), np.bool_)
    last = histories.indptr[asked + 1] - 1
    kept[last] = False
    indptr = np.concatenate(([0], np.cumsum(kept)))[histories.indptr].astype(np.int64)
    rest = Histories(indptr, histories.item[kept], histories.timestamp[kept], histories.weight[kept])
    return rest, histories.item[last].astype(np.int64)


def _ndcg(head: SequenceHead, known: Histories, target: NDArray[np.int64]) -> float:
    """Mean NDCG@10; items of the history are masked, but for the target."""
    total = 0.0
    for start in range(0, len(known), _SCORED):
        part = known.take(slice(start, start + _SCORED))
        scores, wanted = head.score(part), target[start : start + _SCORED]
        row = np.arange(len(part))
        mine = scores[row, wanted]
        scores[part.row_of_event, part.item] = -np.inf
        scores[row, wanted] = -np.inf
        rank = (scores >= mine[:, None]).sum(axis=1)
        total += float((1 / np.log2(rank + 2))[rank < _TOP].sum())
    return total / len(known)


def _fast() -> contextlib.AbstractContextManager[object]:
    """bfloat16 where the processor multiplies it in hardware."""
    return torch.autocast("cpu", torch.bfloat16) if _fast_available() else contextlib.nullcontext()


def _fast_available() -> bool:
    return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # noqa: SLF001


def _require(options: SequenceOptions) -> None:
    for name in ("dim", "layers", "heads", "length", "epochs", "patience", "positions"):
        if getattr(options, name) < 1:
            raise ExportError(f"{name} is {getattr(options, name)}: give at least 1")
    for name in ("dropout", "without_own", "averaging"):
        if not 0 <= getattr(options, name) < 1:
            raise ExportError(f"{name} is {getattr(options, name)}: give at least 0 and less than 1")
    if options.dim % options.heads:
        raise ExportError(f"heads is {options.heads}: give a divisor of dim, {options.dim}")
