"""The process tree: who belongs to it, and what it has used."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from tests.bench.process import ProcessGroup, Stat, cpu_s, free_port, machine_cpu_s, read_stats, resident_mb, tree

if TYPE_CHECKING:
    from pathlib import Path

# Uses some CPU in a child that has ended, starts a grandchild, then waits for the end of its input.
PARENT = """
import subprocess, sys, time
subprocess.run([sys.executable, "-c", "import time\\nwhile time.process_time() < 0.3: pass"], check=True)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid, flush=True)
time.sleep(60)
"""


def test_stat_reads_any_name() -> None:
    fields = "S 7 8 9 0 -1 0 0 0 0 0 100 50 20 30 20 0 1 0 5 0 0"
    stat = Stat.parse(f"42 (a) name (with brackets)) {fields}")
    assert (stat.pid, stat.parent, stat.session) == (42, 7, 9)
    assert stat.cpu_s > 0


def test_a_tree_is_descendants_and_session() -> None:
    stats = [
        Stat(1, 0, 1, 0.0),
        Stat(10, 1, 10, 0.0),
        Stat(11, 10, 10, 0.0),
        Stat(12, 11, 12, 0.0),  # of a session of its own
        Stat(13, 1, 10, 0.0),  # its parent has ended
        Stat(14, 13, 14, 0.0),
        Stat(20, 1, 20, 0.0),
    ]
    assert [stat.pid for stat in tree(10, stats)] == [10, 11, 12, 13, 14]


def test_a_group_counts_ended_children_and_leaves_nothing(tmp_path: Path) -> None:
    log = tmp_path / "log"
    busy_s = machine_cpu_s()
    with ProcessGroup([sys.executable, "-c", PARENT], log=log, environment={}) as group:
        while not (said := log.read_text()).endswith("\n"):
            assert not group.ended, said
        child = int(said)
        assert child in [stat.pid for stat in tree(group.pid, read_stats())]
        assert cpu_s(group.pid) >= 0.25  # most of it the ended child's
        assert machine_cpu_s() - busy_s >= 0.25
        assert resident_mb(group.pid) > 5
    remaining = {stat.pid for stat in read_stats()}
    assert group.pid not in remaining
    assert child not in remaining


def test_what_a_group_said_is_kept(tmp_path: Path) -> None:
    with ProcessGroup(
        [sys.executable, "-c", "import os, sys; sys.exit(os.environ['WHY'])"],
        log=tmp_path / "log",
        environment={"WHY": "no reason"},
    ) as group:
        while not group.ended:
            pass
    assert group.tail() == "no reason\n"


def test_free_ports_are_ports() -> None:
    assert 1024 <= free_port() <= 65535
