"""The batcher when callers go, the encoder fails or hangs, or the server ends. In simulated time."""

from __future__ import annotations

import asyncio
import gc

import pytest
from tests.server.batching import ScriptedEncoder, Seen, Text, now, outcomes, policy, settle, simulated, until

from tanager_server.errors import (
    DeadlineExpiredError,
    DrainingError,
    EncodeError,
    EncoderStuckError,
    OverloadedError,
)
from tanager_server.runtime.batcher import Batcher

FAR = 1000.0


def batcher(encoder, *, workers=1, observe=None, **changes):
    return Batcher(encoder, policy=policy(**changes), clock=now, workers=workers, observe=observe)


def call(texts, *jobs, deadline=FAR, **options):
    return asyncio.create_task(texts.submit(jobs, deadline=deadline, **options))


# Callers who go


@simulated
async def test_texts_of_a_cancelled_call_are_never_encoded_and_counted_no_longer():
    encoder = ScriptedEncoder()
    async with batcher(encoder) as texts:
        running = call(texts, Text("running"))
        await until(0.1)
        gone, stays = call(texts, Text("a"), Text("b")), call(texts, Text("c"))
        await settle()
        assert texts.depth == 3
        gone.cancel()
        await settle()
        assert texts.depth == 1
        assert (await stays)[0].batch_size == 1
        await running
    assert encoder.batches == [["running"], ["c"]]


@simulated
async def test_a_call_cancelled_while_half_encoded_drops_its_other_half():
    encoder = ScriptedEncoder()
    async with batcher(encoder, max_batch_size=1) as texts:
        gone = call(texts, Text("a"), Text("b"))
        await until(0.5)
        gone.cancel()
        await settle()
        assert texts.depth == 0
        await call(texts, Text("c"))
    assert encoder.batches == [["a"], ["c"]]


@simulated
async def test_others_in_the_batch_of_a_cancelled_call_get_their_results():
    encoder = ScriptedEncoder()
    async with batcher(encoder) as texts:
        gone, stays = call(texts, Text("a")), call(texts, Text("b"))
        await until(0.5)
        gone.cancel()
        assert (await stays)[0].result == "b"
    assert gone.cancelled()


@simulated
async def test_cancelled_texts_do_not_pile_up_behind_distant_deadlines():
    encoder = ScriptedEncoder()
    async with batcher(encoder, max_queue=10) as texts:
        running = call(texts, Text("running"))
        await settle()
        for _ in range(50):
            gone = call(texts, *(Text(name) for name in range(10)))
            await settle()
            gone.cancel()
            await settle()
        assert texts.depth == 0
        assert len(texts._queue._heap) <= 20
        await running


@simulated
async def test_a_call_that_expires_half_encoded_drops_its_other_half():
    encoder = ScriptedEncoder(lambda _: 11.0)
    async with batcher(encoder, max_batch_size=1) as texts:
        with pytest.raises(DeadlineExpiredError):
            await call(texts, Text("a"), Text("b"), Text("c"), deadline=10)
        assert texts.depth == 0
    assert encoder.batches == [["a"]]


# A full queue


@simulated
async def test_a_call_that_does_not_fit_whole_is_refused_at_once_and_leaves_nothing():
    encoder = ScriptedEncoder()
    async with batcher(encoder, max_queue=3) as texts:
        running = call(texts, Text("running"))
        await settle()
        waiting = call(texts, Text("a"), Text("b"))
        await settle()
        with pytest.raises(OverloadedError) as refused:
            # Driven by hand: it must be refused before it waits for anything.
            texts.submit([Text("c"), Text("d")], deadline=FAR).send(None)
        assert refused.value.retry_after_s > 0
        assert texts.depth == 2
        (fits,) = await call(texts, Text("e"))
        assert fits.batch_size == 3
        await asyncio.gather(running, waiting)
    assert encoder.batches == [["running"], ["a", "b", "e"]]


