"""Fine-tunes the text encoder to behaviour: an item's vector comes to predict who takes the item up next.

The loss is the softmax over the full catalogue of what a user takes up next, given the recency-weighted mean of the
vectors of what they took up before; popularity has a term of its own, so that the vectors need not carry it. Encoding
the catalogue at every step would cost too much, and negatives from the batch alone are too weak, so a step encodes one
block of items and takes the others as they were last encoded: block-coordinate descent on the exact loss (the cache of
item vectors is that of Wu et al., 2018, "Unsupervised Feature Learning via Non-Parametric Instance Discrimination").

The encoder first gets a linear layer that takes away the mean of the catalogue's vectors (Huang et al., 2021,
"WhiteningBERT"): vectors of a sentence encoder share most of their direction when all texts are of one kind.
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
from sentence_transformers.sentence_transformer import modules
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import tqdm

from tanager_export.gradients import fast, keep_memory
from tanager_export.training.pairs import Pairs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from scipy import sparse
    from sentence_transformers import SentenceTransformer

    from tanager_export.evaluation.cases import Histories

_log = logging.getLogger(__name__)

_ENCODE_BATCH = 128
# On CPU the backward pass of the fused attention takes twice as long as that of plain products.
_ATTENTION = [SDPBackend.MATH] if not torch.cuda.is_available() else [SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]
_SCALE_RATE = 2e-2  # learning rate of the two scalars of the loss
_FIRST_SCALE = 10.0
_LOG_BASE_POPULARITY = 1.0  # added to counts before the logarithm: an item that nobody took up has log 1 = 0


@dataclass(frozen=True, slots=True)
class EncoderOptions:
    """How to fine-tune.

    Attributes:
        epochs: times that each item is encoded for training, at most.
        patience: epochs of training without a better validation before it stops.
        block: items that a step encodes.
        pairs: (history, next item) pairs that a step's loss is over.
        learning_rate: of the encoder, after a warm-up of one epoch, falling to 0 along a cosine.
        weight_decay: of the encoder.
        half_life: events after which an event of a history counts half.
        history: events of a history that count at most.
    """

    epochs: int = 12
    patience: int = 3
    block: int = 256
    pairs: int = 2048
    learning_rate: float = 1e-4
    weight_decay: float = 0.01
    half_life: float = 5.0
    history: int = 50


@dataclass(frozen=True, slots=True)
class EpochResult:
    """What an epoch came to: mean loss over its steps (None of epoch 0), validation (higher is better), seconds."""

    epoch: int
    loss: float | None
    validation: float
    seconds: float


def centre(model: SentenceTransformer, vectors: NDArray[np.float32]) -> None:
    """Appends the layer that takes away the mean of these vectors (items, dim), and makes unit length again."""
    dim = vectors.shape[1]
    dense = modules.Dense(dim, dim, bias=True, activation_function=torch.nn.Identity())
    with torch.no_grad():
        dense.linear.weight.copy_(torch.eye(dim))
        dense.linear.bias.copy_(torch.from_numpy(-vectors.mean(axis=0)))
    model.append(dense)
    model.append(modules.Normalize())


def encode(model: SentenceTransformer, texts: Sequence[str], *, describe: str = "encoding") -> NDArray[np.float32]:
    """(texts, dim) float32 of unit length, as the model is now."""
    model.eval()
    keep_memory()
    order = np.argsort([-len(text) for text in texts], kind="stable")
    rows: list[NDArray[np.float32]] = []
    with tqdm(total=len(texts), desc=describe, unit="text", leave=False, disable=None) as bar, torch.inference_mode():
        for start in range(0, len(order), _ENCODE_BATCH):
            chosen = [texts[i] for i in order[start : start + _ENCODE_BATCH]]
            rows.append(_forward(model, chosen).float().cpu().numpy())
            bar.update(len(chosen))
    vectors = np.empty((len(texts), rows[0].shape[1]), np.float32)
    vectors[order] = np.concatenate(rows)
    return vectors


def fine_tune(
    model: SentenceTransformer,
    texts: Sequence[str],
    histories: Histories,
    *,
    options: EncoderOptions,
    validate: Callable[[NDArray[np.float32]], float],
    directory: Path,
    seed: int,
) -> list[EpochResult]:
    """Fine-tunes a model in place and leaves it at its best epoch.

    A checkpoint is written after each epoch; a call with the same directory goes on from there.

    Args:
        model: ends in a layer that makes unit length.
        texts: of the items of the catalogue, as the encoder is to read them.
        histories: what users did; a row's order is that of time.
        options: how.
        validate: maps (items, dim) vectors to a figure, the higher the better.
        directory: for checkpoints; made if it is not there.
        seed: of the draws.

    Returns:
        A result an epoch, the one before any training (epoch 0) first.
    """
    directory.mkdir(parents=True, exist_ok=True)
    keep_memory()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.to(device)
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    pairs = Pairs(histories, items=len(texts), half_life=options.half_life, limit=options.history)
    warm = np.flatnonzero(pairs.popularity > 0)
    scale = torch.nn.Parameter(torch.tensor(math.log(_FIRST_SCALE), device=device))
    popular = torch.nn.Parameter(torch.tensor(0.5, device=device))
    optimizer = torch.optim.AdamW(
        [
            {"params": list(model.parameters()), "lr": options.learning_rate, "weight_decay": options.weight_decay},
            {"params": [scale, popular], "lr": _SCALE_RATE, "weight_decay": 0.0},
        ]
    )
    steps_an_epoch = max(1, math.ceil(len(warm) / options.block))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: _rate(step, warm_up=steps_an_epoch, total=options.epochs * steps_an_epoch)
    )
    state = _Checkpoint(directory, model, optimizer, schedule, (scale, popular), random, key=_key(options, seed, texts))
    results = state.load()
    log_popularity = torch.from_numpy(np.log(pairs.popularity + _LOG_BASE_POPULARITY).astype(np.float32)).to(device)
    vectors = encode(model, texts, describe="encoding the catalogue")
    if not results:
        results = [EpochResult(0, None, validate(vectors), 0.0)]
        state.save(results, best=True)
    best = max(result.validation for result in results)
    for epoch in range(len(results), options.epochs + 1):
        if _stands_still(results, options.patience):
            break
        began = time.monotonic()
        losses = []
        model.eval()  # without dropout, which takes a third of a step's time; early stopping regularises
        order = random.permutation(warm)
        blocks = np.array_split(order, steps_an_epoch)
        cache = torch.from_numpy(vectors).to(device)
        with tqdm(blocks, desc=f"epoch {epoch} of {options.epochs}", unit="step", leave=False, disable=None) as bar:
            for block in bar:
                rows, targets = pairs.draw(options.pairs, random)
                fresh = encode_block(model, [texts[i] for i in block])
                loss = _loss(cache, fresh, block, rows, targets, log_popularity, scale, popular)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                cache[torch.from_numpy(block).to(device)] = fresh.detach()
                losses.append(float(loss.detach()))
                bar.set_postfix(loss=f"{np.mean(losses):.3f}")
        vectors = encode(model, texts, describe=f"validating epoch {epoch}")
        figure = validate(vectors)
        results.append(EpochResult(epoch, float(np.mean(losses)), figure, time.monotonic() - began))
        state.save(results, best=figure > best)
        best = max(best, figure)
        _log.info(
            "epoch %d: loss %.4f, validation %.4f (best %.4f), %.0f s", epoch, np.mean(losses), figure, best,
            results[-1].seconds,
        )  # fmt: skip
    state.load_best()
    model.to("cpu")
    model.eval()
    return results


def _stands_still(results: Sequence[EpochResult], patience: int) -> bool:
    """Whether the last epochs brought nothing.

    How it was before any training is no measure: where data are sparse, or new items are what counts, the first epochs
    lose some of that, and later ones, at a lower learning rate, may win back more.
    """
    trained = results[1:]
    if not trained:
        return False
    best = max(result.validation for result in trained)
    return results[-1].epoch - max(result.epoch for result in trained if result.validation == best) >= patience


def _loss(
    cache: torch.Tensor,
    fresh: torch.Tensor,
    block: NDArray[np.int64],
    rows: sparse.csr_array,
    targets: NDArray[np.int64],
    log_popularity: torch.Tensor,
    scale: torch.Tensor,
    popular: torch.Tensor,
) -> torch.Tensor:
    """Cross-entropy of the next items over the catalogue, differentiable in the rows of `block` alone."""
    device = cache.device
    items = cache.shape[0]
    others = np.setdiff1d(np.arange(items), block)
    column = np.empty(items, np.int64)
    column[others], column[block] = np.arange(len(others)), len(others) + np.arange(len(block))
    fixed = cache[torch.from_numpy(others).to(device)]
    constant = torch.from_numpy(rows[:, others] @ fixed.cpu().numpy()).to(device)
    mean = constant + torch.from_numpy(rows[:, block].toarray()).to(device) @ fresh
    profile = scale.exp() * functional.normalize(mean, dim=1)
    logits = torch.cat((profile @ fixed.T, profile @ fresh.T), dim=1)
    logits = logits + popular * log_popularity[torch.from_numpy(np.concatenate((others, block))).to(device)]
    seen = rows.tocoo()
    again = seen.col == targets[seen.row]
    mask = torch.from_numpy(seen.row[~again]).to(device), torch.from_numpy(column[seen.col[~again]]).to(device)
    logits = logits.index_put(mask, torch.tensor(-1e4, device=device))
    return functional.cross_entropy(logits, torch.from_numpy(column[targets]).to(device))


def _forward(model: SentenceTransformer, texts: list[str]) -> torch.Tensor:
    features = {key: value for key, value in model.tokenize(texts).items() if isinstance(value, torch.Tensor)}
    features = {key: value.to(model.device) for key, value in features.items()}
    with fast(model.device), sdpa_kernel(_ATTENTION):
        vectors: torch.Tensor = model(features)["sentence_embedding"]
    return vectors


def encode_block(model: SentenceTransformer, texts: list[str]) -> torch.Tensor:
    """(texts, dim) with gradients; sorted into parts by length, so that little is padded."""
    order = np.argsort([len(text) for text in texts], kind="stable")
    parts = [_forward(model, [texts[i] for i in part]) for part in np.array_split(order, max(1, len(texts) // 64))]
    return torch.cat(parts).float()[torch.from_numpy(np.argsort(order))]


def _rate(step: int, *, warm_up: int, total: int) -> float:
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warm_up) / max(1, total - warm_up))))


def _key(options: EncoderOptions, seed: int, texts: Sequence[str]) -> dict[str, object]:
    return {"options": asdict(options), "seed": seed, "texts": len(texts)}


class _Checkpoint:
    """The state after an epoch, on disk: written beside, then renamed, so that a kill leaves the one before."""

    def __init__(
        self,
        directory: Path,
        model: SentenceTransformer,
        optimizer: torch.optim.Optimizer,
        schedule: torch.optim.lr_scheduler.LambdaLR,
        scalars: tuple[torch.nn.Parameter, ...],
        random: np.random.Generator,
        *,
        key: dict[str, object],
    ) -> None:
        self._last, self._best = directory / "last.pt", directory / "best.pt"
        self._model, self._optimizer, self._schedule = model, optimizer, schedule
        self._scalars, self._random, self._key = scalars, random, key

    def load(self) -> list[EpochResult]:
        """Goes back to where it was left, if that was with the same options; results of the epochs done."""
        if not self._last.exists():
            return []
        saved = torch.load(self._last, map_location=self._model.device, weights_only=True)
        if saved["key"] != self._key:
            return []
        self._model.load_state_dict(saved["model"])
        self._optimizer.load_state_dict(saved["optimizer"])
        self._schedule.load_state_dict(saved["schedule"])
        with torch.no_grad():
            for scalar, value in zip(self._scalars, saved["scalars"], strict=True):
                scalar.copy_(value)
        self._random.bit_generator.state = json.loads(saved["random"])
        torch.set_rng_state(saved["torch"].cpu())
        results = [EpochResult(**result) for result in saved["results"]]
        _log.info("going on after epoch %d", results[-1].epoch)
        return results

    def save(self, results: list[EpochResult], *, best: bool) -> None:
        """Writes the state; as the best as well, if it is."""
        model = self._model.state_dict()
        if best:
            _write(model, self._best)
        state = {
            "key": self._key,
            "model": model,
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
            "scalars": [scalar.detach() for scalar in self._scalars],
            "random": json.dumps(self._random.bit_generator.state),
            "torch": torch.get_rng_state(),
            "results": [asdict(result) for result in results],
        }
        _write(state, self._last)

    def load_best(self) -> None:
        """The model of the best epoch."""
        self._model.load_state_dict(torch.load(self._best, map_location=self._model.device, weights_only=True))


def _write(value: object, path: Path) -> None:
    new = path.with_suffix(".new")
    torch.save(value, new)
    new.replace(path)
