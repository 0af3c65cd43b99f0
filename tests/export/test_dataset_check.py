"""Checking: each finding, from data made to have it."""

from __future__ import annotations

import pytest

from tanager_export.dataset import Finding, Severity, check_dataset

NOW_S = 1_700_000_000


def found(directory, code) -> Finding:
    report = check_dataset(directory, now_s=NOW_S)
    (finding,) = [finding for finding in report.findings if finding.code == code]
    return finding


def codes(directory, severity=None) -> set[str]:
    report = check_dataset(directory, now_s=NOW_S)
    return {finding.code for finding in report.findings if severity in (None, finding.severity)}


GOOD = [f"u{user},i{item},{NOW_S - 1000 * user - item}" for user in range(4) for item in range(4)]


def test_a_good_dataset_has_neither_errors_nor_warnings(make_dataset):
    report = check_dataset(make_dataset(interactions=GOOD), now_s=NOW_S)
    assert report.ok
    assert (report.items, report.users, report.interactions) == (4, 4, 16)
    assert {finding.severity for finding in report.findings} == {Severity.INFO}
    assert {finding.code for finding in report.findings} == {
        "domains",
        "density",
        "imbalance",
        "time-range",
        "weight-range",
    }


def test_all_errors_are_collected_and_the_rest_is_checked_all_the_same(make_dataset):
    directory = make_dataset(
        items='{"id": "a", "text": "long enough a text"}\n{"id": "a", "text": "again"}\n{\n{"id": "b", "text": ""}\n',
        interactions=["u,a,1", "u,gone,2", "u,a", "u,a,x", "v,gone,3", 'v,"a"x,3', "u,a,y", "u,a,4"],
        users="nonsense",
        metadata="{}x",
    )
    report = check_dataset(directory, now_s=NOW_S)
    errors = {finding.code: finding for finding in report.findings if finding.severity is Severity.ERROR}
    assert set(errors) == {
        "duplicate-id",
        "invalid-json",
        "no-text-no-title",
        "orphan-interactions",
        "broken-row",
        "timestamp",
    }
    assert errors["orphan-interactions"].count == 2
    assert errors["timestamp"].count == 2
    assert errors["timestamp"].places == ("interactions.csv, line 5", "interactions.csv, line 8")
    assert errors["broken-row"].places == ("interactions.csv, line 4", "interactions.csv, line 7")
    assert [finding.severity for finding in report.findings] == sorted(
        (finding.severity for finding in report.findings), key=list(Severity).index
    )
    assert not report.ok
    assert (report.items, report.interactions) == (1, 2)
    assert {finding.message.partition(":")[0] for finding in report.findings if finding.code == "invalid-json"} == {
        "items.jsonl, line 3",
        "users.jsonl, line 1",
        "dataset.json",
    }


def test_places_stop_at_five_and_counts_do_not(make_dataset):
    finding = found(make_dataset(interactions=[*GOOD, *["u,i1,x"] * 9]), "timestamp")
    assert finding.count == 9
    assert finding.places[0] == "interactions.csv, line 18"
    assert len(finding.places) == 5


def test_a_catalogue_that_cannot_be_read_does_not_make_every_interaction_an_orphan(make_dataset):
    assert codes(make_dataset(items=b"\xff", interactions=GOOD)) == {"encoding"}


def test_an_encoding_error_is_reported_once(make_dataset):
    directory = make_dataset(interactions=b"\xff", metadata="{}")
    assert codes(directory, Severity.ERROR) == {"encoding"}


def test_no_items_and_no_directory(make_dataset, tmp_path):
    assert codes(make_dataset(items="")) == {"no-items"}
    assert "no-directory" in codes(tmp_path / "nowhere")


def test_texts_that_say_little(make_dataset):
    items = [
        {"id": "a", "title": "Some title", "text": ""},
        {"id": "b", "text": "Too  short"},
        {"id": "c", "title": "C", "text": "A text of some length"},
        {"id": "d", "title": "D", "text": "a text of some\tLENGTH"},
    ]
    directory = make_dataset(items, interactions=["u,a,1"])
    empty, short, same = (found(directory, code) for code in ("empty-text", "short-text", "identical-text"))
    assert {finding.severity for finding in (empty, short, same)} == {Severity.WARNING}
    assert empty.places == ("items.jsonl, line 1",)
    assert short.places == ("items.jsonl, line 2",)
    assert same.places == ("items.jsonl, line 3", "items.jsonl, line 4")
    assert same.mend
    assert found(directory, "no-title").places == ("items.jsonl, line 2",)


