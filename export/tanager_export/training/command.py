"""`tanager-export train`."""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from tanager_export.dataset import load_dataset
from tanager_export.training.windows import Protocol

if TYPE_CHECKING:
    from tanager_export.training.blend import Blend


def add_train_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command `train`; a parsed `run(arguments)` carries it out and returns the exit code."""
    parser = subparsers.add_parser(
        "train",
        help="fit the encoder, collaborative weights and their blend to behaviour",
        description="Fine-tunes the text encoder to behaviour and learns the blend on windows of validation. If it is "
        "interrupted, the same command goes on. `tanager-export bundle RUN DATASET BUNDLE` makes a bundle of the run.",
    )
    parser.add_argument("dataset", metavar="DATASET", type=Path, help="dataset directory")
    parser.add_argument(
        "run_directory", metavar="RUN", type=Path, help="directory of the run: to make, or to go on with"
    )
    parser.add_argument(
        "--base", metavar="MODEL", help="encoder to start from: directory or hub id (default: MiniLM-L6)"
    )
    parser.add_argument(
        "--protocol",
        choices=("auto", *get_args(Protocol)),
        default="auto",
        help="how windows of validation are cut (default: auto, by global time where the dataset has times)",
    )
    parser.add_argument(
        "--hold-out", action="store_true", help="learn nothing from the test that tanager-export evaluate asks"
    )
    parser.add_argument("--epochs", type=_count, help="of the encoder at most; 0 leaves it as it is (default: 12)")
    parser.add_argument(
        "--sequence-epochs",
        type=_count,
        help="of the sequence head at most, which is kept where validation says that it pays; 0 leaves it out "
        "(default: 60)",
    )
    parser.add_argument("--seed", type=_count, default=0, help="(default: %(default)s)")
    parser.add_argument("--overwrite", action="store_true", help="replace a run of other data or options")
    parser.set_defaults(run=_train)


def _train(arguments: argparse.Namespace) -> int:
    from tanager_export.model import find_model
    from tanager_export.training.encoder import EncoderOptions
    from tanager_export.training.run import TrainOptions, train
    from tanager_export.training.sequence_network import SequenceOptions

    began = time.monotonic()
    encoder = EncoderOptions() if arguments.epochs is None else EncoderOptions(epochs=arguments.epochs)
    sequence = SequenceOptions()
    if arguments.sequence_epochs is not None:
        sequence = replace(sequence, epochs=arguments.sequence_epochs)
    options = TrainOptions(arguments.protocol, arguments.hold_out, encoder, sequence, arguments.seed)
    dataset = load_dataset(arguments.dataset, progress=True)
    base = find_model(arguments.base)
    run = train(base, dataset, arguments.run_directory, options=options, overwrite=arguments.overwrite)
    epochs, loss = run.manifest["epochs"], run.manifest["sparsity_loss"]
    assert isinstance(epochs, list)
    assert isinstance(loss, dict)
    best = max(epochs, key=lambda epoch: epoch["validation"])
    before, after = epochs[0]["validation"], best["validation"]
    weights = ", ".join(f"{name} {weight:.3g}" for name, weight in run.blend.weights.items() if weight)
    rows = (
        ("run", f"{run.path} (trained in {time.monotonic() - began:.0f} s)"),
        ("encoder", f"{len(epochs) - 1} epochs, the best is {best['epoch']}"),
        ("", f"validation {run.manifest.get('validated_by', 'figure')} {before:.4f} before, {after:.4f} after"),
        ("blend", f"validation NDCG@10 {run.blend.ndcg:.4f} over {run.blend.cases:,} cases"),
        ("sequence head", _paid(run.blend)),
        ("weights", weights),
        ("sparse B, T", f"NDCG@10 {loss['ndcg_all_weights']:.4f} with all, {loss['ndcg_top_weights']:.4f} as served"),
    )
    print("\n".join(f"{name:<14} {value}" for name, value in rows))
    return 0


def _paid(blend: Blend) -> str:
    if blend.ndcg_of_trial is None:
        return "not tried"
    without, with_it = blend.ndcg_of_trial
    told = f"NDCG@10 in the last window {without:.4f} without it"
    return f"{told}, {with_it:.4f} with it" if blend.sequence else f"{told}, not surely better with it: off"


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError("an integer from 0")
    return int(text)
