"""A whole run: training, what it is made into, and what is served of it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from tests.export.training.made import clusters

from tanager_export.bundle import BundleOptions, build_bundle
from tanager_export.dataset import Interactions
from tanager_export.evaluation.cases import Cases, Histories
from tanager_export.evaluation.leaks import LeakError
from tanager_export.model import find_model
from tanager_export.training import encoder as encoder_module
from tanager_export.training import sequence_onnx
from tanager_export.training.encoder import EncoderOptions
from tanager_export.training.hybrid import Hybrid
from tanager_export.training.run import RunError, TrainOptions, load_run, train
from tanager_export.training.sequence import SequenceOptions
from tanager_export.training.served import run_scores
from tanager_export.training.sparse import dense, sparsest
from tanager_server.bundle import open_bundle
from tanager_server.engine.next_items import NextItems
from tanager_server.engine.ranking import Ranker
from tanager_server.engine.subject import History
from tanager_server.index import Generation
from tanager_server.runtime import SequenceHead as ServedHead

QUICK = TrainOptions(
    encoder=EncoderOptions(epochs=2, block=16, pairs=64, learning_rate=1e-3),
    sequence=SequenceOptions(dim=16, layers=1, epochs=2),
)


@pytest.fixture(scope="module")
def data():
    return clusters()


@pytest.fixture(scope="module")
def base(tiny_model):
    return find_model(str(tiny_model))


@pytest.fixture(scope="module")
def run(base, data, tmp_path_factory):
    return train(base, data, tmp_path_factory.mktemp("runs") / "run", options=QUICK)


def events_with(data, *more: tuple[int, int, int]) -> Interactions:
    old = data.interactions
    user, item, time = (np.array(column) for column in zip(*more, strict=True))
    return Interactions(
        np.concatenate((old.user, user)).astype(np.int32),
        np.concatenate((old.item, item)).astype(np.int32),
        np.concatenate((old.timestamp, time)).astype(np.int64),
        np.concatenate((old.weight, np.ones(len(user)))).astype(np.float32),
        old.user_ids,
    )


def test_a_run_says_what_it_did(run, data):
    manifest = json.loads((run.path / "manifest.json").read_text())
    assert (manifest["protocol"], manifest["hold_out"], len(manifest["windows"])) == ("global-time", False, 3)
    assert [epoch["epoch"] for epoch in manifest["epochs"]] == [0, 1, 2]
    assert manifest["encoder_trained_until"] < manifest["blend_trained_until"] == data.interactions.timestamp.max()
    assert manifest["interactions"] == len(data.interactions)
    assert load_run(run.path).blend == run.blend


def test_what_comes_after_the_cut_is_not_learned_from(base, data, tmp_path):
    """The same run comes of a dataset whose test is another: planted events of the future change nothing."""
    held = replace(QUICK, hold_out=True)
    one = train(base, data, tmp_path / "one", options=held)
    late = np.flatnonzero(data.interactions.timestamp > one.manifest["blend_trained_until"])
    item = data.interactions.item.copy()
    item[late] = (item[late] + 13) % len(data.items)
    other = replace(data, interactions=replace(data.interactions, item=item))
    two = train(base, other, tmp_path / "two", options=held)
    assert one.blend == two.blend
    assert one.manifest["epochs"][1]["loss"] == two.manifest["epochs"][1]["loss"]


def test_texts_that_hold_behaviour_of_the_test_are_refused(base, data, tmp_path):
    late = replace(data, texts_until=int(data.interactions.timestamp.max()))
    with pytest.raises(LeakError, match="its texts hold behaviour"):
        train(base, late, tmp_path / "run", options=replace(QUICK, hold_out=True))
    assert not (tmp_path / "run").exists()


def test_an_interrupted_run_goes_on_and_ends_as_if_it_had_not_been(base, data, run, tmp_path, monkeypatch):
    save = encoder_module._Checkpoint.save

    def killed_after_the_first_epoch(self, results, *, best):
        save(self, results, best=best)
        if len(results) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(encoder_module._Checkpoint, "save", killed_after_the_first_epoch)
    with pytest.raises(KeyboardInterrupt):
        train(base, data, tmp_path / "run", options=QUICK)
    with pytest.raises(RunError, match="go on with tanager-export train"):
        load_run(tmp_path / "run")
    monkeypatch.undo()
    again = train(base, data, tmp_path / "run", options=QUICK)
    assert [e["loss"] for e in again.manifest["epochs"][1:]] == [e["loss"] for e in run.manifest["epochs"][1:]]
    assert again.blend == run.blend


def test_a_run_of_other_data_or_options_is_refused(base, data, run, tmp_path):
    with pytest.raises(RunError, match="other data or options"):
        train(base, data, run.path, options=replace(QUICK, seed=1))
    (tmp_path / "thesis.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(RunError, match="is no run"):
            train(base, data, tmp_path, options=QUICK, overwrite=overwrite)
    assert (tmp_path / "thesis.txt").read_text() == "mine"
    with pytest.raises(RunError, match="make one"):
        load_run(tmp_path)


def test_a_base_that_may_know_the_test_is_refused(run, data, tmp_path):
    """The run held nothing out; its encoder may well be the base of a run that holds nothing out either."""
    base = find_model(str(run.path / "model"))
    with pytest.raises(RunError, match="did not hold out the same test"):
        train(base, data, tmp_path / "leaky", options=replace(QUICK, hold_out=True))
    assert not (tmp_path / "leaky").exists()
    none = replace(QUICK, encoder=replace(QUICK.encoder, epochs=0), sequence=SequenceOptions(epochs=0))
    assert train(base, data, tmp_path / "again", options=none).manifest["hold_out"] is False


def test_what_is_half_removed_is_begun_anew(base, data, tmp_path):
    """A kill between two steps of --overwrite, or before the first file was in its place."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "key.new").write_text("{")
    none = replace(QUICK, encoder=replace(QUICK.encoder, epochs=0), sequence=SequenceOptions(epochs=0))
    train(base, data, tmp_path / "run", options=none)
    (tmp_path / ".run.old").mkdir()
    (tmp_path / ".run.old" / "left").write_text("over")
    other = replace(none, seed=1)
    assert train(base, data, tmp_path / "run", options=other, overwrite=True).seed == 1
    assert not (tmp_path / ".run.old").exists()


@pytest.mark.parametrize("change", ["categories", "domain", "attributes"])
def test_another_catalogue_is_another_dataset(data, change):
    from tanager_export.training.run import fingerprint

    value = {"categories": ("other",), "domain": "other", "attributes": {"year": 1999}}[change]
    items = (replace(data.items[0], **{change: value}), *data.items[1:])
    assert fingerprint(replace(data, items=items)) != fingerprint(data)


def test_a_run_of_another_version_is_refused(run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run.path, copy)
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps(manifest | {"format": 1}))
    with pytest.raises(RunError, match="train it again"):
        load_run(copy)