def test_domains_are_counted(make_dataset):
    items = [{"id": str(n), "text": f"the text of {n}", "domain": domain} for n, domain in enumerate(["x", "y", "x"])]
    assert found(make_dataset(items), "domains").message == "items by domain: x 2, y 1"


def test_no_interactions(make_dataset):
    assert found(make_dataset(), "no-interactions").severity is Severity.WARNING


def test_rows_given_twice_are_told_from_items_taken_up_again(make_dataset):
    rows = [*GOOD, GOOD[3], f"u0,i0,{NOW_S - 5000}", GOOD[3]]
    directory = make_dataset(interactions=rows)
    twice = found(directory, "duplicate-interactions")
    assert (twice.severity, twice.count) == (Severity.WARNING, 2)
    assert twice.places == ("interactions.csv, line 18", "interactions.csv, line 20")
    assert found(directory, "repeated-interactions").count == 1


def test_density(make_dataset):
    rows = [f"u{n},i{n % 4},{n}" for n in range(8)]
    finding = found(make_dataset(interactions=rows), "density")
    assert finding.severity is Severity.WARNING
    assert finding.message.startswith(
        "25.000% of all pairs of user and item occur; 1.0 interactions a user, 2.0 an item"
    )
    assert found(make_dataset(interactions=GOOD, name="dense"), "density").severity is Severity.INFO


def test_imbalance(make_dataset):
    assert "Gini coefficient 0.00;" in found(make_dataset(interactions=GOOD), "imbalance").message
    items = [{"id": f"i{n}", "text": f"the text of item {n}"} for n in range(100)]
    charts = make_dataset(items, interactions=[f"u{n},i0,{n}" for n in range(50)] + ["u1,i1,1"], name="charts")
    finding = found(charts, "imbalance")
    assert finding.severity is Severity.WARNING
    assert "Gini coefficient 0.99; 98% of interactions" in finding.message


def test_users_with_one_event_items_never_seen_profiles_without_events(make_dataset):
    directory = make_dataset(interactions=["u,i1,1", "v,i1,2", "w,i1,3", "w,i1,4"], users='{"id": "x"}\n{"id": "u"}\n')
    single, unseen = found(directory, "single-event-users"), found(directory, "unseen-items")
    assert (single.severity, single.count) == (Severity.WARNING, 2)
    assert (unseen.severity, unseen.count) == (Severity.WARNING, 3)
    assert found(directory, "users-without-events").count == 1
    mostly = make_dataset(interactions=[*GOOD[:-1], f"x,i0,{NOW_S}"], name="mostly")
    assert found(mostly, "single-event-users").severity is Severity.INFO


def test_times(make_dataset):
    directory = make_dataset(interactions=[*GOOD, f"u,i1,{NOW_S}000", f"u,i1,{NOW_S + 200_000}"])
    milli, future = found(directory, "time-milliseconds"), found(directory, "time-future")
    assert (milli.severity, milli.count, milli.places) == (Severity.ERROR, 1, ("interactions.csv, line 18",))
    assert (future.severity, future.count, future.places) == (Severity.WARNING, 1, ("interactions.csv, line 19",))
    constant = make_dataset(interactions=["u,i1,7", "v,i2,7"], name="constant")
    assert "time-constant" in codes(constant, Severity.WARNING)
    span = make_dataset(interactions=["u,i1,0", "v,i2,86400"], name="span")
    assert found(span, "time-range").message == "from 1970-01-01 to 1970-01-02 (1 days)"


def test_weights(make_dataset):
    csv = "user_id,item_id,timestamp,weight\nu,i1,1,2\nu,i2,2,0\nu,i3,3,-1\n"
    directory = make_dataset(interactions=csv)
    low = found(directory, "weight-not-positive")
    assert (low.severity, low.count) == (Severity.WARNING, 2)
    assert low.places == ("interactions.csv, line 3", "interactions.csv, line 4")
    assert found(directory, "weight-range").message == "weights from -1 to 2, mean 0.333"


@pytest.mark.parametrize("blank", ["", "\n"])
def test_lines_are_those_of_the_file_where_rows_are_blank(make_dataset, blank):
    csv = f"user_id,item_id,timestamp\nu,i1,1\n{blank}u,i1,1\n"
    line = 3 + len(blank)
    assert found(make_dataset(interactions=csv), "duplicate-interactions").places == (f"interactions.csv, line {line}",)
