"""The batcher under any schedule, in simulated time: texts arrive and are joined, callers go, batches fail or hang.

A model beside it knows how each call must end: answered once, refused, expired, failed for its own guilty text, or
cancelled by its own caller.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.server.batching import ScriptedEncoder, Seen, Text, now, settle, simulate, until

from tanager_server.errors import DeadlineExpiredError, EncodeError, EncoderStuckError, OverloadedError
from tanager_server.runtime.batcher import Batcher
from tanager_server.runtime.job import BatchPolicy

_FIXED_S, _TOKEN_S = 0.05, 0.01
_STUCK_AFTER_S = 3.0

# A kind of text: most are encoded, at some a batch fails, at some it hangs.
kinds = st.sampled_from(["well"] * 8 + ["guilty", "hanging"])
arrivals = st.tuples(
    st.just("submit"),
    st.lists(st.tuples(kinds, st.integers(1, 12)), min_size=1, max_size=5),
    st.integers(0, 30).map(lambda number: number / 10),
    st.booleans(),
)
joins = st.tuples(st.just("join"), st.integers(0, 40), st.integers(1, 30).map(lambda number: number / 10))
cancellations = st.tuples(st.just("cancel"), st.integers(0, 20))
pauses = st.tuples(st.just("pause"), st.sampled_from([0.01, 0.1, 0.5, 4.0]))
schedules = st.lists(
    st.one_of(arrivals, arrivals, arrivals, joins, cancellations, pauses, pauses), min_size=5, max_size=40
)
policies = st.builds(
    BatchPolicy,
    max_batch_tokens=st.integers(1, 40),
    max_batch_size=st.integers(1, 6),
    batch_cost_tokens=st.integers(0, 40),
    window=st.integers(1, 8),
    max_queue=st.integers(1, 16),
    max_age_s=st.sampled_from([0.3, 1.0]),
    bulk_handicap_s=st.sampled_from([0.0, 1.0]),
    stuck_after_s=st.just(_STUCK_AFTER_S),
)


@dataclass(eq=False)
class Call:
    """What the model knows of one call."""

    texts: list[Text]
    deadline: float
    task: asyncio.Task[Any]
    cancelled: bool = False
    ended: float = -1.0

    def end(self, _: object) -> None:
        self.ended = now()


class Model:
    def __init__(self, policy: BatchPolicy, workers: int, spare_workers: float) -> None:
        self.encoder = ScriptedEncoder(
            lambda batch: _FIXED_S + _TOKEN_S * len(batch) * max(text.length for text in batch)
        )
        self.workers, self.policy, self.seen = workers, policy, Seen()
        self.batcher: Batcher[Text, object] = Batcher(
            self.encoder, policy=policy, clock=now, workers=workers, spare_workers=spare_workers, observe=self.seen
        )
        self.spare_workers = spare_workers
        self.texts: list[Text] = []
        self.calls: list[Call] = []

    async def submit(self, kinds: list[tuple[str, int]], slack: float, bulk: bool) -> None:
        texts = [Text(len(self.texts) + number, length) for number, (_, length) in enumerate(kinds)]
        self.texts += texts
        for text, (kind, _) in zip(texts, kinds, strict=True):
            if kind != "well":
                getattr(self.encoder, kind).add(text.name)
        deadline = now() + slack
        keys = [text.name for text in texts]
        self.begin(texts, deadline, self.batcher.submit(texts, deadline=deadline, bulk=bulk, keys=keys))

    async def join(self, name: int, slack: float) -> None:
        if name < len(self.texts):
            deadline = now() + slack
            self.begin([self.texts[name]], deadline, self.joined(name, deadline))

    async def joined(self, name: int, deadline: float) -> Any:
        encoded = await self.batcher.join(name, deadline=deadline)
        return None if encoded is None else [encoded]

    def begin(self, texts: list[Text], deadline: float, work: Any) -> None:
        call = Call(texts, deadline, asyncio.create_task(work))
        call.task.add_done_callback(call.end)
        self.calls.append(call)

    async def cancel(self, number: int) -> None:
        if number < len(self.calls) and not self.calls[number].task.done():
            self.calls[number].cancelled = True
            self.calls[number].task.cancel()

    async def pause(self, seconds: float) -> None:
        await until(now() + seconds)

    async def play(self, schedule: list[tuple[Any, ...]]) -> None:
        async with self.batcher:
            for action, *arguments in schedule:
                await getattr(self, action)(*arguments)
                await settle()
                assert self.batcher.depth <= self.policy.max_queue
            # Whoever would wait for ever is found here: a loop in which nothing will ever happen is an error.
            await asyncio.gather(*(call.task for call in self.calls), return_exceptions=True)
            await until(now() + 1000.0)  # for what runs on for callers who have gone
            assert self.batcher.depth == 0
            assert self.batcher._queue._by_key == {}
        for call in self.calls:
            self.check_end(call)
        self.check_batches()

    def check_end(self, call: Call) -> None:
        names = {text.name for text in call.texts}
        if call.task.cancelled():
            assert call.cancelled
            return
        error = call.task.exception()
        if error is None:
            if (encoded := call.task.result()) is not None:  # None: there was nothing to join
                assert [each.result for each in encoded] == [text.name for text in call.texts]
                assert not names & (self.encoder.guilty | self.encoder.hanging)
        elif isinstance(error, EncodeError):
            assert names & self.encoder.guilty
        elif isinstance(error, EncoderStuckError):  # also those who shared its batch
            assert self.encoder.hanging
        elif isinstance(error, DeadlineExpiredError):
            # Told before the deadline, at most by what encoding was expected to take.
            assert call.ended > call.deadline - 10
        else:
            assert isinstance(error, OverloadedError)

    def check_batches(self) -> None:
        lengths = {text.name: text.length for text in self.texts}
        answered: Counter[object] = Counter()
        for batch in self.encoder.batches:
            longest = max(lengths[name] for name in batch)
            assert len(batch) <= self.policy.max_batch_size
            assert len(batch) == 1 or len(batch) * longest <= self.policy.max_batch_tokens
            assert len(batch) * longest - sum(lengths[name] for name in batch) <= self.policy.batch_cost_tokens
            if not set(batch) & (self.encoder.guilty | self.encoder.hanging):
                answered.update(batch)
        assert max(answered.values(), default=1) == 1, "a text was encoded twice"
        failed = [set(batch) for batch in self.encoder.batches if set(batch) & self.encoder.hanging]
        assert self.seen.failed.count(True) == len(failed)
        assert sum(batch["size"] for batch in self.seen.batches) == answered.total()
        assert self.encoder.most <= self.workers + min(len(failed), self.spare_workers)


@pytest.fixture(autouse=True)
def _quiet(caplog):
    """Failing batches are logged, and fail here by the hundred."""
    with caplog.at_level(logging.CRITICAL + 1, "tanager_server"):
        yield


@settings(max_examples=200, deadline=None)
@given(policy=policies, workers=st.integers(1, 3), spare=st.sampled_from([0, 2, math.inf]), schedule=schedules)
def test_every_text_is_encoded_once_or_its_caller_told_why_not(policy, workers, spare, schedule):
    simulate(Model(policy, workers, spare).play(schedule))
