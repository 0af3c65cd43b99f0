"""What `make chaos` does, in short, and that it would notice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.bench.chaos import Findings, Records, report, run

if TYPE_CHECKING:
    from pathlib import Path

KILLS = 20


def test_nothing_that_was_acknowledged_is_lost_when_the_server_is_killed(tiny_bundle: Path):
    told: list[str] = []
    findings = run(tiny_bundle, KILLS, tell=told.append)
    assert findings.kills == KILLS, told
    assert findings.sound, told
    assert findings.interrupted["write events"] > 0
    assert any("lost" in line for line in report(findings))


def test_what_is_lost_or_comes_back_is_counted():
    records = Records()
    records.asked({"a": "1", "b": "1", "c": "1"})
    records.answered({"a": "1", "b": "1", "c": "1"})
    records.asked({"c": ""})
    records.answered({"c": ""})
    records.asked({"a": "2", "d": "1"})
    assert records.compare({"a": "2", "b": "1"}) == (0, 0), "what was not answered may be there or not"
    assert records.compare({"a": "1", "b": "1"}) == (1, 0), "but not change back"
    records.asked({"b": ""})
    assert records.compare({"a": "1", "b": "7"}) == (1, 0), "nor be what nobody wrote"
    assert records.compare({"a": "1", "b": "7", "c": "1"}) == (0, 1)
    records.asked({"a": ""})
    records.answered({"a": ""})
    assert records.compare({"a": "1", "b": "7", "c": "1"}) == (0, 1)
    assert not Findings(lost=1).sound
    assert not Findings(back=1).sound
    assert Findings().sound
