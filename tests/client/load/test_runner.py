import asyncio
import itertools
import select
import selectors
import socket
import sys
import time

import grpc
import pytest

from tanager.load.runner import Run, new_event_loop


async def test_a_closed_loop_sends_the_pool_and_counts_every_call(server, measured):
    measurement = await measured(concurrency=3, count=20)
    assert (measurement.sent, measurement.ok, len(server.requests)) == (20, 20, 20)
    assert {request.text for request in server.requests} == {f"wish {i}" for i in range(5)}
    assert measurement.distinct_requests == 5
    assert measurement.throughput_rps > 0
    assert list(measurement.lags_s) == []
    assert not measurement.interrupted


async def test_a_closed_loop_keeps_its_concurrency_and_no_more(server, new_run):
    inside, all_inside = [], asyncio.Event()
    release = asyncio.Event()

    async def answer(request, context):
        inside.append(request)
        if len(inside) == 4:
            all_inside.set()
        await release.wait()
        return server_answer

    server_answer = b""
    server.answer = answer
    run = await new_run(concurrency=4, count=9)
    running = asyncio.create_task(run.run())
    await asyncio.wait_for(all_inside.wait(), 30)
    assert run.in_flight == 4
    assert len(inside) == 4
    release.set()
    await asyncio.wait_for(running, 30)
    assert run.measurement().sent == 9
    assert run.in_flight == 0


async def test_an_open_loop_sends_on_time_however_slow_the_answers_are(server, new_run):
    """Answers that wait for the last call of the plan: a closed loop would wait with them."""
    everyone, release = asyncio.Event(), asyncio.Event()

    async def answer(request, context):
        if len(server.requests) == 10:
            everyone.set()
        await release.wait()
        return b""

    server.answer = answer
    run = await new_run(gaps=itertools.repeat(0.001), count=10)
    running = asyncio.create_task(run.run())
    await asyncio.wait_for(everyone.wait(), 30)
    release.set()
    await asyncio.wait_for(running, 30)
    measurement = run.measurement()
    assert measurement.sent == 10
    assert len(measurement.lags_s) == 10
    assert min(measurement.lags_s) >= 0


async def test_latency_in_an_open_loop_counts_from_when_a_call_was_due(server, new_run):
    """The event loop is blocked for a while, as by a generator too slow: what was due then was sent late."""
    run = await new_run(gaps=itertools.repeat(0.01), count=20)
    released = asyncio.Event()

    async def block(request, context):
        if not released.is_set():
            released.set()
            # The whole loop stands still: nobody can send.
            time.sleep(0.1)  # noqa: ASYNC251 - standing still is what is tested, not waiting for something
        return b""

    server.answer = block
    await asyncio.wait_for(run.run(), 30)
    measurement = run.measurement()
    assert measurement.sent == 20
    # At least eight calls fell due in these 100 ms, up to 90 ms before any could be sent.
    assert sum(lag > 0.01 for lag in measurement.lags_s) >= 7
    assert measurement.latencies_s["OK"][-1] >= max(measurement.lags_s)


async def test_statuses_are_told_apart_and_the_servers_time_is_of_ok_answers(server, measured):
    server.fail(grpc.StatusCode.RESOURCE_EXHAUSTED, every=4)
    measurement = await measured(concurrency=1, count=20)
    assert measurement.statuses == {"OK": 15, "RESOURCE_EXHAUSTED": 5}
    assert {name: stage.mean_us for name, stage in measurement.stages.items()} == {
        "queue": 100,
        "tokenize": 200,
        "encode": 1500,
        "search": 300,
        "rank": 400,
    }
    assert measurement.batch_size_mean == 3
    assert measurement.empty == 0


async def test_an_answer_without_results_is_told_and_one_that_is_no_message_is_an_error(server, measured):
    async def answer(request, context):
        return b"" if len(server.requests) % 2 else b"\xff\xff\xff"

    server.answer = answer
    measurement = await measured(concurrency=1, count=10)
    assert measurement.statuses == {"OK": 5, "INTERNAL": 5}
    assert measurement.empty == 5


async def test_calls_have_a_deadline(server, measured):
    async def answer(request, context):
        await asyncio.Event().wait()

    server.answer = answer
    measurement = await measured(concurrency=2, count=2, timeout_s=0.05)
    assert measurement.statuses == {"OK": 0, "DEADLINE_EXCEEDED": 2}


async def test_calls_carry_no_metadata_of_their_own(server, measured):
    await measured(concurrency=1, count=1)
    assert set(server.metadata[0]) == {"user-agent"}
    assert str(server.metadata[0]["user-agent"]).startswith("tanager-load/")


@pytest.mark.parametrize("options", [{"concurrency": 6}, {"gaps": itertools.repeat(0.001)}], ids=["closed", "open"])
async def test_calls_spread_over_all_connections(server, measured, options):
    await measured(number_of_connections=3, count=12, **options)
    assert len(server.peers) == 3


async def test_the_warm_up_does_not_count(server, measured):
    measurement = await measured(concurrency=1, count=5, warm_up_s=0.05)
    assert measurement.sent == 5
    assert len(server.requests) > 5


