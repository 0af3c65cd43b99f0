"""Language model to ONNX, with pooling and normalisation inside the graph; then to the precision it is served in."""

from __future__ import annotations

import logging
import tempfile
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import onnx

from tanager_export.errors import first_line
from tanager_export.model import ModelError
from tanager_server.bundle.manifest import ENCODER, TOKENIZER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sentence_transformers import SentenceTransformer

    from tanager_export.model import SourceModel
    from tanager_server.bundle import Precision

OPSET = 18
OUTPUT = "sentence_embedding"
_MAX_BYTES = onnx.checker.MAXIMUM_PROTOBUF


def export_onnx(source: SourceModel, model: SentenceTransformer, target: Path) -> None:
    """Writes `encoder.onnx` (fp32) and `tokenizer.json`.

    The graph maps `input_ids, attention_mask (batch, tokens) int64` to `(batch, dim) float32` of unit length.

    Args:
        source: the model's directory.
        model: the same, loaded: tells whether it normalises by itself.
        target: directory to write to.

    Raises:
        ModelError: optimum cannot export this model.
    """
    from optimum.exporters.onnx import main_export  # imports torch: only when it is needed

    with tempfile.TemporaryDirectory(prefix="tanager-onnx-") as scratch, _quiet():
        try:
            main_export(
                str(source.path),
                output=scratch,
                task="feature-extraction",
                library_name="sentence_transformers",
                opset=OPSET,
                do_validation=False,  # the parity gate compares over the catalogue's own texts
                local_files_only=True,
            )
        except Exception as error:  # optimum raises whatever torch and transformers do
            raise ModelError(f"{source.path}: cannot be exported to ONNX: {first_line(error)}") from error
        if sum(file.stat().st_size for file in Path(scratch).glob("*.onnx*")) >= _MAX_BYTES:
            raise ModelError(f"{source.path}: cannot be exported to ONNX: larger than the 2 GiB that one file holds")
        graph = onnx.load(Path(scratch) / "model.onnx")
    _keep_sentence_embedding(graph.graph, normalized=any(type(part).__name__ == "Normalize" for part in model))
    onnx.checker.check_model(graph)
    onnx.save(graph, target / ENCODER)
    model.tokenizer.backend_tokenizer.save(str(target / TOKENIZER))


def convert(fp32: Path, target: Path, *, precision: Precision) -> None:
    """Writes the fp32 ONNX model in another precision.

    int8 is dynamic quantisation with a scale for each output channel of the weights; one scale for a whole matrix
    loses five times as much of the cosine (measured: CONTRIBUTING.md). fp16 keeps float32 at its boundary.

    Args:
        fp32: model from `export_onnx`.
        target: file to write.
        precision: what to convert to.
    """
    if precision == "fp32":
        target.write_bytes(fp32.read_bytes())
        return
    if precision == "fp16":
        from onnxruntime.transformers.float16 import convert_float_to_float16

        # Squares of small numbers vanish in fp16, so what adds them up stays in fp32.
        reductions = ["ReduceL2", "ReduceSum", "LayerNormalization", "Clip"]
        with _quiet():
            half = convert_float_to_float16(onnx.load(fp32), keep_io_types=True, op_block_list=reductions)
        _normalize_output(half.graph)  # a vector that was divided in fp16 is as much as 3e-4 too long or too short
        onnx.save(half, target)
        return
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _quiet():
        quantize_dynamic(fp32, target, per_channel=True, weight_type=QuantType.QInt8)


def _keep_sentence_embedding(graph: onnx.GraphProto, *, normalized: bool) -> None:
    """Leaves one output, the sentence's vector, and makes it of unit length if the model does not."""
    output = next(value for value in graph.output if value.name == OUTPUT)
    del graph.output[:]
    graph.output.append(output)
    if not normalized:
        _normalize_output(graph)


def _normalize_output(graph: onnx.GraphProto) -> None:
    """Makes the one output of unit length, in float32."""
    (output,) = graph.output
    raw = output.name
    axis, least, length, safe, unit = (f"{raw}_{part}" for part in ("axis", "least", "length", "safe", "unit"))
    graph.initializer.append(onnx.helper.make_tensor(axis, onnx.TensorProto.INT64, [1], [1]))
    graph.initializer.append(onnx.helper.make_tensor(least, onnx.TensorProto.FLOAT, [], [1e-12]))
    graph.node.extend(
        (
            onnx.helper.make_node("ReduceL2", [raw, axis], [length], keepdims=1),
            onnx.helper.make_node("Clip", [length, least], [safe]),
            onnx.helper.make_node("Div", [raw, safe], [unit]),
        )
    )
    shape = [d.dim_param or d.dim_value for d in output.type.tensor_type.shape.dim]
    del graph.output[:]
    graph.output.append(onnx.helper.make_tensor_value_info(unit, onnx.TensorProto.FLOAT, shape))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the tracer's remarks away: what they warn of, the parity gate checks."""
    loggers = [logging.getLogger(name) for name in ("optimum", "transformers", "root", "")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