@simulated
async def test_a_call_of_which_only_a_part_can_be_done_in_time_is_refused_whole():
    encoder = ScriptedEncoder()
    async with batcher(encoder, max_batch_size=1, max_batch_tokens=4) as texts:
        await call(texts, Text("first"))  # now it is known that a text takes a second
        running = call(texts, Text("running"))
        await settle()
        with pytest.raises(OverloadedError):
            await call(texts, *(Text(name) for name in range(20)), deadline=now() + 10)
        assert texts.depth == 0
        await running
        await until(now() + 5)
    assert encoder.batches == [["first"], ["running"]]


@simulated
async def test_cancelled_calls_make_room():
    encoder = ScriptedEncoder()
    async with batcher(encoder, max_queue=2) as texts:
        running = call(texts, Text("running"))
        await settle()
        gone = call(texts, Text("a"), Text("b"))
        await settle()
        gone.cancel()
        await settle()
        assert len(await call(texts, Text("c"), Text("d"))) == 2
        await running


# An encoder that fails


@pytest.mark.parametrize("guilty", ["a", "d", "h", "ah", "bc", "aceg", "abcdefgh"])
@pytest.mark.parametrize("workers", [1, 3])
@simulated
async def test_exactly_the_guilty_texts_fail_and_the_others_are_answered(guilty, workers):
    encoder, seen = ScriptedEncoder(), Seen()
    encoder.guilty = set(guilty)
    async with batcher(encoder, observe=seen, workers=workers) as texts:
        calls = {name: call(texts, Text(name)) for name in "abcdefgh"}
        ended = dict(zip(calls, await outcomes(*calls.values()), strict=True))
        assert texts.depth == 0
        assert (await call(texts, Text("after")))[0].result == "after"
    for name, outcome in ended.items():
        if name in guilty:
            assert isinstance(outcome, EncodeError)
        else:
            assert outcome[0].result == name
    answered = [name for batch in encoder.batches if not set(batch) & set(guilty) for name in batch]
    assert sorted(answered) == sorted([*set("abcdefgh") - set(guilty), "after"])  # each of them once
    assert encoder.most <= workers
    assert seen.failed == [False] * sum(bool(set(batch) & set(guilty)) for batch in encoder.batches)


@pytest.mark.parametrize("error", [EncodeError("not finite"), RuntimeError("out of memory"), KeyError("x")])
@simulated
async def test_whatever_the_encoder_raises_is_an_encode_error_and_the_next_batch_goes_on(error, caplog):
    encoder = ScriptedEncoder()
    encoder.guilty, encoder.error = {"a"}, error
    async with batcher(encoder) as texts:
        with pytest.raises(EncodeError):
            await call(texts, Text("a"))
        assert (await call(texts, Text("b")))[0].result == "b"
    assert "a text could not be encoded" in caplog.text


@simulated
async def test_an_encode_function_that_raises_before_it_begins():
    def encode(batch):
        if batch[0].name == "a":
            raise RuntimeError("no thread")
        return ScriptedEncoder()(batch)

    async with batcher(encode) as texts:
        with pytest.raises(EncodeError):
            await call(texts, Text("a"))
        assert (await call(texts, Text("b")))[0].result == "b"


@pytest.mark.parametrize("results", [["x"], ["x"] * 3, [], None, object()], ids=repr)
@simulated
async def test_a_wrong_number_of_results_is_a_failure_and_never_a_wrong_answer(results):
    encoder = ScriptedEncoder()

    async def encode(batch):
        return results if len(batch) == 2 else await encoder(batch)

    async with batcher(encode) as texts:
        encoded = await call(texts, Text("a"), Text("b"))
    assert [each.result for each in encoded] == ["a", "b"]
    assert encoder.batches == [["a"], ["b"]]


