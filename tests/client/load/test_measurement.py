from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tanager.load.measurement import STAGES, Recorder, Window, measure, percentile, summary

RESOURCE_EXHAUSTED = 8


def record(recorder, ended, latency, *, status=0, lag=0.0, results=10, stages=(0, 0, 0, 0, 0, 0)):
    recorder.ended_s.append(ended)
    recorder.latency_s.append(latency)
    recorder.lag_s.append(lag)
    recorder.status.append(status)
    recorder.results.append(results)
    recorder.stages_us.extend(stages)


@pytest.fixture
def recorder():
    return Recorder()


@pytest.mark.parametrize(
    ("percent", "expected"), [(0, 1), (1, 1), (50, 50), (50.1, 51), (99, 99), (99.9, 100), (100, 100)]
)
def test_percentiles_are_of_the_nearest_rank(percent, expected):
    assert percentile(range(1, 101), percent) == expected


@given(st.lists(st.floats(0, 1e3), min_size=1), st.floats(0, 100))
def test_a_percentile_is_one_of_the_values_and_bounds_its_share(values, percent):
    values.sort()
    bound = percentile(values, percent)
    assert bound in values
    assert sum(value <= bound for value in values) >= len(values) * percent / 100 - 1e-6


def test_a_summary_is_scaled():
    assert summary([0.001, 0.002, 0.006], 1e3) == {
        "mean": 3, "p50": 2, "p90": 6, "p95": 6, "p99": 6, "p999": 6, "max": 6
    }  # fmt: skip


def test_calls_count_by_when_they_were_due_and_answers_by_when_they_came(recorder):
    record(recorder, 9.9, 0.5)  # of the warm-up
    record(recorder, 10.1, 0.5)  # due in the warm-up, answered in the window
    record(recorder, 10.5, 0.25)
    record(recorder, 12.5, 0.75)  # due in the window, answered after it
    measured = measure(recorder, Window(10, 12, 0.5), open_loop=True)
    assert measured.sent == measured.ok == 2
    assert list(measured.latencies_s["OK"]) == [0.25, 0.75]
    assert measured.throughput_rps == 1.0  # those of 10.1 and 10.5, in two seconds
    assert measured.offered_rps == 1.0
    assert sum(second.ok for second in measured.seconds) == 2
    assert measured.cores == 0.25


def test_with_a_number_of_calls_only_answers_to_those_count(recorder):
    record(recorder, 10.1, 0.5)  # due in the warm-up
    record(recorder, 10.5, 0.25)
    record(recorder, 12.0, 0.75)
    measured = measure(recorder, Window(10, 12, 0.5), open_loop=True, by_count=True)
    assert measured.sent == measured.ok == measured.answered_ok == 2
    assert measured.throughput_rps == 1.0
    assert sum(second.ok for second in measured.seconds) == 2


def test_statuses_are_counted_by_name_with_ok_first_and_then_the_most_frequent(recorder):
    for status, count in ((14, 1), (RESOURCE_EXHAUSTED, 3), (0, 2)):
        for _ in range(count):
            record(recorder, 0.5, 0.25, status=status)
    measured = measure(recorder, Window(0, 1, 0), open_loop=False)
    assert list(measured.statuses.items()) == [("OK", 2), ("RESOURCE_EXHAUSTED", 3), ("UNAVAILABLE", 1)]
    assert measured.error_share == pytest.approx(4 / 6)
    assert measured.seconds[0].errors == {"RESOURCE_EXHAUSTED": 3, "UNAVAILABLE": 1}


def test_the_servers_time_is_of_ok_answers_that_count(recorder):
    record(recorder, 0.5, 0.25, stages=(10, 20, 30, 40, 50, 4))
    record(recorder, 0.5, 0.25, stages=(30, 20, 30, 40, 50, 0), results=0)
    record(recorder, 0.5, 0.25, status=RESOURCE_EXHAUSTED)
    record(recorder, -0.5, 0.25, stages=(9000, 9000, 9000, 9000, 9000, 9))
    measured = measure(recorder, Window(0, 1, 0), open_loop=False)
    assert [measured.stages[name].mean_us for name in STAGES] == [20, 20, 30, 40, 50]
    assert measured.stages["queue"].p99_us == 30
    assert measured.batch_size_mean == 4  # of what was encoded
    assert measured.empty == 1


def test_seconds_follow_the_answers(recorder):
    for ended, latency in ((0.2, 0.1), (0.9, 0.2), (2.4, 0.3)):
        record(recorder, ended, latency)
    seconds = measure(recorder, Window(0, 3, 0), open_loop=False).seconds
    assert [second.ok for second in seconds] == [2, 0, 1]
    assert [second.p99_s for second in seconds] == [pytest.approx(0.2), None, pytest.approx(0.3)]


def test_lags_are_those_of_an_open_loop(recorder):
    record(recorder, 0.5, 0.25, lag=0.002)
    assert list(measure(recorder, Window(0, 1, 0), open_loop=True).lags_s) == [pytest.approx(0.002)]
    assert list(measure(recorder, Window(0, 1, 0), open_loop=False).lags_s) == []


def test_a_generator_at_its_limit_says_so(recorder):
    for _ in range(10):
        record(recorder, 0.5, 0.25, lag=0.001)
    assert measure(recorder, Window(0, 1, 0.89), open_loop=True).limits == []
    (busy,) = measure(recorder, Window(0, 1, 0.95), open_loop=True).limits
    assert "95% of a core" in busy
    recorder.lag_s = array("f", [0.02] * 10)
    (late,) = measure(recorder, Window(0, 1, 0.1), open_loop=True).limits
    assert "20 ms late" in late
    recorder.ticked_s.append(0.5)
    recorder.loop_lag_s.append(0.03)
    (late,) = measure(recorder, Window(0, 1, 0.1), open_loop=False).limits
    assert "30 ms late" in late


def test_nothing_at_all_is_no_division_by_zero(recorder):
    measured = measure(recorder, Window(5, 5, 0), open_loop=True)
    assert (measured.sent, measured.throughput_rps, measured.error_share, measured.cores) == (0, 0, 0, 0)
    assert measured.statuses == {"OK": 0}
    assert list(measured.seconds) == []
