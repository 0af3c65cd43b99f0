"""How the baselines that are learned by gradient stop: on the last like of some users, kept from learning."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from tanager_export.evaluation.cases import Histories

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

MAX_HELD_OUT = 2_000
PATIENCE = 5

_SHARE_HELD_OUT = 0.5
_DEPTH = 10


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """What to learn from and what to stop on.

    Attributes:
        learn: All rows, some without their last like.
        row: `(held out,)`, which those are.
        known: Those rows of `learn`.
        target: `(held out,)`, the item that each of them lacks.
    """

    learn: Histories
    row: NDArray[np.int64]
    known: Histories
    target: NDArray[np.int32]


def hold_out(rows: Histories, *, seed: int) -> HeldOut:
    """Takes the last like of half of the users who did at least three things, `MAX_HELD_OUT` at most."""
    able = np.flatnonzero(rows.lengths >= 3)
    count = min(MAX_HELD_OUT, int(np.ceil(_SHARE_HELD_OUT * len(able))))
    chosen = np.sort(np.random.default_rng(seed).choice(able, count, replace=False)) if count else able
    last = rows.indptr[chosen + 1] - 1
    target = rows.item[last]
    keep = np.ones(len(rows.item), np.bool_)
    keep[last] = False
    lengths = rows.lengths.copy()
    lengths[chosen] -= 1
    indptr = np.concatenate(([0], np.cumsum(lengths)))
    learn = Histories(indptr, rows.item[keep], rows.timestamp[keep], rows.weight[keep])
    return HeldOut(learn, chosen, learn.take(chosen), target)


def ndcg(scores: NDArray[np.float32], histories: Histories, target: NDArray[np.int32]) -> float:
    """NDCG@10 of one target a row, what is in the history masked, ties counted against; changes `scores`."""
    wanted = scores[np.arange(len(target)), target]
    scores[histories.row_of_event, histories.item] = -np.inf
    # Where a target was taken up before, its own masked score is not among those that it is compared with.
    ranks = np.maximum((scores >= wanted[:, None]).sum(axis=1), 1)
    return float(np.where(ranks <= _DEPTH, 1 / np.log2(ranks + 1.0), 0).mean())


def train_until_best(
    model: torch.nn.Module, epoch: Callable[[], None], quality: Callable[[], float] | None, *, epochs: int
) -> None:
    """Runs epochs until `quality` has not risen for `PATIENCE` of them, and puts the best weights back.

    Args:
        model: What is learned; set to train or to eval for each call.
        epoch: One pass over the data.
        quality: The higher the better; without it, all epochs are run.
        epochs: At most.
    """
    best, waited = -np.inf, 0
    kept: dict[str, torch.Tensor] = {}
    for _ in range(epochs):
        model.train()
        epoch()
        model.eval()
        if quality is None:
            continue
        found = quality()
        waited += 1
        if found > best:
            best, waited = found, 0
            kept = {name: value.clone() for name, value in model.state_dict().items()}
        if waited == PATIENCE:
            break
    if kept:
        model.load_state_dict(kept)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Torch's draws repeat inside, and go on outside as if nothing was drawn."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def device() -> torch.device:
    """A GPU where there is one; there, sums are not repeated to the last bit."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
