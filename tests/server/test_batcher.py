"""The batcher: which texts go into which batch, and what a caller gets. In simulated time."""

from __future__ import annotations

import asyncio
import logging
import operator

import pytest
from tests.server.batching import ScriptedEncoder, Seen, Text, now, outcomes, policy, simulated, until

from tanager_server.errors import DeadlineExpiredError, EncodeError, OverloadedError
from tanager_server.runtime.batcher import Batcher
from tanager_server.runtime.cost import CostModel

FAR = 1000.0


def batcher(encoder, *, cost=None, workers=1, observe=None, padded=operator.mul, **changes):
    return Batcher(
        encoder, policy=policy(**changes), clock=now, cost=cost, workers=workers, observe=observe, padded=padded
    )


def call(texts, *jobs, deadline=FAR, **options):
    """A call, which begins as soon as the loop is free."""
    return asyncio.create_task(texts.submit(jobs, deadline=deadline, **options))


def names(encoded):
    return [each.result for each in encoded]


# Which texts go into a batch, and when


@simulated
async def test_an_idle_encoder_gets_the_first_text_at_once():
    encoder = ScriptedEncoder()
    async with batcher(encoder) as texts:
        await until(5.0)
        (encoded,) = await call(texts, Text("a"))
        assert now() == 6.0
    assert encoder.began == [5.0]
    assert (encoded.result, encoded.queue_s, encoded.batch_s, encoded.batch_size) == ("a", 0.0, 1.0, 1)


@simulated
async def test_texts_that_arrive_together_share_a_batch():
    encoder = ScriptedEncoder()
    async with batcher(encoder) as texts:
        await asyncio.gather(*(call(texts, Text(name)) for name in "abc"))
    assert encoder.batches == [["a", "b", "c"]]


@simulated
async def test_a_batch_is_formed_when_the_encoder_is_free_from_all_that_waits_then():
    encoder = ScriptedEncoder()
    async with batcher(encoder) as texts:
        calls = [call(texts, Text("a"))]
        for moment, name in ((0.2, "b"), (0.5, "c"), (0.9, "d")):
            await until(moment)
            calls.append(call(texts, Text(name)))
        await until(0.95)
        assert encoder.batches == [["a"]]
        assert texts.depth == 3
        await until(1.5)
        assert encoder.batches == [["a"], ["b", "c", "d"]]
        assert texts.depth == 0
        encoded = [(await each)[0] for each in calls]
    assert [each.queue_s for each in encoded] == pytest.approx([0.0, 0.8, 0.5, 0.1])
    assert [each.batch_size for each in encoded] == [1, 3, 3, 3]


@simulated
async def test_as_many_batches_run_at_a_time_as_there_are_workers():
    encoder = ScriptedEncoder()
    async with batcher(encoder, workers=2, max_batch_size=1) as texts:
        await asyncio.gather(*(call(texts, Text(name)) for name in range(5)))
        assert now() == 3.0
    assert encoder.began == [0.0, 0.0, 1.0, 1.0, 2.0]
    assert encoder.most == 2


@simulated
async def test_a_worker_that_is_done_early_waits_for_no_other():
    encoder = ScriptedEncoder(lambda batch: 10.0 if batch[0].name == "slow" else 1.0)
    async with batcher(encoder, workers=2, max_batch_size=1) as texts:
        await asyncio.gather(*(call(texts, Text(name)) for name in ("slow", "a", "b", "c")))
    assert encoder.began == [0.0, 0.0, 1.0, 2.0]


@simulated
async def test_padding_counts_towards_the_token_budget():
    encoder = ScriptedEncoder()
    async with batcher(encoder, max_batch_tokens=12) as texts:
        # 12 tokens, but three texts padded to six would be 18.
        await asyncio.gather(*(call(texts, Text(name, length)) for name, length in (("a", 6), ("b", 3), ("c", 3))))
    assert [sorted(batch) for batch in encoder.batches] == [["a", "b"], ["c"]]


