"""What `make chaos` does, in short, and that it would notice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests import tiny
from tests.bench.chaos.__main__ import report
from tests.bench.chaos.checks import Findings
from tests.bench.chaos.ledger import Difference, Records
from tests.bench.chaos.lives import run

if TYPE_CHECKING:
    from pathlib import Path

KILLS = 15


def test_nothing_that_was_acknowledged_is_lost_when_the_server_is_killed(
    tiny_bundle: Path, tiny_model: Path, tiny_dataset: Path, tmp_path: Path
):
    tiny.make_bundle(tiny_model, tiny_dataset, tmp_path / "other", precision="int8")
    told: list[str] = []
    findings = run([tiny_bundle, tmp_path / "other"], KILLS, tell=told.append)
    assert findings.kills == KILLS, told
    assert findings.sound, told
    assert findings.backups > 0
    assert findings.interrupted["write events"] > 0
    assert findings.interrupted["activation"] > 0
    assert any("lost" in line for line in report(findings))


def written(values: dict[str, str]) -> Records:
    """Records of one acknowledged write."""
    records = Records()
    records.asked(values)
    records.answered(values)
    return records


def test_what_is_lost_or_comes_back_is_counted():
    records = written({"a": "1", "b": "1", "c": "1"})
    records.asked({"c": ""})
    records.answered({"c": ""})
    records.asked({"a": "2", "d": "1"})
    assert records.compare({"a": "2", "b": "1", "d": "1"}) == Difference(), "what was not answered may be there or not"
    assert records.compare({"a": "1", "b": "1", "d": "1"}) == Difference(lost=1), "but not change back"
    records.asked({"b": ""})
    assert records.compare({"a": "1", "b": "7", "d": "1"}) == Difference(lost=1), "nor be what nobody wrote"
    assert records.compare({"a": "1", "b": "7", "c": "1", "d": "1"}) == Difference(back=1)
    records.asked({"a": ""})
    records.answered({"a": ""})
    assert records.compare({"a": "1", "b": "7", "c": "1", "d": "1"}) == Difference(back=1)


@pytest.mark.parametrize("found", [{}, {"a": "1", "b": "1"}])
def test_what_was_not_answered_may_be_there_as_a_whole(found: dict[str, str]):
    records = Records()
    records.asked({"a": "1", "b": "1"})
    assert records.compare(found) == Difference()


def test_a_write_that_is_there_in_part_is_counted():
    records = written({"a": "1", "b": "1", "c": "1"})
    records.asked({"a": "2", "b": "2", "d": "1"})
    assert records.compare({"a": "2", "b": "1", "c": "1", "d": "1"}) == Difference(torn=1)
    records.asked({"a": "", "b": ""})
    assert records.compare({"b": "1", "c": "1", "d": "1"}) == Difference(torn=1)
    records.asked({"c": "2", "d": "2"})
    records.asked({"c": "3"})  # it hides what became of the other
    assert records.compare({"b": "1", "c": "3", "d": "2"}) == Difference()
    records.asked({"e": "1", "f": "1"})
    records.asked({"e": ""})
    assert records.compare({"b": "1", "c": "3", "d": "2", "f": "1"}) == Difference(), "it was removed again"


def test_a_copy_must_have_what_was_acknowledged_before_it_began_and_may_have_more():
    records = written({"a": "1", "b": "1", "c": "1"})
    records.asked({"c": ""})
    records.answered({"c": ""})
    records.asked({"a": "2"})  # under way
    known = records.known()
    assert records.missing(known, {"a": "2", "b": "1"}) == Difference()
    assert records.missing(known, {"a": "1", "b": "1", "new": "1"}) == Difference()
    assert records.missing(known, {"a": "1"}) == Difference(lost=1)
    assert records.missing(known, {"a": "1", "b": "1", "c": "1"}) == Difference(back=1)
    records.answered({"a": "2"})
    records.asked({"b": "2"})
    assert records.missing(known, {"b": "2"}) == Difference(), "what was written since may be in it or not"


@pytest.mark.parametrize(
    "field", ["corrupt", "failed_starts", "unserved", "errors", "leftovers", "bad_backups", "lost_backups"]
)
def test_whatever_is_found_is_not_sound(field: str):
    assert Findings().sound
    assert not Findings(**{field: 1}).sound  # type: ignore[arg-type]
    total = Findings(kills=2)
    total.take(Findings(kills=3, **{field: 1}))  # type: ignore[arg-type]
    assert (total.kills, total.sound) == (5, False)


@pytest.mark.parametrize("difference", [Difference(lost=1), Difference(back=1), Difference(torn=1)])
def test_no_difference_is_sound(difference: Difference):
    assert not Findings(difference=difference).sound
