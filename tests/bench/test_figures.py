"""Ratios, verdicts, and what is printed of them."""

from __future__ import annotations

import json

import pytest
from tests.bench.figures import FIGURES, Figure, Spread, Verdict, overlap, ratio, spreads
from tests.bench.report import print_report, write_html, write_json

ABOUT = {
    "bundle": "B",
    "cores": 2,
    "cpu": "<one>",
    "repetitions": 2,
    "concurrency": 64,
    "tunings": {"mosec": "batch 8"},
    "notes": ["a note"],
}
REPETITIONS = [
    {f"{name}.throughput_rps": rate for name, rate in rates.items()} | {"tanager.resident_mb": resident_mb}
    for rates, resident_mb in (
        ({"raw": 100.0, "tanager": 70.0, "mosec": 35.0}, 260.0),
        ({"raw": 200.0, "tanager": 180.0, "litserve": 60.0}, 240.0),
        ({"raw": 100.0, "tanager": 85.0, "mosec": 85.0}, 240.0),
    )
]


def figure(name: str) -> Figure:
    return next(figure for figure in FIGURES if figure.name == name)


def test_ratios_are_taken_within_a_repetition() -> None:
    spread = figure("throughput / RAW").spread(REPETITIONS)
    assert spread is not None
    assert (spread.median, spread.least, spread.most) == pytest.approx((0.85, 0.7, 0.9))


def test_the_best_framework_is_the_best_of_its_repetition() -> None:
    spread = figure("throughput / best other framework").spread(REPETITIONS)
    assert spread is not None
    assert (spread.median, spread.least, spread.most) == pytest.approx((2.0, 1.0, 3.0))


def test_what_was_not_measured_is_no_figure() -> None:
    unmeasured = figure("throughput / batching off")
    assert unmeasured.spread(REPETITIONS) is None
    assert unmeasured.verdict(None) is Verdict.NOT_MEASURED


@pytest.mark.parametrize(
    ("median", "higher", "lower"),
    [
        (0.8, Verdict.PASS, Verdict.UNDER_FLOOR),
        (0.75, Verdict.UNDER_GOAL, Verdict.UNDER_FLOOR),
        (0.7, Verdict.UNDER_GOAL, Verdict.UNDER_FLOOR),
        (0.5, Verdict.UNDER_FLOOR, Verdict.UNDER_GOAL),
        (0.4, Verdict.UNDER_FLOOR, Verdict.PASS),
    ],
)
def test_verdicts(median: float, higher: Verdict, lower: Verdict) -> None:
    spread = Spread(median, 0.0, 1.0)
    assert Figure("up", 0.8, 0.7, ratio("a", "b")).verdict(spread) is higher
    assert Figure("down", 0.4, 0.5, ratio("a", "b"), higher_is_better=False).verdict(spread) is lower
    assert Figure("shown", None, None, ratio("a", "b")).verdict(spread) is Verdict.NO_GOAL


def test_every_floor_is_laxer_than_its_goal() -> None:
    for promised in FIGURES:
        if promised.goal is not None and promised.floor is not None:
            assert (promised.floor < promised.goal) is promised.higher_is_better, promised.name


def test_overlap_is_the_mean_share_of_what_was_expected() -> None:
    assert overlap([["a", "b"], ["c", "x"]], [["b", "a"], ["c", "d"]]) == pytest.approx(0.75)


def test_spreads_leave_out_what_a_repetition_did_not_measure() -> None:
    assert spreads(REPETITIONS)["litserve.throughput_rps"] == Spread(60.0, 60.0, 60.0)


def test_the_report_shows_every_figure(capsys, tmp_path) -> None:
    print_report(REPETITIONS, ABOUT, figures=True)
    printed = capsys.readouterr().out
    assert all(figure.name in printed for figure in FIGURES)
    assert "0.850 (0.700-0.900)" in printed
    assert "note: a note" in printed

    write_json(tmp_path / "c.json", REPETITIONS, ABOUT)
    report = json.loads((tmp_path / "c.json").read_text())
    rows = {row["name"]: row for row in report["figures"]}
    assert rows["throughput / RAW"]["verdict"] == "PASS"
    assert rows["resident memory, MB"]["value"] == {"median": 240.0, "least": 240.0, "most": 260.0}
    assert report["repetitions"] == REPETITIONS

    write_html(tmp_path / "c.html", REPETITIONS, ABOUT)
    page = (tmp_path / "c.html").read_text()
    assert page.count("<rect") == 4  # RAW, Tanager and the two frameworks, no CPU for any
    assert "&lt;one&gt;" in page
