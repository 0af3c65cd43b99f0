"""The queue: which texts are chosen for a batch, by example. What holds whatever happens is in the property tests."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import pytest
from tests.server.batching import Text, policy

from tanager_server.errors import DeadlineExpiredError
from tanager_server.runtime.queue import Queue


class Cost:
    """What a batch costs, known when it is chosen, and not yet when its texts arrive: so nothing is refused."""

    backlog_token_s = 0.0

    def __init__(self, fixed_s=0.0, token_s=0.0, deviation_s=0.0):
        self.fixed_s, self.token_s, self.deviation_s = fixed_s, token_s, deviation_s
        self.known = False

    def predict(self, padded_tokens):
        return self.fixed_s + self.token_s * padded_tokens if self.known else 0.0

    def bound(self, padded_tokens):
        return self.predict(padded_tokens) + self.deviation_s


class Waiting:
    """A queue, and what its callers were told."""

    def __init__(self, cost=None, **bounds):
        self.shed: list[str] = []
        self.cost = cost or Cost()
        model: Any = self.cost
        self.queue: Queue[Text, Any] = Queue(policy=policy(**bounds), cost=model, shed=self.shed.append)
        self.answers: dict[object, Future[Any]] = {}

    def add(self, name, length=4, *, deadline=1000.0, now=0.0, bulk=False):
        self.answers[name] = Future()
        future: Any = self.answers[name]  # asyncio's has the same methods, but needs a loop
        return self.queue.add(Text(name, length), future, now=now, deadline=deadline, bulk=bulk, key=name)

    def take(self, now=0.0):
        self.cost.known = True
        try:
            return [entry.job.name for entry in self.queue.take(now)]
        finally:
            self.cost.known = False


def test_the_rest_of_a_batch_are_the_texts_nearest_in_length_to_the_most_urgent():
    waiting = Waiting(max_batch_size=3)
    for name, length in ((1, 1), (2, 2), (3, 30), (4, 31), (5, 32)):
        waiting.add(name, length, deadline=100)
    waiting.add(6, 33, deadline=50)
    assert waiting.take() == [4, 5, 6]


def test_of_texts_equally_long_the_more_urgent_go_first():
    waiting = Waiting(max_batch_size=3)
    for name, length in ((1, 8), (2, 4), (3, 4), (4, 4), (5, 4)):
        waiting.add(name, length)
    assert sorted(waiting.take()) == [1, 2, 3]
    assert sorted(waiting.take()) == [4, 5]


def test_texts_whose_padding_costs_more_than_a_batch_are_not_batched_together():
    waiting = Waiting(batch_cost_tokens=20)
    for name, length in ((1, 2), (2, 2), (3, 12), (4, 13)):  # with the third, the first two would be padded by 10 each
        waiting.add(name, length)
    assert waiting.take() == [1, 2, 3]
    assert waiting.take() == [4]


def test_only_the_most_urgent_texts_of_the_window_are_chosen_among():
    waiting = Waiting(window=2, max_batch_size=2)
    waiting.add(1, 8, deadline=10)
    waiting.add(2, 4, deadline=20)
    waiting.add(3, 8, deadline=30)  # the better fit for 1, but less urgent than the window reaches
    assert waiting.take() == [2, 1]


def test_what_has_expired_is_not_taken_and_its_caller_is_told():
    waiting = Waiting(Cost(fixed_s=1.0))
    late, exact, early = (waiting.add(name, deadline=deadline) for name, deadline in ((1, 2.0), (2, 3.5), (3, 8.0)))
    assert waiting.take(now=2.5) == [3]  # encoding takes a second: at 2.5 it is too late for what is due at 3.5
    for number in (1, 2):
        assert isinstance(waiting.answers[number].exception(0), DeadlineExpiredError)
    assert waiting.shed == ["expired", "expired"]
    assert len(waiting.queue) == 0
    assert [waiter.entry.waiting for waiter in (late, exact, early)] == [False] * 3


def hurried(**bounds):
    """A token takes a tenth of a second, and a batch a twentieth beside."""
    return Waiting(Cost(fixed_s=0.05, token_s=0.1), max_batch_tokens=8, **bounds)


def test_when_nothing_else_waits_what_would_be_late_in_a_batch_goes_by_itself():
    waiting = hurried()
    waiting.add("patient", deadline=50)
    waiting.add("hurried", deadline=0.6)  # alone it takes 0.45 s, both together 0.85 s
    assert waiting.take() == ["hurried"]
    assert waiting.take(0.45) == ["patient"]


def test_what_has_come_of_age_does_not_starve_behind_texts_that_can_only_go_by_themselves():
    waiting = hurried(max_age_s=2.0)
    waiting.add("patient", deadline=50)
    taken = []
    for number in range(12):
        now = 0.45 * number
        waiting.add(number, deadline=now + 0.6, now=now)
        taken += waiting.take(now)
    assert taken[:5] == [0, 1, 2, 3, 4]  # until 1.8
    assert taken[5] == "patient"


def test_what_a_full_batch_would_make_late_goes_in_a_smaller_one_first():
    waiting = hurried(max_batch_size=2)
    for number in range(6):
        waiting.add(number, deadline=50)
    waiting.add("hurried", deadline=0.6)  # alone it takes 0.45 s, with another 0.85 s
    assert waiting.take() == ["hurried"]
    assert waiting.take(0.45) == [0, 1]
    assert waiting.shed == []


def test_of_equally_urgent_texts_that_are_hurried_the_earlier_goes_first():
    waiting = Waiting(Cost(fixed_s=0.1, token_s=0.01), max_age_s=0.2)
    waiting.add("earlier", length=6, deadline=1.2)
    waiting.add("later", length=1, deadline=1.2)
    assert waiting.take(1.0) == ["earlier"]  # both together would be done at 1.22


def test_as_many_of_the_hurried_go_together_as_are_in_time_together():
    waiting = Waiting(Cost(token_s=0.1), max_batch_tokens=16)
    for number in range(8):
        waiting.add(number, length=2, deadline=50)
    for name, deadline in (("a", 0.5), ("b", 0.7), ("c", 0.75), ("d", 1.2)):
        waiting.add(name, length=2, deadline=deadline)
    # All eight that a batch may hold take 1.6 s; three take 0.6 s, for which "a" has no time; two take 0.4 s.
    assert waiting.take() == ["a", "b"]
    assert waiting.take(0.4) == ["c"]
    assert waiting.take(0.6)[0] == "d"
    assert waiting.shed == []


def test_a_smaller_batch_is_filled_up_as_far_as_there_is_time():
    waiting = Waiting(Cost(token_s=0.1), max_batch_tokens=16)
    for number in range(8):
        waiting.add(number, length=2, deadline=50)
    waiting.add("hurried", length=2, deadline=1.1)
    assert waiting.take() == ["hurried", 0, 1, 2, 3]


def test_nobody_is_made_late_by_a_smaller_batch_for_others():
    waiting = Waiting(Cost(token_s=0.1), max_batch_tokens=16, max_batch_size=4)
    waiting.add("hurried", length=4, deadline=1.5)  # with the three others 1.6 s, alone 0.4 s
    for number in range(6):
        waiting.add(number, length=4, deadline=1.7)
    assert waiting.take() == [0, 1, 2, 3]
    assert waiting.shed == ["late"]


def test_what_has_come_of_age_goes_along_with_the_hurried():
    waiting = Waiting(Cost(fixed_s=0.05, token_s=0.1), max_batch_tokens=40, max_age_s=2.0, batch_cost_tokens=0)
    waiting.add("patient", deadline=50)
    waiting.add("other", length=30, deadline=50)
    waiting.add("a", deadline=3.0, now=2.0)
    waiting.add("b", deadline=3.1, now=2.0)
    # All three of four tokens take 1.25 s; two of them 0.85 s.
    assert sorted(waiting.take(2.0)) == ["a", "patient"]


def test_a_window_of_late_texts_does_not_keep_those_behind_it_waiting():
    # A batch is expected to take 1 s, but times have strayed so much that it may take 5 s.
    waiting = Waiting(Cost(fixed_s=1.0, deviation_s=4.0), window=2, max_batch_size=1)
    for name, deadline in (("a", 3.0), ("b", 3.0), ("c", 9.0)):
        waiting.add(name, deadline=deadline)
    assert waiting.take() == ["c"]
    assert waiting.shed == ["late", "late"]


def test_a_bug_in_the_choice_loses_nobody(monkeypatch):
    waiting = Waiting()
    for name in (1, 2, 3):
        waiting.add(name)
    with monkeypatch.context() as patch:
        patch.setattr(waiting.queue, "_choose", lambda window, now: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            waiting.take()
    assert len(waiting.queue) == 3
    assert [entry.job.name for entry in waiting.queue.clear()] == [1, 2, 3]
    assert len(waiting.queue) == 0
    assert waiting.take() == []
