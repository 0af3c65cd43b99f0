"""Times as other people's files write them."""

from __future__ import annotations

import time

import pytest

from tanager_export.dataset.times import unix_seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("-5", -5),
        ("881250949", 881250949),
        ("881250949.75", 881250949),
        ("1700000000123", 1_700_000_000),
        ("1.7E9", None),
        ("1970-01-02", 86_400),
        ("19700102", 86_400),
        ("19701302", 19_701_302),
        ("1970-01-01T00:01:00Z", 60),
        ("1970-01-01T00:01:00.9", 60),
        (" 1970-01-01 01:01:00+01:00 ", 60),
        ("2019-10-01 00:00:00 UTC", 1_569_888_000),
        ("1969-12-31T23:59:59.5", -1),
        ("31/12/2019", None),
        ("", None),
        ("noon", None),
        ("9" * 19, None),
    ],
)
def test_times(text, seconds):
    assert unix_seconds(text) == seconds


def test_times_without_an_offset_are_in_utc_wherever_one_is(monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert unix_seconds("1970-01-01T00:01:00") == 60
    finally:
        monkeypatch.undo()
        time.tzset()
