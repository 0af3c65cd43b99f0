"""Model and dataset to a bundle: that it opens, that what it says of itself is true, that it is whole or not there."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tanager_export import bundle as bundle_module
from tanager_export import quality
from tanager_export.atomic import TargetError
from tanager_export.bundle import BundleOptions, Scores, build_bundle
from tanager_export.dataset import Dataset, Interactions, Item, load_dataset
from tanager_export.model import find_model
from tanager_export.quality import ParityBound, ParityError
from tanager_server.bundle import Item as BundleItem
from tanager_server.bundle import Manifest, Neighbours, Precision, ProfileWeights, open_bundle
from tanager_server.bundle.manifest import CONTENT_FILES, MANIFEST
from tanager_server.index import Generation
from tanager_server.runtime import Encoder

FP32 = BundleOptions(precision="fp32")


@pytest.fixture(scope="session")
def dataset(tiny_dataset: Path) -> Dataset:
    return load_dataset(tiny_dataset)


def small(*items: Item) -> Dataset:
    return Dataset(
        name="small", items=items or (Item("a", text="space"), Item("b", text="love"), Item("c", text="war"))
    )


def build(model: Path, dataset: Dataset, target: Path, options: BundleOptions = FP32) -> Manifest:
    return build_bundle(find_model(str(model)), dataset, target, options=options)


def items_of(bundle: Path) -> list[BundleItem]:
    return [BundleItem.model_validate_json(line) for line in (bundle / "items.jsonl").read_bytes().splitlines()]


def serve(bundle: Path) -> Generation:
    """Opens a bundle as the server does, its probe included."""
    opened = open_bundle(bundle)
    assert Encoder.from_bundle(opened).check_probe(opened.read_probe()) > 0.9999
    return Generation.load(opened)


class TestContents:
    def test_the_server_opens_it(self, tiny_bundle, dataset):
        generation = serve(tiny_bundle)
        assert generation.catalogue.ids == [item.id for item in dataset.items]
        assert generation.index.search(generation.vectors[7:8], 1).positions.tolist() == [[7]]

    def test_the_vectors_are_the_models_of_the_items_texts(self, tiny_bundle, tiny_model, dataset):
        expected = (
            find_model(str(tiny_model))
            .load()
            .encode([item.text for item in dataset.items], normalize_embeddings=True, show_progress_bar=False)
        )
        np.testing.assert_allclose(open_bundle(tiny_bundle).read_vectors(), expected, atol=1e-5)

    def test_an_items_popularity_is_the_number_of_its_users(self, tiny_bundle, dataset):
        taken = list(zip(dataset.interactions.user.tolist(), dataset.interactions.item.tolist(), strict=True))
        counted = [len({user for user, item in taken if item == position}) for position in range(len(dataset.items))]
        assert [item.popularity for item in items_of(tiny_bundle)] == counted
        assert max(counted) > 0

    def test_neighbours_are_items_that_the_same_users_take_up(self, tiny_bundle, dataset):
        neighbours = open_bundle(tiny_bundle).read_neighbours()
        row = int(dataset.interactions.item[0])
        weights = neighbours.weighted_sum(np.array([row]), np.array([1.0], np.float32))
        assert dataset.items[int(weights.argmax())].categories == dataset.items[row].categories

    def test_scores_that_are_not_fitted_know_neither_order_nor_profiles(self, tiny_bundle):
        generation = serve(tiny_bundle)
        users = generation.catalogue.popularity
        np.testing.assert_allclose(generation.priors[0], 0.05 * np.log1p(users), atol=1e-7)
        assert not generation.priors[1].any()
        assert (len(generation.transitions.weights), generation.profile.attributes) == (0, ())
        assert generation.scoring.origin == "default"

    def test_scores_that_were_fitted_are_served_as_they_are(self, tiny_model, tmp_path):
        one = (np.array([2], np.int32), np.array([0.5], np.float32))
        scores = Scores(
            neighbours=Neighbours(np.array([0, 1, 1, 1]), *one),
            transitions=Neighbours(np.array([0, 0, 1, 1]), *one),
            priors=np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
            profile=ProfileWeights(("age=18-24",), {"age=18-24": (18, 25)}, np.array([0, 1]), *one),
            scoring=bundle_module.DEFAULT_SCORING.model_copy(update={"origin": "learned", "known_events": 7.0}),
            fitted_to=0,
        )
        build_bundle(find_model(str(tiny_model)), small(), tmp_path / "b", options=FP32, fit_scores=lambda _: scores)
        served = serve(tmp_path / "b")
        for part in ("neighbours", "transitions", "profile"):
            for name in ("indptr", "indices", "weights"):
                expected = getattr(getattr(scores, part), name)
                np.testing.assert_array_equal(getattr(getattr(served, part), name), expected, strict=True)
        np.testing.assert_array_equal(served.priors, scores.priors)
        assert (served.scoring, served.profile.ranges) == (scores.scoring, scores.profile.ranges)

    def test_the_probe_spans_the_catalogue_from_the_shortest_text_to_the_longest(self, tiny_bundle, dataset):
        probe = open_bundle(tiny_bundle).read_probe()
        lengths = [len(item.text) for item in dataset.items]
        assert [len(probe.texts[0]), len(probe.texts[-1])] == [min(lengths), max(lengths)]
        assert len(probe.vectors) == len(probe.texts) == 16

    def test_items_are_kept_as_they_are(self, tiny_model, tmp_path):
        original = Item(
            id="三体 1",
            title="三体 (The Three-Body Problem)",
            text='first contact\nand "war" \u2028 in space 🚀',
            domain="book",
            categories=("科幻", "hard sf"),
            attributes={"creators": ("刘慈欣", "Ken Liu"), "year": 2008, "rating": 4.0, "prize": True, "none": ()},
        )
        build(tiny_model, small(original, Item("b", text="love")), tmp_path / "b")
        item = items_of(tmp_path / "b")[0]
        assert (item.id, item.title, item.text, item.domain) == (
            original.id,
            original.title,
            original.text,
            original.domain,
        )
        assert item.categories == original.categories
        attributes = {"creators": ["刘慈欣", "Ken Liu"], "year": 2008, "rating": 4.0, "prize": True, "none": []}
        assert item.attributes == attributes
        assert {key: type(value) for key, value in item.attributes.items()} == {
            key: type(value) for key, value in attributes.items()
        }

    def test_an_item_without_text_is_read_by_its_title(self, tiny_model, tmp_path):
        build(tiny_model, small(Item("a", title="space", text=" "), Item("b", text="space")), tmp_path / "b")
        assert [item.text for item in items_of(tmp_path / "b")] == ["space", "space"]
        first, second = open_bundle(tmp_path / "b").read_vectors()
        np.testing.assert_allclose(first, second, atol=1e-6)

    def test_the_models_prompt_is_put_before_every_item_and_its_default_one_nowhere(self, tiny_model, tmp_path):
        model = shutil.copytree(tiny_model, tmp_path / "model")
        parts = [("", "Transformer"), ("1_Pooling", "Pooling")]
        modules = [
            {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{name}"}
            for i, (path, name) in enumerate(parts)
        ]
        prompts = {"prompts": {"query": "war ", "document": "music "}, "default_prompt_name": "query"}
        (model / "modules.json").write_text(json.dumps(modules))
        (model / "1_Pooling").mkdir()
        (model / "1_Pooling" / "config.json").write_text('{"word_embedding_dimension": 32}')
        (model / "config_sentence_transformers.json").write_text(json.dumps(prompts))
        manifest = build(model, small(), tmp_path / "b")
        assert (manifest.encoder.item_prompt, manifest.encoder.query_prompt) == ("music ", "war ")
        encoder = Encoder.from_bundle(open_bundle(tmp_path / "b"))
        expected = encoder.encode_texts(["music space", "music love", "music war"])
        np.testing.assert_allclose(open_bundle(tmp_path / "b").read_vectors(), expected, atol=1e-5)
        assert [item.text for item in items_of(tmp_path / "b")] == ["space", "love", "war"]


class TestManifest:
    def test_it_tells_what_went_in(self, tiny_bundle, tiny_model, dataset):
        manifest = open_bundle(tiny_bundle).manifest
        weights = hashlib.sha256((tiny_model / "model.safetensors").read_bytes()).hexdigest()
        assert (manifest.model.name, manifest.model.source) == ("tiny", "directory")
        assert manifest.model.weights_sha256 == weights
        assert manifest.dataset.model_dump() == {
            "name": "tiny",
            "simulated_behaviour": True,
            "items": len(dataset.items),
            "users": 40,
            "interactions": len(dataset.interactions),
        }

    def test_it_tells_what_the_encoder_is(self, tiny_bundle):
        assert open_bundle(tiny_bundle).manifest.encoder.model_dump() == {
            "precision": "fp32",
            "dim": 32,
            "max_tokens": 64,
            "pooling": "mean",
            "item_prompt": "",
            "query_prompt": "",
            "profile_prompt": "",
            "context_prompt": "",
        }

    def test_every_file_is_there_with_the_size_and_hash_that_it_states(self, tiny_bundle):
        stated = json.loads((tiny_bundle / MANIFEST).read_text())["files"]
        assert {path.name for path in tiny_bundle.iterdir()} == {*stated, MANIFEST} == {*CONTENT_FILES, MANIFEST}
        for name, info in stated.items():
            content = (tiny_bundle / name).read_bytes()
            assert info == {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}

    def test_the_quality_report_is_complete_and_within_bounds(self, tiny_bundle, dataset):
        report = dict(open_bundle(tiny_bundle).manifest.quality)
        assert all(math.isfinite(value) for value in report.values())
        assert report.pop("encode_texts_per_s") > 0
        assert report.pop("fitted_to_interactions") == len(dataset.interactions)
        assert report.pop("parity_texts") == len(dataset.items)
        assert 0.95 < report.pop("index_recall_at_10") <= 1
        for name, bound in (("onnx", quality.ONNX_BOUND), ("quantized", quality.PRECISION_BOUNDS["fp32"])):
            assert bound.cosine_mean <= report.pop(f"{name}_cosine_mean") < 1.00001
            assert bound.cosine_min <= report.pop(f"{name}_cosine_min") < 1.00001
            assert bound.top10_overlap <= report.pop(f"{name}_top10_overlap") <= 1
        assert report == {}

    def test_it_names_the_versions_that_made_it(self, tiny_bundle):
        tools = open_bundle(tiny_bundle).manifest.tools
        assert {"tanager", "torch", "transformers", "optimum", "onnx", "onnxruntime", "hnswlib", "python"} <= set(tools)
        assert tools["numpy"] == np.__version__

    @pytest.mark.parametrize("precision", ["int8", "fp16"])
    def test_a_bundle_in_fewer_bits(self, tiny_model, dataset, tiny_bundle, tmp_path, precision: Precision):
        manifest = build(tiny_model, dataset, tmp_path / "b", BundleOptions(precision=precision))
        assert manifest.encoder.precision == precision
        generation = serve(tmp_path / "b")
        assert generation.manifest == manifest
        exact = open_bundle(tiny_bundle).read_vectors()
        assert not np.array_equal(generation.vectors, exact)
        cosines = (generation.vectors * exact).sum(axis=1)
        assert manifest.quality["quantized_cosine_mean"] == pytest.approx(cosines.mean(), abs=1e-6)
        assert manifest.quality["quantized_cosine_min"] == pytest.approx(cosines.min(), abs=1e-6)

    def test_the_same_inputs_make_the_same_bundle(self, tiny_model, dataset, tiny_bundle, tmp_path):
        build(tiny_model, dataset, tmp_path / "b")
        for name in set(CONTENT_FILES) - {"encoder.onnx", "index.hnsw"}:
            assert (tmp_path / "b" / name).read_bytes() == (tiny_bundle / name).read_bytes(), name

    @pytest.mark.parametrize(
        ("model_limit", "tokenizer_limit", "expected"),
        [(256, 512, 256), (512, 128, 128), (None, 512, 512), (None, int(1e30), 512), (int(1e30), int(1e30), 512)],
    )
    def test_the_limit_in_tokens_is_the_least_that_is_stated(self, model_limit, tokenizer_limit, expected):
        model: Any = SimpleNamespace(
            max_seq_length=model_limit, tokenizer=SimpleNamespace(model_max_length=tokenizer_limit)
        )
        assert bundle_module.token_limit(model) == expected


class TestUnusualCatalogues:
    def test_one_item(self, tiny_model, tmp_path):
        build(tiny_model, small(Item("only", text="space")), tmp_path / "b")
        generation = serve(tmp_path / "b")
        assert generation.index.search(generation.vectors, 10).positions.tolist() == [[0]]

    def test_two_items(self, tiny_model, tmp_path):
        build(tiny_model, small(Item("a", text="space"), Item("b", text="love")), tmp_path / "b")
        assert len(serve(tmp_path / "b").catalogue) == 2

    @pytest.mark.parametrize("precision", ["fp32", "int8"])
    def test_items_with_the_same_text(self, tiny_model, tmp_path, precision: Precision):
        """Which of a hundred equal items are each other's neighbours is chance, and no reason to refuse."""
        texts = [f"{topic} {'war ' * length}" for topic in ("space", "love", "music") for length in (0, 3, 7, 20)]
        items = [Item(f"{number}-{text}", text=text) for text in texts for number in range(45)]
        manifest = build(tiny_model, small(*items), tmp_path / "b", BundleOptions(precision=precision))
        assert manifest.quality["onnx_top10_overlap"] > 0.99
        assert len(serve(tmp_path / "b").catalogue) == len(items)

    def test_texts_longer_than_the_model_reads_are_cut(self, tiny_model, tmp_path):
        cut, longer = "space " * 62, "space " * 5000 + "war"
        build(tiny_model, small(Item("a", text=cut), Item("b", text=longer), Item("c", text="war")), tmp_path / "b")
        first, second, third = serve(tmp_path / "b").vectors
        np.testing.assert_allclose(first, second, atol=1e-6)
        assert first @ third < 0.999

    def test_items_that_nobody_took_up(self, tiny_model, tmp_path):
        manifest = build(tiny_model, small(), tmp_path / "b")
        assert (manifest.dataset.users, manifest.dataset.interactions) == (0, 0)
        generation = serve(tmp_path / "b")
        assert generation.catalogue.popularity.tolist() == [0, 0, 0]
        assert len(generation.neighbours.weights) == 0

    def test_dislikes_are_no_popularity(self, tiny_model, tmp_path):
        interactions = Interactions(
            user=np.array([0, 0, 1], np.int32),
            item=np.array([0, 1, 0], np.int32),
            timestamp=np.zeros(3, np.int64),
            weight=np.array([1, -1, 1], np.float32),
            user_ids=("u", "v"),
        )
        build(tiny_model, replace(small(), interactions=interactions), tmp_path / "b")
        assert [item.popularity for item in items_of(tmp_path / "b")] == [2, 0, 0]