def test_the_encoder_learns_what_goes_together(base, data, tmp_path):
    """Items of a group, which the same users take up, come nearer to one another than to the others."""
    model = base.load()
    texts = [item.encoder_text for item in data.items]
    encoder_module.centre(model, encoder_module.encode(model, texts))
    group = np.arange(len(texts)) // 8
    same = (group[:, None] == group) & ~np.eye(len(texts), dtype=bool)

    def nearer(vectors):
        cosines = vectors @ vectors.T
        return float(cosines[same].mean() - cosines[group[:, None] != group].mean())

    rows = Histories.of_users(data.interactions, np.arange(60))
    thorough = EncoderOptions(epochs=20, patience=20, block=8, pairs=256, learning_rate=3e-3)
    results = encoder_module.fine_tune(
        model, texts, rows, options=thorough, validate=nearer, directory=tmp_path, seed=0
    )
    assert max(result.validation for result in results) > results[0].validation + 0.1
    losses = [result.loss for result in results if result.loss is not None]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    ("figures", "epochs", "best"),
    [
        ((0.5, 0.2, 0.3, 0.4, 0.6, 0.1), 5, 4),  # what is lost at first is no reason to stop
        ((0.5, 0.4, 0.3, 0.2, 0.9, 0.9), 3, 0),
        ((0.5, 0.6, 0.3, 0.7, 0.2, 0.1), 5, 3),
        ((0.5, 0.6, 0.3, 0.2, 0.9, 0.9), 3, 1),
    ],
)
def test_training_of_the_encoder_stops_when_it_brings_nothing(base, data, tmp_path, figures, epochs, best):
    model, left = base.load(), iter(figures)
    texts = [item.encoder_text for item in data.items]
    encoder_module.centre(model, encoder_module.encode(model, texts))
    seen = []

    def validate(vectors):
        seen.append(vectors)
        return next(left)

    rows = Histories.of_users(data.interactions, np.arange(60))
    few = EncoderOptions(epochs=5, patience=2, block=16, pairs=64, learning_rate=1e-3)
    results = encoder_module.fine_tune(model, texts, rows, options=few, validate=validate, directory=tmp_path, seed=0)
    assert [result.epoch for result in results] == list(range(epochs + 1))
    left_at = encoder_module.encode(model, texts)
    assert np.argmin([np.abs(left_at - vectors).max() for vectors in seen]) == best


