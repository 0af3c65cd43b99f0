"""The queue under any schedule, in simulated time: what must be true of it whatever comes and goes.

A model beside it knows who waits and how urgently. Texts arrive, are joined, are given up; workers take batches and end
them; the cost model learns from times that stray.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.server.batching import Text

from tanager_server.errors import DeadlineExpiredError, OverloadedError, ServerError
from tanager_server.runtime.cost import CostModel
from tanager_server.runtime.job import BatchPolicy, Encoded
from tanager_server.runtime.queue import Queue

if TYPE_CHECKING:
    from collections.abc import Callable

_TINY = 1e-9  # what sums of floats may differ by


class Answer:
    """Stands in for the future of a caller; one that is answered twice fails the test."""

    def __init__(self) -> None:
        self.outcome: object = None

    def done(self) -> bool:
        return self.outcome is not None

    def end(self, outcome: object) -> None:
        assert self.outcome is None, f"{outcome!r} after {self.outcome!r}"
        self.outcome = outcome

    set_exception = set_result = end


def outcome(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """What it returns, or the error of the server that it raises."""
    try:
        return function(*arguments, **named)
    except ServerError as error:
        return error


@dataclass(eq=False)
class Caller:
    waiter: Any
    answer: Answer
    deadline: float


@dataclass(eq=False)
class Waiting:
    """What the model knows of one text."""

    number: int
    key: int | None
    length: int
    urgency: float
    entry: Any
    callers: list[Caller]
    probe: bool = False
    taken: bool = False

    @property
    def place(self) -> tuple[float, int]:
        return self.urgency, self.number

    def wanted(self) -> bool:
        return any(not caller.answer.done() for caller in self.callers)


class Model:
    def __init__(self, policy: BatchPolicy, cost: CostModel, workers: int) -> None:
        self.policy, self.cost, self.workers = policy, cost, workers
        self.shed: list[str] = []
        self.queue: Queue[Text, int] = Queue(policy=policy, cost=cost, workers=workers, shed=self.shed.append)
        self.now = 0.0
        self.texts: list[Waiting] = []
        self.callers: list[Caller] = []
        self.running: list[list[Any]] = []
        self.refused_at = self.probed_at = -1e9

    # What happens

    def add(self, length: int, slack: float, bulk: bool, key: int | None) -> None:
        deadline = self.now + slack
        found = None if key is None else self.queue.find(key)
        if found is not None:
            self.join(found, deadline, bulk)
            return
        assert not any(text.key == key for text in self.alive() if key is not None)
        full = len(self.alive()) >= self.policy.max_queue
        urgency, own_s = self.urgency(deadline, bulk), self.cost.predict(length)
        # A text's place in the queue is known to a twentieth of a second; how long the queue takes may be taken to be
        # somewhat more than it looks, and the batches that run now come on top of it.
        surely_ahead, maybe_ahead = (
            sum(text.length for text in self.alive() if text.urgency <= urgency + margin)
            * self.cost.backlog_token_s
            / self.workers
            for margin in (0.0, 0.05)
        )
        surely_done, maybe_done = self.now + surely_ahead + own_s, self.now + own_s
        if self.alive():
            maybe_done += 1.5 * maybe_ahead + self.cost.predict(self.policy.max_batch_tokens)
        refusal = outcome(self.queue.check_room, 1, now=self.now, deadline=deadline, bulk=bulk)
        if refusal is not None:
            assert isinstance(refusal, OverloadedError)
            assert refusal.retry_after_s > 0
            assert full or maybe_done + _TINY >= deadline
            return
        assert not full
        answer, text = Answer(), Text(len(self.texts), length)
        waiter = outcome(self.queue.add, text, answer, now=self.now, deadline=deadline, bulk=bulk, key=key)
        infeasible = self.now + own_s >= deadline
        if isinstance(waiter, DeadlineExpiredError):
            assert infeasible
            self.refused_at = self.now
            return
        if isinstance(waiter, OverloadedError):
            assert waiter.retry_after_s > 0
            assert deadline <= maybe_done + _TINY
            return
        if infeasible:  # a probe: such texts were refused before, and none was tried for a second
            assert self.refused_at >= 0
            assert self.now - self.probed_at >= 1.0
            assert self.now < deadline
            self.probed_at = self.now
        else:
            assert surely_done < deadline + _TINY
        # No text that comes later goes before one that has come of age: with this, nothing starves.
        assert urgency > self.now
        caller = Caller(waiter, answer, deadline)
        self.callers.append(caller)
        self.texts.append(Waiting(len(self.texts), key, length, urgency, waiter.entry, [caller], probe=infeasible))

    def join(self, entry: Any, deadline: float, bulk: bool) -> None:
        (text,) = (text for text in self.texts if text.entry is entry)
        answer = Answer()
        waiter = outcome(self.queue.join, entry, answer, now=self.now, deadline=deadline, bulk=bulk)
        caller = Caller(waiter, answer, deadline)
        self.callers.append(caller)
        text.callers.append(caller)
        if not text.taken:
            text.urgency = min(text.urgency, self.urgency(deadline, bulk))

    def leave(self, number: int) -> None:
        if number < len(self.callers) and not self.callers[number].answer.done():
            self.callers[number].answer.end("left")
            self.queue.leave(self.callers[number].waiter)

    def wait(self, seconds: float) -> None:
        self.now += seconds

    def take(self) -> None:
        if len(self.running) == self.workers:
            return
        before = sorted(self.alive(), key=lambda text: text.place)
        aged = [text for text in before if text.urgency <= self.now]
        late = self.shed.count("late")
        batch = self.queue.take(self.now)
        if self.shed.count("late") > late and not any(text.probe for text in before):
            # (What has expired unseen beyond the window counts as waiting.)
            assert not self.fits(before), "dropped, though there was time to do it alone"
        taken = [next(text for text in before if text.entry is entry) for entry in batch]
        for text in taken:
            text.taken = True
        left = [text for text in before if text.wanted() and not text.taken]
        self.check_batch(taken, left)
        if aged:
            assert aged[0] not in left, "the most urgent of those that have come of age waits on"
        if batch:
            self.running.append(batch)
        else:
            assert not left, "something waits, and nothing is taken"

    def end(self, number: int, stray: float) -> None:
        """The batch was encoded, in about the time that was expected."""
        if number >= len(self.running):
            return
        batch = self.running.pop(number)
        padded = len(batch) * max(entry.length for entry in batch)
        seconds = self.cost.predict(padded) * stray
        for entry in batch:
            self.queue.finish(entry)
            for waiter in entry.waiters:
                if not waiter.future.done():
                    waiter.future.set_result(Encoded(0, 0.0, seconds, len(batch)))
        self.cost.observe(tokens=sum(entry.length for entry in batch), padded_tokens=padded, seconds=seconds)

    # What must be true

    def fits(self, texts: list[Waiting]) -> bool:
        count, longest = len(texts), max((text.length for text in texts), default=0)
        return (
            count <= min(self.policy.max_batch_size, self.policy.window)
            and count * longest <= self.policy.max_batch_tokens
            and count * longest - sum(text.length for text in texts) <= self.policy.batch_cost_tokens
        )

    def check_batch(self, taken: list[Waiting], left: list[Waiting]) -> None:
        if not taken:
            return
        count, longest = len(taken), max(text.length for text in taken)
        padding = count * longest - sum(text.length for text in taken)
        assert count <= self.policy.max_batch_size
        assert count == 1 or count * longest <= self.policy.max_batch_tokens
        assert padding <= self.policy.batch_cost_tokens
        for text in taken:
            assert text.wanted(), "encoded for nobody"
            for caller in text.callers:
                if not caller.answer.done():
                    own_s = 0.0 if text.probe else self.cost.predict(text.length)
                    assert caller.deadline > self.now + own_s, "encoded too late"
        assert count == 1 or not any(text.probe for text in taken), "a probe beside others"
        if not left:
            return
        everything = [*taken, *left]
        soonest = min(max(caller.deadline for caller in text.callers if not caller.answer.done()) for text in taken)
        hurried = soonest < self.now + self.cost.bound(len(everything) * max(text.length for text in everything))
        if hurried:  # a smaller batch, for those that a full one might have made late
            return
        first = min(everything, key=lambda text: text.place)
        assert first in taken, "the most urgent text was passed over"
        for text in taken:
            for other in left:
                assert other.probe or other.length != text.length or other.place > text.place, (
                    "of equally long ones the later first"
                )

    def check_counts(self) -> None:
        alive = self.alive()
        assert len(self.queue) == len(alive)
        assert sum(self.queue._tokens_by_step.values()) == sum(text.length for text in alive)
        assert min(self.queue._tokens_by_step.values(), default=1) > 0
        in_use = {text.key for text in alive if text.key is not None}
        in_use |= {entry.key for batch in self.running for entry in batch if entry.key is not None}
        assert set(self.queue._by_key) == in_use

    def check_end(self) -> None:
        for caller in self.callers:
            outcome = caller.answer.outcome
            assert outcome == "left" or isinstance(outcome, Encoded | DeadlineExpiredError), "a caller was forgotten"
        expired = sum(isinstance(caller.answer.outcome, DeadlineExpiredError) for caller in self.callers)
        assert expired == sum(reason in ("expired", "late") for reason in self.shed)
        assert self.queue.take(self.now) == []
        assert not self.queue._heap

    # The model

    def alive(self) -> list[Waiting]:
        return [text for text in self.texts if not text.taken and text.wanted()]

    def urgency(self, deadline: float, bulk: bool) -> float:
        return min(deadline, self.now + self.policy.max_age_s) + self.policy.bulk_handicap_s * bulk

    def play(self, schedule: list[tuple[Any, ...]]) -> None:
        for action, *arguments in schedule:
            getattr(self, action)(*arguments)
            self.check_counts()
        while self.alive() or self.running:
            while self.alive() and len(self.running) < self.workers:
                self.take()
                self.check_counts()
            self.end(0, 1.0)
            self.check_counts()
        self.check_end()


tenths = st.integers(0, 40).map(lambda number: number / 10)
keys = st.one_of(st.none(), st.integers(0, 3))
arrivals = st.tuples(st.just("add"), st.integers(1, 12), tenths, st.booleans(), keys)
actions = st.one_of(
    arrivals,
    arrivals,
    arrivals,
    st.tuples(st.just("leave"), st.integers(0, 30)),
    st.tuples(st.just("wait"), st.sampled_from([0.1, 0.3, 1.0])),
    st.tuples(st.just("take")),
    st.tuples(st.just("end"), st.integers(0, 2), st.sampled_from([0.5, 1.0, 1.0, 3.0])),
)
policies = st.builds(
    BatchPolicy,
    max_batch_tokens=st.integers(1, 40),
    batch_cost_tokens=st.integers(0, 30),
    max_batch_size=st.integers(1, 6),
    window=st.integers(1, 8),
    max_queue=st.integers(1, 14),
    max_age_s=st.sampled_from([0.2, 1.0, 2.0]),
    bulk_handicap_s=st.sampled_from([0.0, 0.5, 2.0]),
    stuck_after_s=st.just(30.0),
)
costs = st.builds(
    lambda fixed, rate: CostModel([(count, fixed + rate * count) for count in (1, 20)]),
    st.sampled_from([0.0, 0.01, 0.1, 0.4]),
    st.sampled_from([0.001, 0.01, 0.05]),
)


@settings(max_examples=400, deadline=None)
@given(policy=policies, cost=costs, workers=st.integers(1, 3), schedule=st.lists(actions, min_size=30, max_size=90))
def test_the_laws_of_the_queue(policy, cost, workers, schedule):
    Model(policy, cost, workers).play(schedule)
