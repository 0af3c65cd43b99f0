"""`tanager-server` with a session that fails when a text asks for it: for the tests of faults.

A text with the word `raise` makes its batch fail, `nan` gives a vector that is none, `hold` keeps the batch until the
process gets SIGUSR1 (one batch for each); that a batch is held is told on stderr. `--batch-s` is the least time that
a batch takes. All else is the real server.
"""

from __future__ import annotations

import argparse
import queue
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np

from tanager_server import cli
from tanager_server.runtime import Encoder

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from tanager_server.runtime.session import Runner

PROGRAM = (sys.executable, Path(__file__))
"""What `tests.support.ServerProcess` is to run."""
ONE_AT_A_TIME = ("--encoder.workers", "1", "--encoder.threads", "1", "--cache.max-mb", "0")
"""Options by which a batch that is held holds up all texts that come later."""
FAULTS = ("raise", "nan", "hold")
HELD = "held"
"""The line that tells that a batch is held."""


class FaultyRunner:
    """Runs another runner's batches, with the faults that their texts ask for.

    Args:
        runner: what really runs them.
        token_ids: of a text.
        batch_s: the least time that a batch takes.
        released: has a permit for each batch that need not be held any more.
    """

    def __init__(
        self,
        runner: Runner,
        *,
        token_ids: Callable[[str], list[int]],
        batch_s: float,
        released: queue.SimpleQueue[None],
    ) -> None:
        self._runner = runner
        self._marks = {fault: _written(token_ids(fault)) for fault in FAULTS}
        self._batch_s = batch_s
        self._released = released

    def run(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """See `Runner`."""
        began = time.monotonic()
        if self._rows("hold", ids):
            sys.stderr.write(f"{HELD}\n")
            sys.stderr.flush()
            self._released.get()
        if self._rows("raise", ids):
            raise RuntimeError("the fault that a text asked for")
        vectors = self._runner.run(ids, mask)
        vectors[self._rows("nan", ids)] = np.nan
        time.sleep(max(0.0, began + self._batch_s - time.monotonic()))
        return vectors

    def _rows(self, fault: str, ids: NDArray[np.int64]) -> list[int]:
        return [row for row, tokens in enumerate(ids.tolist()) if self._marks[fault] in _written(tokens)]


def _written(tokens: list[int]) -> str:
    return " ".join(["", *map(str, tokens), ""])


def main() -> int:
    """Runs the server."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--batch-s", type=float, default=0.0)
    own, rest = parser.parse_known_args()
    # A signal can interrupt the handler of the one before; of what wakes a thread, this alone may be entered again.
    released: queue.SimpleQueue[None] = queue.SimpleQueue()
    signal.signal(signal.SIGUSR1, lambda *_: released.put(None))

    class FaultyEncoder(Encoder):
        def __init__(self, **arguments: Any) -> None:
            super().__init__(**arguments)
            self._runner = FaultyRunner(
                self._runner,
                token_ids=lambda text: list(self._tokenizer.encode(text, add_special_tokens=False).ids),
                batch_s=own.batch_s,
                released=released,
            )

    with mock.patch.object(cli, "Encoder", FaultyEncoder):
        return cli.main(rest)


if __name__ == "__main__":
    sys.exit(main())
