import pytest
from hypothesis import given
from hypothesis import strategies as st

from tanager.load.measurement import Recorder, Window, measure
from tanager.load.search import Objective, RateSearch, judge


def measured(latencies_ms=(10,), *, failed=0, late=0):
    recorder = Recorder()
    for status, latency_ms, ended in (
        *((0, latency_ms, 0.9) for latency_ms in latencies_ms),
        *((8, 1, 0.9) for _ in range(failed)),
        *((0, 900, 1.5) for _ in range(late)),
    ):
        recorder.ended_s.append(ended)
        recorder.latency_s.append(latency_ms / 1e3)
        recorder.lag_s.append(0)
        recorder.status.append(status)
        recorder.results.append(1)
        recorder.stages_us.extend([0] * 6)
    return measure(recorder, Window(0, 1, 0), open_loop=True)


@pytest.mark.parametrize(
    ("text", "figure", "bound_s"),
    [("p99<=50ms", "p99", 0.05), ("p999 < 1.5s", "p999", 1.5), ("mean<=3ms", "mean", 0.003), ("max<=1s", "max", 1)],
)
def test_objectives_are_read(text, figure, bound_s):
    objective = Objective.parse(text)
    assert (objective.figure, objective.bound_s) == (figure, bound_s)


@pytest.mark.parametrize("text", ["", "p99", "p99<=50", "p98<=50ms", "p99>=50ms", "p99<=-1ms", "p99<=50ms and more"])
def test_what_is_no_objective_is_refused_with_an_example(text):
    with pytest.raises(ValueError, match="p99<=50ms"):
        Objective.parse(text)


def test_a_step_passes_within_its_bounds():
    step = judge(100, measured([10] * 99 + [900]), Objective.parse("p99<=10.1ms"), 0.0)
    assert step.passed
    assert step.failure == ""


@pytest.mark.parametrize(
    ("measurement", "objective", "failure"),
    [
        (measured([10] * 98 + [900] * 2), "p99<=50ms", "p99 900.0 ms"),
        (measured([10] * 98, failed=2), "p99<=50ms", "2.00% errors"),
        (measured([10] * 90, late=10), "p50<=50ms", "a queue grows"),
        (measured([], failed=3), "p99<=50ms", "nothing was answered OK"),
        (measured([10, 50]), "mean<=20ms", "mean 30.0 ms"),
        (measured([10, 50]), "max<=20ms", "max 50.0 ms"),
    ],
)
def test_a_step_fails_for_a_reason(measurement, objective, failure):
    step = judge(100, measurement, Objective.parse(objective), 0.01)
    assert not step.passed
    assert failure in step.failure


def search(first, precision, limit):
    rates = RateSearch(first, precision)
    tried = []
    while (rate := rates.next_rate()) is not None:
        tried.append(rate)
        rates.tell(rate, passed=rate <= limit)
    return rates.best, tried


def test_the_search_doubles_and_closes_in():
    best, tried = search(100, 0.1, 430)
    assert tried == [100, 200, 400, 800, 600, 500, 450, 425]
    assert best == 425


def test_the_search_goes_down_from_too_much():
    best, tried = search(800, 0.25, 120)
    assert tried[:4] == [800, 400, 200, 100]
    assert best == 100


def test_the_search_gives_up_where_nothing_holds():
    best, tried = search(50, 0.05, 0)
    assert best == 0
    assert len(tried) <= 30


@given(st.floats(1, 1e4), st.floats(0.01, 0.5), st.floats(1, 1e5))
def test_the_search_finds_the_limit_to_its_precision(first, precision, limit):
    best, tried = search(first, precision, limit)
    assert best <= limit <= best * (1 + precision) * (1 + 1e-9)
    assert len(tried) == len(set(tried))
