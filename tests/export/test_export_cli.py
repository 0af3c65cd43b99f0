"""`tanager-export bundle`: what it prints, and how it ends."""

from __future__ import annotations

import shutil

import onnxruntime
import pytest

import tanager_export.bundle as bundle_module
import tanager_export.model as model_module
from tanager_export import quality
from tanager_export.cli import main
from tanager_export.quality import ParityBound
from tanager_server.bundle import open_bundle
from tanager_server.errors import EncodeError
from tanager_server.runtime import Encoder


def run(*words: object) -> int:
    return main([str(word) for word in words])


def refusal(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """What `bundle` says when it refuses: one line on stderr, nothing on stdout, exit status 1."""
    assert run("bundle", *words) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    assert line.startswith("tanager-export: ")
    return line.removeprefix("tanager-export: ")


def test_a_bundle_is_made_and_summed_up(tiny_model, tiny_dataset, tmp_path, capsys):
    assert run("bundle", tiny_model, tiny_dataset, tmp_path / "b", "--precision", "fp32") == 0
    manifest = open_bundle(tmp_path / "b").manifest
    assert manifest.encoder.precision == "fp32"
    rows = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    assert [row[0] for row in rows] == ["bundle", "id", "model", "dataset", "encode", "torch", "fp32", "index"]
    said = dict(rows)
    assert str(tmp_path / "b") in said["bundle"]
    assert said["id"] == manifest.bundle_id
    assert said["model"] == "tiny, fp32, 32 dimensions"
    assert said["dataset"] == "tiny: 120 items, 320 interactions (simulated)"
    assert "recall@10" in said["index"]


def test_int8_is_what_one_gets_unasked(tiny_model, tiny_dataset, tmp_path):
    assert run("bundle", tiny_model, tiny_dataset, tmp_path / "b") == 0
    assert open_bundle(tmp_path / "b").manifest.encoder.precision == "int8"


@pytest.mark.parametrize("options_first", [False, True])
@pytest.mark.parametrize("named", [False, True])
def test_the_model_may_be_left_out_wherever_the_options_stand(
    tiny_model, tiny_dataset, tmp_path, monkeypatch, named, options_first
):
    asked = []
    find_model = model_module.find_model

    def find(model):
        asked.append(model)
        return find_model(str(tiny_model))

    monkeypatch.setattr(model_module, "find_model", find)
    places = ["some/model"] * named + [tiny_dataset, tmp_path / "b"]
    options = ["--precision", "fp32", "--overwrite"]
    assert run("bundle", *(options + places if options_first else places + options)) == 0
    assert asked == ["some/model" if named else None]
    assert open_bundle(tmp_path / "b").manifest.dataset.name == "tiny"


class TestRefusals:
    def test_a_model_that_is_not_there(self, tiny_dataset, tmp_path, capsys):
        missing = tmp_path / "none"
        assert refusal(capsys, missing, tiny_dataset, tmp_path / "b").startswith(f"{missing}: no such directory; give")

    def test_a_model_that_is_a_file(self, tiny_model, tiny_dataset, tmp_path, capsys):
        file = tiny_model / "config.json"
        assert refusal(capsys, file, tiny_dataset, tmp_path / "b").startswith(f"{file}: no such directory; give")

    def test_model_and_dataset_exchanged(self, tiny_model, tiny_dataset, tmp_path, capsys):
        line = refusal(capsys, tiny_dataset, tiny_model, tmp_path / "b")
        assert line == f"{tiny_dataset}: no config.json: not a model directory in the layout of transformers"

    def test_a_model_that_cannot_be_loaded(self, tiny_model, tiny_dataset, tmp_path, capsys):
        model = shutil.copytree(tiny_model, tmp_path / "model")
        (model / "model.safetensors").write_bytes(b"")
        assert refusal(capsys, model, tiny_dataset, tmp_path / "b").startswith(f"{model}: cannot be loaded as a text")

    def test_a_dataset_that_is_not_there(self, tiny_model, tmp_path, capsys):
        missing = tmp_path / "none"
        assert refusal(capsys, tiny_model, missing, tmp_path / "b") == f"{missing}: no such directory"

    def test_a_dataset_with_an_id_twice(self, tiny_model, make_dataset, tmp_path, capsys):
        dataset = make_dataset(items=[{"id": "a", "text": "one"}, {"id": "a", "text": "two"}])
        line = refusal(capsys, tiny_model, dataset, tmp_path / "b")
        assert line.startswith("items.jsonl, line 2: id 'a' is already on line 1")

    def test_a_dataset_without_items(self, tiny_model, make_dataset, tmp_path, capsys):
        assert "no items" in refusal(capsys, tiny_model, make_dataset(items=""), tmp_path / "b")

    def test_a_target_that_is_there(self, tiny_model, tiny_dataset, tiny_bundle, capsys):
        line = refusal(capsys, tiny_model, tiny_dataset, tiny_bundle)
        assert line == f"{tiny_bundle}: is there already; choose another name, or --overwrite"

    def test_a_target_that_is_the_model(self, tiny_model, tiny_dataset, capsys):
        line = refusal(capsys, tiny_model, tiny_dataset, tiny_model, "--overwrite")
        assert line.startswith(f"{tiny_model}: holds something else (no index.hnsw), and is not replaced")

    def test_a_target_that_cannot_be_written(self, tiny_model, tiny_dataset, capsys):
        target = tiny_model / "config.json" / "b"
        assert refusal(capsys, tiny_model, tiny_dataset, target) == f"{target}: cannot be written: Not a directory"

    def test_a_model_under_the_parity_gate(self, tiny_model, tiny_dataset, tmp_path, capsys, monkeypatch):
        monkeypatch.setitem(quality.PRECISION_BOUNDS, "int8", ParityBound(0.0, 0.0, 1.1))
        line = refusal(capsys, tiny_model, tiny_dataset, tmp_path / "b")
        assert line.startswith("int8 against fp32: top10_overlap ")
        assert line.endswith("Choose a higher --precision")
        assert list(tmp_path.iterdir()) == []

    def test_cuda_where_there_is_none(self, tiny_model, tiny_dataset, tmp_path, capsys, monkeypatch):
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
        line = refusal(capsys, tiny_model, tiny_dataset, tmp_path / "b", "--device", "cuda")
        assert "no CUDAExecutionProvider" in line

    def test_an_encoder_that_fails(self, tiny_model, tiny_dataset, tmp_path, capsys, monkeypatch):
        """As fp16 does when numbers grow beyond what it holds."""

        def fails(*_args, **_options):
            raise EncodeError("the encoder returned vectors that are not finite")

        monkeypatch.setattr(Encoder, "encode_texts", fails)
        assert refusal(capsys, tiny_model, tiny_dataset, tmp_path / "b").endswith("vectors that are not finite")
        assert list(tmp_path.iterdir()) == []


def test_ctrl_c_ends_it_quietly_and_leaves_nothing(tiny_model, tiny_dataset, tmp_path, capsys, monkeypatch):
    def interrupted(*_args, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr(bundle_module, "export_onnx", interrupted)
    assert run("bundle", tiny_model, tiny_dataset, tmp_path / "parent" / "b") == 130
    assert capsys.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


def test_version(capsys):
    with pytest.raises(SystemExit) as ended:
        run("--version")
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("tanager-export 0.")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "required: COMMAND"),
        (("bundle",), "required: DATASET, BUNDLE"),
        (("bundle", "one"), "required: BUNDLE"),
        (("bundle", "a", "b", "c", "d"), "unrecognized arguments: d"),
        (("bundle", "a", "b", "--precision", "int4"), "invalid choice: 'int4'"),
        (("bundle", "a", "b", "--device", "tpu"), "invalid choice: 'tpu'"),
        (("learn",), "invalid choice: 'learn'"),
        (("train", "a", "b", "--epochs", "-1"), "an integer from 0"),
    ],
)
def test_usage_errors_end_with_2(capsys, words, told):
    with pytest.raises(SystemExit) as ended:
        run(*words)
    assert ended.value.code == 2
    assert told in capsys.readouterr().err


def test_help_names_what_bundle_takes(capsys):
    with pytest.raises(SystemExit):
        run("bundle", "--help")
    text = capsys.readouterr().out
    for word in ("MODEL", "DATASET", "BUNDLE", "--precision", "--device", "--overwrite", "all-MiniLM-L6-v2"):
        assert word in text
