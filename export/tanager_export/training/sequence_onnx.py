"""The sequence head as a bundle has it: its own ONNX file, the items' vectors there, and an index over them.

A score is `<user's vector, item's vector> + bias`, which is one product where the bias is one more coordinate; and
vectors of all lengths become unit vectors, for which HNSW is good, with yet another that fills them up to the longest
(Bachrach et al., 2014). The graph takes rows of these vectors and gives the vector to multiply them with.
"""

from __future__ import annotations

import itertools
import logging
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import torch
from torch import nn

from tanager_export import quality
from tanager_export.onnx_model import OPSET
from tanager_server.bundle import SequenceInfo, TextProjection
from tanager_server.bundle import manifest as schema
from tanager_server.index import HnswIndex, top
from tanager_server.runtime import SequenceHead as ServedHead

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tanager_export.evaluation.cases import Histories
    from tanager_export.training.sequence import SequenceHead
    from tanager_server.bundle import IndexInfo, Precision

_log = logging.getLogger(__name__)

INPUTS = ("item_vectors", "events")
OUTPUT = "user_vector"
_TOP = 10
_LEAST_OVERLAP = 0.85
"""Of what int8 and fp32 have among their best ten; with less, the head is served in fp32: it is small in any case."""


@dataclass(frozen=True, slots=True, eq=False)
class ServedSequence:
    """A sequence head to be written, and histories to compare it with itself over."""

    head: SequenceHead
    sample: Histories


def unit_vectors(head: SequenceHead) -> tuple[NDArray[np.float32], float]:
    """(items, dim + 2) float32 of unit length, and what the product with them is to be multiplied with."""
    whole = np.column_stack((head.vectors, head.bias)).astype(np.float64)
    squares = (whole**2).sum(axis=1)
    longest = float(np.sqrt(squares.max())) or 1.0
    rest = np.sqrt(np.maximum(longest**2 - squares, 0.0))
    return np.asarray(np.column_stack((whole, rest)) / longest, np.float32), longest


def text_projection(head: SequenceHead) -> TextProjection:
    """How an item that comes later gets its row of `unit_vectors`, by its text alone."""
    weight = head.network.projection.weight.detach().numpy()
    return TextProjection(np.ascontiguousarray(weight.T), -head.mean, head.new_bias, unit_vectors(head)[1])


def export_sequence_onnx(head: SequenceHead, target: Path) -> None:
    """Writes the fp32 graph.

    It maps `item_vectors (batch, events, dim + 2) float32`, rows of `unit_vectors`, and `events (batch,) int64`, how
    many of each row there are, to `user_vector (batch, dim + 2) float32`. Histories are oldest first and end together:
    a shorter one has its padding before it, of any values. At most `options.length` events. `<user_vector,
    unit_vectors[i]>` is the score of item i; a row without events has the vector 0.

    Args:
        head: as trained.
        target: file to write.
    """
    model = _LastVector(head).eval()
    example = torch.zeros(2, 3, head.vectors.shape[1] + 2), torch.tensor([3, 2])
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


def quantize_weights(fp32: Path, target: Path) -> None:
    """Writes the graph with its matrices in int8, one scale for each column; it still computes in fp32.

    Dynamic quantisation would round what a row reads by what else is in its batch: an item left out would be told of
    by a number that does not come true. Nor is it quicker: of so small a model the time goes to calling operators.

    Args:
        fp32: file of `export_sequence_onnx`.
        target: file to write.
    """
    model = onnx.load(fp32)
    graph = model.graph
    matrices = {node.input[1] for node in graph.node if node.op_type == "MatMul"}
    for weight in list(graph.initializer):
        if weight.name not in matrices:
            continue
        value = onnx.numpy_helper.to_array(weight)
        scale = np.maximum(np.abs(value).max(axis=0), 1e-12) / 127
        parts = {
            "rounded": np.round(value / scale).astype(np.int8),
            "scale": scale.astype(np.float32),
            "zero": np.zeros(len(scale), np.int8),
        }
        graph.initializer.remove(weight)
        names = {part: f"{weight.name}_{part}" for part in parts}
        graph.initializer.extend(onnx.numpy_helper.from_array(array, names[part]) for part, array in parts.items())
        graph.node.insert(0, onnx.helper.make_node("DequantizeLinear", list(names.values()), [weight.name], axis=1))
    onnx.checker.check_model(model)
    onnx.save(model, target)


