"""A student before any teaching: the teacher with layers left out, those kept evenly spaced.

As DistilBERT begins (Sanh et al., 2019); feed-forward parts may be narrowed as well.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch

from tanager_export.errors import ExportError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from tanager_export.compression.shape import StudentShape


class StudentError(ExportError):
    """A model that no student can be made of in the way asked for."""


def take_layers(teacher: SentenceTransformer, shape: StudentShape) -> SentenceTransformer:
    """A copy of the teacher with fewer layers, before any teaching.

    Raises:
        StudentError: the teacher is no encoder of BERT's family, or has not that many layers, or is narrower.
    """
    student = copy.deepcopy(teacher)
    inner = inner_model(student)
    layers = inner.encoder.layer
    if not shape.layers <= len(layers):
        raise StudentError(f"a student of {shape.layers} layers: the model has {len(layers)}; ask for fewer")
    kept = layer_numbers(len(layers), shape.layers)
    inner.encoder.layer = torch.nn.ModuleList([layers[at] for at in kept])
    inner.config.num_hidden_layers = shape.layers
    if shape.intermediate is not None:
        for layer in inner.encoder.layer:
            _narrow(layer, shape.intermediate)
        inner.config.intermediate_size = shape.intermediate
    return student


def inner_model(model: SentenceTransformer) -> Any:  # noqa: ANN401
    """The transformer inside.

    Raises:
        StudentError: it is no encoder of BERT's family.
    """
    inner = getattr(model[0], "auto_model", None)
    layers = getattr(getattr(inner, "encoder", None), "layer", None)
    if not isinstance(layers, torch.nn.ModuleList) or not hasattr(inner, "embeddings"):
        raise StudentError(
            "students are made of encoders with a list encoder.layer, as BERT, MiniLM, RoBERTa and MPNet have; "
            "this model has none: leave students out (--students none)"
        )
    return inner


def layer_numbers(teacher: int, student: int) -> list[int]:
    """Which of the teacher's layers a student takes: evenly spaced, first and last among them; the last if but one."""
    if student == 1:
        return [teacher - 1]
    return [round(at * (teacher - 1) / (student - 1)) for at in range(student)]


def _narrow(layer: Any, width: int) -> None:  # noqa: ANN401
    """Keeps the feed-forward units with the largest product of weights in and weights out."""
    try:
        into, out = layer.intermediate.dense, layer.output.dense
    except AttributeError as error:
        raise StudentError(
            "this model's feed-forward layers cannot be narrowed: give a number of layers alone"
        ) from error
    if width > into.out_features:
        raise StudentError(f"a student of width {width}: the model's feed-forward layers have {into.out_features}")
    with torch.no_grad():
        kept = (into.weight.norm(dim=1) * out.weight.norm(dim=0)).topk(width).indices.sort().values
        narrow_into = torch.nn.Linear(into.in_features, width)
        narrow_out = torch.nn.Linear(width, out.out_features)
        narrow_into.weight.copy_(into.weight[kept])
        narrow_into.bias.copy_(into.bias[kept])
        narrow_out.weight.copy_(out.weight[:, kept])
        narrow_out.bias.copy_(out.bias)
    layer.intermediate.dense, layer.output.dense = narrow_into, narrow_out
