"""Checking: each finding, from data made to have it."""

from __future__ import annotations

import json

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


GOOD = [f"u{user},i{item},{NOW_S - 100_000 * item - 1000 * user}" for user in range(4) for item in range(4)]


def test_a_good_dataset_has_neither_errors_nor_warnings(make_dataset):
    report = check_dataset(make_dataset(interactions=GOOD), now_s=NOW_S)
    assert report.ok
    assert (report.items, report.users, report.interactions) == (4, 4, 16)
    assert {finding.severity for finding in report.findings} == {Severity.INFO}
    assert {finding.code for finding in report.findings} == {
        "domains",
        "density",
        "imbalance",
        "user-imbalance",
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


LONG = "a steel screw with a hex head and a zinc finish for wood and for metal, in a box of"


def test_texts_that_are_nearly_the_same(make_dataset):
    texts = [f"{LONG} 50", "A lamp of glass", f"{LONG.upper()}, 100!", f"{LONG} 50", "Quite another thing"]
    items = [{"id": str(n), "title": "t", "text": text} for n, text in enumerate(texts)]
    near = found(make_dataset(items), "near-duplicate-text")
    assert (near.severity, near.count, near.places) == (Severity.WARNING, 2, ("items.jsonl, lines 1 and 3",))
    assert found(make_dataset(items, name="same"), "identical-text").places == (
        "items.jsonl, line 1",
        "items.jsonl, line 4",
    )
    many = items + [
        {"id": f"x{n}", "title": "t", "text": f"the text of a thing called {n} {n} {n}"} for n in range(200)
    ]
    assert found(make_dataset(many, name="many"), "near-duplicate-text").severity is Severity.INFO


def test_a_few_users_who_do_most(make_dataset):
    rows = [f"u0,i{n % 4},{n}" for n in range(300)] + [f"u{n},i{n % 4},{n}" for n in range(1, 100)]
    finding = found(make_dataset(interactions=rows), "user-imbalance")
    assert finding.severity is Severity.WARNING
    assert "75% of interactions are of the top 1 % of users" in finding.message
    assert finding.mend
    assert found(make_dataset(interactions=GOOD, name="good"), "user-imbalance").severity is Severity.INFO


def test_domains_without_behaviour(make_dataset):
    items = [
        {"id": f"i{n}", "title": "t", "text": f"the text of {n}", "domain": "book" if n else "film"} for n in range(4)
    ]
    finding = found(make_dataset(items, interactions=[f"u{n},i{n % 3 + 1},{n}" for n in range(60)]), "domain-imbalance")
    assert finding.severity is Severity.WARNING
    assert (finding.message, finding.count) == ("interactions by domain: book 60, film 0", 1)
    assert "film" in finding.mend
    even = make_dataset(items, interactions=[f"u{n},i{n % 4},{n}" for n in range(60)], name="even")
    assert found(even, "domain-imbalance").severity is Severity.INFO
    assert "domain-imbalance" not in codes(make_dataset(name="one"))


DAY_S = 86_400


def test_silences(make_dataset):
    days = [*range(0, 60, 2), *range(200, 240)]
    rows = [f"u{n},i{n % 4},{day * DAY_S}" for n, day in enumerate(days)]
    finding = found(make_dataset(interactions=rows), "time-gaps")
    assert (finding.severity, finding.count) == (Severity.WARNING, 1)
    assert (
        "of 142 days, from 1970-02-28 to 1970-07-20; 95 % of gaps between active days are at most 2" in finding.message
    )
    regular = [f"u{n},i{n % 4},{30 * n * DAY_S}" for n in range(40)]
    assert "time-gaps" not in codes(make_dataset(interactions=regular, name="regular"))
    few = [f"u{n},i{n % 4},{day * DAY_S}" for n, day in enumerate([0, 1, 2, 500])]
    assert "time-gaps" not in codes(make_dataset(interactions=few, name="few"))


def test_events_whose_order_nobody_knows(make_dataset):
    rows = [*GOOD, *(f"u{n % 4},i{n % 4},{NOW_S}" for n in range(12)), *(f"w,i{n % 4},{NOW_S}" for n in range(6))]
    finding = found(make_dataset(interactions=rows), "time-ties")
    assert (finding.severity, finding.count) == (Severity.WARNING, 19)
    assert finding.message == (
        "19 interactions (56%) are at the same time as another of their user; 1 times there are 5 or more at once, at "
        "most 6"
    )
    assert finding.places[0] == "interactions.csv, line 2"
    one = make_dataset(interactions=[*GOOD, GOOD[4]], name="one")
    assert found(one, "time-ties").count == 2
    order = make_dataset(interactions=["u,i1,0", "u,i2,0", "v,i1,0"], metadata='{"times": "order"}', name="order")
    assert "2 interactions (67%) are in the same place of their order" in found(order, "time-ties").message
    none = make_dataset(interactions=["u,i1,0", "u,i2,0", "v,i1,0"], metadata='{"times": "none"}', name="none")
    assert {code for code in codes(none) if code.startswith("time")} == {"times"}


def test_users_of_one_day(make_dataset):
    rows = (
        [f"u,i0,{n * DAY_S}" for n in range(2)] + [f"{user},i{n},{n}" for user in "vwx" for n in range(2)] + ["y,i1,1"]
    )
    finding = found(make_dataset(interactions=rows), "one-day-users")
    assert (finding.severity, finding.count) == (Severity.WARNING, 3)
    assert "(75% of those with two interactions or more)" in finding.message
    assert "one-day-users" not in codes(make_dataset(interactions=GOOD, name="good"))


def split(*rows: str) -> str:
    return "\n".join(("user_id,item_id,timestamp,split", *rows)) + "\n"


def test_a_split_without_leaks(make_dataset):
    rows = split("u,i0,1,train", "v,i1,2,train", "u,i1,3,validation", "v,i0,4,test", "w,i3,5,test", "v,i2,9,")
    directory = make_dataset(interactions=rows)
    assert found(directory, "split").message == (
        "the dataset brings a split along: train 2, valid 1, test 2, in no part 1"
    )
    assert found(directory, "cold-users-in-test").message == "1 of 2 users of test are not in train"
    assert found(directory, "cold-items-in-test").count == 1
    assert not {code for code in codes(directory) if "train-" in code or "-train" in code}
    assert "split" not in codes(make_dataset(interactions=GOOD, name="without"))


def test_leaks_between_the_parts_of_a_split(make_dataset):
    rows = split(
        "u,i0,1,train", "u,i1,5,test", "u,i2,7,train", "u,i1,5,train",  # later than asked; the very interaction
        "v,i0,1,train", "v,i0,9,test",  # an item again
        "w,i3,6,train", "w,i2,8,test",
    )  # fmt: skip
    directory = make_dataset(interactions=rows)
    exact, again, late = (found(directory, f"{c}") for c in ("test-in-train", "test-repeats-train", "train-after-test"))
    assert (exact.severity, exact.count, exact.places) == (Severity.ERROR, 1, ("interactions.csv, line 3",))
    assert (again.severity, again.count, again.places) == (Severity.WARNING, 1, ("interactions.csv, line 7",))
    assert (late.severity, late.count, late.places) == (Severity.WARNING, 1, ("interactions.csv, line 4",))
    assert all(finding.mend for finding in (exact, again, late))
    overlap = found(directory, "train-overlaps-test")
    assert (overlap.severity, overlap.count) == (Severity.INFO, 2)
    assert "(40%)" in overlap.message
    assert not check_dataset(directory, now_s=NOW_S).ok


def test_interactions_with_unknown_items_do_not_shift_the_parts(make_dataset):
    rows = split("u,gone,1,train", "u,i0,1,test", "v,i0,2,train")
    assert found(make_dataset(interactions=rows), "split").message.endswith("train 1, valid 0, test 1")


def test_leaks_in_time_are_looked_for_as_far_as_there_is_time(make_dataset):
    rows = split("u,i0,1,test", "u,i2,7,train", "v,i0,3,train")
    for times, expected in (
        ("seconds", {"train-after-test", "train-overlaps-test"}),
        ("order", {"train-after-test"}),
        ("none", set()),
    ):
        directory = make_dataset(interactions=rows, metadata=f'{{"times": "{times}"}}', name=times)
        assert {code for code in codes(directory) if code.startswith("train-")} == expected


def test_every_warning_and_every_error_says_what_to_do(make_dataset):
    items = [{"id": f"i{n}", "text": "short", "domain": "ab"[n == 7]} for n in range(200)]
    rows = split(*(f"u{n % 2},i0,{NOW_S * 10},{'train' if n % 2 else 'test'}" for n in range(300)), "x,i1,1,train")
    report = check_dataset(make_dataset(items, interactions=rows), now_s=NOW_S)
    bad = [finding for finding in report.findings if finding.severity is not Severity.INFO]
    assert len(bad) >= 7
    assert [finding.code for finding in bad if not finding.mend] == []


def test_attributes_that_follow_uptakes_are_told(make_dataset):
    items = [
        {"id": f"i{at}", "text": f"a text number {at}", "attributes": {"sold": at, "year": at % 7}} for at in range(120)
    ]
    rows = [f"u{user},i{at},{NOW_S - 1000 * user - at}" for at in range(120) for user in range(1 + at // 8)]
    directory = make_dataset(items="\n".join(map(json.dumps, items)) + "\n", interactions=rows)
    finding = found(directory, "popular-attributes")
    assert "'sold'" in finding.message
    assert "leave it out" in finding.mend
