"""`tanager-export compress`, end to end over a tiny model: the table, the students, and what is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from tanager_export.bundle import BundleOptions, build_bundle
from tanager_export.cli import main
from tanager_export.compression.layers import inner_model
from tanager_export.dataset import load_dataset, write_dataset
from tanager_export.model import find_model
from tanager_export.training.encoder import centre, encode
from tanager_server.bundle import open_bundle

QUICK = ("--epochs", 1, "--texts", 20, "--rounds", 2)


def run(*words: object) -> int:
    return main(["compress", *map(str, words)])


@pytest.fixture(scope="module")
def dataset(tiny_dataset, tmp_path_factory):
    """The tiny dataset, split by leave-one-out: by time, its last users have no history at all."""
    directory = tmp_path_factory.mktemp("dataset") / "tiny"
    write_dataset(replace(load_dataset(tiny_dataset), times="order"), directory)
    return directory


@pytest.fixture(scope="module")
def centred_model(tiny_model, dataset, tmp_path_factory):
    """The tiny model with the layers that training appends."""
    directory = tmp_path_factory.mktemp("centred") / "model"
    model = find_model(str(tiny_model)).load()
    centre(model, encode(model, [item.encoder_text for item in load_dataset(dataset).items]))
    model.save(str(directory))
    return directory


@pytest.fixture(scope="module")
def done(centred_model, dataset, tmp_path_factory):
    """A run with everything; what it wrote and where the students are."""
    directory = tmp_path_factory.mktemp("compress")
    output, students = directory / "compression.json", directory / "students"
    words = (centred_model, dataset, "--dims", "16,8,99", "--students", "1,2x24", *QUICK)
    assert run(*words, "--student", students, "--output", output) == 0
    return json.loads(output.read_text()), students


def test_every_variant_has_its_price(done):
    record, _ = done
    variants = {row["variant"]: row for row in record["variants"]}
    assert list(variants) == [
        *("fp32", "fp16", "int8", "int8, first 16", "int8, first 8"),
        *("1 layer, fp32", "1 layer, int8", "1 layer, int8, queries"),
        *(f"2 layers, feed-forward 24, {kind}" for kind in ("fp32", "int8", "int8, queries")),
    ]
    assert (record["protocol"], record["model"], record["dataset"]) == ("leave-one-out", "model", "tiny")
    exact = variants["fp32"]
    for term in ("text", "hybrid"):
        assert exact[term]["loss"] == 0
        assert exact[term]["loss_interval"] == [0, 0]
        assert 0 < exact[term]["ndcg@10"] <= 1
    assert exact["wish_top10_overlap"] == 1
    assert variants["int8"]["texts_per_s_ratio_to_int8"] == 1
    assert exact["encoder_bytes"] > variants["fp16"]["encoder_bytes"]
    assert (
        exact["encoder_bytes"] > variants["1 layer, fp32"]["encoder_bytes"] > variants["1 layer, int8"]["encoder_bytes"]
    )
    assert [variants[name]["vectors_bytes"] for name in ("int8", "int8, first 8")] == [120 * 32 * 4, 120 * 8 * 4]
    assert variants["int8, first 8"]["wish_top10_overlap"] < variants["int8"]["wish_top10_overlap"]
    assert variants["int8, first 8"]["texts_per_s"] == variants["int8"]["texts_per_s"]
    for row in variants.values():
        low, high = row["text"]["loss_interval"]
        assert low <= row["text"]["loss"] <= high
        assert row["text"]["cases"] == record["cases"] == 40
    assert set(record["tokenising_share"]) == {name for name in variants if name.endswith("int8")}
    student, queries = (variants[f"1 layer, int8{kind}"] for kind in ("", ", queries"))
    assert abs(queries["text"]["loss"]) < abs(student["text"]["loss"])  # nearly all items are as the model has them
    assert queries["texts_per_s"] == student["texts_per_s"]


@pytest.mark.parametrize(("code", "layers", "width"), [("1", 1, 64), ("2x24", 2, 24)])
def test_a_student_is_a_model_that_bundle_exports(done, dataset, tmp_path, code, layers, width):
    _, students = done
    source = find_model(str(students / code))
    inner = inner_model(source.load())
    assert (len(inner.encoder.layer), inner.config.intermediate_size) == (layers, width)
    options = BundleOptions(precision="fp32")
    build_bundle(source, load_dataset(dataset), tmp_path / "bundle", options=options)
    vectors = np.load(open_bundle(tmp_path / "bundle").file("vectors.npy"))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_the_same_command_goes_on_with_the_students_that_are_there(done, centred_model, dataset, tmp_path, monkeypatch):
    record, students = done
    shutil.copytree(students, tmp_path / "students")
    monkeypatch.setattr("tanager_export.compression.student._loss", lambda *_: pytest.fail("taught again"))
    words = (centred_model, dataset, "--students", "1,2x24", "--dims", "none", "--text-only", *QUICK)
    assert run(*words, "--student", tmp_path / "students", "--output", tmp_path / "again.json") == 0
    again = json.loads((tmp_path / "again.json").read_text())
    assert again["students"] == record["students"]
    rows = {row["variant"]: row for row in record["variants"]}
    for row in again["variants"]:
        assert row["text"] == rows[row["variant"]]["text"]
        assert row["hybrid"] is None


def test_the_table_has_a_line_a_variant_and_says_what_the_columns_are(tiny_model, dataset, capsys):
    assert run(tiny_model, dataset, "--students", "none", "--dims", "16", "--text-only", *QUICK) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines[:5]] == ["variant", "fp32", "fp16", "int8", "int8, first 16"]
    assert len({len(line) for line in lines[:5]}) == 1
    assert "hybrid" not in lines[0]
    assert any(line.startswith("tiny: leave-one-out, ") for line in lines)


def test_json_is_printed_where_asked_for(tiny_model, dataset, capsys):
    words = ("--students", "none", "--dims", "none", "--text-only", "--format", "json")
    assert run(tiny_model, dataset, *words, *QUICK) == 0
    record = json.loads(capsys.readouterr().out)
    assert [row["variant"] for row in record["variants"]] == ["fp32", "fp16", "int8"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--students", "3"), "a student of 3 layers: the model has 2; ask for fewer"),
        (("--students", "1x65"), "a student of width 65: the model's feed-forward layers have 64"),
    ],
)
def test_a_student_larger_than_its_teacher_is_refused_before_any_work(
    tiny_model, dataset, capsys, monkeypatch, words, said
):
    monkeypatch.setattr("tanager_export.compression.measure.export_variants", lambda *_, **__: pytest.fail("exported"))
    assert run(tiny_model, dataset, *words) == 1
    assert capsys.readouterr().err.strip() == f"tanager-export: {said}"


def test_a_dataset_without_behaviour_is_refused(tiny_model, make_dataset, capsys):
    assert run(tiny_model, make_dataset(), "--students", "none") == 1
    assert "compress needs interactions" in capsys.readouterr().err


@pytest.fixture(scope="module")
def runs(tiny_model, dataset, tmp_path_factory):
    """Two runs: one that held the test out, and one that did not."""
    place = tmp_path_factory.mktemp("runs")
    how = ("--base", tiny_model, "--epochs", 0, "--sequence-epochs", 0)
    for name, more in (("held-out", ["--hold-out"]), ("all", [])):
        assert main(["train", *map(str, (dataset, place / name, *how, *more))]) == 0
    return place / "held-out", place / "all"


def test_a_run_that_may_know_what_is_asked_is_refused(runs, dataset, capsys):
    _, knows = runs
    assert run(knows, dataset, "--students", "none", "--text-only") == 1
    assert "nothing was held out, so it has learned from what is asked" in capsys.readouterr().err
    assert run(knows / "model", dataset, "--students", "none", "--text-only") == 1
    assert f"name the run, {knows}" in capsys.readouterr().err


def test_what_a_student_was_taught_by_goes_with_it(runs, dataset, tiny_model, tmp_path, capsys):
    held_out, knows = runs
    students = tmp_path / "students"
    assert (
        run(held_out, dataset, "--students", "1", "--dims", "none", "--text-only", *QUICK, "--student", students) == 0
    )
    key = json.loads((students / "1" / "learned_from.json").read_text())
    assert key == json.loads((held_out / "key.json").read_text())
    assert run(students / "1", dataset, "--students", "none", "--dims", "none", "--text-only", *QUICK) == 0
    # As if it were a student of the run that held nothing out.
    shutil.copy(knows / "key.json", students / "1" / "learned_from.json")
    assert run(students / "1", dataset, "--students", "none", "--text-only") == 1
    assert "a student of a run by leave-one-out that held nothing out" in capsys.readouterr().err
    words = (dataset, tmp_path / "leaky", "--base", students / "1", "--hold-out", "--epochs", 0)
    assert main(["train", *map(str, words)]) == 1
    assert "or a student of it" in capsys.readouterr().err
    (tmp_path / "link").symlink_to(knows / "model")
    words = (dataset, tmp_path / "leaky", "--base", tmp_path / "link", "--hold-out", "--epochs", 0)
    assert main(["train", *map(str, words)]) == 1
    assert "did not hold out the same test" in capsys.readouterr().err


@pytest.mark.parametrize("shapes", ["0", "x", "3x", "3x0", "", "2,,3", "-1"])
def test_a_shape_is_layers_and_perhaps_a_width(capsys, shapes):
    with pytest.raises(SystemExit):
        run("model", "dataset", f"--students={shapes}")
    assert "give layers, as in 3,2 or 3x768, or none" in capsys.readouterr().err
