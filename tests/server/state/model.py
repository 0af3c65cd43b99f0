"""What the writes mean, in dictionaries; and whether a store has just that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tanager_server.state import (
    AddEvents,
    AddImpressions,
    DeleteItems,
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
)

if TYPE_CHECKING:
    from tanager_server.state import Write

FINGERPRINTS = ("e1", "e2")


class Model:
    """What the writes mean."""

    def __init__(self) -> None:
        self.seq = 0
        self.items: dict[str, StoredItem] = {}
        self.vectors: dict[tuple[str, str], bytes] = {}
        self.users: dict[str, StoredUser] = {}
        self.events: dict[str, StoredEvent] = {}
        self.impressions: dict[str, Impression] = {}
        self.meta: dict[str, str] = {}

    def has_item(self, item_id: str) -> bool:
        return item_id in self.items and not self.items[item_id].deleted

    def apply(self, write: Write) -> tuple[tuple[bool, ...], Removed]:
        self.seq += 1
        existed: list[bool] = []
        removed = Removed()
        match write:
            case PutItems(items, vectors):
                for item in items:
                    existed.append(self.has_item(item.item_id))
                    self.items[item.item_id] = item._replace(seq=self.seq)
                self.drop_vectors({vector.item_id for vector in vectors})
                self.vectors |= {vector[:2]: vector.vector for vector in vectors}
            case DeleteItems(item_ids):
                for item_id in item_ids:
                    existed.append(self.has_item(item_id))
                    self.items[item_id] = StoredItem(item_id, b"", deleted=True, seq=self.seq)
                self.drop_vectors(set(item_ids))
            case PutVectors(vectors, as_of_seq):
                for vector in vectors:
                    existed.append(self.has_item(vector.item_id) and self.items[vector.item_id].seq <= as_of_seq)
                    if existed[-1]:
                        self.vectors[vector[:2]] = vector.vector
            case PutUsers(users):
                for user in users:
                    existed.append(user.user_id in self.users)
                    self.users[user.user_id] = user._replace(seq=self.seq)
            case PurgeUser(user_id):
                existed.append(user_id in self.user_ids())
                events = [e.event_id for e in self.events.values() if e.user_id == user_id]
                shown = [i.attribution_id for i in self.impressions.values() if i.user_id == user_id != ""]
                removed = Removed(int(self.users.pop(user_id, None) is not None), len(events), len(shown))
                for event_id in events:
                    del self.events[event_id]
                for attribution_id in shown:
                    del self.impressions[attribution_id]
            case AddEvents(events):
                for event in events:
                    existed.append(event.event_id in self.events)
                    self.events.setdefault(event.event_id, event._replace(seq=self.seq))
            case AddImpressions(impressions):
                for impression in impressions:
                    existed.append(impression.attribution_id in self.impressions)
                    self.impressions.setdefault(impression.attribution_id, impression)
            case PutMeta(values):
                for name, value in values.items():
                    existed.append(name in self.meta)
                    self.meta.pop(name, None)
                    if value is not None:
                        self.meta[name] = value
        return tuple(existed), removed

    def user_ids(self) -> set[str]:
        """Of all of whom anything is kept."""
        shown = {impression.user_id for impression in self.impressions.values() if impression.user_id}
        return self.users.keys() | shown | {event.user_id for event in self.events.values()}

    def drop_vectors(self, item_ids: set[str]) -> None:
        self.vectors = {key: vector for key, vector in self.vectors.items() if key[0] not in item_ids}


def assert_is(store: SqliteStore, model: Model) -> None:
    """All but impressions, which cannot be listed."""
    assert store.seq == model.seq
    with store.load() as snapshot:
        for fingerprint in FINGERPRINTS:
            found = {item.item_id: (item, vector) for item, vector in snapshot.items(fingerprint)}
            assert found == {
                item.item_id: (item, model.vectors.get((item.item_id, fingerprint))) for item in model.items.values()
            }
        assert {user.user_id: user for user in snapshot.users()} == model.users
        events = list(snapshot.events())
        assert events == list(model.events.values())
        assert snapshot.meta() == {**model.meta, "state_id": store.state_id}
        users, items = (
            dict(pair for block in keys for pair in block) for keys in (snapshot.user_keys(), snapshot.item_keys())
        )
        assert set(users.values()) == model.user_ids()
        kinds = snapshot.kinds()
        rows: list[Any] = [row for block in snapshot.event_rows() for row in block]
        assert [row for block in snapshot.brief_event_rows() for row in block] == [row[:5] for row in rows]
        assert [(users[u], items[i], kinds[k], *rest) for u, i, k, *rest in rows] == [event[1:] for event in events]
