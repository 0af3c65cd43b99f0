"""The sequence head of a bundle: opened with it, run on histories, refused where it does not fit."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tanager_server.bundle import IndexInfo, NewItems, TextProjection, open_bundle
from tanager_server.errors import BundleError
from tanager_server.index import Generation, HnswIndex
from tanager_server.runtime import SequenceHead

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ITEMS, DIM = 120, 4
FILES = ("sequence.onnx", "sequence.npy", "sequence.hnsw")


def save_sum(
    path: Path, *, events: str = "events", dim: int = DIM, length: int | str = "length", scale: float = 1.0
) -> None:
    """A model that gives the sum of what it reads, times how many events there are."""
    graph = helper.make_graph(
        [
            helper.make_node("ReduceSum", ["item_vectors", "axis"], ["sum"], keepdims=0),
            helper.make_node("Cast", [events], ["count"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["count", "axis"], ["column"]),
            helper.make_node("Mul", ["sum", "column"], ["product"]),
            helper.make_node("Mul", ["product", "scale"], ["vector"]),
        ],
        "sum",
        [
            helper.make_tensor_value_info("item_vectors", TensorProto.FLOAT, ["batch", length, dim]),
            helper.make_tensor_value_info(events, TensorProto.INT64, ["batch"]),
        ],
        [helper.make_tensor_value_info("vector", TensorProto.FLOAT, ["batch", dim])],
        [
            helper.make_tensor("axis", TensorProto.INT64, [1], [1]),
            helper.make_tensor("scale", TensorProto.FLOAT, [], [scale]),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    found = np.random.default_rng(0).normal(size=(ITEMS, DIM)).astype(np.float32)
    unit: np.ndarray = found / np.linalg.norm(found, axis=1, keepdims=True)
    return unit


@pytest.fixture
def with_head(bundle_copy: Path, reseal: Callable[[Path], None], vectors: np.ndarray) -> Path:
    """The tiny bundle with a sequence head."""
    save_sum(bundle_copy / FILES[0])
    np.save(bundle_copy / FILES[1], vectors)
    manifest = json.loads((bundle_copy / "manifest.json").read_text())
    index = IndexInfo(**manifest["index"])
    HnswIndex.build(vectors, info=index).save(bundle_copy / FILES[2])
    text_dim = manifest["encoder"]["dim"]
    projection = TextProjection(np.ones((text_dim, DIM - 2), np.float32), np.zeros(DIM - 2, np.float32), 0.0, 1.0)
    replace(NewItems.none(text_dim), sequence=projection).write(bundle_copy / "new_items.npz")
    manifest["sequence"] = {"dim": DIM, "max_events": 3, "precision": "fp32"}
    manifest["files"] |= dict.fromkeys(FILES, manifest["files"]["scoring.json"])
    (bundle_copy / "manifest.json").write_text(json.dumps(manifest))
    reseal(bundle_copy)
    return bundle_copy


def opened(directory: Path) -> SequenceHead:
    head = SequenceHead.from_bundle(open_bundle(directory))
    assert head is not None
    return head


def test_a_bundle_brings_its_head_along(with_head: Path, vectors: np.ndarray) -> None:
    generation = Generation.load(open_bundle(with_head))
    assert generation.sequence is not None
    assert generation.new_items.sequence is not None
    np.testing.assert_array_equal(generation.sequence_vectors, vectors)
    np.testing.assert_array_equal(generation.sequence.index.search(vectors[7:8], 1).positions, [[7]])


def test_a_bundle_without_one_has_none(tiny_bundle: Path) -> None:
    assert SequenceHead.from_bundle(open_bundle(tiny_bundle)) is None
    assert Generation.load(open_bundle(tiny_bundle)).sequence_vectors.shape == (ITEMS, 0)


def test_the_latest_events_are_read_and_padding_is_not(with_head: Path, vectors: np.ndarray) -> None:
    found = opened(with_head).expect([[1, 2, 3, 4, 5], [6], []])
    np.testing.assert_allclose(found[0], 3 * vectors[[3, 4, 5]].sum(axis=0), atol=1e-5)
    np.testing.assert_allclose(found[1], vectors[6], atol=1e-6)
    assert not found[2].any()


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(with_head: Path, name: str) -> None:
    (with_head / name).unlink()
    with pytest.raises(BundleError, match=f"{name}: missing"):
        open_bundle(with_head)


def test_a_head_that_the_manifest_does_not_tell_of_its_files_is_refused(
    with_head: Path, reseal: Callable[[Path], None]
) -> None:
    manifest = json.loads((with_head / "manifest.json").read_text())
    del manifest["files"]["sequence.npy"]
    (with_head / "sequence.npy").unlink()
    (with_head / "manifest.json").write_text(json.dumps(manifest))
    reseal(with_head)
    with pytest.raises(BundleError, match=r"does not list sequence\.npy"):
        open_bundle(with_head)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: save_sum(path / "sequence.onnx", events="lengths"), "expected inputs"),
        (lambda path: save_sum(path / "sequence.onnx", dim=DIM + 1), "cannot read 3 vectors of dim 4"),
        (lambda path: save_sum(path / "sequence.onnx", length=2), "cannot read 3 vectors of dim 4"),
        (lambda path: save_sum(path / "sequence.onnx", scale=float("nan")), "numbers that are none"),
        (lambda path: (path / "sequence.onnx").write_bytes(b"garbage"), "cannot load it"),
        (lambda path: np.save(path / "sequence.npy", np.ones((ITEMS, DIM), np.float32)), "not of unit length"),
        (lambda path: np.save(path / "sequence.npy", np.ones((3, DIM), np.float32)), "expected float32 of shape"),
    ],
    ids=str,
)
def test_a_head_that_does_not_fit_is_refused(
    with_head: Path, reseal: Callable[[Path], None], spoil: Callable[[Path], None], message: str
) -> None:
    spoil(with_head)
    reseal(with_head)
    with pytest.raises(BundleError, match=message):
        opened(with_head)


def test_a_head_that_new_items_have_no_vectors_for_is_refused(with_head: Path, reseal: Callable[[Path], None]) -> None:
    NewItems.none(open_bundle(with_head).manifest.encoder.dim).write(with_head / "new_items.npz")
    reseal(with_head)
    with pytest.raises(BundleError, match=r"new_items\.npz: it has no sequence head, and the bundle has"):
        Generation.load(open_bundle(with_head))


def test_an_index_over_other_vectors_is_refused(with_head: Path, reseal: Callable[[Path], None]) -> None:
    (with_head / "index.hnsw").write_bytes((with_head / "sequence.hnsw").read_bytes())
    reseal(with_head)
    with pytest.raises(BundleError, match=r"index\.hnsw: is over other vectors"):
        Generation.load(open_bundle(with_head))


def test_a_weight_for_a_head_that_is_not_there_is_refused(bundle_copy: Path, reseal: Callable[[Path], None]) -> None:
    scoring = json.loads((bundle_copy / "scoring.json").read_text())
    (bundle_copy / "scoring.json").write_text(json.dumps(scoring | {"sequence": 1.0}))
    reseal(bundle_copy)
    with pytest.raises(BundleError, match=r"scoring\.json: weighs a sequence head"):
        Generation.load(open_bundle(bundle_copy))
