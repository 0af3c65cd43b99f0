"""What people see: the table and the HTML page, of runs good and bad."""

import datetime as dt
import html.parser
import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tanager.load import figures, options, report
from tanager.load.measurement import Recorder, Window, measure
from tanager.load.plot import Plot, Scale, Tick, labelled, logarithmic_ticks, ticks
from tanager.load.search import judge
from tanager.load.table import table
from tanager.load.workload import RECOMMEND, Pool

POOL = Pool([(RECOMMEND, b"")] * 4, "made of 4 items")
MADE_AT = dt.datetime(2030, 1, 2, 3, 4, tzinfo=dt.UTC)
VOID = {"meta", "path", "circle", "rect", "link", "br"}


def measured(*, ok=200, failed=(), seconds=3.0, cpu_s=0.3, interrupted=False, unanswered=0):
    """`ok` answers spread over the window, of 1 ms upwards, and (status, count) of others."""
    recorder = Recorder()
    calls = [(0, i, ok) for i in range(ok)]
    calls += [(status, i, count) for status, count in failed for i in range(count)]
    for status, i, count in calls:
        recorder.ended_s.append(seconds * (i + 1) / (count + 1))
        recorder.latency_s.append(min(0.001 * (1 + i / 10), seconds * (i + 1) / (count + 1)))
        recorder.lag_s.append(0.0001)
        recorder.status.append(status)
        recorder.results.append(10)
        recorder.stages_us.extend((100, 20, 3000, 250, 120, 4) if status == 0 else (0,) * 6)
    return measure(
        recorder,
        Window(0.0, seconds, cpu_s),
        open_loop=True,
        interrupted=interrupted,
        unanswered=unanswered,
        distinct_requests=3,
    )


CASES = {
    "all is well": measured(),
    "some errors": measured(failed=[(8, 20), (4, 5), (14, 1), (13, 1), (1, 1), (2, 1)]),
    "nothing but errors": measured(ok=0, failed=[(14, 50)]),
    "one call": measured(ok=1, seconds=0.004),
    "one error": measured(ok=0, failed=[(4, 1)], seconds=0.004),
    "a long run": measured(ok=3000, failed=[(8, 100)], seconds=2000),
    "nothing came back": measured(ok=0, interrupted=True, unanswered=3),
}


class Page(html.parser.HTMLParser):
    """Collects the text of a page, and finds elements that are not closed in their order."""

    def __init__(self, text):
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.marks: list[list[Any]] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        self.marks += [json.loads(value) for name, value in attrs if name == "data-marks" and value]

    def handle_startendtag(self, tag, attrs):
        assert tag in VOID

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] not in (["style"], ["script"]):
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def chosen(*argv):
    return options.parse(["host:1", "--seed", "7", "--rate", "100", *argv])


def made(measurement, *argv, steps=()):
    return report.page(chosen(*argv), POOL, measurement, steps, made_at=MADE_AT)


@pytest.mark.parametrize("measurement", CASES.values(), ids=CASES)
def test_a_page_is_whole_whatever_happened(measurement):
    text = made(measurement)
    page = Page(text)
    assert "Load test of host:1" in page.text
    assert "2030-01-02" in page.text
    assert not re.search(r"(?:src|href)=|url\(|@import|\bnan\b|\binf\b|None", text)
    coordinates = [float(number) for number in re.findall(r'\b(?:x|y|cx|cy|width|height)="(-?[\d.]+)"', text)]
    assert all(0 <= number <= 1200 for number in coordinates)
    for name, values in measurement.latencies_s.items():
        assert f"{name} {len(values):,} " in page.text  # its line of the table


@pytest.mark.parametrize("measurement", CASES.values(), ids=CASES)
def test_a_table_and_figures_are_whole_whatever_happened(measurement):
    text = table(chosen(), POOL, measurement)
    assert f"of {measurement.sent:,} OK" in text
    assert all(len(line) < 240 for line in text.splitlines())
    made_figures = figures.as_json(chosen(), POOL, measurement)
    assert json.loads(json.dumps(made_figures, allow_nan=False)) == made_figures
    assert made_figures["sent"] == sum(made_figures["statuses"].values()) + made_figures["unanswered"]


def test_a_page_tells_the_figures():
    page = Page(made(measured(failed=[(8, 50)])))
    for part in ("67 /s", "of 83/s offered", "50 of 250 calls", "20.00%", "encoding", "3.00 ms", "batches of 4.0"):
        assert part in page.text
    for part in ("RESOURCE_EXHAUSTED", "seed 7", "3 different, of 4 made of 4 items", "poisson"):
        assert part in page.text


def test_hovering_over_a_plot_tells_the_values_of_every_series():
    page = Page(made(measured(failed=[(8, 50)])))
    titles = {title for marks in page.marks for _, title, _, _ in marks}
    assert {"second 1", "second 3", "the slowest call"} <= titles
    rows = {(name, text) for marks in page.marks for _, _, rows, _ in marks for _, name, text in rows}
    assert ("offered", "100/s") in rows
    assert {"p50", "p99", "OK", "RESOURCE_EXHAUSTED", "answered OK"} <= {name for name, _ in rows}