async def test_answers_to_the_warm_up_make_no_throughput_of_a_number_of_calls(server, new_run):
    """Those of the warm-up are answered late: one within the window, one after all that counts has ended."""
    counted, all_counted, last = 0, asyncio.Event(), asyncio.Event()
    some = asyncio.Event()

    async def answer(request, context):
        nonlocal counted
        number = len(server.requests)
        if number == 1:
            await last.wait()
        elif number < 4:
            await some.wait()
        counted += time.perf_counter() > run._begin_s
        if counted == 20:
            some.set()
        return b""

    def noted() -> None:
        note_cpu_end()
        all_counted.set()

    server.answer = answer
    run = await new_run(concurrency=4, count=50, warm_up_s=0.05)
    note_cpu_end, run._note_cpu_end = run._note_cpu_end, noted
    running = asyncio.create_task(run.run())
    await asyncio.wait_for(all_counted.wait(), 30)
    assert run.in_flight == 1
    used_s, ended_s = run.measurement().cpu_s, max(run.recorder.ended_s)
    last.set()
    await asyncio.wait_for(running, 30)
    measurement = run.measurement()
    assert measurement.ok == measurement.answered_ok == 50
    assert measurement.duration_s == pytest.approx(ended_s - run._begin_s)
    assert measurement.throughput_rps == pytest.approx(50 / measurement.duration_s)
    assert measurement.cpu_s == used_s > 0


async def test_a_run_of_some_time_ends_by_itself(server, measured):
    measurement = await measured(concurrency=2, duration_s=0.2)
    assert measurement.duration_s == pytest.approx(0.2)
    assert measurement.ok == measurement.sent > 0
    assert measurement.cpu_s > 0


@pytest.mark.parametrize("options", [{"concurrency": 2}, {"gaps": itertools.repeat(0.001)}], ids=["closed", "open"])
async def test_an_interrupt_ends_early_and_keeps_what_there_is(server, new_run, options):
    some = asyncio.Event()

    async def answer(request, context):
        if len(server.requests) == 10:
            some.set()
        return b""

    server.answer = answer
    run = await new_run(duration_s=3600, **options)
    running = asyncio.create_task(run.run())
    await asyncio.wait_for(some.wait(), 30)
    running.cancel()
    await asyncio.wait_for(running, 30)
    measurement = run.measurement()
    assert measurement.interrupted
    assert measurement.ok == measurement.sent >= 9
    assert measurement.unanswered == 0
    assert 0 < measurement.duration_s < 3600


async def test_an_interrupt_while_the_plan_is_late_is_told(server, new_run):
    """All calls are due at once and there is no end of them: the time is over before they are sent."""
    run = await new_run(gaps=itertools.repeat(0.0), duration_s=0.01)
    running = asyncio.create_task(run.run())
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_later(0.02, running.cancel)
    await asyncio.wait_for(running, 30)
    measurement = run.measurement()
    assert measurement.interrupted
    assert measurement.duration_s == pytest.approx(0.01)


async def test_an_interrupt_waits_for_the_answers_that_are_due(server, new_run):
    held, release = asyncio.Event(), asyncio.Event()

    async def answer(request, context):
        held.set()
        await release.wait()
        return b""

    server.answer = answer
    run = await new_run(concurrency=1, duration_s=3600)
    running = asyncio.create_task(run.run())
    await asyncio.wait_for(held.wait(), 30)
    running.cancel()
    await asyncio.sleep(0)
    release.set()
    await asyncio.wait_for(running, 30)
    assert run.measurement().statuses == {"OK": 1}


async def test_a_server_that_goes_away_is_counted_and_not_waited_for(server, new_run, measured):
    server.fail(grpc.StatusCode.UNAVAILABLE)
    measurement = await measured(concurrency=2, count=6)
    assert measurement.statuses == {"OK": 0, "UNAVAILABLE": 6}
    assert len(server.requests) == 6  # nothing is retried


async def test_what_goes_wrong_inside_is_raised(new_run):
    run = await new_run(gaps=iter([0.0, 0.001]), count=10)  # a plan that ends too soon
    with pytest.raises(RuntimeError, match="StopIteration"):
        await asyncio.wait_for(run.run(), 30)


@pytest.mark.parametrize(
    "options", [{}, {"concurrency": 1}, {"count": 1}, {"concurrency": 1, "count": 1, "duration_s": 1.0}]
)
async def test_a_run_that_makes_no_sense_is_refused(pool, options):
    with pytest.raises(ValueError, match="either"):
        Run([], pool, iter([]), **options)


def test_the_event_loop_of_few_connections_does_not_round_its_timers_to_milliseconds():
    loop = new_event_loop(1)
    assert isinstance(loop._selector, selectors.SelectSelector)  # type: ignore[attr-defined]
    loop.close()


@pytest.mark.skipif(sys.platform != "linux", reason="epoll is Linux's")
def test_the_event_loop_of_many_connections_neither_and_looks_at_one_descriptor(monkeypatch):
    asked, select_ = [], select.select

    def spy(readable, writable, failed, timeout):
        asked.append((readable, timeout))
        return select_(readable, writable, failed, 0)

    loop = new_event_loop(1_000)
    selector = loop._selector  # type: ignore[attr-defined]
    one, other = socket.socketpair()
    selector.register(one, selectors.EVENT_READ)
    monkeypatch.setattr(select, "select", spy)
    assert selector.select(50e-6) == []
    other.send(b"x")
    ((key, events),) = selector.select(50e-6)
    assert (key.fileobj, events) == (one, selectors.EVENT_READ)
    assert asked == [([selector.fileno()], 50e-6)] * 2
    for closing in (one, other, loop):
        closing.close()
