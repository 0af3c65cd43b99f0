"""Texts to vectors for concurrent calls: what runs where, and what is refused before any work is done."""

from __future__ import annotations

import asyncio
import threading

import numpy as np
import pytest

from tanager_server.errors import DeadlineExpiredError, EncodeError, OverloadedError
from tanager_server.runtime import Encoder, TextEncoder
from tanager_server.settings import BatchingSettings


class Recorder:
    """An encoder that notes where it is called from, and encodes when `go` is set."""

    provider = "none"

    def __init__(self):
        self.tokenized: list[tuple[str, int]] = []
        self.encoded: list[tuple[str, int]] = []
        self.error: Exception | None = None
        self.go = threading.Event()
        self.go.set()

    def tokenize(self, texts):
        self.tokenized.append((threading.current_thread().name, len(texts)))
        return [[len(text)] * (1 + len(text) % 7) for text in texts]

    def encode(self, batch):
        self.encoded.append((threading.current_thread().name, len(batch)))
        self.go.wait()
        if self.error:
            raise self.error
        return np.array([[tokens[0]] for tokens in batch], dtype=np.float32)


@pytest.fixture
def recorder():
    return Recorder()


def deadline(seconds=600.0):
    return TextEncoder.clock() + seconds


async def test_concurrent_calls_get_each_their_own_vectors(opened_bundle):
    encoder = Encoder.from_bundle(opened_bundle, threads=1)
    calls = [[f"space {number}", "war " * (number % 40), "love " * number] for number in range(30)]
    async with TextEncoder(encoder, policy=BatchingSettings()) as texts:
        answers = await asyncio.gather(*(texts.encode(call, deadline=deadline()) for call in calls))
        assert texts.queue_depth == 0
    for call, answer in zip(calls, answers, strict=True):
        np.testing.assert_allclose(answer.vectors, encoder.encode_texts(call), atol=1e-5)
        assert min(answer.tokenize_s, answer.queue_s, answer.encode_s) >= 0
    assert max(answer.batch_size for answer in answers) > 3  # they were encoded in common batches


async def test_the_event_loop_encodes_nothing_and_tokenizes_only_what_is_short(recorder):
    async with TextEncoder(recorder, policy=BatchingSettings()) as texts:
        await texts.encode(["short"], deadline=deadline())
        await texts.encode(["long" * 1000], deadline=deadline())
        await texts.encode(["many"] * 1000, deadline=deadline())
    here = threading.current_thread().name
    assert [name.split("_")[0] for name, _ in recorder.tokenized] == [here, "tokenize", "tokenize"]
    assert {name.split("_")[0] for name, _ in recorder.encoded} == {"encode"}


async def test_the_event_loop_never_waits_for_the_tokenizers_thread_pool(recorder):
    # tokenizers spreads two or more texts over a pool of threads that all callers share: a few short texts would wait
    # there, and every call with them, until a thousand long ones are done (measured: 0.9 s).
    async with TextEncoder(recorder, policy=BatchingSettings()) as texts:
        answer = await texts.encode(["a", "bb", "ccc"], deadline=deadline())
    assert recorder.tokenized == [(threading.current_thread().name, 1)] * 3
    assert np.ravel(answer.vectors).tolist() == [1, 2, 3]


async def test_a_full_queue_refuses_before_anything_is_tokenized(recorder, settle):
    async with TextEncoder(recorder, policy=BatchingSettings(max_queue=2)) as texts:
        recorder.go.clear()
        try:
            calls = []
            for call in (["a"], ["b", "c"]):
                calls.append(asyncio.create_task(texts.encode(call, deadline=deadline())))
                await settle()
            assert texts.queue_depth == 2
            done = len(recorder.tokenized)
            with pytest.raises(OverloadedError):
                texts.encode(["d"], deadline=deadline()).__await__().send(None)
            assert len(recorder.tokenized) == done
        finally:
            recorder.go.set()  # or the encode thread would wait for ever
        await asyncio.gather(*calls)


async def test_a_call_that_comes_too_late_is_not_encoded(recorder):
    async with TextEncoder(recorder, policy=BatchingSettings()) as texts:
        with pytest.raises(DeadlineExpiredError):
            await texts.encode(["a"], deadline=deadline(-1))
    assert recorder.encoded == []


async def test_a_failing_encoder_is_an_encode_error_and_serves_again(recorder):
    async with TextEncoder(recorder, policy=BatchingSettings()) as texts:
        recorder.error = MemoryError()
        with pytest.raises(EncodeError):
            await texts.encode(["a"], deadline=deadline())
        recorder.error = None
        assert (await texts.encode(["abc"], deadline=deadline())).vectors[0].tolist() == [3]


async def test_closing_while_a_batch_runs_answers_its_caller(recorder, settle):
    recorder.go.clear()
    texts = TextEncoder(recorder, policy=BatchingSettings())
    async with texts:
        call = asyncio.create_task(texts.encode(["a"], deadline=deadline()))
        await settle()
        recorder.go.set()
    with pytest.raises(EncodeError):
        await call
    with pytest.raises(OverloadedError):
        await texts.encode(["b"], deadline=deadline())
