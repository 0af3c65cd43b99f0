"""The softmax over the catalogue, without its logits ever being in memory all at once."""

from __future__ import annotations

import torch

from tanager_export.gradients import fast_available

MASKED = -1e4
"""The logit of an item that is left out."""

_ROWS = 128  # of logits at a time


class SoftmaxLoss(torch.autograd.Function):
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
        kind = torch.bfloat16 if fast_available() else torch.float32
        narrow_expected, narrow_table = expected.to(kind), table.to(kind)
        by_expected, by_table, by_bias = (torch.zeros_like(of) for of in (expected, table, bias))
        loss = expected.new_zeros(())
        starts = torch.arange(0, len(expected), _ROWS)
        bounds = torch.searchsorted(seen[0], torch.cat((starts, torch.tensor([len(expected)])))).tolist()
        for start, first, last in zip(starts.tolist(), bounds[:-1], bounds[1:], strict=True):
            rows = slice(start, start + _ROWS)
            logits = (narrow_expected[rows] @ narrow_table.T).float().add_(bias)
            logits[seen[0][first:last] - start, seen[1][first:last]] = MASKED
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
        by_expected, by_table, by_bias = (saved * grad[0] for saved in ctx.saved_tensors)
        return by_expected, by_table, by_bias, None, None, None
