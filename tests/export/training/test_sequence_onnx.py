"""The sequence head's ONNX file says what torch says, in fp32 and, nearly, in int8."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnxruntime as ort
import pytest
import torch

from tanager_export.evaluation.cases import Histories
from tanager_export.training.sequence import SequenceHead, SequenceOptions
from tanager_export.training.sequence_network import SequenceNetwork
from tanager_export.training.sequence_onnx import export_sequence_onnx, quantize_sequence_onnx

if TYPE_CHECKING:
    from pathlib import Path


ITEMS = 200
ROWS = [[1, 2, 3, 4], [5], [], [9, 8, 7]]


@pytest.fixture(scope="module")
def head() -> SequenceHead:
    random = np.random.default_rng(0)
    texts = random.standard_normal((ITEMS, 24)).astype(np.float32)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = SequenceNetwork(texts, random.integers(0, 9, ITEMS), SequenceOptions(dim=32, length=10))
        for name, value in network.named_parameters():
            if name.endswith("by_distance"):
                torch.nn.init.normal_(value)
    return SequenceHead(network, [])


def rows_of(*rows: list[int]) -> Histories:
    items = np.array([item for row in rows for item in row], np.int32)
    indptr = np.cumsum([0, *map(len, rows)]).astype(np.int64)
    return Histories(indptr, items, np.zeros(len(items), np.int64), np.ones(len(items), np.float32))


def fed(head: SequenceHead) -> dict[str, np.ndarray]:
    events = max(map(len, ROWS))
    vectors = np.full((len(ROWS), events, head.vectors.shape[1]), np.nan, np.float32)  # padding may be anything
    for at, row in enumerate(ROWS):
        vectors[at, events - len(row) :] = head.vectors[row]
    return {"item_vectors": vectors, "events": np.array([len(row) for row in ROWS])}


def answered(file: Path, head: SequenceHead) -> np.ndarray:
    found: np.ndarray = ort.InferenceSession(file, providers=["CPUExecutionProvider"]).run(None, fed(head))[0]
    return found


def test_fp32_says_what_torch_says(head: SequenceHead, tmp_path: Path) -> None:
    export_sequence_onnx(head, tmp_path / "sequence.onnx")
    found = answered(tmp_path / "sequence.onnx", head)
    np.testing.assert_allclose(found, head.user_vectors(rows_of(*ROWS)), atol=1e-5)
    assert not found[2].any()


def test_int8_comes_near_it_in_a_smaller_file(head: SequenceHead, tmp_path: Path) -> None:
    export_sequence_onnx(head, tmp_path / "sequence.onnx")
    quantize_sequence_onnx(tmp_path / "sequence.onnx", tmp_path / "sequence.int8.onnx")
    found, exact = answered(tmp_path / "sequence.int8.onnx", head), head.user_vectors(rows_of(*ROWS))
    some = [0, 1, 3]
    cosines = (
        (found * exact).sum(axis=1)[some] / np.linalg.norm(found[some], axis=1) / np.linalg.norm(exact[some], axis=1)
    )
    assert cosines.min() > 0.99
    assert not found[2].any()
    assert not np.array_equal(found, exact)


def test_one_event_and_many_go_through_the_same_graph(head: SequenceHead, tmp_path: Path) -> None:
    export_sequence_onnx(head, tmp_path / "sequence.onnx")
    session = ort.InferenceSession(tmp_path / "sequence.onnx", providers=["CPUExecutionProvider"])
    for length in (1, 10):
        row = list(range(length))
        found = session.run(None, {"item_vectors": head.vectors[None, row], "events": np.array([length])})[0]
        np.testing.assert_allclose(found, head.user_vectors(rows_of(row)), atol=1e-5)
