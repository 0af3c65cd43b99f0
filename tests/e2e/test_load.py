"""`tanager load` against a real server process: every workload, a closed and an open loop, and the report."""

from __future__ import annotations

import json
import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from tests.support import BIN, TIMEOUT_S

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support import ServerProcess


@pytest.fixture
def load(server: ServerProcess):
    """Runs the command: its figures."""

    def run(*options: str) -> dict[str, Any]:
        ended = subprocess.run(
            [BIN / "tanager", "load", server.address, "--json", "-", "--seed", "1", "--warm-up", "0", *options],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        assert ended.returncode == 0, ended
        figures: dict[str, Any] = json.loads(ended.stdout)
        return figures

    return run


@pytest.mark.parametrize("workload", ["text", "history", "mixed", "similar"])
def test_every_workload_is_answered_ok_and_with_results(load, workload: str):
    figures = load("--workload", workload, "--count", "100", "--concurrency", "8")
    assert figures["statuses"] == {"OK": 100}
    assert figures["empty_answers"] == 0
    encoded = workload in ("text", "mixed")
    assert (figures["server_timing_us"]["encode"] > 0) == encoded
    assert (figures["batch_size_mean"] >= 1) == encoded
    assert figures["server_timing_us"]["rank"] > 0


def test_an_open_loop_over_several_connections_with_a_report(load, tmp_path: Path):
    report = tmp_path / "report.html"
    figures = load("--rate", "100", "--count", "60", "--connections", "3", "--zipf", "1", "--report", str(report))
    assert figures["statuses"] == {"OK": 60}
    assert figures["send_lag_ms"]["max"] is not None
    page = report.read_text(encoding="utf-8")
    assert page.count("<svg") >= 12
    assert not re.search(r"(?:src|href)=|url\(|@import", page), "nothing is fetched from anywhere"
