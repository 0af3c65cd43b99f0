"""Whom the server knows, and what they did: profiles and histories in memory, a fold over the stored rows.

An event takes 20 bytes and what its row has to spare. Nothing here is thread-safe: one thread reads and writes it, and
gives others a `Snapshot`.
"""

from __future__ import annotations

import bisect
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from tanager_server.state.ragged import Ragged, longer
from tanager_server.state.take_ups import TakeUpIndex
from tanager_server.state.user_records import (
    KnownUser,
    PastEvent,
    Purged,
    Snapshot,
    TakeUp,
    TakeUps,
    last_of_each,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, KeysView, Mapping, Sequence

    from numpy.typing import NDArray

    from tanager_server.bundle.profile import ProfileValue

__all__ = ["KnownUser", "PastEvent", "Purged", "Snapshot", "TakeUp", "TakeUps", "Users"]

_NUMBERS, _WEIGHTS, _TIMES, _KINDS = range(4)
_PART = 1024  # slots of a snapshot: about a millisecond


class Users:
    """Profiles and histories. Histories are in the order of event times; equal times are in the order of arrival.

    Every user has a slot, a small number that others keep arrays by; it is given again after a purge. Every change has
    a version, so that whoever keeps something by slot learns from `changed_since` what to look at anew.

    Attributes:
        version: number of changes so far.
        events: a row of numbers, weights, times and kinds for each slot; to be read only.
        alive: (slots or more,) uint8, 1 where a slot has a user; to be read only.
    """

    def __init__(self) -> None:
        self.events = Ragged(np.int32, np.float32, np.int64, np.int32)
        self.version = 0
        self._slots: dict[str, int] = {}
        self._ids: list[str | None] = []
        self._profiles: list[Mapping[str, ProfileValue] | None] = []
        self._free: list[int] = []
        self._kinds: dict[str, int] = {}
        self._kind_names: list[str] = []
        self._names: dict[str, str] = {}  # of attributes: one object for each
        self._with_name: Counter[str] = Counter()  # how many profiles have each
        self.alive: NDArray[np.uint8] = np.zeros(0, np.uint8)
        # Versions of the last change of a slot, of its profile, and of its user.
        self._stamps: list[NDArray[np.int64]] = [np.zeros(0, np.int64) for _ in range(3)]
        self._make_slots(1024)
        self._taken = TakeUpIndex(self._taken_by)

    def _make_slots(self, count: int) -> None:
        self.alive = longer(self.alive, count)
        self._stamps = [longer(stamps, count) for stamps in self._stamps]
        self._changed, self._profile_changed, self._user_changed = (stamps.data for stamps in self._stamps)

    def __len__(self) -> int:
        return len(self._slots)

    def __contains__(self, user_id: str) -> bool:
        return user_id in self._slots

    @property
    def slots(self) -> int:
        """Slots so far, with users and without."""
        return len(self._ids)

    @property
    def nbytes(self) -> int:
        """Memory of the histories, without ids and profiles."""
        return (
            self.events.nbytes + self._taken.nbytes + self.alive.nbytes + sum(stamps.nbytes for stamps in self._stamps)
        )

    def slot(self, user_id: str) -> int | None:
        """The slot of a user."""
        return self._slots.get(user_id)

    def user_id(self, slot: int) -> str | None:
        """Whose slot it is."""
        return self._ids[slot]

    def profile(self, slot: int) -> Mapping[str, ProfileValue] | None:
        """The profile of who has the slot."""
        return self._profiles[slot]

    @property
    def attribute_names(self) -> KeysView[str]:
        """All names that attributes of profiles have."""
        return self._names.keys()

    # Changes

    def put_profile(self, user_id: str, profile: Mapping[str, ProfileValue]) -> bool:
        """Replaces a profile as a whole. Returns whether nothing was known of the user before."""
        known = user_id in self._slots
        slot = self._slot_of(user_id)
        names = self._names
        # The new one first, or a name that stays would go and come again.
        self._with_name.update(profile.keys())
        new = {names.setdefault(name, name): value for name, value in profile.items()}
        self._drop_profile(slot)
        self._profiles[slot] = new
        self.version += 1
        self._changed[slot] = self._profile_changed[slot] = self.version
        return not known

    def add_event(self, user_id: str, number: int, kind: str, weight: float, time_ns: int) -> bool:
        """Adds an event where its time says. Returns whether nothing was known of the user before."""
        known = user_id in self._slots
        slot, events = self._slot_of(user_id), self.events
        entry = (number, weight, time_ns, self._kind(kind))
        length = events.length(slot)
        if not length or time_ns >= events.value(slot, _TIMES, length - 1):
            events.append(slot, entry)
        else:
            place = bisect.bisect_right(
                range(length), time_ns, key=lambda place: int(events.value(slot, _TIMES, place))
            )
            events.insert(slot, place, entry)
        self._taken.add(slot, number, weight, time_ns)
        self.version += 1
        self._changed[slot] = self.version
        return not known

    def load_events(
        self,
        user_ids: Sequence[str],
        users: NDArray[np.integer[Any]],
        numbers: NDArray[np.integer[Any]],
        kinds: Sequence[str],
        kind_codes: NDArray[np.integer[Any]],
        weights: NDArray[np.floating[Any]],
        times_ns: NDArray[np.int64],
    ) -> None:
        """Adds many events at once, as `add_event` one by one would.

        Args:
            user_ids: who may have events; of who has none nothing is known by this.
            users: (events,) place of each event's user in `user_ids`; events in the order of their arrival.
            numbers: (events,) of items.
            kinds: that there are.
            kind_codes: (events,) place of each event's kind in `kinds`.
            weights: (events,).
            times_ns: (events,).
        """
        if not len(users):
            return
        present = np.unique(users).tolist()
        slot_of = np.zeros(len(user_ids), np.int64)
        slot_of[present] = [self._slot_of(user_ids[place]) for place in present]
        code_of = np.fromiter(map(self._kind, kinds), np.int32, len(kinds))
        self._taken = TakeUpIndex(self._taken_by)
        slots = slot_of[users]
        # Older rows go in front: what has arrived before comes first among equal times.
        before = np.unique(slots)
        before = before[self.events.lengths[before] > 0]
        kept = [
            np.concatenate([self.events.none(column), *(self.events.latest(slot, column) for slot in before.tolist())])
            for column in range(4)
        ]
        owners = np.repeat(before, self.events.lengths[before])
        for slot in before.tolist():
            self.events.clear(slot)
        all_slots = np.concatenate([owners, slots])
        new = (numbers, weights, times_ns, code_of[kind_codes])
        columns = [np.concatenate([old, added]) for old, added in zip(kept, new, strict=True)]
        order = np.lexsort((columns[_TIMES], all_slots))
        self.events.load(all_slots[order], *(column[order] for column in columns))
        self.version += 1
        self._stamps[0][slot_of[present]] = self.version

    def purge(self, user_id: str) -> Purged | None:
        """Forgets a user; None if nothing is known."""
        slot = self._slots.pop(user_id, None)
        if slot is None:
            return None
        purged = Purged(slot, self._profiles[slot] is not None, self.events.length(slot), self._taken_by(slot))
        self.events.clear(slot)
        self._taken.forget(slot)
        self._drop_profile(slot)
        self._ids[slot] = None
        self.alive[slot] = 0
        self._free.append(slot)
        self.version += 1
        self._changed[slot] = self._profile_changed[slot] = self._user_changed[slot] = self.version
        return purged

    def _drop_profile(self, slot: int) -> None:
        for name in self._profiles[slot] or ():
            self._with_name[name] -= 1
            if not self._with_name[name]:
                del self._with_name[name], self._names[name]
        self._profiles[slot] = None

    def _slot_of(self, user_id: str) -> int:
        slot = self._slots.get(user_id)
        if slot is not None:
            return slot
        if self._free:
            slot = self._free.pop()
            self._ids[slot] = user_id
        else:
            slot = len(self._ids)
            if slot == len(self.alive):
                self._make_slots(2 * slot)
            self._ids.append(user_id)
            self._profiles.append(None)
            self.events.extend(slot + 1)
        self._slots[user_id] = slot
        self.alive[slot] = 1
        self.version += 1
        self._changed[slot] = self._profile_changed[slot] = self._user_changed[slot] = self.version
        return slot

    def _kind(self, kind: str) -> int:
        code = self._kinds.get(kind)
        if code is None:
            code = self._kinds[kind] = len(self._kind_names)
            self._kind_names.append(kind)
        return code

    # What is known

    def get(self, user_id: str, latest: int) -> KnownUser | None:
        """What is known of a user, with so many of the latest events; None where nothing is."""
        slot = self._slots.get(user_id)
        if slot is None:
            return None
        columns = [self.events.latest(slot, column, latest)[::-1].tolist() for column in range(4)]
        events = [
            PastEvent(number, self._kind_names[code], weight, time_ns)
            for number, weight, time_ns, code in zip(*columns, strict=True)
        ]
        return KnownUser(self._profiles[slot], self.events.length(slot), events)

    def history(self, user_id: str, limit: int | None = None) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Numbers and weights of the latest `limit` events, or of all of them, oldest first; empty for the unknown."""
        slot = self._slots.get(user_id)
        if slot is None:
            return np.empty(0, np.int32), np.empty(0, np.float32)
        return self.events.latest(slot, _NUMBERS, limit), self.events.latest(slot, _WEIGHTS, limit)

    def last_take_up(self, user_id: str, number: int) -> TakeUp | None:
        """The last time that a user took an item up."""
        slot = self._slots.get(user_id)
        if slot is None:
            return None
        if self._taken.has(slot, self.events.length(slot)):
            return self._taken.find(slot, number)
        found = self.events.latest(slot, _NUMBERS) == number
        for place in found.nonzero()[0][::-1].tolist():
            weight = self.events.value(slot, _WEIGHTS, place)
            if weight > 0:
                return TakeUp(weight, int(self.events.value(slot, _TIMES, place)))
        return None

    def _taken_by(self, slot: int) -> TakeUps:
        numbers, weights, times = (self.events.latest(slot, column) for column in (_NUMBERS, _WEIGHTS, _TIMES))
        return last_of_each(np.zeros(len(numbers), np.int64), numbers, weights, times)

    def take_ups(self) -> TakeUps:
        """What all users took up: for a start, as it takes time by all events."""
        count = len(self._ids)
        columns = [self._all(column, 0, count) for column in (_NUMBERS, _WEIGHTS, _TIMES)]
        return last_of_each(np.repeat(np.arange(count), self.events.lengths[:count]), *columns)

    def _all(self, column: int, first: int, last: int) -> NDArray[Any]:
        rows = [self.events.latest(slot, column) for slot in range(first, last)]
        return np.concatenate(rows) if rows else self.events.none(column)

    # For who keeps something by slot

    def changed_since(self, version: int) -> NDArray[np.int64]:
        """(slots,) int64: what has changed after a version, in ascending order; also what has no user any more."""
        return self._since(0, version)

    def profiles_changed_since(self, version: int) -> NDArray[np.int64]:
        """The same of profiles alone."""
        return self._since(1, version)

    def _since(self, stamp: int, version: int) -> NDArray[np.int64]:
        if version >= self.version:
            return np.empty(0, np.int64)
        return np.flatnonzero(self._stamps[stamp][: len(self._ids)] > version)

    def same_user_since(self, slot: int, version: int) -> bool:
        """Whether a slot has a user, and had the same one at a version."""
        return self._ids[slot] is not None and self._user_changed[slot] <= version

    def snapshots(self, *, events: bool, slots: int = _PART) -> Iterator[Snapshot]:
        """All users, part by part; between the parts they may change: see `changed_since` the version of the first.

        Args:
            events: whether histories are wanted.
            slots: of each part.
        """
        for first in range(0, max(len(self._ids), 1), slots):
            last = min(first + slots, len(self._ids))
            starts = np.zeros(last - first + 1, np.int64)
            numbers, weights = np.empty(0, np.int32), np.empty(0, np.float32)
            if events:
                self.events.lengths[first:last].cumsum(out=starts[1:])
                numbers, weights = self._all(_NUMBERS, first, last), self._all(_WEIGHTS, first, last)
            yield Snapshot(self.version, first, self._profiles[first:last], starts, numbers, weights)
