"""The batcher when callers go, deadlines pass, the queue is full, the encoder fails or the server ends."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from tests.server.batching import busy, text

from tanager_server.errors import DeadlineExpiredError, EncodeError, OverloadedError
from tanager_server.runtime.batcher import Batcher
from tanager_server.settings import BatchingSettings

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
