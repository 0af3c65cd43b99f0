"""Students: what is left of the teacher, that teaching teaches, and that a kill costs nothing but the epoch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tanager_export.compression import student as student_module
from tanager_export.compression.layers import StudentError, inner_model, layer_numbers, take_layers
from tanager_export.compression.shape import StudentShape
from tanager_export.compression.student import DistilOptions, Progress, Taught, distil
from tanager_export.dataset import load_dataset
from tanager_export.model import find_model
from tanager_export.training.encoder import encode

OPTIONS = DistilOptions(epochs=4, batch=16, learning_rate=3e-3, patience=10)


@pytest.fixture
def teacher(tiny_model):
    return find_model(str(tiny_model)).load()


@pytest.fixture
def lessons(teacher, tiny_dataset):
    """Items, wishes and validation, with the teacher's vectors."""

    def taught(texts):
        vectors = encode(teacher, texts)
        return Taught(texts, vectors / np.linalg.norm(vectors, axis=1, keepdims=True))

    items = load_dataset(tiny_dataset).items
    return (
        taught([i.text for i in items[::2]]),
        taught([i.title for i in items[::3]]),
        taught([i.text for i in items[1::4]]),
    )


def teach(teacher, lessons, directory, *, options=OPTIONS, layers=1, seed=0):
    student = take_layers(teacher, StudentShape(layers))
    return student, distil(student, *lessons, options=options, directory=directory, seed=seed)


@pytest.mark.parametrize(
    ("teacher_layers", "student_layers", "kept"),
    [
        (6, 6, [0, 1, 2, 3, 4, 5]),
        (6, 3, [0, 2, 5]),
        (6, 2, [0, 5]),
        (6, 1, [5]),
        (12, 4, [0, 4, 7, 11]),
        (2, 2, [0, 1]),
    ],
)
def test_layers_are_taken_evenly_spaced(teacher_layers, student_layers, kept):
    assert layer_numbers(teacher_layers, student_layers) == kept


def test_all_layers_at_full_width_are_the_teacher(teacher):
    texts = ["space war", "love"]
    for shape in (StudentShape(2), StudentShape(2, 64)):
        np.testing.assert_allclose(encode(take_layers(teacher, shape), texts), encode(teacher, texts), atol=1e-5)


def test_the_teacher_keeps_its_layers(teacher):
    before = encode(teacher, ["space war"])
    take_layers(teacher, StudentShape(1, 8))
    np.testing.assert_array_equal(encode(teacher, ["space war"]), before)


def test_what_a_narrowed_part_loses_is_what_did_least(teacher):
    for layer in inner_model(teacher).encoder.layer:
        with torch.no_grad():
            layer.output.dense.weight[:, ::2] = 0  # every other unit does nothing
    narrowed = take_layers(teacher, StudentShape(2, 32))
    np.testing.assert_allclose(encode(narrowed, ["space war"]), encode(teacher, ["space war"]), atol=1e-2)
    assert inner_model(narrowed).encoder.layer[0].intermediate.dense.weight.shape == (32, 32)


def test_a_model_of_another_kind_has_no_students(teacher):
    inner_model(teacher).encoder.layer = None
    with pytest.raises(StudentError, match="--students none"):
        take_layers(teacher, StudentShape(1))


def test_teaching_brings_a_student_nearer_to_its_teacher_and_the_best_epoch_is_kept(teacher, lessons, tmp_path):
    student, progress = teach(teacher, lessons, tmp_path)
    assert [one.epoch for one in progress] == list(range(len(progress)))
    best = max(one.cosine for one in progress)
    assert best > progress[0].cosine
    validation = lessons[2]
    vectors = encode(student, validation.texts)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    assert np.einsum("td,td->t", vectors, validation.vectors).mean() == pytest.approx(best, abs=1e-5)


def test_words_keep_the_embeddings_that_the_teacher_gave_them(teacher, lessons, tmp_path):
    student, _ = teach(teacher, lessons, tmp_path)
    mine, theirs = (inner_model(model).embeddings.word_embeddings.weight for model in (student, teacher))
    assert torch.equal(mine, theirs)


def test_it_goes_on_after_a_kill_as_if_there_had_been_none(teacher, lessons, tmp_path, monkeypatch):
    whole, expected = teach(teacher, lessons, tmp_path / "whole")
    save, saved = student_module._State.save, []

    def killed(self, done, *, best):
        save(self, done, best=best)
        saved.append(best)
        if len(saved) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(student_module._State, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        teach(teacher, lessons, tmp_path / "parts")
    monkeypatch.setattr(student_module._State, "save", save)
    parts, found = teach(teacher, lessons, tmp_path / "parts")
    assert [(one.epoch, one.cosine) for one in found] == [(one.epoch, one.cosine) for one in expected]
    for ours, theirs in zip(parts.parameters(), whole.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("change", [{"seed": 1}, {"options": DistilOptions(epochs=1, batch=16)}, {"layers": 2}])
def test_another_lesson_begins_anew(teacher, lessons, tmp_path, monkeypatch, change):
    teach(teacher, lessons, tmp_path)
    taught = []
    loss = student_module._loss

    def counted(*given):
        taught.append(given)
        return loss(*given)

    monkeypatch.setattr(student_module, "_loss", counted)
    teach(teacher, lessons, tmp_path, **change)
    assert taught


def test_it_stops_where_nothing_gets_better():
    def stands_still(*cosines, patience=2):
        return student_module._stands_still([Progress(at, 0.0, c, 0.0) for at, c in enumerate(cosines)], patience)

    assert not stands_still(0.1, 0.2, 0.3)
    assert not stands_still(0.1, 0.3, 0.2)
    assert stands_still(0.1, 0.3, 0.2, 0.3)
    assert stands_still(0.3, 0.30001, 0.30002)  # as good as nothing
    assert not stands_still(0.1, 0.3, 0.2, 0.4)


def test_the_loss_is_least_at_the_teachers_vectors_and_sees_relations():
    vectors = torch.nn.functional.normalize(torch.randn(8, 4, generator=torch.manual_seed(0)), dim=1)
    assert float(student_module._loss(vectors, vectors, OPTIONS)) == pytest.approx(0, abs=1e-5)
    turned = -vectors  # all relations are kept, and every vector is wrong
    assert float(student_module._loss(turned, vectors, OPTIONS)) == pytest.approx(2, abs=1e-4)
    shuffled = vectors[torch.tensor([1, 0, 3, 2, 5, 4, 7, 6])]
    distance = float((1 - (shuffled * vectors).sum(dim=1)).mean())
    assert float(student_module._loss(shuffled, vectors, OPTIONS)) > distance + 0.1
