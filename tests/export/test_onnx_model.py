"""The ONNX graph: its inputs and output, and that it says what torch says."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from tanager_export import onnx_model
from tanager_export.model import ModelError, find_model
from tanager_export.onnx_model import convert, export_onnx
from tanager_server.runtime import Encoder

if TYPE_CHECKING:
    from pathlib import Path

    from sentence_transformers import SentenceTransformer

TEXTS = (
    "a",
    "A thoughtful science-fiction novel about first contact.",
    "Two sisters run a bakery in Lyon and fall out over a recipe.",
    "三体：一部关于首次接触的科幻小说",
    "Explosions, car chases, and a heist that goes wrong in the best way 🚗",
    "A quiet record of piano pieces for rainy evenings; " * 6,
    "Build a city on Mars, trade, and keep the air breathable.",
    "The history of mathematics, told through seven proofs.",
)


@dataclass(frozen=True)
class Exported:
    """A model, and its encoder in fp32 and beside it in other precisions."""

    model: SentenceTransformer
    directory: Path

    def encoder(self, precision: str = "fp32") -> Encoder:
        name = "encoder.onnx" if precision == "fp32" else f"{precision}.onnx"
        return Encoder(
            model_path=self.directory / name,
            tokenizer_path=self.directory / "tokenizer.json",
            max_tokens=int(self.model.max_seq_length or 0),
        )

    def torch(self, texts: tuple[str, ...] = TEXTS) -> np.ndarray:
        return np.asarray(self.model.encode(list(texts), normalize_embeddings=True, show_progress_bar=False))


def exported(model: str | None, directory: Path) -> Exported:
    source = find_model(model)
    loaded = source.load()
    export_onnx(source, loaded, directory)
    return Exported(loaded, directory)


@pytest.fixture(scope="session")
def minilm(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """The default model in all three precisions."""
    made = exported(None, tmp_path_factory.mktemp("minilm"))
    convert(made.directory / "encoder.onnx", made.directory / "int8.onnx", precision="int8")
    convert(made.directory / "encoder.onnx", made.directory / "fp16.onnx", precision="fp16")
    return made


@pytest.fixture(scope="session")
def tiny(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """The tiny model: a plain BERT, which does not normalise by itself."""
    made = exported(str(tiny_model), tmp_path_factory.mktemp("tiny-onnx"))
    convert(made.directory / "encoder.onnx", made.directory / "int8.onnx", precision="int8")
    convert(made.directory / "encoder.onnx", made.directory / "fp16.onnx", precision="fp16")
    return made


def pooled_copy(tiny_model: Path, directory: Path, *, pooling: str) -> Path:
    """The tiny model with modules.json of sentence-transformers around it."""
    shutil.copytree(tiny_model, directory)
    parts = [("", "Transformer"), ("1_Pooling", "Pooling")]
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{name}"}
        for number, (path, name) in enumerate(parts)
    ]
    (directory / "modules.json").write_text(json.dumps(modules))
    (directory / "1_Pooling").mkdir()
    config = {"word_embedding_dimension": 32, f"pooling_mode_{pooling}": True}
    if pooling != "mean_tokens":
        config["pooling_mode_mean_tokens"] = False
    (directory / "1_Pooling" / "config.json").write_text(json.dumps(config))
    return directory


both = pytest.mark.parametrize("name", ["tiny", "minilm"])


@both
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
class TestEveryGraph:
    def session(self, name: str, precision: str, request: pytest.FixtureRequest) -> tuple[Exported, Any]:
        made: Exported = request.getfixturevalue(name)
        path = made.directory / ("encoder.onnx" if precision == "fp32" else f"{precision}.onnx")
        return made, ort.InferenceSession(path, providers=["CPUExecutionProvider"])

    def test_it_maps_ids_and_mask_to_one_float32_vector_a_text(self, name, precision, request):
        made, session = self.session(name, precision, request)
        inputs = {node.name: (node.type, len(node.shape)) for node in session.get_inputs()}
        assert inputs == {"input_ids": ("tensor(int64)", 2), "attention_mask": ("tensor(int64)", 2)}
        (output,) = session.get_outputs()
        assert (output.type, output.shape[1]) == ("tensor(float)", made.model.get_embedding_dimension())

    def test_batch_and_length_are_free(self, name, precision, request):
        _, session = self.session(name, precision, request)
        for batch, tokens in ((1, 3), (7, 3), (1, 40), (7, 40)):
            ids = np.random.default_rng(0).integers(4, 30, (batch, tokens))
            (vectors,) = session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})
            assert vectors.shape == (batch, session.get_outputs()[0].shape[1])
            np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)

    def test_vectors_are_of_unit_length(self, name, precision, request):
        vectors = request.getfixturevalue(name).encoder(precision).encode_texts(TEXTS)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


@both
class TestFp32:
    def test_it_is_the_model(self, name, request):
        made = request.getfixturevalue(name)
        np.testing.assert_allclose(made.encoder().encode_texts(TEXTS), made.torch(), atol=1e-5)

    def test_padding_changes_nothing(self, name, request):
        encoder = request.getfixturevalue(name).encoder()
        tokens = encoder.tokenize(TEXTS)
        together = encoder.encode(tokens)
        assert len({len(ids) for ids in tokens}) > 3
        for number, ids in enumerate(tokens):
            np.testing.assert_allclose(encoder.encode([ids])[0], together[number], atol=1e-5)

    def test_it_is_a_valid_model_of_the_opset_asked_for(self, name, request):
        graph = onnx.load(request.getfixturevalue(name).directory / "encoder.onnx")
        onnx.checker.check_model(graph)
        assert {"": onnx_model.OPSET}.items() <= {part.domain: part.version for part in graph.opset_import}.items()

    def test_converting_to_fp32_copies(self, name, request, tmp_path):
        fp32 = request.getfixturevalue(name).directory / "encoder.onnx"
        convert(fp32, tmp_path / "copy.onnx", precision="fp32")
        assert (tmp_path / "copy.onnx").read_bytes() == fp32.read_bytes()


@pytest.mark.parametrize(("precision", "cosine", "size"), [("fp16", 0.99999, 0.55), ("int8", 0.97, 0.30)])
def test_minilm_in_fewer_bits_is_smaller_and_says_nearly_the_same(minilm, precision, cosine, size):
    cosines = (minilm.encoder().encode_texts(TEXTS) * minilm.encoder(precision).encode_texts(TEXTS)).sum(axis=1)
    assert cosine < cosines.min() <= 1.00001
    fp32, converted = (minilm.directory / name for name in ("encoder.onnx", f"{precision}.onnx"))
    assert converted.stat().st_size < size * fp32.stat().st_size


@pytest.mark.parametrize("pooling", ["cls_token", "max_tokens", "mean_tokens", "lasttoken"])
def test_the_models_own_pooling_is_in_the_graph(tiny_model, tmp_path, pooling):
    import torch
    from transformers import AutoModel, AutoTokenizer

    directory = pooled_copy(tiny_model, tmp_path / "model", pooling=pooling)
    (tmp_path / "onnx").mkdir()
    vectors = exported(str(directory), tmp_path / "onnx").encoder().encode_texts(["space war", "love"])
    expected = []
    for text in ("space war", "love"):
        ids = AutoTokenizer.from_pretrained(directory)(text, return_tensors="pt")
        with torch.no_grad():
            tokens = AutoModel.from_pretrained(directory).eval()(**ids).last_hidden_state[0].numpy()
        pooled = {
            "cls_token": tokens[0],
            "max_tokens": tokens.max(axis=0),
            "mean_tokens": tokens.mean(axis=0),
            "lasttoken": tokens[-1],
        }[pooling]
        expected.append(pooled / np.linalg.norm(pooled))
    np.testing.assert_allclose(vectors, expected, atol=1e-5)


def test_the_tokenizer_is_the_models(minilm):
    ids = minilm.encoder().tokenize(TEXTS)
    assert ids == [minilm.model.tokenizer(text, truncation=True, max_length=256)["input_ids"] for text in TEXTS]


def test_a_model_that_optimum_cannot_export_is_refused_in_a_line(tiny, tiny_model, tmp_path, monkeypatch):
    def fails(*_args, **_options):
        raise KeyError("no such family\nand more")

    monkeypatch.setattr("optimum.exporters.onnx.main_export", fails)
    with pytest.raises(ModelError) as raised:
        export_onnx(find_model(str(tiny_model)), tiny.model, tmp_path)
    assert str(raised.value).startswith(f"{tiny_model}: cannot be exported to ONNX: ")
    assert "\n" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_a_model_too_large_for_one_file_is_refused(tiny, tiny_model, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_model, "_MAX_BYTES", 1000)
    with pytest.raises(ModelError, match="larger than the 2 GiB that one file holds"):
        export_onnx(find_model(str(tiny_model)), tiny.model, tmp_path)


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_converting_says_nothing(tiny, tmp_path, capsys, caplog, precision):
    caplog.set_level("INFO")  # as the command has it
    convert(tiny.directory / "encoder.onnx", tmp_path / "converted.onnx", precision=precision)
    assert caplog.messages == []
    assert capsys.readouterr() == ("", "")
