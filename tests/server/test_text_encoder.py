"""Texts to vectors for concurrent calls: what runs where, what is encoded once, and what is refused before any work."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
from typing import Any

import numpy as np
import pytest
from tests.server.batching import Seen, policy

from tanager_server.errors import (
    DeadlineExpiredError,
    DrainingError,
    EncodeError,
    EncoderStuckError,
    HungTextError,
    OverloadedError,
)
from tanager_server.index import HnswIndex, Nearest
from tanager_server.runtime import Encoder, TextEncoder

COMMON_REACH = 64


class Recorder:
    """An encoder that notes what it is asked for and from where, and encodes when `go` is set.

    A text's vector is its length; a text with a `!` makes its batch fail.
    """

    provider = "none"

    def __init__(self):
        self.tokenized: list[tuple[str, int]] = []
        self.batches: list[list[int]] = []
        self.threads: list[str] = []
        self.error: Exception | None = None
        self.began = threading.Semaphore(0)
        self.go = threading.Event()
        self.go.set()

    def padded_tokens(self, count, length):
        return count * length

    def tokenize(self, texts):
        self.tokenized.append((threading.current_thread().name, len(texts)))
        return [[-1 if "!" in text else len(text)] * (1 + len(text) % 7) for text in texts]

    def encode(self, batch):
        self.threads.append(threading.current_thread().name)
        self.batches.append([tokens[0] for tokens in batch])
        self.began.release()
        self.go.wait()
        if self.error:
            raise self.error
        if any(tokens[0] < 0 for tokens in batch):
            raise EncodeError("not finite")
        return np.array([[tokens[0]] for tokens in batch], dtype=np.float32)


class Finder:
    """Finds the first items of a catalogue of 100 for whatever vector, and notes how it was asked."""

    items = 100

    def __init__(self):
        self.asked: list[tuple[int, int, str]] = []

    def __call__(self, vectors, reach):
        self.asked.append((len(vectors), reach, threading.current_thread().name))
        found = min(reach, self.items)
        return Nearest(
            np.tile(np.arange(found), (len(vectors), 1)), np.repeat(vectors, found, axis=1).astype(np.float32)
        )


@pytest.fixture
def recorder():
    """An encoder whose threads are let go at the end, whatever happens."""
    made = Recorder()
    yield made
    made.go.set()


@pytest.fixture
def finder():
    return Finder()


@pytest.fixture
def start(recorder, finder):
    def begin(encoder: Any = recorder, *, cache_bytes=1 << 20, workers=1, observe=None, **changes):
        return TextEncoder(
            encoder,
            policy=policy(**changes),
            retrieve=finder,
            cache_bytes=cache_bytes,
            workers=workers,
            observe=observe,
        )

    return begin


def deadline(seconds=600.0):
    return TextEncoder.clock() + seconds


async def begun(recorder):
    """Waits until the encode thread has begun another batch."""
    await asyncio.to_thread(recorder.began.acquire)


async def queued(texts, count):
    """Waits until so many texts wait."""
    while texts.queue_depth < count:  # noqa: ASYNC110  # nothing tells of it
        await asyncio.sleep(0)


# Vectors and neighbours


async def test_concurrent_calls_get_each_their_own_vectors(opened_bundle, start):
    encoder = Encoder.from_bundle(opened_bundle, threads=1)
    calls = [[f"space {number}", "war " * (number % 40), "love " * number] for number in range(30)]
    async with start(encoder) as texts:
        answers = await asyncio.gather(*(texts.encode_texts(call, deadline=deadline()) for call in calls))
        assert texts.queue_depth == 0
    for call, answer in zip(calls, answers, strict=True):
        np.testing.assert_allclose(answer.vectors, encoder.encode_texts(call), atol=1e-5)
        assert min(answer.tokenize_s, answer.queue_s, answer.encode_s) >= 0
    assert max(answer.batch_size for answer in answers) > 3  # they were encoded in common batches


async def test_concurrent_wishes_get_each_their_own_neighbours(opened_bundle, unit_vectors, index_info):
    encoder = Encoder.from_bundle(opened_bundle, threads=1)
    index = HnswIndex.build(unit_vectors(500, 32), info=index_info)
    wishes = {f"{topic} {number}": 1 + number for number in range(20) for topic in ("space", "love in war")}
    async with TextEncoder(encoder, policy=policy(), retrieve=index.search_exact, workers=2) as texts:
        answers = await asyncio.gather(
            *(texts.encode_wish(text, reach=reach, deadline=deadline()) for text, reach in wishes.items())
        )
    for (text, reach), answer in zip(wishes.items(), answers, strict=True):
        (vector,) = encoder.encode_texts([text])
        np.testing.assert_allclose(answer.vector, vector, atol=1e-5)
        expected = index.search_exact(answer.vector[None], max(reach, COMMON_REACH))
        assert answer.nearest.positions.tolist() == expected.positions[0].tolist()
        np.testing.assert_allclose(answer.nearest.similarities, expected.similarities[0], atol=1e-5)
        assert min(answer.tokenize_s, answer.queue_s, answer.encode_s, answer.search_s) >= 0


async def test_a_text_given_twice_is_encoded_once(start, recorder):
    async with start() as texts:
        answer = await texts.encode_texts(["a", "bb", "a"], deadline=deadline())
    assert np.ravel(answer.vectors).tolist() == [1, 2, 1]
    assert recorder.batches == [[1, 2]]


# What runs where


async def test_the_event_loop_encodes_nothing_and_tokenizes_only_what_is_short(start, recorder, finder):
    async with start() as texts:
        await texts.encode_texts(["short"], deadline=deadline())
        await texts.encode_texts(["long" * 1000], deadline=deadline())
        await texts.encode_texts([f"many {number}" for number in range(1000)], deadline=deadline())
        await texts.encode_wish("wish" * 1000, reach=10, deadline=deadline())
    here = threading.current_thread().name
    assert [name for name, _ in recorder.tokenized] == [here, *["tokenize"] * 65]  # sixteen at a time
    assert {name.split("-")[0] for name in recorder.threads} == {"encode"}
    assert [name.split("-")[0] for *_, name in finder.asked] == ["encode"]


async def test_the_event_loop_never_waits_for_the_tokenizers_thread_pool(start, recorder):
    # tokenizers spreads two or more texts over a pool of threads that all callers share: a few short texts would wait
    # there, and every call with them, until a thousand long ones are done (measured: 0.9 s).
    async with start() as texts:
        answer = await texts.encode_texts(["a", "bb", "ccc"], deadline=deadline())
    assert recorder.tokenized == [(threading.current_thread().name, 1)] * 3
    assert np.ravel(answer.vectors).tolist() == [1, 2, 3]


async def test_as_many_batches_run_at_a_time_as_there_are_workers(start, recorder):
    async with start(workers=3, max_batch_size=1) as texts:
        recorder.go.clear()
        calls = [asyncio.create_task(texts.encode_texts(["a" * number], deadline=deadline())) for number in (1, 2, 3)]
        for _ in calls:
            await begun(recorder)
        assert len(set(recorder.threads)) == 3
        recorder.go.set()
        await asyncio.gather(*calls)


async def test_wishes_of_a_batch_are_searched_together(start, recorder, finder):
    async with start() as texts:
        await asyncio.gather(
            *(texts.encode_wish("a" * length, reach=10, deadline=deadline()) for length in (1, 2, 3)),
            texts.encode_texts(["no search"], deadline=deadline()),
        )
    assert [(count, reach) for count, reach, _ in finder.asked] == [(3, COMMON_REACH)]
    assert len(recorder.batches) == 1
    assert sorted(recorder.batches[0]) == [1, 2, 3, 9]


# The cache


async def test_a_wish_seen_lately_is_neither_encoded_nor_searched_again(start, recorder, finder):
    seen = Seen()
    async with start(observe=seen) as texts:
        first = await texts.encode_wish("wish", reach=10, deadline=deadline())
        again = await texts.encode_wish("wish", reach=20, deadline=deadline())
        assert texts.cached_texts == 1
        embedded = await texts.encode_texts(["wish"], deadline=deadline())
    assert again.vector.tolist() == first.vector.tolist() == embedded.vectors[0].tolist() == [4]
    assert again.nearest.positions.tolist() == first.nearest.positions.tolist() == list(range(COMMON_REACH))
    assert (first.batch_size, again.batch_size, embedded.batch_size) == (1, 0, 0)
    assert (again.tokenize_s, again.queue_s, again.encode_s, again.search_s) == (0, 0, 0, 0)
    assert recorder.batches == [[4]]
    assert len(finder.asked) == len(recorder.tokenized) == 1
    assert seen.looked_up == [False, True, True]


async def test_only_the_texts_that_are_not_cached_are_encoded(start, recorder):
    async with start() as texts:
        await texts.encode_wish("bb", reach=10, deadline=deadline())
        answer = await texts.encode_texts(["a", "bb", "ccc"], deadline=deadline())
    assert np.ravel(answer.vectors).tolist() == [1, 2, 3]
    assert answer.batch_size == 2
    assert recorder.batches == [[2], [1, 3]]


async def test_a_wider_reach_than_was_cached_is_searched_for_once(start, recorder, finder):
    async with start() as texts:
        await texts.encode_wish("wish", reach=10, deadline=deadline())
        for _ in range(3):
            wider = await texts.encode_wish("wish", reach=90, deadline=deadline())
            assert wider.nearest.positions.tolist() == list(range(90))
    assert [reach for _, reach, _ in finder.asked] == [COMMON_REACH, 90]
    assert finder.asked[1][2] == "search"  # and not the event loop, which it would hold up
    assert recorder.batches == [[4]]


async def test_a_reach_beyond_the_catalogue_is_not_searched_for_again_and_again(start, finder):
    async with start() as texts:
        for _ in range(3):
            found = await texts.encode_wish("wish", reach=1000, deadline=deadline())
            assert len(found.nearest.positions) == Finder.items
    assert [reach for _, reach, _ in finder.asked] == [1000]


async def test_the_cache_is_bounded_in_bytes(start, recorder):
    async with start(cache_bytes=10_000) as texts:
        for number in range(50):
            await texts.encode_wish("a" * (1 + number), reach=10, deadline=deadline())
            assert texts._cache.nbytes <= 10_000
        assert 1 < texts.cached_texts < 10
        await texts.encode_wish("a" * 50, reach=10, deadline=deadline())
        assert len(recorder.batches) == 50
        await texts.encode_wish("a", reach=10, deadline=deadline())
        assert len(recorder.batches) == 51


async def test_without_a_cache_every_wish_is_encoded(start, recorder):
    async with start(cache_bytes=0) as texts:
        for _ in range(2):
            await texts.encode_wish("wish", reach=10, deadline=deadline())
        assert texts.cached_texts == 0
    assert recorder.batches == [[4], [4]]


async def test_a_wish_in_the_cache_needs_no_room_in_the_queue(start, recorder):
    async with start(max_queue=1) as texts:
        await texts.encode_wish("wish", reach=10, deadline=deadline())
        await begun(recorder)
        recorder.go.clear()
        running = asyncio.create_task(texts.encode_texts(["running"], deadline=deadline()))
        await begun(recorder)
        waiting = asyncio.create_task(texts.encode_texts(["waiting"], deadline=deadline()))
        await asyncio.sleep(0)
        assert texts.queue_depth == 1
        assert (await texts.encode_wish("wish", reach=10, deadline=deadline())).vector.tolist() == [4]
        recorder.go.set()
        await asyncio.gather(running, waiting)


async def test_texts_that_were_embedded_are_kept_and_a_wish_finds_them(start, recorder, finder):
    async with start() as texts:
        first = await texts.encode_texts(["wish", "other"], deadline=deadline())
        again = await texts.encode_texts(["other", "wish"], deadline=deadline())
        assert finder.asked == []
        for _ in range(2):
            wish = await texts.encode_wish("wish", reach=10, deadline=deadline())
    assert recorder.batches == [[4, 5]]
    assert [vector.tolist() for vector in again.vectors] == [vector.tolist() for vector in first.vectors[::-1]]
    assert again.batch_size == wish.batch_size == 0
    assert wish.vector.tolist() == [4]
    assert wish.nearest.positions.tolist() == list(range(COMMON_REACH))
    assert finder.asked == [(1, COMMON_REACH, "search")]  # once, and not by the event loop


async def test_more_neighbours_in_the_cache_are_not_lost_for_fewer(start, recorder, finder):
    async with start(max_batch_size=1) as texts:
        recorder.go.clear()
        wish = asyncio.create_task(texts.encode_wish("wish", reach=10, deadline=deadline()))
        await begun(recorder)
        # Shares the wish, and has its vector long before the rest is done.
        embed = asyncio.create_task(texts.encode_texts(["wish", "b", "cc"], deadline=deadline()))
        await asyncio.sleep(0)
        recorder.go.set()
        await wish
        assert len((await texts.encode_wish("wish", reach=90, deadline=deadline())).nearest.positions) == 90
        await embed
        assert len((await texts.encode_wish("wish", reach=90, deadline=deadline())).nearest.positions) == 90
    assert [reach for _, reach, _ in finder.asked] == [COMMON_REACH, 90]


# In flight


async def test_texts_to_embed_and_wishes_that_are_the_same_share_an_encoding(start, recorder, finder):
    async with start(cache_bytes=0) as texts:
        recorder.go.clear()
        calls = [asyncio.create_task(texts.encode_texts(["running"], deadline=deadline()))]
        await begun(recorder)
        wish = asyncio.create_task(texts.encode_wish("wish", reach=10, deadline=deadline()))
        embed = asyncio.create_task(texts.encode_texts(["embedded", "wish", "running"], deadline=deadline()))
        await asyncio.sleep(0)
        late = asyncio.create_task(texts.encode_wish("embedded", reach=90, deadline=deadline()))
        await asyncio.sleep(0)
        assert texts.queue_depth == 2
        recorder.go.set()
        await asyncio.gather(*calls)
        assert (await wish).vector.tolist() == [4]
        assert np.ravel((await embed).vectors).tolist() == [8, 4, 7]
        assert (await late).vector.tolist() == [8]
        assert len((await late).nearest.positions) == 90
        assert (await late).search_s >= 0
    assert [sorted(batch) for batch in recorder.batches] == [[7], [4, 8]]
    assert [(reach, name.split("-")[0]) for _, reach, name in finder.asked] == [
        (COMMON_REACH, "encode"),
        (90, "search"),
    ]


async def test_the_same_wish_of_several_calls_is_encoded_once(start, recorder):
    async with start(cache_bytes=0) as texts:
        recorder.go.clear()
        first = asyncio.create_task(texts.encode_wish("wish", reach=10, deadline=deadline()))
        await begun(recorder)
        others = [
            asyncio.create_task(texts.encode_wish("wish", reach=reach, deadline=deadline())) for reach in (10, 90)
        ]
        await asyncio.sleep(0)
        assert texts.queue_depth == 0
        recorder.go.set()
        answers = await asyncio.gather(first, *others)
    assert recorder.batches == [[4]]
    assert [len(answer.nearest.positions) for answer in answers] == [COMMON_REACH, COMMON_REACH, 90]
    assert {answer.vector.tolist()[0] for answer in answers} == {4}


async def test_who_shares_a_wish_still_gets_it_when_the_first_has_gone(start, recorder):
    async with start() as texts:
        recorder.go.clear()
        first = asyncio.create_task(texts.encode_wish("wish", reach=10, deadline=deadline()))
        await begun(recorder)
        second = asyncio.create_task(texts.encode_wish("wish", reach=10, deadline=deadline()))
        await asyncio.sleep(0)
        first.cancel()
        recorder.go.set()
        assert (await second).vector.tolist() == [4]
    assert recorder.batches == [[4]]


async def test_texts_to_embed_let_wishes_go_first(start, recorder):
    async with start(max_batch_size=1, bulk_handicap_s=10.0) as texts:
        recorder.go.clear()
        until = deadline()
        calls = [asyncio.create_task(texts.encode_texts(["running"], deadline=until))]
        await begun(recorder)
        calls.append(asyncio.create_task(texts.encode_texts(["a", "bb"], deadline=until)))
        calls.append(asyncio.create_task(texts.encode_wish("wish", reach=10, deadline=until + 5)))
        await asyncio.sleep(0)
        recorder.go.set()
        await asyncio.gather(*calls)
    assert recorder.batches == [[7], [4], [1], [2]]


# What is refused, and what goes wrong


async def test_a_full_queue_refuses_before_anything_is_tokenized(start, recorder):
    async with start(max_queue=2) as texts:
        recorder.go.clear()
        calls = [asyncio.create_task(texts.encode_texts(["a"], deadline=deadline()))]
        await begun(recorder)
        calls.append(asyncio.create_task(texts.encode_texts(["b", "c"], deadline=deadline())))
        await asyncio.sleep(0)
        assert texts.queue_depth == 2
        done = len(recorder.tokenized)
        for refused in (
            texts.encode_texts(["d"], deadline=deadline()),
            texts.encode_wish("e" * 5000, reach=10, deadline=deadline()),
        ):
            with pytest.raises(OverloadedError):
                refused.send(None)
        assert len(recorder.tokenized) == done
        recorder.go.set()
        await asyncio.gather(*calls)


async def test_a_call_that_comes_too_late_is_not_encoded(start, recorder):
    async with start() as texts:
        with pytest.raises(DeadlineExpiredError):
            await texts.encode_texts(["a"], deadline=deadline(-1))
        with pytest.raises(DeadlineExpiredError):
            await texts.encode_wish("a", reach=10, deadline=deadline(-1))
    assert recorder.batches == []


async def test_a_failing_encoder_is_an_encode_error_and_serves_again(start, recorder):
    async with start() as texts:
        recorder.error = MemoryError()
        with pytest.raises(EncodeError):
            await texts.encode_texts(["a"], deadline=deadline())
        with pytest.raises(EncodeError):
            await texts.encode_wish("a", reach=10, deadline=deadline())
        recorder.error = None
        assert (await texts.encode_texts(["abc"], deadline=deadline())).vectors[0].tolist() == [3]
        assert (await texts.encode_wish("a", reach=10, deadline=deadline())).batch_size == 1  # it was not cached


async def test_a_text_that_has_no_vector_fails_by_itself(start, recorder):
    wishes = ["a", "bb", "broken!", "dddd", "eeeee"]
    async with start() as texts:
        answers = await asyncio.gather(
            *(texts.encode_wish(text, reach=10, deadline=deadline()) for text in wishes), return_exceptions=True
        )
    assert isinstance(answers[2], EncodeError)
    assert [answer.vector.tolist() for answer in answers if not isinstance(answer, BaseException)] == [
        [1],
        [2],
        [4],
        [5],
    ]


async def test_a_failing_search_is_an_error_of_its_batch_and_serves_again(start, finder):
    def fail(vectors, reach):
        raise RuntimeError("no index")

    async with start() as texts:
        texts._retrieve = fail
        with pytest.raises(EncodeError):
            await texts.encode_wish("a", reach=10, deadline=deadline())
        texts._retrieve = finder
        assert (await texts.encode_wish("a", reach=10, deadline=deadline())).vector.tolist() == [1]


async def test_a_thread_that_hangs_is_replaced_and_serves_again_when_it_comes_back(start, recorder):
    async with start(stuck_after_s=0.02) as texts:
        recorder.go.clear()
        for number in range(1, 4):
            with pytest.raises(EncoderStuckError):
                await texts.encode_texts(["a" * number], deadline=deadline())
            await begun(recorder)
            assert texts.stuck
        assert len(set(recorder.threads)) == 3
        waiting = texts._threads.made[:]
        recorder.go.set()
        for thread in waiting:
            await thread.run(len, "")  # when it comes to this, it is done with what it hung on
        assert not texts.stuck
        assert len(texts._threads.free) == 3


async def test_a_text_that_hung_is_refused_before_it_is_tokenized_and_costs_no_other_thread(start, recorder):
    async with start(stuck_after_s=0.02) as texts:
        recorder.go.clear()
        with pytest.raises(EncoderStuckError):
            await texts.encode_wish("hangs", reach=10, deadline=deadline())
        await begun(recorder)
        done = len(recorder.tokenized)
        for refused in (
            texts.encode_wish("hangs", reach=10, deadline=deadline()),
            texts.encode_texts(["other", "hangs"], deadline=deadline()),
        ):
            with pytest.raises(HungTextError, match="did not come back from it"):
                refused.send(None)
        assert len(recorder.tokenized) == done
        assert len(texts._threads.made) == 1


async def test_while_it_is_stuck_a_text_is_encoded_though_it_is_in_the_cache(start, recorder):
    # The server tries a stuck encoder with always the same text: from the cache it would learn nothing.
    async with start(stuck_after_s=0.5) as texts:
        await texts.encode_texts(["trial"], deadline=deadline())
        await begun(recorder)
        recorder.go.clear()
        with pytest.raises(EncoderStuckError):
            await texts.encode_texts(["hangs"], deadline=deadline())
        await begun(recorder)
        trial = asyncio.create_task(texts.encode_texts(["trial"], deadline=deadline()))
        await begun(recorder)
        assert texts.stuck
        recorder.go.set()
        assert (await trial).batch_size == 1
        assert not texts.stuck
        assert (await texts.encode_texts(["trial"], deadline=deadline())).batch_size == 0


async def test_only_so_many_threads_are_lost(start, recorder):
    async with start(workers=2, stuck_after_s=0.02) as texts:
        recorder.go.clear()
        for number in range(1, 20):
            with pytest.raises(EncoderStuckError) as error:
                await texts.encode_texts(["a" * number], deadline=deadline())
        for _ in range(2 + 4):
            await begun(recorder)
        assert "restarted" in str(error.value)
        assert texts.stuck
        assert len(texts._threads.made) == len(recorder.batches) == 2 + 4
        assert texts.queue_depth == 0


# Texts of items


async def test_texts_of_items_are_encoded_in_a_lane_of_their_own_while_calls_are_answered(start, recorder):
    async with start() as texts:
        recorder.go.clear()
        imported = asyncio.create_task(texts.encode_items(["a" * n for n in range(1, 40)], deadline=deadline()))
        await begun(recorder)
        wish = asyncio.create_task(texts.encode_wish("wish", reach=10, deadline=deadline()))
        await begun(recorder)  # although the only worker for calls would otherwise wait for those
        assert sorted(name.rsplit("-", 1)[0] for name in recorder.threads) == ["encode", "encode-items"]
        recorder.go.set()
        await wish
        answer = await imported
        assert [int(vector[0]) for vector in answer.vectors] == list(range(1, 40))
        assert answer.batch_size >= 1
        assert texts.queue_depth == 0


async def test_texts_of_items_are_encoded_in_half_as_many_threads_and_half_as_large_batches(start, recorder):
    async with start(workers=3, max_batch_tokens=64) as texts:
        recorder.go.clear()
        calls = [
            asyncio.create_task(texts.encode_items([f"{name}" * 7 for name in names], deadline=deadline()))
            for names in ("abcd", "efgh", "ijkl")
        ]
        await begun(recorder)
        recorder.go.set()
        await asyncio.gather(*calls)
    assert set(recorder.threads) == {"encode-items-0"}
    assert max(map(len, recorder.batches)) <= 32


async def test_nothing_of_items_is_kept_and_what_calls_have_is_taken(start, recorder):
    async with start() as texts:
        await texts.encode_texts(["known"], deadline=deadline())
        answer = await texts.encode_items(["known", "new", "new"], deadline=deadline())
        assert [int(vector[0]) for vector in answer.vectors] == [5, 3, 3]
        assert texts.cached_texts == 1
        assert (await texts.encode_items(["known"], deadline=deadline())).batch_size == 0
    assert recorder.batches == [[5], [3]]


async def test_texts_of_items_that_do_not_fit_are_refused_while_calls_are_answered(start, recorder):
    async with start(max_queue=2) as texts:
        recorder.go.clear()
        running = asyncio.create_task(texts.encode_items(["a"], deadline=deadline()))
        await begun(recorder)
        waiting = asyncio.create_task(texts.encode_items(["b", "c"], deadline=deadline()))
        await queued(texts, 2)
        done = len(recorder.tokenized)
        with pytest.raises(OverloadedError):
            await texts.encode_items(["d"], deadline=deadline())
        assert len(recorder.tokenized) == done
        wish = asyncio.create_task(texts.encode_wish("wish", reach=10, deadline=deadline()))
        await begun(recorder)
        recorder.go.set()
        await asyncio.gather(running, waiting, wish)


async def test_what_of_items_nobody_waits_for_is_not_encoded(start, recorder):
    async with start(max_batch_size=1) as texts:
        recorder.go.clear()
        running = asyncio.create_task(texts.encode_items(["a"], deadline=deadline()))
        await begun(recorder)
        gone = asyncio.create_task(texts.encode_items(["bb", "ccc"], deadline=deadline()))
        await queued(texts, 2)
        gone.cancel()
        await asyncio.wait((gone,))
        assert texts.queue_depth == 0
        recorder.go.set()
        await running
    assert recorder.batches == [[1]]


async def test_an_item_at_which_the_encoder_hangs_leaves_calls_alone_and_is_not_tried_again(start, recorder):
    async with start(stuck_after_s=0.02) as texts:
        recorder.go.clear()
        with pytest.raises(EncoderStuckError):
            await texts.encode_items(["hangs"], deadline=deadline())
        assert not texts.stuck
        with pytest.raises(HungTextError):
            await texts.encode_items(["other", "hangs"], deadline=deadline())
        recorder.go.set()
        assert (await texts.encode_items(["other"], deadline=deadline())).batch_size == 1
        assert (await texts.encode_wish("wish", reach=10, deadline=deadline())).batch_size == 1


async def test_an_item_that_fails_fails_alone_and_one_that_is_late_is_never_encoded(start, recorder):
    async with start() as texts:
        recorder.go.clear()
        first = asyncio.create_task(texts.encode_items(["a"], deadline=deadline()))
        await begun(recorder)
        bad = asyncio.create_task(texts.encode_items(["bad!"], deadline=deadline()))
        good = asyncio.create_task(texts.encode_items(["good"], deadline=deadline()))
        await queued(texts, 2)
        recorder.go.set()
        await first
        with pytest.raises(EncodeError):
            await bad
        assert int((await good).vectors[0][0]) == 4
        with pytest.raises(DeadlineExpiredError):
            await texts.encode_items(["late"], deadline=deadline(-1.0))
    assert recorder.batches == [[1], [-1, 4], [-1], [4]]


@pytest.mark.skipif(sys.platform != "linux", reason="threads have no niceness of their own")
async def test_the_thread_of_items_lets_those_of_calls_go_first(start, recorder, monkeypatch):
    nice: dict[str, int] = {}
    encode = recorder.encode

    def noting(batch):
        nice[threading.current_thread().name] = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
        return encode(batch)

    monkeypatch.setattr(recorder, "encode", noting)
    async with start() as texts:
        await texts.encode_texts(["a"], deadline=deadline())
        await texts.encode_items(["b"], deadline=deadline())
    assert nice["encode-0"] < nice["encode-items-0"]


async def test_what_calls_were_answered_with_does_not_outlive_them_without_the_garbage_collector(start):
    gc.disable()
    try:
        async with start(cache_bytes=0) as texts:
            await asyncio.gather(*(texts.encode_wish(f"wish {n}", reach=10, deadline=deadline()) for n in range(5)))
            with pytest.raises(EncodeError):
                await texts.encode_wish("bad!", reach=10, deadline=deadline())
            kept = sum(type(one).__name__ == "_Vector" for one in gc.get_objects())
        assert kept == 0
    finally:
        gc.enable()


async def test_closing_fails_whoever_waits_for_items(start, recorder):
    texts = start()
    async with texts:
        recorder.go.clear()
        calls = [asyncio.create_task(texts.encode_items(["a"], deadline=deadline()))]
        await begun(recorder)
        calls.append(asyncio.create_task(texts.encode_items(["b"], deadline=deadline())))
        await queued(texts, 1)
    for call in calls:
        with pytest.raises(DrainingError):
            await call
    recorder.go.set()
    for thread in texts._item_threads.made:
        thread._thread.join()


# The end


async def test_closing_while_a_batch_runs_fails_its_caller(start, recorder):
    texts = start()
    async with texts:
        recorder.go.clear()
        calls = [asyncio.create_task(texts.encode_texts(["a"], deadline=deadline()))]
        await begun(recorder)
        calls.append(asyncio.create_task(texts.encode_wish("b", reach=10, deadline=deadline())))
        await asyncio.sleep(0)
    for call in calls:
        with pytest.raises(DrainingError):
            await call
    with pytest.raises(DrainingError):
        await texts.encode_texts(["c"], deadline=deadline())
    recorder.go.set()
    for thread in (*texts._threads.made, texts._tokenize_thread, texts._search_thread):
        thread._thread.join()
