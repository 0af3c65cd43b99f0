"""The live index finds whom exact scoring of everybody finds, whatever happened to users before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tanager_server.engine import audience_index, audience_tables
from tanager_server.engine.audience import Audience
from tanager_server.engine.audience import Users as Histories
from tanager_server.engine.audience_index import AudienceIndex
from tanager_server.engine.audience_tables import AudienceTables, Items
from tanager_server.state.users import Users

if TYPE_CHECKING:
    from tanager_server.bundle.profile import ProfileValue

ITEMS = 60
LIMIT = 8
NUMBERS = 70  # beyond the items: of no item
PROFILES: list[dict[str, ProfileValue]] = [
    {},
    {"color": "red"},
    {"color": "blue", "age": 20.0},
    {"color": ("red", "blue"), "shoe": "large"},
]


class HeadDouble:
    """Expects the vectors of the latest three events, added up."""

    def __init__(self, vectors):
        self.vectors, self.read = vectors, 0

    def expect(self, histories):
        self.read += len(histories)
        sums = [self.vectors[np.array(history[-3:]) % len(self.vectors)].sum(axis=0) for history in histories]
        return np.array(sums, np.float32).reshape(len(histories), self.vectors.shape[1])


@pytest.fixture(scope="module", params=["no head", "head", "all numbers known", "text in bytes"])
def world(request, make_generation, unit_vectors):
    """A generation, its head, numbers that lie in another order than positions, and the exact scores of anybody."""
    vectors = unit_vectors(ITEMS, 5, 3) if request.param == "head" else None
    generation = make_generation(ITEMS, history_limit=LIMIT, sequence=vectors)
    head = None if vectors is None else HeadDouble(vectors)
    numbers = ITEMS if request.param == "all numbers known" else NUMBERS
    positions = np.full(numbers, -1, np.int32)
    positions[np.random.default_rng(1).permutation(numbers)[:ITEMS]] = np.arange(ITEMS)
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "text in bytes":
            patch.setattr(audience_tables, "_EXACT_ITEMS", 0)
            patch.setattr(audience_tables, "_ITEMS_PART", 25)
        yield World(generation, head, Items(positions, generation.vectors))


class World:
    def __init__(self, generation, head, items):
        self.generation, self.head, self.items = generation, head, items

    def index(self, users):
        snapshots = users.snapshots(events=self.head is not None, slots=3)
        tables = AudienceTables.build(self.generation, snapshots, items=self.items, head=self.head)
        return AudienceIndex(users, tables)

    def item(self, index, number):
        return index.tables.item(int(self.items.positions[number]), number)

    def number(self, seed):
        known = np.flatnonzero(self.items.positions >= 0)
        return int(known[seed % len(known)])

    def exact(self, users, ids, number):
        """What the library says of the same users."""
        histories, attributes = [], []
        for user_id in ids:
            numbers, weights = users.history(user_id)
            positions = self.items.of(numbers)
            histories.append((positions[positions >= 0].tolist(), weights[positions >= 0].tolist()))
            profile = users.profile(users.slot(user_id)) or {}
            attributes.append(self.generation.profile.know(profile).rows)
        scored = Histories.of(histories, attributes)
        return Audience(self.generation, self.head).score([int(self.items.positions[number])], scored)[0]

    def expected(self, users, number, *, ids, include_seen):
        allowed = [name for name in ids if include_seen or number not in users.history(name)[0]]
        scores = dict(zip(allowed, self.exact(users, allowed, number).tolist(), strict=True))
        return sorted(scores.items(), key=lambda entry: -entry[1])

    def check(self, users, index, number, *, count=5, ids=None, include_seen=False):
        everybody = [users.user_id(slot) for slot in range(users.slots)]
        names = [name for name in everybody if name is not None and (ids is None or name in ids)]
        among = np.array([ids is None or name in ids for name in everybody], np.uint8) * 3
        found = index.find(
            self.item(index, number),
            count,
            items=self.items,
            allowed=None if ids is None else lambda: among,
            include_seen=include_seen,
        )
        expected = self.expected(users, number, ids=names, include_seen=include_seen)
        assert found.candidates == len(expected)
        np.testing.assert_allclose(found.scores, [score for _, score in expected[:count]], rtol=1e-4, atol=2e-5)
        own = dict(expected)
        np.testing.assert_allclose([own[name] for name in found.user_ids], found.scores, rtol=1e-4, atol=2e-5)
        assert len(set(found.user_ids)) == len(found.user_ids)


NAMES = st.sampled_from([f"user-{number}" for number in range(8)])
STEPS = st.one_of(
    st.tuples(st.just("event"), NAMES, st.integers(0, NUMBERS + 3), st.sampled_from([-1.0, 0.0, 0.5, 2.0])),
    st.tuples(st.just("event"), NAMES, st.integers(0, NUMBERS + 3), st.sampled_from([-1.0, 0.0, 0.5, 2.0])),
    st.tuples(st.just("profile"), NAMES, st.integers(0, len(PROFILES) - 1), st.just(0.0)),
    st.tuples(st.just("purge"), NAMES, st.just(0), st.just(0.0)),
    st.tuples(st.just("find"), st.sets(NAMES), st.integers(0, 1000), st.sampled_from([0.0, 1.0])),
    st.tuples(st.just("rebuild"), NAMES, st.just(0), st.just(0.0)),
)


@settings(max_examples=150, deadline=None)
@given(steps=st.lists(STEPS, max_size=60), seed=st.integers(0, 1000))
def test_who_is_found_is_who_scores_highest(world, steps, seed):
    users = Users()
    index = world.index(users)
    for time, (what, name, number, extra) in enumerate(steps):
        if what == "event":
            users.add_event(name, number, "click", extra, (time * 7) % 20)
        elif what == "profile":
            users.put_profile(name, PROFILES[number])
        elif what == "purge":
            users.purge(name)
        elif what == "rebuild":
            index.publish(world.index(users).tables)
        else:
            world.check(users, index, world.number(number), ids=name, include_seen=bool(extra))
    world.check(users, index, world.number(seed))
    world.check(users, index, world.number(seed), count=2, include_seen=True)


def crowd(count, *, seed=0, events=12):
    users, random = Users(), np.random.default_rng(seed)
    for number in range(count):
        for time in range(int(random.integers(0, events))):
            users.add_event(f"user-{number}", int(random.integers(NUMBERS)), "click", float(random.normal()), time)
        if random.random() < 0.7:
            users.put_profile(f"user-{number}", PROFILES[int(random.integers(len(PROFILES)))])
    return users


def test_a_crowd(world):
    users = crowd(700)
    index = world.index(users)
    for seed in range(5):
        world.check(users, index, world.number(seed), count=40)
    assert len(index.find(world.item(index, world.number(0)), 10_000, items=world.items).user_ids) < 700


def test_many_changes_at_once_are_seen(world, monkeypatch):
    monkeypatch.setattr(audience_tables, "_MOST_REFRESHED", 3)
    users = crowd(100)
    index = world.index(users)
    for number in range(0, 100, 2):
        users.add_event(f"user-{number}", world.number(number), "click", 1.5, 99)
    number = world.number(7)
    found = index.find(world.item(index, number), 20, items=world.items)
    exact = world.exact(users, found.user_ids, number)
    np.testing.assert_allclose(found.scores, exact, rtol=1e-4, atol=2e-5)


def test_users_may_change_while_they_are_searched(world, monkeypatch):
    monkeypatch.setattr(audience_index, "_PART", 10)
    users = crowd(60)
    index, number = world.index(users), world.number(3)
    item = world.item(index, number)
    search = index.search(item, 60, items=world.items)
    next(search)
    first = index.find(item, 60, items=world.items).user_ids
    gone, saw, changed = first[:3]
    slot = users.slot(gone)
    users.purge(gone)
    users.add_event("new", world.number(5), "click", 1.0, 0)
    assert users.slot("new") == slot
    users.add_event(saw, number, "click", 1.0, 99)
    users.add_event(changed, world.number(9), "click", 2.0, 99)
    for extra in range(2000):  # the arrays by slot are replaced by longer ones
        users.put_profile(f"extra-{extra}", {})
    try:
        while True:
            next(search)
    except StopIteration as done:
        members = done.value
    assert not {gone, "new", saw} & set(members.user_ids)
    assert changed in members.user_ids
    assert not any(name.startswith("extra") for name in members.user_ids)
    np.testing.assert_allclose(members.scores, world.exact(users, members.user_ids, number), rtol=1e-4, atol=2e-5)


def test_an_item_that_came_later_is_scored_by_its_figures(world, unit_vectors):
    """The same figures under a number and a position of its own."""
    users = crowd(50)
    index = world.index(users)
    number = world.number(4)
    item = world.item(index, number)
    vectors = np.concatenate([world.items.vectors, item.vector[None], unit_vectors(3)])
    positions = np.concatenate([world.items.positions, np.full(NUMBERS - len(world.items.positions) + 1, -1, np.int32)])
    positions[NUMBERS] = ITEMS
    items = Items(positions, vectors)
    old = index.find(item, 10, items=world.items, include_seen=True)
    index.tables.put_items(np.array([ITEMS]), items)
    new = index.find(item._replace(number=NUMBERS), 10, items=items)
    assert new.user_ids == old.user_ids
    users.add_event(new.user_ids[0], NUMBERS, "click", 0.1, 99)
    after = index.find(item._replace(number=NUMBERS), 10, items=items)
    assert new.user_ids[0] not in after.user_ids


def test_only_changed_histories_are_read_again(world):
    if world.head is None:
        pytest.skip("there is no head")
    users = crowd(30)
    index = world.index(users)
    item = world.item(index, world.number(0))
    index.find(item, 5, items=world.items)
    before = world.head.read
    index.find(item, 5, items=world.items)
    assert world.head.read == before
    users.add_event("user-3", world.number(1), "click", 1.0, 99)
    index.find(item, 5, items=world.items)
    assert world.head.read == before + 1


def test_nobody(world):
    users = Users()
    index = world.index(users)
    assert index.find(world.item(index, world.number(0)), 5, items=world.items) == ([], [], 0)
    users.put_profile("ada", {})
    nobody = np.zeros(1, np.uint8)
    assert index.find(world.item(index, world.number(0)), 5, items=world.items, allowed=lambda: nobody) == ([], [], 0)
