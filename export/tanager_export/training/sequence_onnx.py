"""The sequence head to its own ONNX file: what was read in, the user's vector out."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import onnx
import torch
from torch import nn

from tanager_export.onnx_model import OPSET, convert

if TYPE_CHECKING:
    from pathlib import Path

    from tanager_export.training.sequence import SequenceHead
    from tanager_server.bundle import Precision

INPUTS = ("item_vectors", "events")
OUTPUT = "user_vector"


def export_sequence_onnx(head: SequenceHead, target: Path) -> None:
    """Writes the fp32 graph.

    It maps `item_vectors (batch, events, dim) float32`, rows of `head.vectors` or of `head.item_vectors`, and `events
    (batch,) int64`, how many of each row there are, to `user_vector (batch, dim) float32`. Histories are oldest first
    and end together: a shorter one has its padding before it, of any values. At most `options.length` events.
    `<user_vector, head.vectors[i]> + head.bias[i]` is the score of item i; a row without events has the vector 0.

    Args:
        head: as trained.
        target: file to write.
    """
    model = _LastVector(head).eval()
    dim = head.vectors.shape[1]
    example = torch.zeros(2, 3, dim), torch.tensor([3, 2])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer's remarks: the test of parity tells what they warn of
        torch.onnx.export(
            model,
            example,
            str(target),
            input_names=list(INPUTS),
            output_names=[OUTPUT],
            dynamic_axes={INPUTS[0]: {0: "batch", 1: "events"}, INPUTS[1]: {0: "batch"}, OUTPUT: {0: "batch"}},
            opset_version=OPSET,
            dynamo=False,
        )
    onnx.checker.check_model(onnx.load(target))


def quantize_sequence_onnx(fp32: Path, target: Path, *, precision: Precision = "int8") -> None:
    """Writes the fp32 graph in another precision; int8 is dynamic quantisation of the weights.

    Args:
        fp32: file of `export_sequence_onnx`.
        target: file to write.
        precision: what to convert to.
    """
    convert(fp32, target, precision=precision)


class _LastVector(nn.Module):
    def __init__(self, head: SequenceHead) -> None:
        super().__init__()
        self.network = head.network
        self.mean: torch.Tensor
        self.register_buffer("mean", torch.from_numpy(head.mean))

    def forward(self, item_vectors: torch.Tensor, events: torch.Tensor) -> torch.Tensor:
        """(batch, dim)."""
        place = torch.arange(item_vectors.shape[1], device=item_vectors.device)
        there = place[None, :] >= item_vectors.shape[1] - events[:, None]
        # Padding may be anything, even NaN, which attention's weight 0 would not stop.
        read = torch.where(there[:, :, None], item_vectors + self.mean, torch.zeros(()))
        found: torch.Tensor = self.network(read, there, last=True)[:, -1]
        return found * (events > 0).to(found.dtype)[:, None]