@simulated
async def test_of_a_failed_batch_what_nobody_waits_for_any_more_is_not_tried_again():
    encoder = ScriptedEncoder()
    encoder.guilty = {"a"}
    async with batcher(encoder) as texts:
        calls = [call(texts, Text("a")), call(texts, Text("gone")), call(texts, Text("late"), deadline=0.5)]
        await until(0.1)
        calls[1].cancel()
        a, gone, late = await outcomes(*calls)
    assert isinstance(a, EncodeError)
    assert isinstance(gone, asyncio.CancelledError)
    assert isinstance(late, DeadlineExpiredError)
    assert [sorted(batch) for batch in encoder.batches] == [["a", "gone", "late"], ["a"]]


@simulated
async def test_a_call_whose_first_batch_failed_wastes_no_second_one():
    encoder = ScriptedEncoder()
    encoder.guilty = {"a"}
    async with batcher(encoder, max_batch_size=1) as texts:
        with pytest.raises(EncodeError):
            await call(texts, Text("a"), Text("b"))
        await until(10)
        assert texts.depth == 0
    assert encoder.batches == [["a"]]


@simulated
async def test_who_joined_a_guilty_text_is_told_too():
    encoder = ScriptedEncoder()
    encoder.guilty = {"a"}
    async with batcher(encoder) as texts:
        first = call(texts, Text("a"), keys=["key"])
        await until(0.5)
        with pytest.raises(EncodeError):
            await texts.join("key", deadline=FAR)
        with pytest.raises(EncodeError):
            await first
        assert await texts.join("key", deadline=FAR) is None


# An encoder that hangs


@simulated
async def test_a_batch_that_does_not_come_back_is_given_up_and_the_next_goes_on():
    encoder, seen = ScriptedEncoder(), Seen()
    encoder.hanging = {"a"}
    async with batcher(encoder, stuck_after_s=30.0, observe=seen) as texts:
        stuck = call(texts, Text("a"), deadline=100)
        await until(20.0)
        waiting = call(texts, Text("b"), deadline=100)
        await until(29.9)
        assert not texts.stuck
        with pytest.raises(EncoderStuckError) as error:
            await stuck
        assert (error.value.code, now(), texts.stuck) == ("UNAVAILABLE", 30.0, True)
        assert (await waiting)[0].result == "b"
        assert (now(), texts.stuck) == (31.0, False)
    assert seen.failed == [True]
    assert encoder.batches == [["a"], ["b"]]  # a batch that hangs is not halved: its halves would hang too


@simulated
async def test_with_several_workers_a_hanging_batch_holds_up_one_of_them_only():
    encoder = ScriptedEncoder()
    encoder.hanging = {"a"}
    async with batcher(encoder, workers=2, max_batch_size=1, max_batch_tokens=4, stuck_after_s=30.0) as texts:
        stuck = call(texts, Text("a"))
        for name in "bcd":
            await call(texts, Text(name))
        assert now() == 3.0
        assert isinstance((await outcomes(stuck))[0], EncoderStuckError)
        calls = [call(texts, Text(name)) for name in "ef"]
        await asyncio.gather(*calls)
        assert now() == 31.0  # both workers serve again


@simulated
async def test_a_batch_that_comes_back_after_all_shows_that_the_encoder_has_recovered():
    # A server that is stuck tells NOT_SERVING and gets no more calls: no later batch would show it.
    encoder = ScriptedEncoder(lambda _: 50.0)
    async with batcher(encoder, stuck_after_s=30.0) as texts:
        assert isinstance((await outcomes(call(texts, Text("a"))))[0], EncoderStuckError)
        await until(49.0)
        assert texts.stuck
        await until(51.0)
        assert not texts.stuck


@simulated
async def test_a_batch_that_fails_after_it_was_given_up_is_logged(caplog):
    encoder = ScriptedEncoder(lambda _: 50.0)
    encoder.guilty = {"a"}
    async with batcher(encoder, stuck_after_s=30.0) as texts:
        assert isinstance((await outcomes(call(texts, Text("a"))))[0], EncoderStuckError)
        caplog.clear()
        await until(51.0)
        assert texts.stuck
    assert [record.message for record in caplog.records] == ["a batch that had been given up failed"]


