"""`tanager-export evaluate`: how good the recommendations are, beside tuned baselines."""

from __future__ import annotations

import argparse
import importlib.util
import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tanager_export.dataset import load_dataset
from tanager_export.errors import ExportError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tanager_export.evaluation.experiment.encoder import Encoder
    from tanager_export.evaluation.experiment.result import Result

_log = logging.getLogger(__name__)

INCOMPLETE = 3
"""The exit status when all was measured but what could not be had, for instance because a library is missing."""

_PROTOCOLS = ("global-time", "leave-one-out", "cold-items", "cold-users")
_TRIALS = 20


def add_evaluate_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Adds the command `evaluate`."""
    parser = commands.add_parser(
        "evaluate",
        help="measure recommendations beside tuned baselines",
        description="Splits the dataset, tunes every baseline with the same number of trials on validation, learns the "
        "blend there too, and asks all of them the same: full ranking, seen items masked, ties against whoever has "
        f"them. Exit status {INCOMPLETE} when something that was asked for is missing from the table.",
    )
    parser.add_argument("dataset", metavar="DATASET", type=Path, help="dataset directory")
    parser.add_argument(
        "--model",
        metavar="MODEL_OR_RUN",
        action="append",
        help="what encodes the items: a model directory, a hub id, or a run of `train`, refused where it has seen what "
        "is asked; given again for runs of other seeds, they are taken together (default: all-MiniLM-L6-v2, frozen, "
        "less the catalogue's mean)",
    )
    parser.add_argument(
        "--frozen",
        metavar="MODEL",
        help="what the baselines that read texts encode with (default: all-MiniLM-L6-v2)",
    )
    parser.add_argument(
        "--protocol",
        metavar="A,B,C",
        type=_protocols,
        help=f"how to split: {', '.join(_PROTOCOLS)}; of several those are left out that dataset or run do not "
        "allow; all: all (default: what the dataset's times allow)",
    )
    parser.add_argument(
        "--baselines",
        metavar="A,B,C",
        help="which baselines; each protocol asks those of them that it suits (default: all; none: an empty text)",
    )
    parser.add_argument(
        "--trials", metavar="N", type=_positive, default=_TRIALS, help=f"for each baseline (default: {_TRIALS})"
    )
    seeds = parser.add_mutually_exclusive_group()
    seeds.add_argument(
        "--seed", metavar="N", type=_natural, help="of whatever is random (default: that of the run, or 0)"
    )
    seeds.add_argument("--seeds", metavar="A,B,C", type=_naturals, help="several: figures are over all of them")
    parser.add_argument(
        "--repeats",
        choices=("drop", "count"),
        default="drop",
        help="by leave-one-out, what somebody takes up last and did before as well: left out, or asked all the same "
        "as published splits do, though it is masked (default: drop)",
    )
    parser.add_argument(
        "--no-curve", action="store_true", help="leave out what diversity costs: it takes long on large catalogues"
    )
    parser.add_argument(
        "--served", metavar="ADDRESS", help="ask a running server too, and tell the gap to exact scores in fp32"
    )
    parser.add_argument(
        "--compression", metavar="FILE", type=Path, help="JSON of `compress`, to be shown in the report"
    )
    parser.add_argument("--report", metavar="FILE.html", type=Path, help="write a page with charts")
    parser.add_argument("--output", metavar="FILE.json", type=Path, help="write all figures")
    parser.add_argument("--format", choices=("table", "json"), default="table", help="of stdout (default: table)")
    parser.set_defaults(run=_evaluate)


def _evaluate(arguments: argparse.Namespace) -> int:
    from tanager_export.evaluation.command_table import tables  # these import scipy and torch: only when needed
    from tanager_export.evaluation.experiment.encoder import Encoder
    from tanager_export.evaluation.experiment.plan import BASELINES, Plan
    from tanager_export.evaluation.experiment.run import run
    from tanager_export.evaluation.report.page import page
    from tanager_export.training.windows import protocol_of

    for path in (arguments.report, arguments.output):
        _require_writable(path)
    compression = read_compression(arguments.compression) if arguments.compression else []
    chosen = BASELINES if arguments.baselines is None else tuple(filter(None, arguments.baselines.split(",")))
    for name in chosen:
        if name not in BASELINES:
            raise ExportError(f"--baselines: no {name!r}: there are {', '.join(BASELINES)}")
    missing = importlib.util.find_spec("implicit") is None and {"ials", "bpr"} & set(chosen)
    if missing:
        _log.warning(
            "the library implicit is not installed, so %s will be missing: pip install 'tanager[evaluate]'",
            " and ".join(sorted(missing)),
        )
    dataset = load_dataset(arguments.dataset, progress=True)
    protocols = arguments.protocol or (protocol_of(dataset),)
    encoders = [Encoder.find(model, dataset) for model in arguments.model or [None]]
    frozen = Encoder.find(arguments.frozen, dataset)
    seeds = arguments.seeds or (arguments.seed or 0,)
    for encoder in encoders:
        _log.info("encoder: %s", encoder.provenance)
    given = arguments.seeds is not None or arguments.seed is not None
    if len(encoders) > 1 and given:
        raise ExportError("--seed, --seeds: several runs have seeds of their own: leave it away")
    if len(encoders) > 1 or (encoders[0].run is not None and not given):
        seeds = _seeds_of(encoders)
    plan = Plan(
        protocols,
        baselines=chosen,
        trials=arguments.trials,
        seeds=seeds,
        served=arguments.served,
        repeats=arguments.repeats,
        curve=not arguments.no_curve,
    )
    result = run(dataset, encoders, frozen, plan, strict=len(protocols) == 1)
    result.compression = compression
    figures = json.dumps(result.as_json(), indent=1, ensure_ascii=False, allow_nan=False)
    _write(arguments.output, figures + "\n")
    if arguments.report is not None:
        _write(arguments.report, page(result))
    print(figures if arguments.format == "json" else tables(result))
    return _tell(result)


def _seeds_of(encoders: Sequence[Encoder]) -> tuple[int, ...]:
    """The seeds of runs that are alike in everything else.

    Raises:
        ExportError: they are not.
    """
    runs = [encoder.run for encoder in encoders if encoder.run is not None]
    if len(runs) < len(encoders):
        raise ExportError("--model: several have to be runs of `train`, which differ in their seeds")
    how = [{**run.manifest["options"], "seed": 0, "base": run.manifest.get("base")} for run in runs]
    if any(one != how[0] for one in how):
        raise ExportError("--model: runs of different options are not taken together: give runs that differ in --seed")
    seeds = tuple(run.seed for run in runs)
    if len(set(seeds)) < len(seeds):
        raise ExportError("--model: two runs have the same seed, so they are the same run: give others")
    return seeds


def read_compression(path: Path) -> list[dict[str, object]]:
    """The rows of a table in JSON: a list of objects, by itself or as the one list in an object.

    Raises:
        ExportError: it is none.
    """
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ExportError(f"--compression: {path}: cannot be read: {error}") from error
    lists = [found] if isinstance(found, list) else list(found.values()) if isinstance(found, dict) else []
    for rows in lists:
        if isinstance(rows, list) and rows and all(isinstance(row, dict) for row in rows):
            return rows
    raise ExportError(f"--compression: {path}: holds no list of rows: give the JSON that `compress` wrote")


def _tell(result: Result) -> int:
    for what in result.incomplete:
        print(f"tanager-export: incomplete: {what}", file=sys.stderr)
    return INCOMPLETE if result.incomplete else 0


def _require_writable(path: Path | None) -> None:
    """Better now than after an hour."""
    if path is not None and path.is_dir():
        raise ExportError(f"{path}: is a directory: name a file")


def _write(path: Path | None, text: str) -> None:
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ExportError(f"{path}: cannot be written: {error.strerror}") from error
    _log.info("%s", path)


def _protocols(text: str) -> tuple[str, ...]:
    chosen = _PROTOCOLS if text == "all" else tuple(text.split(","))
    for name in chosen:
        if name not in _PROTOCOLS:
            raise argparse.ArgumentTypeError(f"no {name!r}: there are {', '.join(_PROTOCOLS)}, and all")
    return chosen


def _positive(text: str) -> int:
    value = _natural(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value


def _natural(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise argparse.ArgumentTypeError(f"must be a whole number of up to nine digits, not {text!r}")
    return int(text)


def _naturals(text: str) -> tuple[int, ...]:
    values = tuple(_natural(part) for part in text.split(","))
    if len(set(values)) < len(values):
        raise argparse.ArgumentTypeError("names a seed twice")
    return values
