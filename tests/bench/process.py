"""A process and all it started: CPU time, memory, start and end. Linux only: it reads /proc."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PROC = Path("/proc")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_STOP_TIMEOUT_S = 15.0


@dataclass(frozen=True, slots=True)
class Stat:
    """What /proc/PID/stat tells of a process; CPU with that of its children who have ended."""

    pid: int
    parent: int
    session: int
    cpu_s: float

    @classmethod
    def parse(cls, line: str) -> Self:
        """Reads the line of a stat file. The name in it may hold anything, brackets and spaces too."""
        pid, _, rest = line.partition(" ")
        fields = rest.rpartition(")")[2].split()
        own_and_ended_children = fields[11:15]  # utime, stime, cutime, cstime
        return cls(int(pid), int(fields[1]), int(fields[3]), sum(map(int, own_and_ended_children)) / _TICKS_PER_S)


def tree(root: int, stats: Sequence[Stat]) -> list[Stat]:
    """The process, its descendants, and whatever else is in the session it leads (children of a parent who ended)."""
    members = {root} | {stat.pid for stat in stats if stat.session == root}
    grown = True
    while grown:
        found = {stat.pid for stat in stats if stat.parent in members} - members
        members |= found
        grown = bool(found)
    return [stat for stat in stats if stat.pid in members]


def read_stats() -> list[Stat]:
    """All processes there are."""
    stats = []
    for directory in PROC.iterdir():
        if directory.name.isdigit():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
                stats.append(Stat.parse((directory / "stat").read_text(encoding="utf-8", errors="replace")))
    return stats


def cpu_s(root: int) -> float:
    """User and system time of the tree so far."""
    return sum(stat.cpu_s for stat in tree(root, read_stats()))


def machine_cpu_s() -> float:
    """Time that all cores together were busy since the machine started; not what a hypervisor gave to others."""
    fields = (PROC / "stat").read_text().splitlines()[0].split()
    user, nice, system, _idle, _iowait, irq, softirq = map(int, fields[1:8])
    return (user + nice + system + irq + softirq) / _TICKS_PER_S


def resident_mb(root: int) -> float:
    """Resident memory, summed over the tree; what processes share counts for each."""
    pages = 0
    for stat in tree(root, read_stats()):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            pages += int((PROC / str(stat.pid) / "statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


class ProcessGroup:
    """A command in a session of its own, its output in a file; ended with all it started.

    Args:
        command: what to run.
        log: where its stdout and stderr go.
        environment: variables beyond those of this process.
    """

    def __init__(self, command: Sequence[str | Path], *, log: Path, environment: Mapping[str, str]) -> None:
        self.log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment},
                start_new_session=True,
            )
        self.pid = self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        # Workers whose parent has ended without them.
        deadline = time.monotonic() + _STOP_TIMEOUT_S
        while members := [stat for stat in tree(self.pid, read_stats()) if stat.pid != self.pid]:
            number = signal.SIGTERM if time.monotonic() < deadline else signal.SIGKILL
            for stat in members:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(stat.pid, number)
            time.sleep(0.2)

    @property
    def ended(self) -> bool:
        """Whether the command itself is over."""
        return self._process.poll() is not None

    def tail(self, characters: int = 2000) -> str:
        """The end of what it said."""
        return self.log.read_text(encoding="utf-8", errors="replace")[-characters:]


def free_port() -> int:
    """A port of the loopback interface that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
