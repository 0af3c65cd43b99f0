"""SASRec: what follows a sequence of items, by a causal transformer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from tanager_export.collaborative import binary_matrix
from tanager_export.evaluation.baselines.behaviour import FromHistory, item_popularity, require_likes, sequences
from tanager_export.evaluation.baselines.training import device, hold_out, ndcg, seeded, train_until_best
from tanager_export.evaluation.cases import Histories
from tanager_export.gradients import fast, keep_memory

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from tanager_export.dataset import AttributeValue, Dataset, Interactions
    from tanager_export.evaluation.cases import Parameter

_LENGTH = 100
_LAYERS = 2
_HEADS = 2
_EPOCHS = 100
_POSITIONS_A_BATCH = 1_024
_ROWS_A_SCORING = 256


class SASRec:
    """SASRec (Kang & McAuley, 2018) with a softmax over the whole catalogue, which beats its binary loss by far.

    Long sequences are cut into pieces of a hundred items, all of which are learned from. Learning stops early, on the
    last like of some users (Petrov & Macdonald, 2023; Klenitskiy & Vasilev, 2023).
    """

    name = "sasrec"
    space: Mapping[str, Sequence[Parameter]] = {
        "dim": (64, 128),
        "dropout": (0.2, 0.35, 0.5),
        "learning_rate": (0.001, 0.003),
        "weight_decay": (0.0, 0.01),
    }

    def fit(self, dataset: Dataset, train: Interactions, parameters: Mapping[str, Parameter], *, seed: int) -> NextItem:
        """Learns by AdamW.

        Args:
            dataset: The catalogue.
            train: Who took up what.
            parameters: `dim` of the vectors; `dropout`; `learning_rate`; `weight_decay`.
            seed: Of the first weights, the order of the data, dropout, and who is held out.

        Raises:
            ExportError: There is nothing to learn from.
        """
        items = len(dataset.items)
        require_likes(binary_matrix(train, items), self.name)
        keep_memory()
        held_out = hold_out(sequences(train), seed=seed)
        pieces = _pieces(held_out.learn)
        order = np.random.default_rng(seed)
        with seeded(seed):
            model = _Transformer(items, dim=int(parameters["dim"]), dropout=float(parameters["dropout"])).to(device())
            optimizer = torch.optim.AdamW(
                model.parameters(),
                lr=float(parameters["learning_rate"]),
                weight_decay=float(parameters["weight_decay"]),
            )
            recommender = NextItem(model, item_popularity(train, items))

            def epoch() -> None:
                for batch in _batches(pieces, order):
                    optimizer.zero_grad(set_to_none=True)
                    with fast(device()):
                        loss = model.loss(batch.to(device()))
                    torch.autograd.backward(loss)
                    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                    optimizer.step()

            def quality() -> float:
                return ndcg(recommender.score_known(held_out.known, ()), held_out.known, held_out.target)

            train_until_best(model, epoch, quality if len(held_out.target) else None, epochs=_EPOCHS)
        return recommender


class NextItem(FromHistory):
    """Scores what follows the last hundred likes of a history."""

    def __init__(self, model: _Transformer, popularity: NDArray[np.float32]) -> None:
        super().__init__(popularity)
        self._model = model

    @torch.inference_mode()
    def score_known(
        self, histories: Histories, profiles: Sequence[Mapping[str, AttributeValue]]
    ) -> NDArray[np.float32]:
        """`(rows, items)`."""
        del profiles
        self._model.eval()
        recent = histories.latest(_LENGTH)
        scores = np.empty((len(recent), len(self._popularity)), np.float32)
        for start in range(0, len(recent), _ROWS_A_SCORING):
            rows = recent.take(slice(start, start + _ROWS_A_SCORING))
            found = self._model.after_last(_padded(rows).to(device()))
            scores[start : start + len(rows)] = found.cpu().numpy()
        return scores


class _Transformer(nn.Module):
    """Item `i` is token `i + 1`; 0 pads, after a sequence, where causal attention does not look."""

    def __init__(self, items: int, *, dim: int, dropout: float) -> None:
        super().__init__()
        self.items = nn.Embedding(items + 1, dim, padding_idx=0)
        self.positions = nn.Embedding(_LENGTH, dim)
        nn.init.normal_(self.items.weight, std=dim**-0.5)
        nn.init.normal_(self.positions.weight, std=0.02)
        layer = nn.TransformerEncoderLayer(
            dim, _HEADS, 4 * dim, dropout, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, _LAYERS, norm=nn.LayerNorm(dim), enable_nested_tensor=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """`(rows, length)` to `(rows, length, dim)`: what each position expects next."""
        length = tokens.shape[1]
        embedded = self.items(tokens) + self.positions.weight[:length]
        mask = nn.Transformer.generate_square_subsequent_mask(length, device=tokens.device)
        expected: torch.Tensor = self.layers(self.dropout(embedded), mask=mask, is_causal=True)
        return expected

    def loss(self, tokens: torch.Tensor) -> torch.Tensor:
        """Mean cross-entropy of every item that follows another."""
        following = tokens[:, 1:]
        there = following > 0
        expected = self(tokens[:, :-1])[there]
        return nn.functional.cross_entropy(expected @ self.items.weight[1:].T, following[there] - 1)

    def after_last(self, tokens: torch.Tensor) -> torch.Tensor:
        """`(rows, items)`: logits of what follows the last token of each row."""
        last = (tokens > 0).sum(dim=1) - 1
        expected: torch.Tensor = self(tokens)[torch.arange(len(tokens), device=tokens.device), last]
        return expected @ self.items.weight[1:].T


def _pieces(rows: Histories) -> Histories:
    """Rows of at most `_LENGTH + 1` items and at least two; each piece begins with the last item of the one before."""
    starts, ends = [], []
    for start, end in zip(rows.indptr[:-1].tolist(), rows.indptr[1:].tolist(), strict=True):
        # From the end, so that the short piece is the oldest.
        while end - start >= 2:
            begin = max(start, end - _LENGTH - 1)
            starts.append(begin)
            ends.append(end)
            end = begin + 1
    lengths = np.array(ends, np.int64) - np.array(starts, np.int64)
    indptr = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    events = np.arange(indptr[-1]) + np.repeat(np.array(starts, np.int64) - indptr[:-1], lengths)
    return Histories(indptr, rows.item[events], rows.timestamp[events], rows.weight[events])


def _batches(pieces: Histories, order: np.random.Generator) -> Iterator[torch.Tensor]:
    """All pieces in a new order, by batches of about `_POSITIONS_A_BATCH` items."""
    shuffled = order.permutation(len(pieces))
    if not len(shuffled):
        return
    batch = np.cumsum(pieces.lengths[shuffled]) // _POSITIONS_A_BATCH
    for rows in np.split(shuffled, np.flatnonzero(np.diff(batch)) + 1):
        yield _padded(pieces.take(rows))


def _padded(rows: Histories) -> torch.Tensor:
    tokens = np.zeros((len(rows), int(rows.lengths.max(initial=1))), np.int64)
    row = rows.row_of_event
    tokens[row, np.arange(len(rows.item)) - rows.indptr[row]] = rows.item + 1
    return torch.from_numpy(tokens)
