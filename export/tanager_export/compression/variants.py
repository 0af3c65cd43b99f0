"""The encoders that `compress` compares: one model in each precision, and students."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tanager_export.atomic import fresh_directory
from tanager_export.bundle import token_limit
from tanager_export.compression.layers import take_layers
from tanager_export.compression.student import Taught, distil
from tanager_export.model import find_model
from tanager_export.onnx_model import convert, export_onnx
from tanager_export.training.encoder import encode
from tanager_export.training.run import LEARNED_FROM
from tanager_server.bundle import manifest as schema
from tanager_server.runtime import Encoder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from sentence_transformers import SentenceTransformer

    from tanager_export.compression.shape import StudentShape
    from tanager_export.compression.student import DistilOptions, Progress
    from tanager_export.compression.texts import Lesson
    from tanager_export.model import SourceModel
    from tanager_server.bundle import Precision

_log = logging.getLogger(__name__)

_MODULES = "modules.json"


@dataclass(frozen=True, slots=True, eq=False)
class Variant:
    """An encoder as it would be served.

    Attributes:
        name: as it stands in the table.
        encoder: on one thread of the CPU, as the server runs a batch.
        size: of its ONNX file, bytes.
    """

    name: str
    encoder: Encoder
    size: int


def export_variants(
    source: SourceModel, model: SentenceTransformer, directory: Path, *, name: str, precisions: Sequence[Precision]
) -> list[Variant]:
    """Exports a model in some precisions.

    Args:
        source: the model's directory.
        model: the same, loaded.
        directory: to write to; made.
        name: of the model in the table, "" for the one given.
        precisions: which.
    """
    directory.mkdir(parents=True)
    _log.info("exporting %s to ONNX: %s", name or source.name, ", ".join(precisions))
    export_onnx(source, model, directory)
    max_tokens = token_limit(model)
    found = []
    for precision in precisions:
        path = directory / f"{precision}.onnx"
        convert(directory / schema.ENCODER, path, precision=precision)
        encoder = Encoder(
            model_path=path, tokenizer_path=directory / schema.TOKENIZER, max_tokens=max_tokens, threads=1
        )
        found.append(Variant(f"{name}, {precision}" if name else precision, encoder, path.stat().st_size))
    return found


@dataclass(frozen=True, slots=True)
class Student:
    """A student that was taught and saved.

    Attributes:
        shape: what was left of the teacher.
        path: its directory.
        progress: a result an epoch.
    """

    shape: StudentShape
    path: Path
    progress: list[Progress]

    def load(self) -> tuple[SourceModel, SentenceTransformer]:
        """As any model directory is loaded."""
        source = find_model(str(self.path))
        return source, source.load()


class Teacher:
    """Teaches students, each the same lesson.

    Args:
        model: the teacher.
        lesson: what they read.
        texts: of all items, with the prompt that the model wants of documents.
        vectors: (items, dim) float32 of unit length, of these texts, by the teacher.
        query_prompt: what the model wants before a wish.
        learned_from: the key of the run that the model is of, if it is of one; its students say so.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        lesson: Lesson,
        texts: Sequence[str],
        vectors: NDArray[np.float32],
        *,
        query_prompt: str,
        learned_from: Mapping[str, object] | None = None,
    ) -> None:
        self._model, self._learned_from = model, learned_from
        learned = list(lesson.items)
        self._items = Taught([texts[i] for i in learned], vectors[learned])
        self._wishes = self._taught([query_prompt + wish for wish in lesson.wishes], "teacher's vectors")
        unseen = [texts[i] for i in lesson.held_out] + [query_prompt + wish for wish in lesson.held_out_wishes]
        self._validation = self._taught(unseen, "teacher's vectors, held out")

    def teach(self, shape: StudentShape, *, options: DistilOptions, directory: Path, seed: int) -> Student:
        """Teaches a student, or goes on with it where it was left.

        Args:
            shape: what to leave of the teacher.
            options: how.
            directory: gets the student's directory and, beside it, that of its checkpoints.
            seed: of the draws.
        """
        student = take_layers(self._model, shape)
        _log.info("teaching a student of %s", shape)
        progress = distil(
            student,
            self._items,
            self._wishes,
            self._validation,
            options=options,
            directory=directory / f"{shape.code}.training",
            seed=seed,
        )
        target = directory / shape.code
        with fresh_directory(target, marker=_MODULES, overwrite=True) as new:
            student.save(str(new))
            if self._learned_from is not None:
                (new / LEARNED_FROM).write_text(json.dumps(self._learned_from, indent=2) + "\n", encoding="utf-8")
        return Student(shape, target, progress)

    def _taught(self, texts: list[str], describe: str) -> Taught:
        vectors = encode(self._model, texts, describe=describe)
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        return Taught(texts, vectors)
