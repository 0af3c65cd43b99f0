"""Tanager beside the same work without a server, other servers, and itself with parts turned off.

    python -m tests.bench.comparison BUNDLE [--quick] [--only NAMES] [--tune]

Each contender is a real process on this machine, started, warmed, measured and ended in turn, several times over, with
the load generator on the same cores. Reported are medians with their range, and ratios taken within a repetition:
machines are shared, so the ratios are what counts. A figure that is missed is reported; only a contender that fails, or
answers wrongly, ends the bench.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.contenders.base import StartError
from tests.bench.figures import spreads
from tests.bench.http_load import LoadError
from tests.bench.load import BenchError
from tests.bench.report import print_report, write_html, write_json
from tests.bench.request_files import make_requests
from tests.bench.turns import ANSWERING, TUNINGS, TURNS, Extent, Setting, Turn, check, run_raw, single, texts

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.bench.figures import Measured

RESULTS = Path("build/bench")
REPETITIONS = 5
FULL = Extent(concurrency=128, duration_s=3.5, warm_up_s=1.0, single=120, overload_s=6.0)
QUICK = Extent(concurrency=64, duration_s=1.5, warm_up_s=0.5, single=50, overload_s=2.0)
# More texts than any run of the above sends.
_TEXTS = 16_000
# Other work on this machine that is worth a note.
_NOTICED_CORES = 0.15


def main() -> int:
    """Measures, prints, and writes build/bench/comparison.json and .html."""
    arguments = _arguments()
    extent = replace(QUICK if arguments.quick else FULL, concurrency=arguments.concurrency)
    repetitions = 1 if arguments.quick else arguments.repetitions
    turns = _tuning_turns() if arguments.tune else TURNS
    chosen = [turn for turn in turns if arguments.only is None or turn.name.partition(":")[0] in arguments.only]
    load_average = os.getloadavg()[0]
    if load_average > _NOTICED_CORES:
        print(f"the machine was not idle before (load {load_average:.1f}): expect wide ranges", file=sys.stderr)
    with tempfile.TemporaryDirectory() as directory:
        scratch = Path(directory)
        files = make_requests(arguments.bundle, scratch, count=_TEXTS)
        setting = Setting(arguments.bundle, files, extent, scratch, expected=[], notes={})
        try:
            measured = [_repeat(setting, chosen, number, repetitions) for number in range(repetitions)]
        except (BenchError, LoadError, StartError) as error:
            print(f"comparison: {error}", file=sys.stderr)
            return 1
    disturbed = [
        f"{name.rpartition('.')[0]} ({spread.most:.1f})"
        for name, spread in spreads(measured).items()
        if name.endswith(".other_cores") and spread.most > _NOTICED_CORES
    ]
    if disturbed:
        setting.notes[f"other work took cores from: {', '.join(disturbed)}; run it again on a quiet machine"] = None
    about = {
        "bundle": str(arguments.bundle),
        "cores": os.cpu_count(),
        "cpu": _cpu_model(),
        "load_average_before": load_average,
        "repetitions": repetitions,
        "concurrency": extent.concurrency,
        "notes": list(setting.notes),
        "tunings": {contender.name: str(contender.tuning) for contender in ANSWERING if contender.tuning},
    }
    print_report(measured, about, figures=not arguments.tune)
    if not arguments.tune:
        RESULTS.mkdir(parents=True, exist_ok=True)
        write_json(RESULTS / "comparison.json", measured, about)
        write_html(RESULTS / "comparison.html", measured, about)
        print(f"\nwritten: {RESULTS}/comparison.json, {RESULTS}/comparison.html")
    return 0


def _repeat(setting: Setting, turns: list[Turn], number: int, repetitions: int) -> Measured:
    """One repetition; every other one goes backwards, so that a drift of the machine favours nobody."""
    print(f"repetition {number + 1} of {repetitions}", file=sys.stderr, flush=True)
    began = time.monotonic()
    work: list[Callable[[Setting], Measured]] = [run_raw, *(turn.run for turn in turns)]
    names = ["raw", *(turn.name for turn in turns)]
    measured: Measured = {}
    for index in range(len(work)) if number % 2 == 0 else reversed(range(len(work))):
        print(f"  {names[index]}", file=sys.stderr, flush=True)
        measured |= work[index](setting)
    print(f"  {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return measured


def _tuning_turns() -> tuple[Turn, ...]:
    """Every way that a framework may be told to work."""
    return tuple(
        Turn(f"{contender.name}:{tuning}", replace(contender, tuning=tuning), (single, check, texts))
        for contender in ANSWERING
        for tuning in TUNINGS.get(contender.name, ())
    )


def _cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _arguments() -> argparse.Namespace:
    names = [turn.name for turn in TURNS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="bundle to serve")
    parser.add_argument("--quick", action="store_true", help="one short repetition, to see that it works")
    parser.add_argument("--only", type=lambda text: text.split(","), help=f"of {','.join(names)}; RAW always runs")
    parser.add_argument("--repetitions", type=int, default=REPETITIONS)
    parser.add_argument("--concurrency", type=int, default=FULL.concurrency, help="requests in flight at saturation")
    parser.add_argument("--tune", action="store_true", help="measure the frameworks in every way they may be told")
    arguments = parser.parse_args()
    unknown = set(arguments.only or ()) - set(names)
    if unknown:
        parser.error(f"--only: no such turn: {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    if not (arguments.bundle / "manifest.json").is_file():
        parser.error(f"{arguments.bundle}: no bundle (it has no manifest.json); make one with `tanager-export bundle`")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
