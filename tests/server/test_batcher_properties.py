"""The batcher under any schedule: texts arrive, callers go, time passes, batches end well or badly, in any order.

A model beside it knows what must be true: who waits, who has been answered, and how.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tanager_server.errors import DeadlineExpiredError, EncodeError, OverloadedError
from tanager_server.runtime.batcher import Batcher, Encoded
from tanager_server.settings import BatchingSettings

arrivals = st.tuples(
    st.just("submit"), st.lists(st.integers(1, 12), min_size=1, max_size=5), st.integers(0, 20)
)  # lengths of the call's texts, and the time it has
cancellations = st.tuples(st.just("cancel"), st.integers(0, 30))
ticks = st.tuples(st.just("tick"), st.integers(1, 8))
completions = st.tuples(st.just("open"), st.sampled_from(["well", "well", "well", "error", "too few"]))
actions = st.one_of(arrivals, arrivals, cancellations, ticks, completions)
policies = st.builds(
    BatchingSettings,
    max_batch_tokens=st.integers(1, 30),
    max_batch_size=st.integers(1, 5),
    batch_cost_tokens=st.integers(0, 40),
    window=st.integers(1, 8),
    max_queue=st.integers(1, 12),
)


@dataclass
class Caller:
    """What the model knows of one call; a text is named by a number of its own."""

    names: list[int]
    lengths: list[int]
    deadline: float
    task: asyncio.Task[Encoded]
    refused: bool = False
    cancelled: bool = False
    failed: bool = False
    encoded: set[int] = field(default_factory=set)


class Model:
    def __init__(self, policy, gate, clock, settle):
        self.policy, self.gate, self.clock, self.settle = policy, gate, clock, settle
        self.batcher = Batcher(gate, policy=policy, clock=clock)
        self.callers: list[Caller] = []
        self.names = 0
        gate.on_batch = self.check_batch

    def waiting(self):
        """(deadline, name) of each text that should wait, most urgent first."""
        return sorted(
            (caller.deadline, name)
            for caller in self.callers
            if not (caller.refused or caller.cancelled or caller.failed or caller.task.done())
            for name in set(caller.names) - caller.encoded
        )

    def check_batch(self, batch):
        owners = {name: caller for caller in self.callers for name in caller.names}
        alive = [name for deadline, name in self.waiting() if deadline > self.clock.now]
        names = [tokens[0] for tokens in batch]
        assert len(names) == len(set(names))
        assert set(names) <= set(alive), "encoded twice, after its deadline, or for nobody"
        assert alive[0] in names, "the most urgent text was passed over"
        assert len(batch) <= self.policy.max_batch_size
        padded = len(batch) * max(map(len, batch))
        assert len(batch) == 1 or padded <= self.policy.max_batch_tokens
        for tokens in batch:
            owner = owners[tokens[0]]
            assert len(tokens) == owner.lengths[owner.names.index(tokens[0])]
            owner.encoded.add(tokens[0])

    async def submit(self, lengths, time):
        names = list(range(self.names, self.names + len(lengths)))
        self.names += len(lengths)
        texts = [[name] * length for name, length in zip(names, lengths, strict=True)]
        deadline = self.clock.now + time
        full = self.batcher.depth + len(lengths) > self.policy.max_queue
        task = asyncio.create_task(self.batcher.submit(texts, deadline=deadline))
        self.callers.append(Caller(names, lengths, deadline, task, refused=full))

    async def cancel(self, number):
        if number < len(self.callers) and not self.callers[number].task.done():
            self.callers[number].task.cancel()
            self.callers[number].cancelled = True

    async def tick(self, seconds):
        self.clock.now += seconds

    async def open(self, how):
        if not self.gate.busy:
            return
        if how != "well":
            names = {tokens[0] for tokens in self.gate.batches[-1]}
            for caller in self.callers:
                caller.failed |= not caller.task.done() and bool(names & set(caller.names))
        await self.gate.open({"well": None, "error": RuntimeError("no"), "too few": []}[how])

    async def play(self, schedule):
        async with self.batcher:
            for action, *arguments in schedule:
                await getattr(self, action)(*arguments)
                await self.settle()
                # What has expired unseen is counted until the batcher comes to it, when the encoder is free.
                assert self.batcher.depth == len(self.waiting())
            while self.gate.busy:
                await self.open("well")
            assert self.batcher.depth == 0
            assert all(caller.task.done() for caller in self.callers), "a caller was forgotten"
        for caller in self.callers:
            self.check_answer(caller)

    def check_answer(self, caller):
        if caller.cancelled:
            assert caller.task.cancelled()
            return
        error = caller.task.exception()
        if error is None:
            assert not caller.failed
            assert not caller.refused
            vectors = [vector.tolist() for vector in caller.task.result().vectors]
            assert vectors == [list(pair) for pair in zip(caller.names, caller.lengths, strict=True)]
        elif isinstance(error, EncodeError):
            assert caller.failed
        elif isinstance(error, OverloadedError):
            assert caller.refused
        else:
            assert isinstance(error, DeadlineExpiredError)
            assert caller.deadline <= self.clock.now
            assert caller.encoded != set(caller.names)


@pytest.fixture(autouse=True)
def _quiet():
    """Failing batches are logged, and fail here by the hundred."""
    logging.getLogger("tanager_server.runtime.batcher").setLevel(logging.CRITICAL)
    yield
    logging.getLogger("tanager_server.runtime.batcher").setLevel(logging.NOTSET)


@settings(max_examples=300, deadline=None)
@given(
    policy=policies, schedule=st.lists(st.one_of(arrivals, arrivals, cancellations, ticks, completions), max_size=30)
)
def test_every_text_is_encoded_once_or_its_caller_told_why_not(new_gate, new_clock, settle, policy, schedule):
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(Model(policy, new_gate(), new_clock(), settle).play(schedule))
    finally:
        loop.close()
