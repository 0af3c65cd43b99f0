"""Opening a bundle: what is not, byte for byte, what was exported is refused, and the file at fault is named."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from tanager_server.bundle import Manifest, NewItems, ProfileWeights, open_bundle
from tanager_server.bundle.manifest import CONTENT_FILES
from tanager_server.bundle.reader import MAX_MANIFEST_BYTES
from tanager_server.errors import BundleError
from tanager_server.index import Generation

each_file = pytest.mark.parametrize("name", CONTENT_FILES)


def refused(directory: Path) -> str:
    with pytest.raises(BundleError) as caught:
        Generation.load(open_bundle(directory))
    return str(caught.value)


def edit_manifest(directory: Path, **changes: object) -> None:
    path = directory / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_json(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


# A bundle as it should be


def test_a_whole_bundle_opens_and_its_parts_fit_one_another(tiny_bundle):
    bundle = open_bundle(tiny_bundle)
    generation = Generation.load(bundle)
    items = bundle.manifest.dataset.items
    assert len(generation.catalogue) == len(generation.index) == len(generation.vectors) == items == 120
    assert generation.vectors.shape == (120, bundle.manifest.encoder.dim)
    assert generation.neighbours.indptr.shape == generation.transitions.indptr.shape == (121,)
    assert generation.priors.shape == (2, 120)
    assert generation.profile.attributes == ()
    assert generation.new_items.dim == bundle.manifest.encoder.dim
    assert generation.scoring == bundle.read_scoring()
    assert len(bundle.read_probe().texts) == len(bundle.read_probe().vectors)
    assert bundle.file("encoder.onnx") == tiny_bundle / "encoder.onnx"


def test_the_id_depends_on_every_file(bundle_copy, reseal):
    before = open_bundle(bundle_copy).manifest.bundle_id
    edit_json(bundle_copy / "scoring.json", wish=0.5)
    reseal(bundle_copy)
    assert open_bundle(bundle_copy).manifest.bundle_id != before


def test_vectors_cannot_be_written(tiny_bundle):
    assert not open_bundle(tiny_bundle).read_vectors().flags.writeable


def test_the_manifest_is_sealed_over_its_contents(opened_bundle):
    manifest = opened_bundle.manifest
    assert manifest.content_id() == manifest.bundle_id
    assert Manifest.model_validate_json(manifest.model_dump_json()) == manifest
    assert manifest.model_copy(update={"quality": {}}).content_id() != manifest.bundle_id


# Files that are missing, altered, or too many


def test_a_directory_that_is_not_there(tmp_path):
    assert refused(tmp_path / "nowhere").startswith(f"{tmp_path / 'nowhere'}: no such directory")


def test_a_file_in_place_of_the_directory(bundle_copy):
    assert "manifest.json: is no directory" in refused(bundle_copy / "manifest.json")


def test_a_directory_without_a_manifest(bundle_copy):
    (bundle_copy / "manifest.json").unlink()
    assert f"{bundle_copy / 'manifest.json'}: missing" in refused(bundle_copy)


@each_file
def test_a_missing_file(bundle_copy, name):
    (bundle_copy / name).unlink()
    assert f"{bundle_copy / name}: missing" in refused(bundle_copy)


@each_file
def test_a_truncated_file(bundle_copy, name):
    path = bundle_copy / name
    os.truncate(path, path.stat().st_size - 1)
    assert f"{path}: {path.stat().st_size} bytes where" in refused(bundle_copy)


@each_file
def test_a_file_with_one_bit_flipped(bundle_copy, name):
    path = bundle_copy / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert f"{path}: altered" in refused(bundle_copy)


@each_file
def test_a_symbolic_link_even_to_the_very_same_bytes(bundle_copy, tiny_bundle, name):
    path = bundle_copy / name
    path.unlink()
    path.symlink_to(tiny_bundle / name)
    assert f"{path}: not a regular file" in refused(bundle_copy)


@each_file
def test_a_directory_in_place_of_a_file(bundle_copy, name):
    (bundle_copy / name).unlink()
    (bundle_copy / name).mkdir()
    assert f"{bundle_copy / name}: not a regular file" in refused(bundle_copy)


@pytest.mark.parametrize("name", ["notes.txt", ".hidden", "encoder.onnx.data"])
def test_an_extra_file(bundle_copy, name):
    (bundle_copy / name).touch()
    assert f"{bundle_copy / name}: not part of the bundle" in refused(bundle_copy)


def test_an_extra_directory(bundle_copy):
    (bundle_copy / "sub").mkdir()
    assert f"{bundle_copy / 'sub'}: not part of the bundle" in refused(bundle_copy)


def test_a_pipe_is_not_waited_for(bundle_copy):
    (bundle_copy / "probe.json").unlink()
    os.mkfifo(bundle_copy / "probe.json")
    assert "probe.json: not a regular file" in refused(bundle_copy)


@pytest.mark.parametrize("name", ["probe.json", "manifest.json"])
def test_a_file_that_may_not_be_read(bundle_copy, monkeypatch, name):
    # The tests may run as root, whom no permission keeps out; so the refusal is the file system's part, played.
    real = Path.open

    def deny(path, *arguments, **options):
        if path.name == name:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", deny)
    assert refused(bundle_copy) == f"{bundle_copy / name}: cannot be read: Permission denied"


# Manifests


@pytest.mark.parametrize(
    "changes",
    [
        {"created_at": "2020-01-01T00:00:00Z"},
        {"bundle_id": "0" * 64},
        {"quality": {"index_recall_at_10": 1.5}},
    ],
    ids=str,
)
def test_an_edited_manifest(bundle_copy, changes):
    edit_manifest(bundle_copy, **changes)
    assert f"{bundle_copy / 'manifest.json'}: edited after export" in refused(bundle_copy)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"surprise": 1}, "surprise: Extra inputs are not permitted"),
        ({"schema_version": 1}, "schema_version: Input should be 4"),
        ({"schema_version": 3}, "schema_version: Input should be 4"),
        ({"schema_version": "2"}, "schema_version: Input should be 4"),
        ({"bundle_id": "0033"}, "bundle_id: String should match"),
        ({"encoder": {}}, "encoder.precision: Field required"),
        ({"files": {"probe.json": {"sha256": "0" * 64, "size": -1}}}, "files.probe.json.size"),
    ],
    ids=str,
)
def test_a_manifest_of_another_schema(bundle_copy, changes, problem):
    edit_manifest(bundle_copy, **changes)
    message = refused(bundle_copy)
    assert str(bundle_copy / "manifest.json") in message
    assert problem in message


@pytest.mark.parametrize("version", [1, 3, 5])
def test_a_bundle_of_another_version_is_to_be_exported_again(bundle_copy, version):
    edit_manifest(bundle_copy, schema_version=version)
    assert refused(bundle_copy).endswith("; it was made by another version of Tanager: export it again")


@pytest.mark.parametrize(
    "content", [b"", b"garbage", b"[]", b"null", b"\xff\xfe", b'{"a": ', b"[" * 100_000, b'{"schema_version": 1}']
)
def test_a_manifest_that_is_garbage(bundle_copy, content):
    (bundle_copy / "manifest.json").write_bytes(content)
    assert refused(bundle_copy).startswith(f"{bundle_copy / 'manifest.json'}: ")


def test_a_huge_manifest_is_not_even_read(bundle_copy):
    os.truncate(bundle_copy / "manifest.json", MAX_MANIFEST_BYTES + 1)
    assert f"manifest.json: larger than {MAX_MANIFEST_BYTES} bytes" in refused(bundle_copy)


@each_file
def test_a_sealed_manifest_that_lists_too_little(bundle_copy, reseal, name):
    (bundle_copy / name).unlink()
    reseal(bundle_copy)
    assert f"manifest.json: does not list {name}" in refused(bundle_copy)


def test_a_sealed_manifest_that_reaches_out_of_the_bundle(bundle_copy, reseal):
    shutil.copy(bundle_copy / "probe.json", bundle_copy.parent / "outside.json")
    manifest = json.loads((bundle_copy / "manifest.json").read_text())
    del manifest["bundle_id"]
    manifest["files"]["../outside.json"] = manifest["files"]["probe.json"]
    (bundle_copy / "manifest.json").write_text(Manifest.seal(**manifest).model_dump_json())
    assert "../outside.json: missing" in refused(bundle_copy)


# Behind the hashes: files that are what the manifest says, and still wrong


def test_the_manifest_tells_of_another_number_of_items(bundle_copy, reseal, tiny_bundle):
    dataset = json.loads((tiny_bundle / "manifest.json").read_text())["dataset"]
    reseal(bundle_copy, dataset=dataset | {"items": 119})
    bundle = open_bundle(bundle_copy)
    for read, name in (
        (bundle.read_catalogue, "items.jsonl"),
        (bundle.read_vectors, "vectors.npy"),
        (bundle.read_neighbours, "neighbours.npz"),
        (bundle.read_transitions, "transitions.npz"),
        (bundle.read_priors, "priors.npy"),
    ):
        with pytest.raises(BundleError, match=rf"{name}: "):
            read()


def save(path: Path, array) -> None:
    with path.open("wb") as file:  # np.save would append to the name
        np.save(file, array, allow_pickle=True)


@pytest.mark.parametrize(
    "content",
    [
        np.array([{"pickled": "object"}] * 120, dtype=object),
        np.zeros((120, 32)),
        np.zeros((120, 31), np.float32),
        np.zeros((119, 32), np.float32),
        np.zeros((120, 32), ">f4"),
        np.zeros((), np.float32),
        b"",
        b"\x93NUM",
        b"garbage",
        b"\x93NUMPY\x01\x00\x12\x00{'descr': (((\n     ",
        b"\x80\x04K\x01.",
        b"PK\x03\x04",
    ],
    ids=lambda content: repr(content)[:24],
)
def test_vectors_that_are_no_array_of_the_right_kind(bundle_copy, reseal, content):
    path = bundle_copy / "vectors.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        save(path, content)
    reseal(bundle_copy)
    assert refused(bundle_copy).startswith(f"{path}: ")


@pytest.mark.parametrize(
    "content",
    [
        np.zeros((2, 119), np.float32),
        np.zeros(120, np.float32),
        np.zeros((2, 120)),
        np.asfortranarray(np.zeros((2, 120), np.float32)),
        np.full((2, 120), np.nan, np.float32),
        np.full((2, 120), -2e6, np.float32),
        np.full((2, 120), None),
        b"garbage",
    ],
    ids=lambda content: repr(content)[:24],
)
def test_priors_that_are_no_array_of_the_right_kind(bundle_copy, reseal, content):
    path = bundle_copy / "priors.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        save(path, content)
    reseal(bundle_copy)
    assert refused(bundle_copy).startswith(f"{path}: ")


def test_a_profile_over_another_catalogue(bundle_copy, reseal):
    path = bundle_copy / "profile.npz"
    weights = ProfileWeights(
        ("gender=female",), {}, np.array([0, 1]), np.array([120], np.int32), np.ones(1, np.float32)
    )
    weights.write(path)
    reseal(bundle_copy)
    assert refused(bundle_copy).startswith(f"{path}: does not fit a catalogue of 120 items")


def test_new_items_of_another_encoder(bundle_copy, reseal):
    path = bundle_copy / "new_items.npz"
    NewItems.none(31).write(path)
    reseal(bundle_copy)
    assert refused(bundle_copy).startswith(f"{path}: does not fit a catalogue of 120 items with vectors of 32")


def test_vectors_that_are_an_archive(bundle_copy, reseal):
    shutil.copy(bundle_copy / "neighbours.npz", bundle_copy / "vectors.npy")
    reseal(bundle_copy)
    assert "vectors.npy: not an array file" in refused(bundle_copy)


def test_an_index_over_another_number_of_vectors(bundle_copy, reseal, make_generation):
    path = bundle_copy / "index.hnsw"
    make_generation(119, dim=32).index.save(path)
    reseal(bundle_copy)
    assert f"{path}: holds 119 vectors where the catalogue has 120" in refused(bundle_copy)


@pytest.mark.parametrize("content", [b"", b"garbage", b"\x00" * 200])
def test_what_is_no_index(bundle_copy, reseal, content):
    (bundle_copy / "index.hnsw").write_bytes(content)
    reseal(bundle_copy)
    assert "index.hnsw: not an HNSW index" in refused(bundle_copy)


@pytest.mark.parametrize("name", ["scoring.json", "probe.json"])
@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"\xff", b'{"surprise": 1}'])
def test_settings_that_are_garbage(bundle_copy, reseal, name, content):
    (bundle_copy / name).write_bytes(content)
    reseal(bundle_copy)
    bundle = open_bundle(bundle_copy)
    with pytest.raises(BundleError, match=name):
        bundle.read_scoring() if name == "scoring.json" else bundle.read_probe()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("history_limit", 0),
        ("collaborative_half_life", 0),
        ("transitions_half_life", -1),
        ("history_text_half_life", float("inf")),
        ("wish", float("nan")),
        ("transitions", 1e7),
        ("wish_prior", None),
        ("profile", "much"),
        ("profile_text", float("inf")),
        ("context_text", -1e7),
        ("known_events", -1),
        ("origin", "guess"),
    ],
)
def test_a_blend_out_of_its_bounds(bundle_copy, reseal, field, value):
    edit_json(bundle_copy / "scoring.json", **{field: value})
    reseal(bundle_copy)
    assert f"scoring.json: {field}: " in refused(bundle_copy)