@simulated
async def test_what_a_fixed_shape_adds_counts_towards_budget_cost_and_metrics():
    encoder, seen, cost = ScriptedEncoder(), Seen(), CostModel()

    def padded(count, longest):  # to four texts and to multiples of eight tokens
        return 4 * -(-count // 4) * 8 * -(-longest // 8)

    async with batcher(encoder, observe=seen, cost=cost, max_batch_tokens=40, padded=padded) as texts:
        await asyncio.gather(*(call(texts, Text(name, 5)) for name in range(6)))
    assert encoder.batches == [[0, 1, 2, 3], [4, 5]]  # thirty tokens, but a fifth text would make them 64
    assert [(each["tokens"], each["padded_tokens"]) for each in seen.batches] == [(20, 32), (10, 32)]
    assert cost.predict(32) == pytest.approx(1.0)


@simulated
async def test_a_text_longer_than_the_budget_goes_alone():
    encoder = ScriptedEncoder()
    async with batcher(encoder, max_batch_tokens=10) as texts:
        await asyncio.gather(call(texts, Text("long", 50)), call(texts, Text("short", 1)))
    assert encoder.batches == [["long"], ["short"]]


@simulated
async def test_the_most_urgent_text_is_in_the_next_batch_whatever_its_length():
    encoder = ScriptedEncoder()
    async with batcher(encoder, max_batch_tokens=40) as texts:
        calls = [call(texts, Text(number, 4), deadline=100) for number in range(10)]
        calls.append(call(texts, Text("urgent", 40), deadline=50))
        await asyncio.gather(*calls)
    assert encoder.batches == [["urgent"], list(range(10))]


@simulated
async def test_equal_deadlines_are_served_in_order_of_arrival():
    encoder = ScriptedEncoder()
    async with batcher(encoder, max_batch_size=2) as texts:
        await asyncio.gather(*(call(texts, Text(name)) for name in "edcba"))
    assert encoder.batches == [["e", "d"], ["c", "b"], ["a"]]


@simulated
async def test_bulk_texts_let_interactive_ones_go_first_but_not_for_ever():
    encoder = ScriptedEncoder()
    async with batcher(encoder, max_batch_size=1, bulk_handicap_s=2.0) as texts:
        calls = [call(texts, Text("bulk"), deadline=20, bulk=True), call(texts, Text("first"), deadline=21)]
        calls.append(call(texts, Text("after"), deadline=23))
        await asyncio.gather(*calls)
    assert encoder.batches == [["first"], ["bulk"], ["after"]]


@simulated
async def test_what_has_waited_for_its_age_goes_before_nearer_deadlines():
    encoder = ScriptedEncoder()
    async with batcher(encoder, max_batch_size=1, max_age_s=2.5) as texts:
        calls = [call(texts, Text("running"), deadline=9), call(texts, Text("patient"), deadline=FAR)]
        for moment in range(6):
            await until(moment + 0.5)
            calls.append(call(texts, Text(moment), deadline=now() + 1.9))
        await outcomes(*calls)
    # It comes of age at 2.5: the text of 0.5, due at 2.4, still goes before it, that of 1.5, due at 3.4, no more.
    assert encoder.batches[:3] == [["running"], [0], ["patient"]]


# What a caller gets


@simulated
async def test_results_come_in_the_order_of_the_texts_though_spread_over_batches():
    encoder = ScriptedEncoder()
    lengths = {"a": 9, "b": 1, "c": 5, "d": 7, "e": 3}
    async with batcher(encoder, max_batch_size=2) as texts:
        encoded = await call(texts, *(Text(name, length) for name, length in lengths.items()))
        assert now() == 3.0
    assert len(encoder.batches) == 3
    assert names(encoded) == list("abcde")
    assert max(each.queue_s for each in encoded) == 2.0


@simulated
async def test_two_who_ask_for_the_same_share_one_encoding():
    encoder, deadlines = ScriptedEncoder(), (30, 50)
    async with batcher(encoder) as texts:
        first = call(texts, Text("a"), keys=["key"], deadline=deadlines[0])
        await until(0.5)
        (joined,) = await asyncio.gather(texts.join("key", deadline=deadlines[1]))  # it runs already
        assert joined is not None
        assert (joined.result, joined.queue_s, now()) == ("a", 0.0, 1.0)
        assert names(await first) == ["a"]
        assert await texts.join("key", deadline=FAR) is None
        assert await texts.join("other", deadline=FAR) is None
    assert encoder.batches == [["a"]]


@simulated
async def test_who_joins_a_waiting_text_in_greater_haste_takes_it_to_the_front():
    encoder = ScriptedEncoder()
    async with batcher(encoder, max_batch_size=1) as texts:
        calls = [call(texts, Text("running"), deadline=5), call(texts, Text("early"), deadline=20)]
        calls.append(call(texts, Text("shared"), deadline=30, keys=["key"]))
        await until(0.5)
        joined = await texts.join("key", deadline=10)
        assert joined is not None
        assert now() == 2.0
        await asyncio.gather(*calls)
    assert encoder.batches == [["running"], ["shared"], ["early"]]


@simulated
async def test_what_one_of_two_gives_up_the_other_still_gets():
    encoder = ScriptedEncoder()
    async with batcher(encoder, max_batch_size=1) as texts:
        running = call(texts, Text("running"))
        first = call(texts, Text("shared"), keys=["key"])
        await until(0.2)
        second = asyncio.create_task(texts.join("key", deadline=FAR))
        await until(0.4)
        first.cancel()
        await until(0.6)
        assert texts.depth == 1
        joined = await second
        assert joined is not None
        assert joined.result == "shared"
        await running


# What it tells


@simulated
async def test_the_observer_is_told_of_tokens_padding_and_time():
    encoder, seen = ScriptedEncoder(lambda _: 0.25), Seen()
    async with batcher(encoder, observe=seen) as texts:
        await call(texts, Text("a", 3), Text("b", 5))
    assert seen.batches == [{"size": 2, "tokens": 8, "padded_tokens": 10, "seconds": 0.25, "wasted": 0}]


@simulated
async def test_what_was_encoded_for_nobody_is_counted_as_wasted():
    encoder, seen = ScriptedEncoder(), Seen()
    async with batcher(encoder, observe=seen) as texts:
        calls = [call(texts, Text("gone")), call(texts, Text("late"), deadline=0.5), call(texts, Text("here"))]
        await until(0.1)
        calls[0].cancel()
        await outcomes(*calls)
    assert [batch["wasted"] for batch in seen.batches] == [2]


@simulated
async def test_it_learns_what_batches_cost():
    encoder = ScriptedEncoder(lambda batch: 0.5 + 0.01 * len(batch) * max(text.length for text in batch))
    async with batcher(encoder, max_batch_tokens=100) as texts:
        for count in (1, 2, 5, 10):
            await call(texts, *(Text(number, 3) for number in range(count)))
    assert texts.cost.predict(100) == pytest.approx(1.5)


@simulated
async def test_the_reasons_of_what_is_shed_are_told():
    encoder, seen = ScriptedEncoder(), Seen()
    cost = CostModel([(4, 1.0)])  # a batch of one text takes a second
    async with batcher(encoder, cost=cost, observe=seen, max_queue=3, max_batch_tokens=4) as texts:
        running = call(texts, Text("running"))
        await until(0.1)
        with pytest.raises(DeadlineExpiredError):
            await call(texts, Text("a"), deadline=0.9)
        assert seen.shed == ["infeasible"]
        waiting = [call(texts, Text("b"), deadline=3.0), call(texts, Text("c"), deadline=9.0)]
        await until(0.2)
        with pytest.raises(OverloadedError):
            await call(texts, Text("d"), deadline=3.2)
        assert seen.shed == ["infeasible", "backlog"]
        with pytest.raises(OverloadedError):
            await call(texts, Text("e"), Text("f"))
        assert seen.shed == ["infeasible", "backlog", "queue_full"]
        assert names(await running) == ["running"]
        assert [names(each) for each in await asyncio.gather(*waiting)] == [["b"], ["c"]]


@simulated
async def test_what_expires_while_it_waits_is_told():
    encoder, seen = ScriptedEncoder(lambda _: 5.0), Seen()
    async with batcher(encoder, observe=seen) as texts:
        running = call(texts, Text("running"))
        await until(0.1)
        with pytest.raises(DeadlineExpiredError):
            await call(texts, Text("a"), deadline=4.0)
        assert now() == 5.0
        await running
    assert seen.shed == ["expired"]
    assert encoder.batches == [["running"]]


class BrokenObserver(Seen):
    def fail(self, *_, **__):
        raise ValueError("metrics are broken")

    observe_batch = observe_shed = observe_failed_batch = fail


@simulated
async def test_an_observer_that_raises_stops_neither_the_answers_nor_the_worker():
    encoder = ScriptedEncoder()
    async with batcher(encoder, observe=BrokenObserver(), cost=CostModel([(4, 1.0)]), max_batch_size=2) as texts:
        assert names(await call(texts, Text("a"))) == ["a"]
        with pytest.raises(DeadlineExpiredError):
            await call(texts, Text("b"), deadline=now() + 0.5)
        running = call(texts, Text("c"))
        await until(now() + 0.5)
        with pytest.raises(DeadlineExpiredError):
            await call(texts, Text("d"), deadline=now() + 1.2)  # expires while it waits
        encoder.guilty = {"e"}
        with pytest.raises(EncodeError):
            await call(texts, Text("e"))
        assert names(await call(texts, Text("f"))) == ["f"]
        await running


@simulated
async def test_broken_metrics_are_logged(caplog):
    async with batcher(ScriptedEncoder(), observe=BrokenObserver()) as texts:
        await call(texts, Text("a"))
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "metrics are broken" in caplog.text
