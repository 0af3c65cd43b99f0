"""The page: everything in one file, whatever is missing."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import replace

import pytest

from tanager_export.errors import ExportError
from tanager_export.evaluation.bootstrap import Interval
from tanager_export.evaluation.command import read_compression
from tanager_export.evaluation.command_table import tables
from tanager_export.evaluation.experiment.encoder import Epoch
from tanager_export.evaluation.experiment.result import METRICS, ColdItems, DiversityPoint, Result, Row, Served, Table
from tanager_export.evaluation.report.page import page

NAN = float("nan")


def row(method: str, figure: float, ratio: float | None = None) -> Row:
    found = None if ratio is None else Interval(ratio, ratio - 0.1, ratio + 0.1)
    return Row(
        method,
        metrics=dict.fromkeys(METRICS, figure),
        slices={"all": Interval(figure, figure / 2, figure * 2), "history_1_4": Interval(NAN, NAN, NAN)},
        ratio=found,
        difference=found,
        parameters={} if ratio is None else {"l2": 5.0},
        validation=None if ratio is None else figure,
        trials=() if ratio is None else (figure / 2, figure),
        grid=9,
    )


@pytest.fixture
def result():
    table = Table(
        protocol="global-time",
        train=10,
        cases=5,
        targets=7,
        slices={"all": (5, 7), "history_1_4": (1, 1)},
        rows=(row("tanager", 0.2), row("ease", 0.1, 2.0), Row("ials", missing="no <implicit>")),
        blend={"text": 1.0, "profile": 0.0},
    )
    return Result("a <set>", False, 9, 10, "a model", "another", (0,), 2, [table])


def test_what_is_missing_is_on_the_page_and_in_the_table(result):
    result.incomplete.append("global-time: ials is missing")
    for text in (page(result), tables(result)):
        assert "ials is missing" in text
        assert "implicit" in text
    assert "no <implicit>" not in page(result)
    assert "a <set>" not in page(result)


def test_a_page_without_tables_has_its_settings(result):
    result.tables.clear()
    assert "Settings" in page(result)


def test_the_page_says_when_it_was_made(result):
    assert "2026-01-02 at 03:04 UTC" in page(result, made_at=dt.datetime(2026, 1, 2, 3, 4, tzinfo=dt.UTC))


def test_nothing_that_is_no_number_is_drawn(result):
    nothing = Interval(NAN, NAN, NAN)
    point = DiversityPoint("mmr", 0.5, {}, nothing, {"category_diversity": Interval(float("inf"), 1, 2)}, NAN)
    good = DiversityPoint(
        "category cap", 2, {}, Interval(0.9, 0.8, 1), {"ease_diversity": Interval(1.2, 1.1, 1.3)}, 1.0
    )
    result.tables[0] = replace(result.tables[0], curve=(point, good))
    result.epochs = (Epoch(0, None, 0.1), Epoch(1, 3.0, 0.2))
    text = page(result)
    assert not re.findall(r'\s(?:d|cx|cy|x|y|width|height)="[^"]*(?:nan|inf)', text)
    assert "Accuracy against diversity in EASE space" in text
    assert "Accuracy against diversity in categories" not in text
    assert "Learning curve of the encoder: loss" in text


def test_every_kind_of_list_chosen_for_diversity_is_drawn_and_told(result):
    kinds = {"mmr": 0.4, "category cap": 4, "interests": 3, "mmr, 3 interests": 0.5}
    curve = tuple(
        DiversityPoint(
            kind, value, {}, Interval(0.99, 0.9, 1), {"ease_diversity": Interval(1 + at, 1, 2)}, 1.2, at == 2
        )
        for at, (kind, value) in enumerate(kinds.items())
    )
    far = DiversityPoint("mmr", 0.123, {}, Interval(0.5, 0.4, 0.6), {"ease_diversity": Interval(3, 2, 4)}, 1.2)
    result.tables[0] = replace(result.tables[0], curve=(*curve, far))
    text = page(result)
    for named in ("by lambda", "so many of a category", "so many interests at most", "up to 3 interests"):
        assert named in text
    for value in ("lambda 0.4", "at most 4", "at most 3, chosen on validation", "lambda 0.5"):
        assert value in text
    assert "lambda 0.123" not in text, "a loss of a half would press the others onto the axis"
    assert "within 1 % of N@10: interests 3." in text
    assert "interests 3 (chosen on validation)" in tables(result)


def test_cold_items_are_told_seed_by_seed_and_with_a_dash_where_there_is_nothing(result):
    some = Interval(0.1, 0, 1)
    result.seeds = (0, 1)
    result.cold_items = ColdItems(
        hidden=3,
        cases=5,
        among_cold={"tanager": some, "hybrid-mf": some},
        ratios={"hybrid-mf": Interval(1.5, 1.25, 2)},
        among_all=some,
        warm=some,
        share=some,
        warm_loss=some,
        together=some,
        parameters={"hybrid-mf": {"dim": 64}},
        ratios_by_seed={"hybrid-mf": (1.375, NAN)},
        share_by_seed=(0.375, NAN),
        missing={},
    )
    for text in (page(result), tables(result)):
        assert "+50.0% [+25.0%, +100.0%]" in text
        assert "+37.5%, –" in text
        assert "37.5%, –" in text.replace("+37.5%, –", "")
        assert "nan%" not in text


def test_what_the_unknown_get_is_told(result):
    result.tables[0] = replace(result.tables[0], popular="recent-popularity (days 30.0)")
    for text in (page(result), tables(result)):
        assert "a baseline knows nothing get recent-popularity (days 30.0) from it" in text


def test_a_warning_of_serving_is_shown(result):
    some = Interval(0.1, 0, 1)
    served = Served("host:1", "abc", "m, int8", 5, some, some, some, 0.5, ("only 50% were answered",))
    result.tables[0] = replace(result.tables[0], served=served)
    assert "only 50% were answered" in page(result)
    assert "only 50% were answered" in tables(result)


def test_json_has_no_nan(result):
    found = result.as_json()
    assert found["tables"][0]["rows"][0]["slices"]["history_1_4"]["value"] is None
    assert found["tables"][0]["rows"][1]["ratio"] == {"value": 2.0, "low": 1.9, "high": 2.1}


@pytest.mark.parametrize("text", ["[]", "{", '{"rows": 1}', "3", "[1]"])
def test_what_is_no_table_of_compression_is_refused(tmp_path, text):
    path = tmp_path / "c.json"
    path.write_text(text)
    with pytest.raises(ExportError, match="--compression"):
        read_compression(path)
