"""Serves a bundle and loads it by a scenario of `tanager load`; writes build/load/report.html.

python -m tests.bench.run_scenario BUNDLE SCENARIO
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
from pathlib import Path

from tests.bench.contenders.base import BIN, Contender, StartError

RESULTS = Path("build/load")


def main() -> int:
    """Gives the exit status of `tanager load`; 1 if the server does not start."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="bundle to serve")
    parser.add_argument("scenario", type=Path, help="TOML file of options of `tanager load`")
    arguments = parser.parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    report = RESULTS / "report.html"
    try:
        with Contender("tanager", "Tanager", "tanager").running(arguments.bundle, RESULTS) as running:
            # On Ctrl-C the generator reports what it has measured, and ends; this process then ends the server.
            signal.signal(signal.SIGINT, lambda *_: None)
            command = [BIN / "tanager", "load", running.target, "--scenario", arguments.scenario, "--report", report]
            return subprocess.run(command, check=False).returncode
    except StartError as error:
        print(f"run_scenario: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
