"""The network of the sequence head: item vectors in, the vector of what is expected next out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tanager_export.evaluation.cases import Histories

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
    dropout: float = 0.4
    without_own: float = 0.1
    epochs: int = 60
    patience: int = 5
    positions: int = 1024
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    averaging: float = 0.99
    balance: float = 0.7


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

    def forward(self, vectors: torch.Tensor, there: torch.Tensor, *, last: bool = False) -> torch.Tensor:
        """(rows, events, dim) of what was read to the same of what is expected next; `there` is 0 for padding.

        With `last`, (rows, 1, dim): what is expected after the last event alone, at less cost.
        """
        read = self.read(vectors * math.sqrt(self.options.dim))
        for at, block in enumerate(self.blocks):
            read = block(read, there, last=last and at == len(self.blocks) - 1)
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

    def forward(self, read: torch.Tensor, there: torch.Tensor, *, last: bool = False) -> torch.Tensor:
        """(rows, events, dim) to the same, or to (rows, 1, dim): the last alone."""
        rows, events, dim = read.shape
        normed = self.before_attention(read)
        width = dim // self.heads
        known, told = (
            part(normed).view(rows, events, self.heads, width).transpose(1, 2) for part in (self.known, self.told)
        )
        place = torch.arange(events, device=read.device)
        asking = place
        if last:
            read, normed, asking = read[:, -1:], normed[:, -1:], place[-1:]
        asked = self.asked(normed).view(rows, -1, self.heads, width).transpose(1, 2)
        distance = asking[:, None] - place[None, :]
        by_distance = self.by_distance[:, distance.clamp(min=0)]
        weights = asked @ known.transpose(2, 3) / math.sqrt(width) + by_distance
        hidden = (distance < 0)[None, None] | ~there[:, None, None, :]
        weights = torch.softmax(weights.masked_fill(hidden, _MASKED), dim=3)
        heard = (weights @ told).transpose(1, 2).reshape(rows, -1, dim)
        read = read + self.dropout(self.out(heard))
        mixed: torch.Tensor = self.narrow(functional.gelu(self.wide(self.before_mixing(read))))
        out: torch.Tensor = read + self.dropout(mixed)
        return out


def padded(histories: Histories) -> tuple[torch.Tensor, torch.Tensor]:
    """(rows, events) int64 items, ending together, and where there are any."""
    events = int(histories.lengths.max(initial=1))
    items, there = (np.zeros((len(histories), events), kind) for kind in (np.int64, np.bool_))
    place = histories.row_of_event, events - 1 - histories.age_of_event
    items[place], there[place] = histories.item, True
    return torch.from_numpy(items), torch.from_numpy(there)
