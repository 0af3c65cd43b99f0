"""The batcher when texts hang: what is remembered of them, and how many workers may be lost. In simulated time."""

from __future__ import annotations

import asyncio

import pytest
from tests.server.batching import ScriptedEncoder, Text, now, outcomes, policy, settle, simulated, until

from tanager_server.errors import EncoderStuckError, HungTextError
from tanager_server.runtime.batcher import Batcher

FAR = 100_000.0


def batcher(encoder, *, workers=1, **options):
    bounds = policy(stuck_after_s=30.0, **{name: options.pop(name) for name in [*options] if name.startswith("max_")})
    return Batcher(encoder, policy=bounds, clock=now, workers=workers, **options)


def call(texts, *names, **options):
    """A call whose texts have their names for keys."""
    return asyncio.create_task(texts.submit([Text(name) for name in names], deadline=FAR, keys=names, **options))


@simulated
async def test_a_text_that_hung_is_refused_at_once_and_costs_no_other_worker():
    encoder = ScriptedEncoder()
    encoder.hanging = {"a"}
    async with batcher(encoder) as texts:
        assert isinstance((await outcomes(call(texts, "a")))[0], EncoderStuckError)
        for _ in range(10):
            began = now()
            with pytest.raises(HungTextError, match="did not come back from it"):
                await call(texts, "fine", "a")
            assert now() == began
        assert (await call(texts, "b"))[0].result == "b"
        assert not texts.stuck
        await until(now() + 601.0)  # it is not held against it for ever
        assert isinstance((await outcomes(call(texts, "a")))[0], EncoderStuckError)
    assert encoder.batches == [["a"], ["b"], ["a"]]


@simulated
async def test_of_a_batch_that_hung_each_is_tried_by_itself_and_only_the_guilty_is_refused():
    encoder = ScriptedEncoder()
    encoder.hanging = {"b"}
    async with batcher(encoder, workers=2) as texts:
        ended = await outcomes(*(call(texts, name) for name in "abc"))
        assert [type(each) for each in ended] == [EncoderStuckError] * 3
        await call(texts, "other")
        again = [call(texts, name) for name in "abc"]
        assert (await again[0])[0].result == "a"
        assert (await again[2])[0].batch_size == 1
        assert isinstance((await outcomes(again[1]))[0], EncoderStuckError)
        with pytest.raises(HungTextError):
            await call(texts, "b")
        together = await asyncio.gather(call(texts, "a"), call(texts, "c"))
        assert [each[0].batch_size for each in together] == [2, 2]  # cleared of suspicion
    assert encoder.batches == [["a", "b", "c"], ["other"], ["a"], ["b"], ["c"], ["a", "c"]]


@simulated
async def test_a_text_that_comes_back_after_all_is_not_held_guilty():
    encoder = ScriptedEncoder(lambda batch: 50.0 if batch[0].name == "a" else 1.0)
    async with batcher(encoder) as texts:
        assert isinstance((await outcomes(call(texts, "a")))[0], EncoderStuckError)
        await until(51.0)
        encoder.seconds = lambda _: 1.0
        assert (await call(texts, "a"))[0].result == "a"


@simulated
async def test_what_hangs_while_the_encoder_is_not_known_to_be_well_is_not_held_guilty():
    # The server tries a stuck encoder with always the same text: that it hung as well says nothing of the text.
    encoder = ScriptedEncoder()
    encoder.hanging = {"a", "trial"}
    async with batcher(encoder) as texts:
        for name in ("a", "trial", "trial"):
            assert isinstance((await outcomes(call(texts, name)))[0], EncoderStuckError)
        encoder.hanging = set()
        assert (await call(texts, "trial"))[0].result == "trial"
        assert not texts.stuck


@simulated
async def test_when_no_worker_is_left_all_are_told_at_once_and_it_stays_stuck_until_one_comes_back(caplog):
    encoder = ScriptedEncoder(lambda batch: 500.0 if batch[0].name == 0 else 1.0)
    encoder.hanging = {1, 2}
    async with batcher(encoder, workers=2, spare_workers=1, max_batch_size=1) as texts:
        lost = [call(texts, number) for number in range(3)]
        await until(35.0)
        waiting = call(texts, "waiting")  # behind the last of them
        assert [type(each) for each in await outcomes(*lost, waiting)] == [EncoderStuckError] * 4
        assert (now(), texts.stuck, texts.depth) == (60.0, True, 0)
        assert "no worker is left" in caplog.text
        for _ in range(5):
            with pytest.raises(EncoderStuckError, match="must be restarted"):
                texts.submit([Text("x")], deadline=FAR).send(None)
            assert texts.stuck
        await until(501.0)
        assert not texts.stuck
        assert (await call(texts, "after"))[0].result == "after"
    assert encoder.most == 3


@simulated
async def test_who_waits_when_the_last_worker_is_lost_is_told():
    encoder = ScriptedEncoder()
    encoder.hanging = {"a"}
    async with batcher(encoder, spare_workers=0, max_batch_size=1) as texts:
        calls = [call(texts, name) for name in "ab"]
        assert [type(each) for each in await outcomes(*calls)] == [EncoderStuckError] * 2
        assert now() == 30.0
        assert texts.depth == 0
    assert encoder.batches == [["a"]]


@simulated
async def test_with_some_workers_lost_the_others_serve_and_nobody_is_told_that_it_is_stuck():
    encoder = ScriptedEncoder()
    encoder.hanging = {0, 1, 2}
    async with batcher(encoder, workers=3, spare_workers=1, max_batch_size=1) as texts:
        await outcomes(*(call(texts, number) for number in range(3)))
        encoder.most = 0
        answers = await outcomes(*(call(texts, name) for name in "abcdef"))
        assert [each[0].result for each in answers] == list("abcdef")
        assert not texts.stuck
        await settle()
    assert now() == 36.0  # one after the other


@simulated
async def test_texts_that_are_the_same_share_a_batch_in_whatever_calls_they_come():
    encoder = ScriptedEncoder()
    async with batcher(encoder, max_queue=3) as texts:
        running = call(texts, "a")
        await settle()
        first = call(texts, "b", "c", bulk=True)
        await settle()
        second = call(texts, "a", "b", "d")  # one of them is new, and has room
        answers = await asyncio.gather(running, first, second)
    assert [[each.result for each in answer] for answer in answers] == [["a"], ["b", "c"], ["a", "b", "d"]]
    assert [sorted(batch) for batch in encoder.batches] == [["a"], ["b", "c", "d"]]