@pytest.mark.parametrize("with_sequence", [False, True])
def test_the_server_scores_what_was_trained(run, data, tmp_path, monkeypatch, with_sequence):
    """The list by history, compiled loops, HNSW and all, has the scores of the exact sum."""
    monkeypatch.setattr(sequence_onnx, "_LEAST_OVERLAP", 1.1)  # fp32: int8 is no exact sum
    options = BundleOptions(precision="fp32")
    blend = run.blend
    if with_sequence:
        blend = replace(
            blend, weights={**blend.weights, "sequence": 0.7}, sequence=SequenceOptions(dim=16, layers=1, epochs=3)
        )
    else:
        blend = replace(blend, weights={**blend.weights, "sequence": 0.0}, sequence=None)
    run = replace(run, blend=blend)
    scores = {}

    def fit(vectors):
        scores["vectors"] = vectors
        return run_scores(run, data, vectors)

    build_bundle(run.source, data, tmp_path / "bundle", options=options, fit_scores=fit)
    bundle = open_bundle(tmp_path / "bundle")
    generation, head = Generation.load(bundle), ServedHead.from_bundle(bundle)
    assert generation.scoring.origin == "learned"
    assert (head is not None) == with_sequence
    hybrid = Hybrid.fit(data, data.interactions, scores["vectors"], run.blend)
    following = None if head is None else NextItems(head, weight=generation.scoring.sequence)
    ranker = Ranker(generation)
    users = np.arange(0, 60, 7)
    rows = Histories.of_users(data.interactions, users)
    cases = Cases(users.astype(np.int32), rows, rows, [{}] * len(users), np.zeros(len(users), np.int64))
    exact = hybrid.score(cases)
    for at in range(len(users)):
        history = rows.item[rows.indptr[at] : rows.indptr[at + 1]].tolist()
        known = History(history, [1.0] * len(history), 0)
        if following is not None:
            known = following.expected(known)
        page = ranker.by_history(known, page_size=8, excluded=set(history))
        masked = exact[at].copy()
        masked[history] = -np.inf
        best = np.sort(masked)[::-1][:8]
        np.testing.assert_allclose(page.scores, best, rtol=2e-4, atol=2e-4)
        np.testing.assert_allclose(masked[list(page.positions)], page.scores, rtol=2e-4, atol=2e-4)


def test_the_largest_weights_are_kept_and_some_of_items_little_known():
    random = np.random.default_rng(0)
    weights = random.normal(size=(200, 200)).astype(np.float32)
    little = np.arange(200) >= 130
    weights[:, little] *= 1e-3
    kept = dense(sparsest(weights, little))
    assert ((kept != 0) & ~little).sum(axis=1).tolist() == [100] * 200
    assert ((kept != 0) & little).sum(axis=1).tolist() == [50] * 200
    there = kept != 0
    np.testing.assert_array_equal(kept[there], weights[there])
    for row in range(200):
        left = np.abs(weights[row, ~little & ~there[row]])
        assert left.max() <= np.abs(weights[row, ~little & there[row]]).min()
    assert not dense(sparsest(weights, little, used=False)).any()