IMPOSSIBLE = ParityBound(cosine_mean=1.1, cosine_min=0.0, top10_overlap=0.0)


class TestWholeOrNotAtAll:
    @pytest.mark.parametrize("which", ["onnx", "precision"])
    def test_a_model_under_the_parity_gate_leaves_nothing(self, tiny_model, tmp_path, monkeypatch, which):
        if which == "onnx":
            monkeypatch.setattr(quality, "ONNX_BOUND", IMPOSSIBLE)
            told = "ONNX against torch: cosine_mean 1.0000 (at least 1.1); nothing was written. This model"
        else:
            monkeypatch.setitem(quality.PRECISION_BOUNDS, "fp32", IMPOSSIBLE)
            told = "fp32 against fp32: cosine_mean 1.0000 (at least 1.1); nothing was written. Choose a higher"
        with pytest.raises(ParityError) as raised:
            build(tiny_model, small(), tmp_path / "parent" / "b")
        assert str(raised.value).startswith(told)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("error", [ParityError, KeyboardInterrupt, MemoryError])
    def test_whatever_breaks_it_off_leaves_the_previous_bundle(
        self, tiny_model, tiny_bundle, tmp_path, monkeypatch, error
    ):
        shutil.copytree(tiny_bundle, tmp_path / "b")
        before = open_bundle(tmp_path / "b").manifest

        def breaks_off(*_args, **_options):
            raise error

        monkeypatch.setattr(bundle_module, "ease_neighbours", breaks_off)
        with pytest.raises(error):
            build(tiny_model, small(), tmp_path / "b", replace(FP32, overwrite=True))
        assert open_bundle(tmp_path / "b").manifest == before
        assert [path.name for path in tmp_path.iterdir()] == ["b"]

    def test_a_bundle_that_is_there_is_replaced_only_when_asked(self, tiny_model, tiny_bundle, tmp_path):
        shutil.copytree(tiny_bundle, tmp_path / "b")
        with pytest.raises(TargetError, match="b: is there already; choose another name, or --overwrite"):
            build(tiny_model, small(), tmp_path / "b")
        assert open_bundle(tmp_path / "b").manifest.dataset.name == "tiny"
        manifest = build(tiny_model, small(), tmp_path / "b", replace(FP32, overwrite=True))
        assert open_bundle(tmp_path / "b").manifest == manifest
        assert manifest.dataset.name == "small"
        assert [path.name for path in tmp_path.iterdir()] == ["b"]

    def test_what_is_no_bundle_is_never_replaced(self, tiny_model, tmp_path):
        """A web application too has a manifest.json."""
        (tmp_path / "app").mkdir()
        (tmp_path / "app" / "manifest.json").write_text('{"name": "My app"}')
        with pytest.raises(TargetError, match="app: holds something else"):
            build(tiny_model, small(), tmp_path / "app", replace(FP32, overwrite=True))
        assert [path.name for path in (tmp_path / "app").iterdir()] == ["manifest.json"]

    def test_the_target_may_lie_on_another_file_system_than_temporary_files(self, tiny_model, tmp_path, monkeypatch):
        rename = os.rename

        def within_a_directory(source, target, **options):
            if Path(source).parent != Path(target).parent:
                raise OSError(errno.EXDEV, "Invalid cross-device link")
            rename(source, target, **options)

        monkeypatch.setattr(os, "rename", within_a_directory)
        build(tiny_model, small(), tmp_path / "b")
        serve(tmp_path / "b")
