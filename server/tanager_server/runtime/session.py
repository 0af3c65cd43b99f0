"""ONNX Runtime sessions: how they are opened, and how a batch is run on the CPU and on a GPU."""

from __future__ import annotations

import os
import threading
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

import numpy as np
import onnxruntime as ort

from tanager_server.errors import BundleError, StartupError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from tanager_server.settings import Device

_PROVIDERS: dict[Device, str] = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_IDS, _MASK = "input_ids", "attention_mask"
# Lengths to which batches are padded where shapes are fixed; beyond, multiples of the last step.
_LENGTH_STEP = 16


class Runner(Protocol):
    """Runs one batch."""

    def run(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """(batch, tokens) ids and mask to (batch, dim) float32."""


class DirectRunner:
    """Any shape, in the caller's thread, several at a time."""

    def __init__(self, session: ort.InferenceSession) -> None:
        self._session = session

    def run(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """See `Runner`."""
        (vectors,) = self._session.run(None, {_IDS: ids, _MASK: mask})
        return np.asarray(vectors, dtype=np.float32)

    def padded_tokens(self, count: int, length: int) -> int:
        """Tokens of a batch of so many texts, the longest so long, as it is run."""
        return count * length

    def fixed_shapes(self, *, max_batch_tokens: int, max_batch_size: int, max_length: int) -> list[tuple[int, int]]:
        """Shapes that are better run once before serving: none."""
        return []


class BoundRunner:
    """Few fixed shapes, each with its buffers on the device, bound once (ONNX Runtime's I/O binding).

    A GPU picks kernels and lays memory out anew for every shape it has not seen; so batches are padded up to powers of
    two in count and multiples of 16 in length. The padding is cheap there, where it is not on a CPU.

    Args:
        session: what to run.
        device: `cuda`, or `cpu` where the same path is to be tested.
        max_length: tokens beyond which the model knows no position, and so no batch is padded; None for no such limit.
    """

    def __init__(self, session: ort.InferenceSession, device: Device, *, max_length: int | None = None) -> None:
        self._session = session
        self._max_length = max_length
        self._device = device
        self._output = session.get_outputs()[0].name
        self._bindings: dict[tuple[int, int], tuple[ort.IOBinding, ort.OrtValue, ort.OrtValue]] = {}
        self._lock = threading.Lock()

    def run(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """See `Runner`."""
        count, length = ids.shape
        rows, columns = self._shape(count, length)
        padded_ids = np.zeros((rows, columns), dtype=np.int64)
        padded_mask = np.zeros((rows, columns), dtype=np.int64)
        padded_ids[:count, :length], padded_mask[:count, :length] = ids, mask
        padded_mask[count:, 0] = 1  # the mean over no token at all is not a number
        with self._lock:
            binding, device_ids, device_mask = self._binding(rows, columns)
            device_ids.update_inplace(padded_ids)
            device_mask.update_inplace(padded_mask)
            self._session.run_with_iobinding(binding)
            vectors = binding.copy_outputs_to_cpu()[0]
        return np.asarray(vectors[:count], dtype=np.float32)

    def padded_tokens(self, count: int, length: int) -> int:
        """Tokens of a batch of so many texts, the longest so long, as it is run: those of its bucket."""
        rows, columns = self._shape(count, length)
        return rows * columns

    def fixed_shapes(self, *, max_batch_tokens: int, max_batch_size: int, max_length: int) -> list[tuple[int, int]]:
        """Every shape that a batch within these bounds is run with; a text alone may be longer than the budget."""
        most_rows, most_columns = bucket(max_batch_size, max_length)
        lengths = {self._shape(1, columns)[1] for columns in range(_LENGTH_STEP, most_columns + 1, _LENGTH_STEP)}
        return [
            (1 << power, columns)
            for columns in sorted(lengths)
            for power in range(most_rows.bit_length())
            if power == 0 or (columns << power) <= max_batch_tokens
        ]

    def _shape(self, count: int, length: int) -> tuple[int, int]:
        rows, columns = bucket(count, length)
        return rows, columns if self._max_length is None else min(columns, self._max_length)

    def _binding(self, rows: int, columns: int) -> tuple[ort.IOBinding, ort.OrtValue, ort.OrtValue]:
        if (found := self._bindings.get((rows, columns))) is not None:
            return found
        # Each from an array of its own: on the CPU it is the buffer.
        device_ids, device_mask = (
            ort.OrtValue.ortvalue_from_numpy(np.zeros((rows, columns), dtype=np.int64), self._device, 0)
            for _ in range(2)
        )
        binding = self._session.io_binding()
        binding.bind_ortvalue_input(_IDS, device_ids)
        binding.bind_ortvalue_input(_MASK, device_mask)
        binding.bind_output(self._output, self._device)
        self._bindings[rows, columns] = binding, device_ids, device_mask
        return self._bindings[rows, columns]


def bucket(count: int, length: int) -> tuple[int, int]:
    """The fixed shape that holds a batch: the next power of two, the next multiple of 16."""
    return 1 << (count - 1).bit_length(), -(-length // _LENGTH_STEP) * _LENGTH_STEP


def open_session(path: Path, *, device: Device, threads: int) -> ort.InferenceSession:
    """Opens an encoder.

    Args:
        path: ONNX file mapping `input_ids, attention_mask (batch, tokens) int64` to `(batch, dim) float32`.
        device: where to run.
        threads: of one batch on the CPU; 0 takes one for each core this process may use.

    Raises:
        StartupError: CUDA is asked for and cannot be had.
        BundleError: the file is not what it should be.
    """
    provider = _PROVIDERS[device]
    if provider not in ort.get_available_providers():
        raise StartupError(
            f"encoder.device is {device}, but this onnxruntime {ort.__version__} has no {provider}; "
            "install tanager[server-gpu] in place of tanager[server], or set encoder.device=cpu"
        )
    session = _open(path, provider, threads=threads)
    if session.get_providers()[0] != provider:  # ONNX Runtime falls back to the CPU with a mere warning
        raise StartupError(
            f"encoder.device is {device}, but {provider} could not be started: check the driver and the CUDA and "
            "cuDNN libraries that onnxruntime-gpu needs, or set encoder.device=cpu"
        )
    names = {node.name for node in session.get_inputs()}
    if names != {_IDS, _MASK} or len(session.get_outputs()) != 1:
        raise BundleError(f"{path}: expected inputs {_IDS} and {_MASK} and one output, found {sorted(names)}")
    return session


def open_cpu_session(path: Path, *, threads: int) -> ort.InferenceSession:
    """Opens any model on the CPU. Weights that are stored in int8 are turned into fp32 once, and not at each call.

    Raises:
        BundleError: ONNX Runtime cannot load the file.
    """
    return _open(path, _PROVIDERS["cpu"], threads=threads, entries={"session.disable_quant_qdq": "1"})


def _open(
    path: Path, provider: str, *, threads: int, entries: Mapping[str, str] = MappingProxyType({})
) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or len(os.sched_getaffinity(0))
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Threads that spin between batches would take the cores from gRPC and retrieval: a third of the CPU per text.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    for name, value in entries.items():
        options.add_session_config_entry(name, value)
    try:
        return ort.InferenceSession(str(path), options, providers=[provider])
    except Exception as error:  # ONNX Runtime's exceptions share no root but this
        raise BundleError(f"{path}: ONNX Runtime cannot load it: {error}") from error