def test_all_errors_have_their_place_and_no_error_says_so():
    assert "Every call that counts was answered OK." in Page(made(measured())).text
    text = Page(made(measured(ok=0, failed=[(14, 50)]))).text
    assert "Nothing was answered OK." in text
    assert "50 of 50 calls" in text
    assert "100.00%" in text


def test_a_generator_at_its_limit_is_told_everywhere():
    limited = measured(cpu_s=2.9)
    for text in (table(chosen(), POOL, limited), Page(made(limited)).text):
        assert "THE GENERATOR ITSELF WAS A LIMIT: it used 97% of a core" in text
    assert figures.as_json(chosen(), POOL, limited)["generator_limited"] is True
    assert "LIMIT" not in table(chosen(), POOL, measured())


def test_what_a_server_is_called_cannot_become_markup():
    page = report.page(
        options.parse(["unix:/tmp/<script>&.sock"]), Pool(POOL.requests, "read from <b>&.jsonl"), measured()
    )
    assert "<script>&" not in page
    assert "<b>&" not in page
    assert "unix:/tmp/<script>&.sock" in Page(page).text


def test_the_rates_that_were_tried_are_shown():
    search = chosen("--find-rate", "--objective", "p99<=15ms")
    assert search.objective is not None
    steps = [
        judge(50.0, measured(ok=100), search.objective, 0.001),
        judge(100.0, measured(ok=300), search.objective, 0.001),
        judge(75.0, measured(ok=0, failed=[(8, 9)]), search.objective, 0.001),
    ]
    text = Page(report.page(search, POOL, steps[0].measurement, steps)).text
    assert "50.0 calls/s is the highest rate found that meets p99<=15ms" in text
    for part in ("p99 30.6 ms", "nothing was answered OK", "meets it"):
        assert part in text
        assert part in table(search, POOL, steps[0].measurement, steps)
    made_figures = figures.as_json(search, POOL, steps[0].measurement, steps)
    assert made_figures["found_rate"] == 50
    assert [step["passed"] for step in made_figures["steps"]] == [True, False, False]
    failed = report.page(search, POOL, steps[2].measurement, steps[1:])
    assert "no rate that was tried meets p99<=15ms" in Page(failed).text


def test_an_interrupted_search_without_a_step_still_makes_a_page():
    search = chosen("--find-rate")
    assert "Load test of" in report.page(search, POOL, measured(interrupted=True), [])
    assert "no rate that was tried" in table(search, POOL, measured(interrupted=True), [])


@pytest.mark.parametrize(
    ("most", "expected"),
    [
        (10, [0, 2, 4, 6, 8, 10]),
        (7, [0, 2, 4, 6, 8]),
        (0.3, [0, 0.1, 0.2, 0.3]),
        (1234, [0, 500, 1000, 1500]),
        (0, [0, 0.2, 0.4, 0.6, 0.8, 1]),
    ],
)
def test_ticks_are_round_and_reach_the_most(most, expected):
    assert ticks(most) == pytest.approx(expected)


def test_ticks_of_counts_are_whole():
    assert ticks(2, whole=True) == [0, 1, 2]
    assert [tick.label for tick in labelled(ticks(12_000))] == ["0", "5,000", "10,000", "15,000"]
    assert [tick.label for tick in labelled(ticks(0.1))] == ["0.00", "0.02", "0.04", "0.06", "0.08", "0.10"]


def test_logarithmic_ticks_lie_within_bounds():
    assert logarithmic_ticks(1.5, 60) == pytest.approx([2, 5, 10, 20, 50])
    assert logarithmic_ticks(0.01, 9e5) == pytest.approx([10.0**i for i in range(-2, 6)])


def test_a_logarithmic_scale_gives_each_power_the_same_room():
    scale = Scale(1, 100, 0, 200, logarithmic=True)
    assert [scale(value) for value in (0.5, 1, 10, 100)] == pytest.approx([0, 0, 100, 200])


def test_labels_never_run_into_each_other():
    crowded = [Tick(value, f"{value:,}") for value in range(0, 100_001, 1_000)]
    svg = Plot(
        340, 250, x_ticks=crowded, y_ticks=[Tick(0, "0")], x_range=(0, 100_000), y_range=(0, 1), x_label="x",
        y_label="y", alt="crowded",
    ).svg()  # fmt: skip
    placed = re.findall(r'x="([\d.]+)" y="[\d.]+" text-anchor="middle">([\d,]+)<', svg)
    edges = [(float(x) - 3.5 * len(label), float(x) + 3.5 * len(label)) for x, label in placed]
    assert len(edges) >= 4
    assert placed[-1][1] == "100,000"
    assert all(left[1] < right[0] for left, right in itertools.pairwise(edges))


def test_a_line_breaks_where_there_is_no_value():
    plot = Plot(
        340, 250, x_ticks=[], y_ticks=[], x_range=(0, 4), y_range=(0, 1), x_label="x", y_label="y", alt="broken"
    )
    plot.line([(0, 0), (1, 1), (2, None), (3, 0.5)], "first")
    svg = plot.svg()
    assert svg.count('class="first line"') == 1
    assert svg.count('class="first dot"') == 1


def test_what_the_page_is_made_of_travels_with_the_package():
    folder = Path(report.__file__).parent
    assert {path.name for path in folder.iterdir()} >= {"page.css", "page.js"}
