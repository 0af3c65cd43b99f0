"""A real server that starts in a fraction of the time: as the fork of a process that has imported all of it already.

From its command line on it is `tanager-server`, in a process of its own; what is left out is Python's start and the
imports, which take as much as all the rest of a start.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import queue
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from pathlib import Path

TIMEOUT_S = 60.0
_STDERR = 2
_LINES_TOLD = 20
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tanager_server.cli"])


class ForkedServer:
    """`tanager-server` on a free port of the loopback interface.

    Args:
        bundle: what to serve.
        options: further options of the command.
    """

    def __init__(self, bundle: Path, *options: str) -> None:
        log, out = _CONTEXT.Pipe(duplex=False)
        arguments = ["--bundle", str(bundle), "--port", "0", "--metrics.enabled", "false", *options]
        self._process = _CONTEXT.Process(target=_serve, args=(out, arguments), daemon=True)
        self._process.start()
        out.close()
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self.log: list[str] = []
        self._reader = threading.Thread(target=self._read, args=(log,), daemon=True)
        self._reader.start()
        self._address = ""

    @property
    def address(self) -> str:
        """host:port."""
        return self._address

    def wait_until_ready(self) -> None:
        """Waits until it listens.

        Raises:
            AssertionError: it ended before, or said nothing for a minute.
        """
        while True:
            try:
                line = self._lines.get(timeout=TIMEOUT_S)
            except queue.Empty:
                line = None
            assert line is not None, "".join(self.log[-_LINES_TOLD:]) or "it said nothing"
            if line.startswith("{") and (record := _record(line)).get("message") == "listening":
                self._address = f"127.0.0.1:{record['port']}"
                return

    def kill(self) -> None:
        """Sends SIGKILL."""
        self._process.kill()

    def wait(self) -> int:
        """Waits for the end; gives the exit status, negative for the signal that ended it."""
        self._process.join(TIMEOUT_S)
        self._reader.join(TIMEOUT_S)
        assert self._process.exitcode is not None, "it does not end"
        return self._process.exitcode

    def _read(self, log: Connection) -> None:
        with os.fdopen(os.dup(log.fileno()), encoding="utf-8", errors="replace") as lines:
            log.close()
            for line in lines:
                self.log.append(line)
                self._lines.put(line)
        self._lines.put(None)


def _record(line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _serve(out: Connection, arguments: list[str]) -> None:
    from tanager_server.cli import main

    os.dup2(out.fileno(), _STDERR)
    out.close()
    raise SystemExit(main(arguments))
