"""The encoder: tokens to vectors, whatever the batch, and a session that is what it should be."""

from __future__ import annotations

import json

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from tanager_server.bundle import Probe
from tanager_server.errors import BundleError, EncodeError, StartupError
from tanager_server.runtime import Encoder


@pytest.fixture(scope="module")
def encoder(opened_bundle):
    return Encoder.from_bundle(opened_bundle, threads=1)


@pytest.fixture
def make_model(tmp_path):
    """Writes a model whose vector is the text's mean token id, times `factor`, in both of its two dimensions."""

    def make(factor=1.0, inputs=("input_ids", "attention_mask"), outputs=("vectors",)):
        nodes = [
            helper.make_node("Cast", [inputs[0]], ["ids"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["ids"], ["mean"], axes=[1], keepdims=1),
            helper.make_node("Mul", ["mean", "factor"], [outputs[0]]),
            *(helper.make_node("Identity", [outputs[0]], [other]) for other in outputs[1:]),
        ]
        graph = helper.make_graph(
            nodes,
            "tiny",
            [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"]) for name in inputs],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 2]) for name in outputs],
            [helper.make_tensor("factor", TensorProto.FLOAT, [2], [factor, factor])],
        )
        path = tmp_path / "model.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
        return path

    return make


@pytest.fixture
def open_model(opened_bundle):
    def open_with_tiny_tokenizer(path, **arguments):
        return Encoder(
            model_path=path, tokenizer_path=opened_bundle.file("tokenizer.json"), max_tokens=64, threads=1, **arguments
        )

    return open_with_tiny_tokenizer


# Vectors


def test_a_vector_is_the_same_alone_and_padded_beside_longer_texts(encoder):
    texts = ["space", "love book 7", "war " * 30, "music film nature " * 12]
    together = encoder.encode(encoder.tokenize(texts))
    alone = np.vstack([encoder.encode(encoder.tokenize([text])) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert np.abs(together[0] - together[1]).max() > 1e-3  # or the test above would compare nothing


def test_vectors_are_float32_of_unit_length(encoder, opened_bundle):
    vectors = encoder.encode(encoder.tokenize(["space", "a book of love"]))
    assert (vectors.dtype, vectors.shape) == (np.float32, (2, opened_bundle.manifest.encoder.dim))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("text", ["", " ", "三体 与 外星文明", "👽🚀", "\x00\u200b", "x" * 8192], ids=ascii)
def test_any_text_has_a_vector(encoder, text):
    assert np.isfinite(encoder.encode(encoder.tokenize([text]))).all()


def test_what_lies_beyond_the_limit_is_cut_off_and_the_end_token_kept(encoder, opened_bundle):
    limit = opened_bundle.manifest.encoder.max_tokens
    (exact,), (longer,) = encoder.tokenize(["war " * (limit - 2)]), encoder.tokenize(["war " * 500 + "love"])
    assert len(longer) == limit
    assert longer == exact  # both begin with [CLS] and end with [SEP]


def test_tokens_are_those_of_each_text_alone(encoder):
    texts = ["space book", "love", ""]
    assert encoder.tokenize(texts) == [encoder.tokenize([text])[0] for text in texts]


def test_encode_texts_keeps_the_order_and_tells_its_progress(encoder):
    random = np.random.default_rng(0)
    texts = ["space love war"[: random.integers(3, 15)] + " film" * int(random.integers(0, 60)) for _ in range(150)]
    progress: list[int] = []
    vectors = encoder.encode_texts(texts, progress=progress.append)
    expected = np.vstack([encoder.encode(encoder.tokenize([text])) for text in texts])
    np.testing.assert_allclose(vectors, expected, atol=1e-5)
    assert sum(progress) == len(texts)
    assert len(progress) > 1


def test_encode_texts_of_nothing_is_empty(encoder):
    assert encoder.encode_texts([]).shape == (0, 0)


@pytest.mark.parametrize("factor", [np.nan, np.inf])
def test_vectors_that_are_not_finite_are_an_error(make_model, open_model, factor):
    broken = open_model(make_model(factor))
    with pytest.raises(EncodeError, match="not finite"):
        broken.encode([[1, 2, 3]])


def test_a_failing_session_is_an_encode_error(make_model, open_model):
    encoder = open_model(make_model())
    assert encoder.encode([[1, 3], [7]]).tolist() == [[2, 2], [3.5, 3.5]]  # mean over the padded width: no mask here

    def run(*_):
        raise RuntimeError("out of memory")

    encoder._runner = type("Runner", (), {"run": run})()
    with pytest.raises(EncodeError, match=r"shape \(1, 2\): out of memory"):
        encoder.encode([[1, 2]])


# What is refused at start


@pytest.mark.parametrize(
    "names",
    [
        {"inputs": ("input_ids", "token_type_ids")},
        {"inputs": ("input_ids", "attention_mask", "token_type_ids")},
        {"inputs": ("input_ids",)},
        {"outputs": ("last_hidden_state", "pooled")},
    ],
)
def test_a_model_with_other_inputs_or_outputs_is_refused(make_model, open_model, names):
    path = make_model(**names)
    with pytest.raises(BundleError, match=r"model\.onnx: expected inputs input_ids and attention_mask and one output"):
        open_model(path)


def test_what_is_no_model_is_refused_naming_the_file(open_model, tmp_path):
    path = tmp_path / "encoder.onnx"
    path.write_bytes(b"no protobuf")
    with pytest.raises(BundleError, match=r"encoder\.onnx: ONNX Runtime cannot load it"):
        open_model(path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"model": {"type": "Nope"}}'])
def test_what_is_no_tokenizer_is_refused_naming_the_file(opened_bundle, tmp_path, content):
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content)
    with pytest.raises(BundleError, match=r"tokenizer\.json: not a tokenizer file"):
        Encoder(model_path=opened_bundle.file("encoder.onnx"), tokenizer_path=path, max_tokens=64)


@pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="this onnxruntime is built with CUDA"
)
def test_cuda_on_an_onnxruntime_without_it_names_the_setting_and_the_mend(opened_bundle):
    with pytest.raises(StartupError) as refused:
        Encoder.from_bundle(opened_bundle, device="cuda")
    for part in ("encoder.device is cuda", "CUDAExecutionProvider", "tanager[server-gpu]", "encoder.device=cpu"):
        assert part in str(refused.value)


# The probe


def test_the_probe_of_the_bundle_is_reproduced(encoder, opened_bundle):
    probe = opened_bundle.read_probe()
    assert encoder.check_probe(probe) >= probe.min_cosine


def test_the_smallest_cosine_decides(encoder, opened_bundle):
    probe = opened_bundle.read_probe()
    vectors = [list(vector) for vector in probe.vectors]
    vectors[-1] = [-value for value in vectors[-1]]
    with pytest.raises(BundleError, match=r"encoder\.onnx: on this machine .*cosine -1\.0000"):
        encoder.check_probe(probe.model_copy(update={"vectors": vectors}))


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_a_probe_that_has_no_direction_is_not_passed(encoder, value):
    probe = Probe(texts=("space",), vectors=((value,) * 32,), min_cosine=0.01)
    with pytest.raises(BundleError, match="on this machine"):
        encoder.check_probe(probe)


@pytest.mark.parametrize("shape", [(1, 31), (2, 32)])
def test_a_probe_of_another_shape_is_refused(encoder, shape):
    probe = Probe(texts=("space",), vectors=tuple(map(tuple, np.ones(shape))), min_cosine=0.5)
    with pytest.raises(BundleError, match=r"probe\.json: vectors of shape"):
        encoder.check_probe(probe)


def test_a_probe_that_cannot_be_encoded_at_all_keeps_the_server_from_starting(make_model, open_model):
    broken = open_model(make_model(np.nan))
    with pytest.raises(BundleError, match=r"encoder\.onnx: cannot encode the probe"):
        broken.check_probe(Probe(texts=("space",), vectors=((1.0, 0.0),), min_cosine=0.5))


def test_a_probe_with_ragged_vectors_is_refused_when_read(bundle_copy, reseal, opened_bundle):
    from tanager_server.bundle import open_bundle

    path = bundle_copy / "probe.json"
    probe = json.loads(path.read_text())
    probe["vectors"][0].pop()
    path.write_text(json.dumps(probe))
    reseal(bundle_copy)
    with pytest.raises(BundleError, match=r"probe\.json: .*same length"):
        open_bundle(bundle_copy).read_probe()
