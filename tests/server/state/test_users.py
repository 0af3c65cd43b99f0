"""What is kept of users is what a dictionary of lists would hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tanager_server.state import take_ups
from tanager_server.state.item_numbers import ItemNumbers
from tanager_server.state.users import PastEvent, Users

NAMES = st.sampled_from(["ada", "bob", "cyd", "dee"])
KINDS = ["click", "buy", "hide"]
EVENTS = st.tuples(
    NAMES, st.integers(0, 4), st.sampled_from(KINDS), st.sampled_from([-1.0, 0.0, 0.5, 2.0]), st.integers(0, 5)
)


class UsersMachine(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.users = Users()
        self.profiles, self.events = {}, {}
        self.seen, self.state = 0, {}

    def known(self):
        return self.profiles.keys() | self.events.keys()

    @rule(name=NAMES, profile=st.dictionaries(st.sampled_from(["age", "city"]), st.integers(0, 3)))
    def put_profile(self, name, profile):
        assert self.users.put_profile(name, profile) == (name not in self.known())
        self.profiles[name] = profile

    @rule(event=EVENTS)
    def add_event(self, event):
        name, *rest = event
        assert self.users.add_event(name, *rest) == (name not in self.known())
        self.events.setdefault(name, []).append(PastEvent(*rest))

    @rule(events=st.lists(EVENTS, max_size=20))
    def load(self, events):
        names = ["ada", "bob", "cyd", "dee"]  # of whom some have no events, and are not known by this
        self.users.load_events(
            names,
            np.array([names.index(name) for name, *_ in events], np.int64),
            np.array([number for _, number, *_ in events], np.int32),
            KINDS,
            np.array([KINDS.index(kind) for _, _, kind, *_ in events], np.int64),
            np.array([weight for *_, weight, _ in events], np.float64),
            np.array([time for *_, time in events], np.int64),
        )
        for name, *rest in events:
            self.events.setdefault(name, []).append(PastEvent(*rest))

    @rule(name=NAMES)
    def purge(self, name):
        purged = self.users.purge(name)
        assert (purged is None) == (name not in self.known())
        if purged:
            assert purged.had_profile == (name in self.profiles)
            assert purged.event_count == len(self.events.get(name, ()))
            taken = {
                number: (weight, time)
                for number, weight, time in zip(*(column.tolist() for column in purged.taken), strict=True)
            }
            assert taken == self.taken(name)
        self.profiles.pop(name, None)
        self.events.pop(name, None)

    def ordered(self, name):
        return sorted(self.events.get(name, []), key=lambda event: event.time_ns)

    def taken(self, name):
        return {e.number: (e.weight, e.time_ns) for e in self.ordered(name) if e.weight > 0}

    @invariant()
    def names_are_those_that_profiles_have(self):
        assert set(self.users.attribute_names) == {name for profile in self.profiles.values() for name in profile}

    @invariant()
    def the_same_is_known(self):
        users = self.users
        assert len(users) == len(self.known())
        for name in ("ada", "bob", "cyd", "dee", "eve"):
            known, ordered = users.get(name, 3), self.ordered(name)
            if name not in self.known():
                assert known is None
                assert name not in users
                assert users.slot(name) is None
            else:
                assert known == (self.profiles.get(name), len(ordered), ordered[::-1][:3])
                slot = users.slot(name)
                assert slot is not None
                assert users.user_id(slot) == name
                assert users.profile(slot) == self.profiles.get(name)
                assert users.alive[slot]
            for limit in (None, 2):
                numbers, weights = users.history(name, limit)
                expected = ordered if limit is None else ordered[-limit:]
                assert list(zip(numbers.tolist(), weights.tolist(), strict=True)) == [(e[0], e[2]) for e in expected]
            for number in range(5):
                assert users.last_take_up(name, number) == self.taken(name).get(number)
        assert users.alive[: users.slots].sum() == len(users)

    @invariant()
    def all_take_ups(self):
        expected = sorted((number, *last) for name in self.events for number, last in self.taken(name).items())
        assert sorted(zip(*(column.tolist() for column in self.users.take_ups()), strict=True)) == expected

    @invariant()
    def changes_are_told(self):
        slots = range(self.users.slots)
        now = {
            slot: (self.users.user_id(slot), self.users.profile(slot), self.ordered(self.users.user_id(slot)))
            for slot in slots
        }
        changed = set(self.users.changed_since(self.seen).tolist())
        profiles = set(self.users.profiles_changed_since(self.seen).tolist())
        for slot in slots:
            before = self.state.get(slot, (None, None, []))
            assert before == now[slot] or slot in changed
            assert before[1] == now[slot][1] or slot in profiles
            same = before[0] == now[slot][0] and before[0] is not None
            assert same or not self.users.same_user_since(slot, self.seen)
        self.seen, self.state = self.users.version, now
        assert not len(self.users.changed_since(self.seen))

    @invariant()
    def snapshots_hold_all(self):
        parts = list(self.users.snapshots(events=True, slots=2))
        assert [part.first for part in parts] == list(range(0, max(self.users.slots, 1), 2))
        for part in parts:
            for place, profile in enumerate(part.profiles):
                own = slice(part.starts[place], part.starts[place + 1])
                name = self.users.user_id(part.first + place)
                assert profile == self.profiles.get(name)
                assert part.numbers[own].tolist() == [event.number for event in self.ordered(name)]
                assert part.weights[own].tolist() == [event.weight for event in self.ordered(name)]
        assert all(not len(part.numbers) for part in self.users.snapshots(events=False))


class IndexedUsersMachine(UsersMachine):
    """With an index of every history, which gives way to the next."""

    def __init__(self):
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        for name, value in {"_LONG": 1, "_SCANS": 1, "_MAX_ENTRIES": 4, "_MAX_NEWER": 1}.items():
            self.patch.setattr(take_ups, name, value)

    def teardown(self):
        self.patch.undo()


IndexedUsersMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestIndexedUsers = IndexedUsersMachine.TestCase
UsersMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestUsers = UsersMachine.TestCase


def test_more_users_than_there_was_room_for():
    users = Users()
    for number in range(3000):
        users.add_event(f"user-{number}", number, "click", 1.0, number)
    assert users.slots == 3000
    assert [users.history(f"user-{number}")[0].tolist() for number in range(3000)] == [[n] for n in range(3000)]
    assert users.changed_since(0).tolist() == list(range(3000))


@pytest.mark.parametrize(("first", "step"), [(100_000, 1), (50_000, -1)], ids=["in order", "backwards"])
def test_a_long_history_is_not_read_through_for_each_event(first, step, monkeypatch):
    users, events, added = Users(), 20_000, 3_000
    users.load_events(
        ["ada"],
        np.zeros(events, np.int64),
        np.arange(events) % 5_000,
        ["click"],
        np.zeros(events, np.int64),
        np.ones(events),
        np.arange(events, dtype=np.int64) * 5,
    )
    read, latest = 0, users.events.latest

    def counting(*arguments):
        nonlocal read
        found = latest(*arguments)
        read += len(found)
        return found

    monkeypatch.setattr(users.events, "latest", counting)
    for place in range(added):
        number, time_ns = place % 6_000, first + place * step
        users.last_take_up("ada", number)
        users.add_event("ada", number, "click", 1.0, time_ns)
    assert read < 50 * (events + added)
    assert users.last_take_up("ada", 5_500) is None
    assert users.last_take_up("ada", 999) == (1.0, max(5 * (999 + 15_000), first + 999 * step))


def test_a_slot_is_given_again_after_a_purge():
    users = Users()
    users.add_event("ada", 1, "click", 1.0, 1)
    slot, version = users.slot("ada"), users.version
    assert slot is not None
    users.purge("ada")
    users.put_profile("bob", {})
    assert users.slot("bob") == slot
    assert users.history("bob")[0].tolist() == []
    assert not users.same_user_since(slot, version)


@given(st.lists(st.text(max_size=3)))
def test_numbers_of_items(ids):
    numbers = ItemNumbers()
    found = numbers.numbers(ids)
    distinct = list(dict.fromkeys(ids))
    assert len(numbers) == len(distinct)
    assert [numbers.item_id(number) for number in found.tolist()] == ids
    assert [numbers.find(item_id) for item_id in distinct] == list(range(len(distinct)))
    assert numbers.find("none of them") is None
    with pytest.raises(IndexError):
        numbers.item_id(len(distinct))
