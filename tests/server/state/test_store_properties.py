"""The store against dictionaries, under any sequence of writes, faults and restarts."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.server.state.model import Model, assert_is

from tanager_server.state import (
    AddEvents,
    AddImpressions,
    DeleteItems,
    DropVectors,
    ExpireImpressions,
    Impression,
    PurgeUser,
    PutItems,
    PutMeta,
    PutUsers,
    PutVectors,
    Removed,
    SqliteStore,
    StoredEvent,
    StoredItem,
    StoredUser,
    StoredVector,
    keys,
    user_writer,
)

if TYPE_CHECKING:
    from tanager_server.state import Outcome, Write

# Ids that SQL, C or JSON may take for something else.
_IDS = ("a", "b", "A", "ä", "", "0", "0\0", "\0", '"', "\\u0000", "'; --", "\x7f", "\u2028", "\U0001f600", "a ", "null")
ids = st.sampled_from(_IDS)
blobs = st.binary(max_size=3)
fingerprints = st.sampled_from(["e1", "e2"])
numbers = st.integers(-(1 << 63), (1 << 63) - 1)
weights = st.floats(allow_nan=False)
vectors = st.lists(st.builds(StoredVector, ids, fingerprints, blobs), max_size=4)


@st.composite
def put_items(draw: st.DrawFn) -> PutItems:
    items = draw(st.lists(st.builds(StoredItem, ids, blobs, st.just(value=False)), min_size=1, max_size=4))
    of_theirs = st.builds(StoredVector, st.sampled_from([item.item_id for item in items]), fingerprints, blobs)
    return PutItems(items, draw(st.lists(of_theirs, max_size=4)))


some_writes = st.one_of(
    put_items(),
    st.builds(DeleteItems, st.lists(ids, max_size=3)),
    st.builds(PutVectors, vectors, st.integers(0, 60)),
    st.builds(PutUsers, st.lists(st.builds(StoredUser, ids, blobs), max_size=3)),
    st.builds(PurgeUser, ids),
    st.builds(
        AddEvents,
        st.lists(st.builds(StoredEvent, ids, ids, ids, ids, weights, numbers, ids, blobs), max_size=9),
    ),
    st.builds(AddImpressions, st.lists(st.builds(Impression, ids, ids, st.integers(0, 9), blobs), max_size=3)),
    st.builds(PutMeta, st.dictionaries(ids, st.none() | ids, max_size=2)),
)


class StoreMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.patch = pytest.MonkeyPatch()
        self.model = Model()
        self.store: SqliteStore | None = None

    @initialize(unindexed=st.sampled_from([1, 4, 10_000]))
    def open(self, unindexed: int) -> None:
        self.patch.setattr(user_writer, "_UNINDEXED_EVENTS", unindexed)
        self.patch.setattr(keys, "_MAX_CACHED_KEYS", unindexed)
        self.store = SqliteStore(self.directory, survives="process")

    @rule(batch=st.lists(some_writes, min_size=1, max_size=3))
    def commit(self, batch: list[Write]) -> None:
        assert self.store is not None
        outcomes = self.store.commit(batch)
        for write, outcome in zip(batch, outcomes, strict=True):
            self.check(write, outcome)

    def check(self, write: Write, outcome: Outcome) -> None:
        existed, removed = self.model.apply(write)
        assert (outcome.seq, outcome.removed) == (self.model.seq, removed)
        assert outcome.existed == existed

    @rule(write=st.builds(DropVectors, fingerprints, st.integers(1, 3)))
    def drop_vectors(self, write: DropVectors) -> None:
        """Which go first is the store's choice."""
        assert self.store is not None
        before = {key for key in self.model.vectors if key[1] == write.fingerprint}
        (outcome,) = self.store.commit([write])
        self.model.seq += 1
        assert outcome.removed == Removed(vectors=min(len(before), write.limit))
        left = self.vectors(write.fingerprint)
        gone = {key for key in before if left[key[0]] is None}
        assert len(gone) == outcome.removed.vectors
        for key in gone:
            del self.model.vectors[key]

    @rule(write=st.builds(ExpireImpressions, st.integers(0, 10), st.integers(1, 5)))
    def expire_impressions(self, write: ExpireImpressions) -> None:
        """Which of the same time go first is the store's choice."""
        assert self.store is not None
        old = sorted(i.time_ns for i in self.model.impressions.values() if i.time_ns < write.before_ns)
        (outcome,) = self.store.commit([write])
        self.model.seq += 1
        gone = [i for i in self.model.impressions.values() if self.store.lookup_impression(i.attribution_id) is None]
        assert sorted(impression.time_ns for impression in gone) == old[: write.limit]
        assert outcome.removed == Removed(impressions=len(gone))
        for impression in gone:
            del self.model.impressions[impression.attribution_id]

    @rule(batch=st.lists(some_writes, max_size=2))
    def fail(self, batch: list[Write]) -> None:
        assert self.store is not None
        with pytest.raises(UnicodeEncodeError):
            self.store.commit([*batch, PutUsers([StoredUser("\ud800", b"")])])

    @rule()
    def reopen(self) -> None:
        assert self.store is not None
        self.store.close()
        self.store = SqliteStore(self.directory, survives="process")

    def vectors(self, fingerprint: str) -> dict[str, bytes | None]:
        assert self.store is not None
        with self.store.load() as snapshot:
            return {item.item_id: vector for item, vector in snapshot.items(fingerprint)}

    @precondition(lambda self: self.store is not None)
    @invariant()
    def is_the_model(self) -> None:
        assert self.store is not None
        assert_is(self.store, self.model)
        for identifier in _IDS:
            assert self.store.lookup_impression(identifier) == self.model.impressions.get(identifier)

    def teardown(self) -> None:
        if self.store is not None:
            self.store.close()
        self.patch.undo()
        shutil.rmtree(self.directory)


TestStore = StoreMachine.TestCase
TestStore.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
