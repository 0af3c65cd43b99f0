"""Carries a compression out: exports, teaches, times and evaluates every variant."""

from __future__ import annotations

import logging
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from tanager_export.compression.accuracy import Accuracy, shortened, wish_overlap
from tanager_export.compression.layers import take_layers
from tanager_export.compression.report import Row
from tanager_export.compression.shape import StudentShape
from tanager_export.compression.speed import ROUNDS, compare_speed, tokenising_share
from tanager_export.compression.student import DistilOptions
from tanager_export.compression.texts import lesson, spoken_wishes
from tanager_export.compression.variants import Teacher, Variant, export_variants
from tanager_export.errors import ExportError
from tanager_export.model import Prompts
from tanager_export.training.run import learned_from

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from tanager_export.compression.variants import Student
    from tanager_export.dataset import Dataset
    from tanager_export.model import SourceModel

_log = logging.getLogger(__name__)

_BASE = "int8"
_QUERIES_ONLY = ", queries"
_WISHES_AN_ITEM = 3
_WISHES_ASKED = 300
_FEWEST_ITEMS = 2


@dataclass(frozen=True, slots=True)
class CompressOptions:
    """What to compare.

    Attributes:
        students: their shapes.
        dims: lengths to cut vectors to.
        distil: how students are taught.
        texts: encoded in a round of timing.
        rounds: of timing.
        hybrid: whether N@10 of the hybrid is measured.
        seed: of all draws.
    """

    students: tuple[StudentShape, ...] = (StudentShape(3), StudentShape(2))
    dims: tuple[int, ...] = (256, 192, 128, 64)
    distil: DistilOptions = field(default_factory=DistilOptions)
    texts: int = 600
    rounds: int = ROUNDS
    hybrid: bool = True
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Measured:
    """What came out.

    Attributes:
        model: its name.
        dataset: its name.
        protocol: of the split.
        cases: of the split.
        wishes: how many of each kind were asked.
        rows: a variant each, the uncompressed model first.
        tokenising: share of its time that goes into tokens, of some variants.
        students: what each learned, epoch by epoch.
        seed: of all draws.
    """

    model: str
    dataset: str
    protocol: str
    cases: int
    wishes: Mapping[str, int]
    rows: Sequence[Row]
    tokenising: Mapping[str, float]
    students: Sequence[Student]
    seed: int

    def record(self) -> dict[str, object]:
        """As JSON has it."""
        return {
            "model": self.model,
            "dataset": self.dataset,
            "protocol": self.protocol,
            "cases": self.cases,
            "seed": self.seed,
            "wishes": dict(self.wishes),
            "variants": [row.record() for row in self.rows],
            "tokenising_share": dict(self.tokenising),
            "students": [
                {
                    "student": str(student.shape),
                    "epochs": [{"epoch": p.epoch, "cosine": p.cosine, "seconds": p.seconds} for p in student.progress],
                }
                for student in self.students
            ],
        }


def measure(source: SourceModel, dataset: Dataset, students: Path, *, options: CompressOptions) -> Measured:
    """Makes every variant of a model and measures it.

    Args:
        source: the uncompressed model.
        dataset: its texts are encoded, its behaviour tells what a recommendation is worth.
        students: directory for students and their checkpoints.
        options: what to compare.

    Raises:
        ExportError: the dataset tells nothing of recommendations, or the model cannot be exported, or has no students.
    """
    if len(dataset.items) < _FEWEST_ITEMS:
        raise ExportError(f"{dataset.name}: one item alone is always the nearest: compress needs a catalogue")
    model = source.load()
    for shape in options.students:
        take_layers(model, shape)  # refuses now what would be refused after an hour
    prompts = Prompts.of(model)
    texts = [prompts.item + item.encoder_text for item in dataset.items]
    taught = lesson(dataset.items, wishes_an_item=_WISHES_AN_ITEM, seed=options.seed)
    wishes = {
        kind: [prompts.query + wish for wish in asked]
        for kind, asked in spoken_wishes(
            dataset.items, taught.held_out, most=_WISHES_ASKED, seed=options.seed + 1
        ).items()
    }
    with tempfile.TemporaryDirectory(prefix="tanager-compress-") as scratch:
        base = Path(scratch)
        variants = export_variants(source, model, base / "given", name="", precisions=("fp32", "fp16", "int8"))
        exact, exact_wishes = (
            _encode(variants[0], texts),
            {k: variants[0].encoder.encode_texts(w) for k, w in wishes.items()},
        )
        accuracy = Accuracy(dataset, exact, seed=options.seed, hybrid=options.hybrid)
        made: list[Student] = []
        if options.students:
            teacher = Teacher(
                model, taught, texts, exact, query_prompt=prompts.query, learned_from=learned_from(source.path)
            )
            for shape in options.students:
                made.append(teacher.teach(shape, options=options.distil, directory=students, seed=options.seed))
                variants += export_variants(
                    *made[-1].load(), base / shape.code, name=str(shape), precisions=("fp32", "int8")
                )
        sample = _sample(texts, options.texts, seed=options.seed)
        _log.info("timing %d encoders over %d texts", len(variants), len(sample))
        speeds = compare_speed(
            {variant.name: variant.encoder for variant in variants}, sample, against=_BASE, rounds=options.rounds
        )
        held_out = list(taught.held_out)
        rows: list[Row] = []

        def add(
            name: str,
            variant: Variant,
            vectors: NDArray[np.float32],
            said: Mapping[str, NDArray[np.float32]],
            dim: int | None = None,
        ) -> None:
            _log.info("evaluating %s", name)
            cut = vectors if dim is None else shortened(vectors, dim)
            asked = said if dim is None else {kind: shortened(rows, dim) for kind, rows in said.items()}
            text, hybrid = accuracy.price(cut)
            overlap = wish_overlap(exact_wishes, exact, asked, cut)
            speed = speeds[variant.name]
            rows.append(Row(name, variant.size, cut.nbytes, cut.shape[1], speed, text, hybrid, overlap))

        for variant in variants:
            vectors = exact if variant is variants[0] else _encode(variant, texts)
            said = {kind: variant.encoder.encode_texts(asked) for kind, asked in wishes.items()}
            add(variant.name, variant, vectors, said)
            if variant.name == _BASE:
                for dim in options.dims:
                    if dim < vectors.shape[1]:
                        add(f"{_BASE}, first {dim}", variant, vectors, said, dim)
            elif variant.name.endswith(_BASE):
                # A student gives the model's vectors, so the model can encode the catalogue once, at export.
                mixed = exact.copy()
                mixed[held_out] = vectors[held_out]
                add(f"{variant.name}{_QUERIES_ONLY}", variant, mixed, said)
        tokenising = {
            variant.name: tokenising_share(variant.encoder, sample)
            for variant in variants
            if variant.name.endswith(_BASE)
        }
    return Measured(
        model=source.name,
        dataset=dataset.name,
        protocol=accuracy.split.name,
        cases=len(accuracy.split.cases),
        wishes={kind: len(asked) for kind, asked in wishes.items()},
        rows=rows,
        tokenising=tokenising,
        students=made,
        seed=options.seed,
    )


def _encode(variant: Variant, texts: Sequence[str]) -> NDArray[np.float32]:
    with tqdm(total=len(texts), desc=f"encoding, {variant.name}", unit="text", leave=False, disable=None) as bar:
        return variant.encoder.encode_texts(texts, progress=bar.update)


def _sample(texts: Sequence[str], count: int, *, seed: int) -> list[str]:
    chosen = np.random.default_rng(seed).permutation(len(texts))[:count]
    return [texts[i] for i in chosen]
