"""The batcher: which texts go into which batch, and that every caller is answered once. No time passes here."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack

import numpy as np
import pytest

from tanager_server.errors import DeadlineExpiredError, EncodeError, OverloadedError
from tanager_server.runtime.batcher import Batcher, Encoded
from tanager_server.settings import BatchingSettings


def text(name: int, length: int = 4) -> list[int]:
    """Tokens of a text that `name` tells from others."""
    return [name] * length


@pytest.fixture
async def start(gate, clock, settle):
    """Starts a batcher, and lets a call wait in it: `submit(texts…, deadline=)` gives the task of the call."""
    async with AsyncExitStack() as stack:
        tasks: list[asyncio.Task[Encoded]] = []

        async def begin(observe=None, **policy):
            batcher = Batcher(gate, policy=BatchingSettings(**policy), clock=clock, observe=observe)
            await stack.enter_async_context(batcher)

            async def submit(*texts, deadline=1000.0):
                task = asyncio.create_task(batcher.submit(texts, deadline=deadline))
                tasks.append(task)
                await settle()
                return task

            return batcher, submit

        yield begin
    await asyncio.gather(*tasks, return_exceptions=True)


async def busy(submit, gate):
    """Gives the encoder something to do, so that what comes next has to wait."""
    await submit(text(0))
    assert gate.busy


# Which texts go into a batch


async def test_an_idle_encoder_gets_the_first_text_at_once(start, gate):
    _, submit = await start()
    await submit(text(1))
    assert gate.names() == [[1]]


async def test_a_batch_is_formed_when_the_encoder_is_free_from_all_that_waits_then(start, gate):
    batcher, submit = await start()
    await busy(submit, gate)
    for name in (1, 2, 3):
        await submit(text(name))
    assert gate.names() == [[0]]
    assert batcher.depth == 3
    await gate.open()
    assert gate.names() == [[0], [1, 2, 3]]
    assert batcher.depth == 0


async def test_padding_counts_towards_the_token_budget(start, gate):
    _, submit = await start(max_batch_tokens=12)
    await busy(submit, gate)
    for name, length in ((1, 6), (2, 3), (3, 3)):  # 12 tokens, but three texts padded to six would be 18
        await submit(text(name, length))
    await gate.open()
    await gate.open()
    assert gate.names() == [[0], [2, 1], [3]]


async def test_a_text_longer_than_the_budget_goes_alone(start, gate):
    _, submit = await start(max_batch_tokens=10)
    await busy(submit, gate)
    await submit(text(1, 50))
    await submit(text(2, 1))
    await gate.open()
    await gate.open()
    assert gate.names() == [[0], [1], [2]]


async def test_a_batch_never_holds_more_texts_than_allowed(start, gate):
    _, submit = await start(max_batch_size=3)
    await submit(*(text(name) for name in range(7)))
    for _ in range(3):
        await gate.open()
    assert gate.names() == [[0, 1, 2], [3, 4, 5], [6]]


async def test_the_most_urgent_text_is_in_the_next_batch_whatever_its_length(start, gate):
    _, submit = await start(max_batch_tokens=40)
    await busy(submit, gate)
    for name in range(1, 11):
        await submit(text(name, 4), deadline=100)
    await submit(text(99, 40), deadline=50)
    await gate.open()
    assert gate.names()[1] == [99]
    await gate.open()
    assert sorted(gate.names()[2]) == list(range(1, 11))


async def test_equal_deadlines_are_served_in_order_of_arrival(start, gate):
    _, submit = await start(max_batch_size=2)
    await busy(submit, gate)
    for name in (5, 4, 3, 2, 1):
        await submit(text(name))
    for _ in range(3):
        await gate.open()
    assert gate.names() == [[0], [5, 4], [3, 2], [1]]


async def test_the_rest_of_a_batch_are_the_texts_nearest_in_length_to_the_most_urgent(start, gate):
    _, submit = await start(max_batch_size=3)
    await busy(submit, gate)
    for name, length in ((1, 1), (2, 2), (3, 30), (4, 31), (5, 32)):
        await submit(text(name, length), deadline=100)
    await submit(text(6, 33), deadline=50)
    await gate.open()
    assert gate.names()[1] == [4, 5, 6]


async def test_of_texts_equally_long_the_more_urgent_go_first(start, gate):
    _, submit = await start(max_batch_size=3)
    await busy(submit, gate)
    for name, length in ((1, 8), (2, 4), (3, 4), (4, 4), (5, 4)):
        await submit(text(name, length))
    await gate.open()
    assert sorted(gate.names()[1]) == [1, 2, 3]


async def test_texts_whose_padding_costs_more_than_a_batch_are_not_batched_together(start, gate):
    _, submit = await start(batch_cost_tokens=20)
    await busy(submit, gate)
    for name, length in ((1, 2), (2, 2), (3, 12), (4, 13)):  # with the third, the first two would be padded by 10 each
        await submit(text(name, length))
    await gate.open()
    await gate.open()
    assert gate.names() == [[0], [1, 2, 3], [4]]


async def test_only_the_most_urgent_texts_of_the_window_are_chosen_among(start, gate):
    _, submit = await start(window=2, max_batch_size=2)
    await busy(submit, gate)
    await submit(text(1, 8), deadline=10)
    await submit(text(2, 4), deadline=20)
    await submit(text(3, 8), deadline=30)  # the better fit for 1, but less urgent than the window reaches
    await gate.open()
    assert gate.names()[1] == [2, 1]


# What a caller gets


async def test_vectors_come_in_the_order_of_the_texts_though_spread_over_batches(start, gate, clock):
    _, submit = await start(max_batch_size=2)
    clock.now = 5.0
    task = await submit(*(text(name, length) for name, length in ((1, 9), (2, 1), (3, 5), (4, 7), (5, 3))))
    for began, took in ((5.0, 1.0), (6.0, 2.0)):
        assert clock.now == began
        clock.now += took
        await gate.open()
    assert not task.done()
    clock.now += 0.5
    await gate.open()
    encoded = task.result()
    assert np.array(encoded.vectors).tolist() == [[1, 9], [2, 1], [3, 5], [4, 7], [5, 3]]
    # Of the last of the batches: it began three seconds after submission, took half a second, and held one text.
    assert (encoded.queue_s, encoded.encode_s, encoded.batch_size) == (3.0, 0.5, len(gate.batches[-1])) == (3.0, 0.5, 1)


async def test_batch_size_counts_the_texts_of_other_callers(start, gate):
    _, submit = await start()
    await busy(submit, gate)
    one, two = await submit(text(1)), await submit(text(2), text(3))
    await gate.open()
    await gate.open()
    assert (one.result().batch_size, two.result().batch_size) == (3, 3)


async def test_the_observer_is_told_of_tokens_and_padding(start, gate, clock):
    seen = []
    _, submit = await start(observe=lambda **batch: seen.append(batch))
    await submit(text(1, 3), text(2, 5))
    clock.now += 0.25
    await gate.open()
    assert seen == [{"size": 2, "tokens": 8, "padded_tokens": 10, "encode_s": 0.25}]


async def test_an_observer_that_raises_stops_neither_the_answer_nor_the_worker(start, gate, caplog):
    def observe(**_):
        raise ValueError("metrics are broken")

    _, submit = await start(observe=observe)
    for name in (1, 2):
        task = await submit(text(name))
        await gate.open()
        assert task.result().vectors[0].tolist() == [name, 4]
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2


# Callers who go, and deadlines


async def test_texts_of_a_cancelled_call_are_never_encoded_and_counted_no_longer(start, gate, settle):
    batcher, submit = await start()
    await busy(submit, gate)
    gone, stays = await submit(text(1), text(2)), await submit(text(3))
    assert batcher.depth == 3
    gone.cancel()
    await settle()
    assert batcher.depth == 1
    await gate.open()
    await gate.open()
    assert gate.names() == [[0], [3]]
    assert stays.result().batch_size == 1


async def test_a_call_cancelled_while_half_encoded_drops_its_other_half(start, gate, settle):
    batcher, submit = await start(max_batch_size=1)
    task = await submit(text(1), text(2))
    task.cancel()
    await settle()
    assert batcher.depth == 0
    await gate.open()
    other = await submit(text(3))
    await gate.open()
    assert gate.names() == [[1], [3]]
    assert other.result().vectors[0].tolist() == [3, 4]


async def test_others_in_the_batch_of_a_cancelled_call_get_their_vectors(start, gate):
    _, submit = await start()
    await busy(submit, gate)
    gone, stays = await submit(text(1)), await submit(text(2))
    await gate.open()
    gone.cancel()
    await gate.open()
    assert gone.cancelled()
    assert stays.result().vectors[0].tolist() == [2, 4]


async def test_cancelled_texts_do_not_pile_up_behind_distant_deadlines(start, gate, settle):
    batcher, submit = await start(max_queue=10)
    await busy(submit, gate)
    for _ in range(50):
        (await submit(*(text(1) for _ in range(10)), deadline=1e9)).cancel()
        await settle()
    assert batcher.depth == 0
    assert len(batcher._queue) <= 10


async def test_what_expires_in_the_queue_is_never_encoded(start, gate, clock):
    batcher, submit = await start()
    await busy(submit, gate)
    late, exact, early = [await submit(text(name), deadline=name) for name in (1, 2, 3)]
    clock.now = 2.0
    await gate.open()
    assert gate.names() == [[0], [3]]
    for task in (late, exact):  # a deadline that is now has passed: no time is left to encode
        with pytest.raises(DeadlineExpiredError):
            task.result()
    assert batcher.depth == 0
    await gate.open()
    assert early.result().vectors[0].tolist() == [3, 4]


async def test_a_call_that_expires_half_encoded_drops_its_other_half(start, gate, clock):
    batcher, submit = await start(max_batch_size=1)
    task = await submit(text(1), text(2), text(3), deadline=10)
    clock.now = 11.0
    await gate.open()
    with pytest.raises(DeadlineExpiredError):
        task.result()
    assert (gate.names(), batcher.depth) == ([[1]], 0)


# A full queue


async def test_a_call_that_does_not_fit_whole_is_refused_at_once_and_leaves_nothing(start, gate):
    batcher, submit = await start(max_queue=3)
    await busy(submit, gate)
    await submit(text(1), text(2))
    with pytest.raises(OverloadedError) as refused:
        # Driven by hand: it must be refused before it waits for anything.
        batcher.submit([text(3), text(4)], deadline=1000.0).send(None)
    assert refused.value.retry_after_s > 0
    assert batcher.depth == 2
    fits = await submit(text(5))
    await gate.open()
    await gate.open()
    assert gate.names() == [[0], [1, 2, 5]]
    assert fits.result().batch_size == 3


async def test_cancelled_calls_make_room(start, gate, settle):
    batcher, submit = await start(max_queue=2)
    await busy(submit, gate)
    gone = await submit(text(1), text(2))
    gone.cancel()
    await settle()
    task = await submit(text(3), text(4))
    assert not task.done()
    assert batcher.depth == 2


# An encoder that fails


@pytest.mark.parametrize("error", [EncodeError("not finite"), RuntimeError("out of memory"), KeyError("x")])
async def test_when_encoding_fails_every_caller_of_the_batch_is_told_and_the_worker_goes_on(start, gate, caplog, error):
    batcher, submit = await start()
    await busy(submit, gate)
    failed = [await submit(text(name)) for name in (1, 2)]
    await gate.open()
    after = await submit(text(3))
    await gate.open(error)
    for task in failed:
        with pytest.raises(EncodeError):
            task.result()
    await gate.open()
    assert after.result().vectors[0].tolist() == [3, 4]
    assert batcher.depth == 0
    assert "a batch of 2 texts failed" in caplog.text


@pytest.mark.parametrize("vectors", [np.zeros((1, 2)), np.zeros((3, 2)), [], object()], ids=repr)
async def test_a_wrong_number_of_vectors_is_a_failure_and_never_a_wrong_answer(start, gate, vectors):
    _, submit = await start()
    task = await submit(text(1), text(2))
    await gate.open(vectors)
    with pytest.raises(EncodeError):
        task.result()
    after = await submit(text(3))
    await gate.open()
    assert after.result().vectors[0].tolist() == [3, 4]


async def test_a_call_whose_first_batch_failed_wastes_no_second_one(start, gate):
    batcher, submit = await start(max_batch_size=1)
    task = await submit(text(1), text(2))
    await gate.open(EncodeError("no"))
    with pytest.raises(EncodeError):
        task.result()
    assert (gate.names(), batcher.depth) == ([[1]], 0)


# Closing


async def test_closing_fails_those_in_flight_and_those_who_wait_and_cancels_nobody(gate, clock, settle):
    async with Batcher(gate, policy=BatchingSettings(), clock=clock) as batcher:
        in_flight = asyncio.create_task(batcher.submit([text(1)], deadline=10))
        await settle()
        waiting = asyncio.create_task(batcher.submit([text(2)], deadline=10))
        await settle()
    with pytest.raises(EncodeError):
        await in_flight
    with pytest.raises(OverloadedError):
        await waiting
    assert batcher.depth == 0


async def test_a_closed_batcher_refuses_instead_of_letting_wait_for_ever(gate, clock):
    async with Batcher(gate, policy=BatchingSettings(), clock=clock) as batcher:
        pass
    with pytest.raises(OverloadedError, match="shutting down"):
        batcher.submit([text(1)], deadline=10).send(None)
    assert batcher.depth == 0


async def test_a_bug_in_forming_batches_fails_those_who_wait_and_nobody_after(start, gate, monkeypatch, caplog):
    batcher, submit = await start()
    await busy(submit, gate)
    waiting = [await submit(text(1)), await submit(text(2))]
    with monkeypatch.context() as patch:
        patch.setattr(batcher, "_choose", lambda window, first: 1 / 0)
        await gate.open()
        for task in waiting:
            with pytest.raises(EncodeError, match="division by zero"):
                await task
    assert batcher.depth == 0
    after = await submit(text(3))
    await gate.open()
    assert (await after).batch_size == 1
    caplog.clear()
