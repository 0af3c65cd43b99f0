"""A process that writes is killed at any moment: nothing acknowledged is missing, nothing is there by half.

KILL_ROUNDS=1000 for the long form.
"""

from __future__ import annotations

import copy
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

from tests.server.state.ingest import CALLERS, STEP, step_writes
from tests.server.state.model import Model, assert_is

from tanager_server.state import SqliteStore, verify

_ROUNDS = int(os.environ.get("KILL_ROUNDS", "24"))
_MAX_STEPS = 100
_ROOT = Path(__file__).parents[3]


def test_kill(tmp_path: Path):
    random_ = random.Random(0)
    state, backups = tmp_path / "state", tmp_path / "backups"
    model, step, copies = Model(), 0, 0
    for _ in range(_ROUNDS):
        acknowledged = _run_and_kill(state, backups, after_steps=random_.randrange(_MAX_STEPS))
        before = copy.deepcopy(model), step
        if not state.exists():  # it was killed before it made one
            continue
        with SqliteStore(state) as store:
            durable = _step(store)
            assert max(step, acknowledged) <= durable <= max(step, acknowledged) + CALLERS
            step = _advance(model, step, durable)
            assert_is(store, model)
            assert store.lookup_impression(f"shown-{durable}") == model.impressions.get(f"shown-{durable}")
        assert verify(state).seq == model.seq
        copies += _check_backups(backups, *before)
    assert step > _ROUNDS
    assert copies
    print(f"{_ROUNDS} kills, {step} steps, {copies} backups")


def _run_and_kill(state: Path, backups: Path, *, after_steps: int) -> int:
    """The last step that was acknowledged; 0 if none was."""
    command: list[str | Path] = [sys.executable, "-m", "tests.server.state.ingest", state, backups]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=_ROOT) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(after_steps + 1)]
        process.kill()
        lines += process.stdout.readlines()
    assert lines[0] == b"opening\n", "it did not start"
    assert process.returncode == -9
    steps = [int(line) for line in lines[1:] if line.endswith(b"\n")]
    assert steps == list(range(steps[0], steps[0] + len(steps))) if steps else True
    return steps[-1] if steps else 0


def _check_backups(backups: Path, model: Model, step: int) -> int:
    """Each has what was there at one moment of the round; what is not complete has no name."""
    shutil.rmtree(backups / ".old", ignore_errors=True)
    found = [path for path in backups.glob("*") if not path.name.startswith(".")]
    for path in found:
        verify(path)
        with SqliteStore(path) as store:
            then = copy.deepcopy(model)
            _advance(then, step, _step(store))
            assert_is(store, then)
        shutil.rmtree(path)
    return len(found)


def _step(store: SqliteStore) -> int:
    with store.load() as snapshot:
        return int(snapshot.meta().get(STEP, 0))


def _advance(model: Model, step: int, until: int) -> int:
    assert until >= step
    for number in range(step + 1, until + 1):
        for write in step_writes(number):
            model.apply(write)
    return until