@simulated
async def test_an_encoder_that_says_itself_that_it_is_stuck_is_not_asked_for_the_halves():
    encoder = ScriptedEncoder()
    encoder.guilty, encoder.error = {"a"}, EncoderStuckError("no thread is left")
    async with batcher(encoder) as texts:
        ended = await outcomes(call(texts, Text("a")), call(texts, Text("b")))
        assert [type(each) for each in ended] == [EncoderStuckError] * 2
        assert texts.stuck
        await call(texts, Text("c"))
        assert not texts.stuck
    assert encoder.batches == [["a", "b"], ["c"]]


# The end


@simulated
async def test_closing_fails_those_in_flight_those_tried_again_and_those_who_wait_and_cancels_nobody():
    encoder = ScriptedEncoder()
    encoder.guilty = {"a"}
    async with batcher(encoder, max_batch_size=4) as texts:
        calls = [call(texts, Text(name), deadline=5) for name in "abcd"]
        calls.append(call(texts, Text("e"), keys=["key"]))
        await until(0.5)
        calls.append(asyncio.create_task(texts.join("key", deadline=FAR)))
        await until(1.5)  # the first batch has failed: two of its texts run again, two are next
        assert encoder.batches[1:] == [["a", "b"]]
    ended = await outcomes(*calls)
    assert [type(each) for each in ended] == [DrainingError] * 6
    assert {each.code for each in ended} == {"UNAVAILABLE"}
    assert texts.depth == 0
    await until(10)
    assert len(encoder.batches) == 2


@simulated
async def test_a_closed_batcher_refuses_instead_of_letting_wait_for_ever():
    async with batcher(ScriptedEncoder()) as texts:
        pass
    with pytest.raises(DrainingError, match="shutting down"):
        texts.submit([Text("a")], deadline=FAR).send(None)
    with pytest.raises(DrainingError):
        texts.check_room(1, deadline=FAR)
    assert texts.depth == 0


@simulated
async def test_closing_while_a_batch_hangs_waits_for_nothing():
    encoder = ScriptedEncoder()
    encoder.hanging = {"a"}
    async with batcher(encoder, stuck_after_s=30.0) as texts:
        stuck = call(texts, Text("a"))
        await until(1.0)
    assert now() == 1.0
    assert isinstance((await outcomes(stuck))[0], DrainingError)
    assert encoder.running == 0
    await until(100.0)
    assert not texts.stuck


@simulated
async def test_a_bug_in_forming_batches_fails_those_who_wait_and_nobody_after(monkeypatch, caplog):
    encoder = ScriptedEncoder()
    async with batcher(encoder) as texts:
        running = call(texts, Text("running"))
        await settle()
        waiting = [call(texts, Text("a")), call(texts, Text("b"))]
        await settle()
        with monkeypatch.context() as patch:
            patch.setattr(texts._queue, "_choose", lambda window, now: 1 / 0)
            for outcome in await outcomes(*waiting):
                assert isinstance(outcome, EncodeError)
                assert "division by zero" in str(outcome)
        assert texts.depth == 0
        assert (await running)[0].result == "running"
        assert (await call(texts, Text("after")))[0].batch_size == 1
    assert "no batch could be formed" in caplog.text


@simulated
async def test_a_failing_call_leaves_no_exception_that_nobody_looked_at():
    encoder = ScriptedEncoder()

    async def encode(batch):
        await encoder(batch)
        raise EncoderStuckError("no thread is left")

    async def fail():
        async with batcher(encode) as texts:
            gone = call(texts, Text("c"))
            several = call(texts, Text("a"), Text("b"))  # both are failed at once, and the call tells of one
            await until(0.5)
            gone.cancel()
            with pytest.raises(EncoderStuckError):
                await several

    await asyncio.create_task(fail())
    gc.collect()  # `simulate` fails the test if the loop is told of an exception that was never retrieved
