"""The sequence head's ONNX file says what torch says, in fp32 and, nearly, in int8."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnxruntime as ort
import pytest
import torch

from tanager_export.evaluation.cases import Histories
from tanager_export.training import sequence_onnx
from tanager_export.training.sequence import SequenceHead, SequenceOptions
from tanager_export.training.sequence_network import SequenceNetwork
from tanager_export.training.sequence_onnx import (
    ServedSequence,
    export_sequence_onnx,
    unit_vectors,
    write_sequence_head,
)
from tanager_server.bundle import IndexInfo
from tanager_server.index import HnswIndex
from tanager_server.runtime import SequenceHead as ServedHead

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
    events, own = max(map(len, ROWS)), unit_vectors(head)[0]
    vectors = np.full((len(ROWS), events, own.shape[1]), np.nan, np.float32)  # padding may be anything
    for at, row in enumerate(ROWS):
        vectors[at, events - len(row) :] = own[row]
    return {"item_vectors": vectors, "events": np.array([len(row) for row in ROWS])}


def scores(file: Path, head: SequenceHead) -> np.ndarray:
    found = ort.InferenceSession(file, providers=["CPUExecutionProvider"]).run(None, fed(head))[0]
    products: np.ndarray = found @ unit_vectors(head)[0].T
    return products


def test_vectors_are_of_unit_length(head: SequenceHead) -> None:
    np.testing.assert_allclose(np.linalg.norm(unit_vectors(head)[0], axis=1), 1, atol=1e-5)


def test_fp32_scores_as_torch_does(head: SequenceHead, tmp_path: Path) -> None:
    export_sequence_onnx(head, tmp_path / "sequence.onnx")
    found = scores(tmp_path / "sequence.onnx", head)
    np.testing.assert_allclose(found, head.score(rows_of(*ROWS)), atol=1e-4)
    assert not found[2].any()


def test_what_a_bundle_gets_is_int8_and_near(head: SequenceHead, tmp_path: Path) -> None:
    measured: dict[str, float] = {}
    index = IndexInfo(m=16, ef_construction=200, ef_search=64)
    sample = rows_of(*([item, item + 1, item + 2] for item in range(50)))
    info = write_sequence_head(ServedSequence(head, sample), tmp_path, index=index, seed=0, measured=measured)
    assert (info.dim, info.max_events, info.precision) == (34, 10, "int8")
    assert measured["sequence_int8_top10_overlap"] > 0.85
    found, exact = scores(tmp_path / "sequence.onnx", head), head.score(rows_of(*ROWS))
    assert not np.array_equal(found, exact)
    assert np.abs(found - exact).max() < 0.1 * exact.std()
    vectors = np.load(tmp_path / "sequence.npy")
    served = ServedHead(tmp_path / "sequence.onnx", vectors, max_events=10)
    np.testing.assert_allclose(served.expect(ROWS) @ vectors.T, found, atol=0.02)
    nearest = HnswIndex.load(tmp_path / "sequence.hnsw", vectors, info=index).search(vectors[:5], 1)
    np.testing.assert_array_equal(nearest.positions[:, 0], range(5))


def test_int8_that_says_something_else_is_not_served(
    head: SequenceHead, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sequence_onnx, "_LEAST_OVERLAP", 1.1)
    index = IndexInfo(m=16, ef_construction=200, ef_search=64)
    sample = ServedSequence(head, rows_of([1, 2], [3]))
    info = write_sequence_head(sample, tmp_path, index=index, seed=0, measured={})
    assert info.precision == "fp32"
    np.testing.assert_allclose(scores(tmp_path / "sequence.onnx", head), head.score(rows_of(*ROWS)), atol=1e-4)


def test_one_event_and_many_go_through_the_same_graph(head: SequenceHead, tmp_path: Path) -> None:
    export_sequence_onnx(head, tmp_path / "sequence.onnx")
    own = unit_vectors(head)[0]
    session = ort.InferenceSession(tmp_path / "sequence.onnx", providers=["CPUExecutionProvider"])
    for length in (1, 10):
        row = list(range(length))
        found = session.run(None, {"item_vectors": own[None, row], "events": np.array([length])})[0]
        np.testing.assert_allclose(found @ own.T, head.score(rows_of(row)), atol=1e-4)
