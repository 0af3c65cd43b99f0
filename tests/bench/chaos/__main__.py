"""Kills a server with SIGKILL over and over while it is written to, and looks for what is lost.

    python -m tests.bench.chaos [BUNDLE [OTHER]] [--kills 1000] [--jobs 2]

Several clients write items, users and events to a `tanager-server`, delete items, purge users and send again what was
not answered; an index is made in the background whenever it is due, backups are made one after the other, and two
bundles are activated in turn, or rolled back. It is killed at a random moment, mostly while one of these is under way,
and what it left is looked at: the file must be sound, and have all that was acknowledged and nothing that was
acknowledged to be removed; what was not answered may be there or not, but as a whole. The same holds for every backup,
of what was acknowledged before it began. Started again, the server must listen, serve the bundle that was acknowledged,
and tell of all that.

Each process is forked from one that has imported the server already, or most of the time would go into that. Without
BUNDLE tiny ones are made, with two encoders: a fast encoder changes nothing of what is looked for.

Prints how often it was killed, in the midst of what, and what was found. The exit status is 1 if anything was lost, or
if in 200 kills or more one kind of work was never interrupted.

SIGKILL leaves what the operating system has been given: that a commit reaches the disk is not shown by this.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests import tiny
from tests.bench.chaos.lives import KINDS, run
from tests.bench.chaos.writers import WORK

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.bench.chaos.checks import Findings

    from tanager_server.bundle.manifest import Precision

_MANY = 200
"""Kills after which each kind of work must have been interrupted."""
_BUNDLES = 2
_PRECISIONS: tuple[Precision, ...] = ("fp32", "int8")
"""Of the bundles that are made here."""


def report(findings: Findings) -> Sequence[str]:
    """What is printed."""
    starts, difference = sorted(findings.restart_s), findings.difference
    answered = ", ".join(f"{what} {findings.answered[what]:,}" for what in WORK)
    midst = ", ".join(f"{what} {findings.interrupted[what]:,}" for what in KINDS)
    return (
        f"kill -9                         {findings.kills:,}",
        f"in the midst of                 {midst}",
        f"calls acknowledged              {answered}",
        f"backups made                    {findings.backups:,}",
        f"corrupt loads                   {findings.corrupt + findings.failed_starts}",
        f"corrupt or incomplete backups   {findings.bad_backups}",
        f"acknowledged writes lost        {difference.lost + findings.lost_backups}",
        f"acknowledged removals undone    {difference.back}",
        f"writes kept in part             {difference.torn}",
        f"stored and not served           {findings.unserved}",
        f"calls that failed before a kill {findings.errors}",
        f"files left behind               {findings.leftovers}",
        f"seconds to start again          {starts[len(starts) // 2]:.2f} median, {starts[-1]:.2f} at most",
    )


@contextlib.contextmanager
def _tiny_bundles(count: int) -> Iterator[list[Path]]:
    """Bundles of two encoders."""
    with tempfile.TemporaryDirectory(prefix="tanager-tiny-") as scratch:
        root = Path(scratch)
        if count:
            tiny.make_model(root / "model")
            tiny.make_dataset(root / "dataset")
        for precision in _PRECISIONS[:count]:
            tiny.make_bundle(root / "model", root / "dataset", root / precision, precision=precision)
        yield [root / precision for precision in _PRECISIONS[:count]]


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", type=Path, nargs="*", metavar="BUNDLE", help="two at most; tiny ones by default")
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="servers at a time")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if len(arguments.bundles) > _BUNDLES:
        parser.error("two bundles at most")
    if min(arguments.kills, arguments.jobs) < 1:
        parser.error("--kills and --jobs must be at least 1")
    began = time.monotonic()
    with _tiny_bundles(_BUNDLES - len(arguments.bundles)) as made:
        findings = run(
            [*arguments.bundles, *made], arguments.kills, seed=arguments.seed, jobs=arguments.jobs, tell=_print
        )
    print(*report(findings), f"minutes                         {(time.monotonic() - began) / 60:.1f}", sep="\n")
    never = [kind for kind in KINDS if not findings.interrupted[kind]]
    if never and findings.kills >= _MANY:
        print(f"never interrupted: {', '.join(never)}", file=sys.stderr)
        return 1
    return 0 if findings.sound else 1


def _print(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
