"""The batcher: which texts go into which batch, and what a caller gets. No time passes here."""

from __future__ import annotations

import logging

import numpy as np
from tests.server.batching import busy, text

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
