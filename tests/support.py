"""A real server process, for the end-to-end tests and the benches."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Sequence
    from types import TracebackType

BIN = Path(sys.executable).parent
TIMEOUT_S = 60.0
# To write its metrics keeps the server from its calls.
_POLL_PAUSE_S = 0.02

Metrics = dict[str, float]


class ServerProcess:
    """`tanager-server` on free ports of the loopback interface; its log is read as it comes.

    Args:
        bundle: what to serve.
        options: further options of the command.
        program: what to run in the place of `tanager-server`.
        timeout_s: how long it may say nothing while it is waited for.

    As a context manager it waits until the server listens, and ends it.
    """

    def __init__(
        self,
        bundle: Path,
        *options: str,
        program: Sequence[str | Path] = (BIN / "tanager-server",),
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._process = subprocess.Popen(
            [*program, "--bundle", bundle, "--port", "0", "--metrics.port", "0", *options],
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        self.pid, self._timeout_s = self._process.pid, timeout_s
        self.log: list[dict[str, Any]] = []
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.port = 0
        self.metrics_port = 0

    def __enter__(self) -> Self:
        listening = self.wait_for("listening")
        self.port = listening["port"]
        self.metrics_port = listening["metrics_port"]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.terminate()
        self.wait()

    @property
    def address(self) -> str:
        """host:port of gRPC."""
        return f"127.0.0.1:{self.port}"

    def wait_for(self, message: str, **fields: object) -> dict[str, Any]:
        """Reads the log until a record with this message and these fields.

        Raises:
            AssertionError: the server ended, or said nothing for too long.
        """
        while True:
            try:
                line = self._lines.get(timeout=self._timeout_s)
            except queue.Empty:
                raise AssertionError(f"no {message!r} in the log: {self.log}") from None
            if line is None:
                raise AssertionError(f"the server ended before {message!r}: {self.log}")
            record = json.loads(line) if line.startswith("{") else {"message": line.rstrip("\n")}
            self.log.append(record)
            if record["message"] == message and fields.items() <= record.items():
                return record

    def metrics(self) -> Metrics:
        """What the server counts, by name and labels as they stand in its metrics."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=TIMEOUT_S) as response:
            lines = response.read().decode().splitlines()
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line[:1] != "#")}

    def wait_until(self, condition: Callable[[Metrics], bool], *, timeout_s: float = TIMEOUT_S) -> Metrics:
        """Reads the metrics until they are as they should be.

        Raises:
            AssertionError: they were not within this time.
        """
        end = time.monotonic() + timeout_s
        while not condition(metrics := self.metrics()):
            assert time.monotonic() < end, f"not within {timeout_s:g} s: {metrics}"
            time.sleep(_POLL_PAUSE_S)
        return metrics

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal."""
        os.kill(self.pid, number)

    def terminate(self) -> None:
        """Sends SIGTERM."""
        self._process.terminate()

    def kill(self) -> None:
        """Sends SIGKILL."""
        self._process.kill()

    def wait(self) -> int:
        """Waits for the end; gives the exit status."""
        status = self._process.wait(TIMEOUT_S)
        self._reader.join(TIMEOUT_S)
        assert self._process.stderr is not None
        self._process.stderr.close()
        return status

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._lines.put(line)
        self._lines.put(None)


def start_and_fail(bundle: Path, *options: str) -> str:
    """Starts a server that cannot start; gives what it says on stderr."""
    ended = subprocess.run(
        [BIN / "tanager-server", "--bundle", bundle, "--port", "0", "--metrics.port", "0", *options],
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        timeout=TIMEOUT_S,
        check=False,
    )
    assert ended.returncode == 1, ended
    return ended.stderr