def write_sequence_head(
    served: ServedSequence,
    directory: Path,
    precision: Precision = "int8",
    *,
    index: IndexInfo,
    seed: int,
    measured: dict[str, float],
) -> SequenceInfo:
    """Writes a bundle's sequence head: in int8, or in fp32 where that is asked for or int8 says too often otherwise.

    Args:
        served: the head.
        directory: of the bundle.
        precision: of the bundle; the head knows int8 and fp32, which is taken for fp16 as well.
        index: how its index is built.
        seed: of that.
        measured: gets the index's recall, and the share of the best ten that int8 and fp32 have in common.
    """
    vectors, _ = unit_vectors(served.head)
    length = served.head.options.length
    np.save(directory / schema.SEQUENCE_VECTORS, vectors)
    found = HnswIndex.build(vectors, info=index, seed=seed)
    found.save(directory / schema.SEQUENCE_INDEX)
    measured["sequence_index_recall_at_10"] = quality.index_recall(found, vectors, seed=seed)
    target = directory / schema.SEQUENCE
    with tempfile.TemporaryDirectory(prefix="tanager-export-") as scratch:
        fp32 = Path(scratch) / schema.SEQUENCE
        export_sequence_onnx(served.head, fp32)
        if precision != "int8":
            target.write_bytes(fp32.read_bytes())
            return SequenceInfo(dim=vectors.shape[1], max_events=length, precision="fp32")
        quantize_weights(fp32, target)
        exact, quantized = (
            _best(ServedHead(path, vectors, max_events=length), served.sample, vectors) for path in (fp32, target)
        )
        shared = [len(set(one) & set(two)) / len(one) for one, two in zip(exact, quantized, strict=True)]
        overlap = float(np.mean(shared))
        measured["sequence_int8_top10_overlap"] = overlap
        if overlap < _LEAST_OVERLAP:
            _log.info("sequence head: int8 keeps %.2f of the best ten, so it is served in fp32", overlap)
            precision = "fp32"
            target.write_bytes(fp32.read_bytes())
    return SequenceInfo(dim=vectors.shape[1], max_events=length, precision=precision)


def _best(head: ServedHead, histories: Histories, vectors: NDArray[np.float32]) -> list[list[int]]:
    liked = histories.weight > 0
    rows = [
        histories.item[start:stop][liked[start:stop]].tolist() for start, stop in itertools.pairwise(histories.indptr)
    ]
    return [top(head.expect([row])[0] @ vectors.T, min(_TOP, len(vectors))).tolist() for row in rows if row]


class _LastVector(nn.Module):
    def __init__(self, head: SequenceHead) -> None:
        super().__init__()
        self.network, self.scale = head.network, unit_vectors(head)[1]
        self.mean: torch.Tensor
        self.register_buffer("mean", torch.from_numpy(head.mean))

    def forward(self, item_vectors: torch.Tensor, events: torch.Tensor) -> torch.Tensor:
        """(batch, dim + 2)."""
        place = torch.arange(item_vectors.shape[1], device=item_vectors.device)
        there = place[None, :] >= item_vectors.shape[1] - events[:, None]
        # Padding may be anything, even NaN, which attention's weight 0 would not stop.
        own = item_vectors[:, :, :-2] * self.scale + self.mean
        read = torch.where(there[:, :, None], own, torch.zeros(()))
        found: torch.Tensor = self.network(read, there, last=True)[:, -1]
        one = torch.ones_like(found[:, :1])
        whole = torch.cat((found, one, torch.zeros_like(one)), dim=1) * self.scale
        return whole * (events > 0).to(found.dtype)[:, None]
