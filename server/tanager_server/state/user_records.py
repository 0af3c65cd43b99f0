"""What `Users` tells of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from tanager_server.bundle.profile import ProfileValue


class PastEvent(NamedTuple):
    """Something that a user did.

    Attributes:
        number: of the item.
        kind: what it was.
        weight: signed.
        time_ns: since the epoch.
    """

    number: int
    kind: str
    weight: float
    time_ns: int


class TakeUp(NamedTuple):
    """The last time that a user took an item up: an event of positive weight."""

    weight: float
    time_ns: int


class TakeUps(NamedTuple):
    """For users and the items that they took up, the last time of each pair.

    Attributes:
        numbers: (pairs,) int32, of the items.
        weights: (pairs,) float32.
        times_ns: (pairs,) int64.
    """

    numbers: NDArray[np.int32]
    weights: NDArray[np.float32]
    times_ns: NDArray[np.int64]


class KnownUser(NamedTuple):
    """What is known of a user.

    Attributes:
        profile: None where none was given.
        event_count: of all events.
        latest: some of the events, latest first.
    """

    profile: Mapping[str, ProfileValue] | None
    event_count: int
    latest: list[PastEvent]


class Purged(NamedTuple):
    """What was forgotten of a user.

    Attributes:
        slot: which was the user's.
        had_profile: whether there was a profile.
        event_count: number of events.
        taken: what the user had taken up.
    """

    slot: int
    had_profile: bool
    event_count: int
    taken: TakeUps


class Snapshot(NamedTuple):
    """Some users at one time, for another thread.

    Attributes:
        version: of the users.
        first: slot of the first of them; the others follow.
        profiles: by slot; None where there is none, or no user.
        starts: (slots + 1,) int64; the events of the n-th lie at starts[n] : starts[n + 1], oldest first.
        numbers: (events,) int32.
        weights: (events,) float32.
    """

    version: int
    first: int
    profiles: list[Mapping[str, ProfileValue] | None]
    starts: NDArray[np.int64]
    numbers: NDArray[np.int32]
    weights: NDArray[np.float32]


def last_of_each(
    owners: NDArray[np.int64], numbers: NDArray[np.int32], weights: NDArray[np.float32], times: NDArray[np.int64]
) -> TakeUps:
    """The last event of positive weight of each owner and number; events of an owner are in the order of time."""
    taken = np.flatnonzero(weights > 0)
    order = taken[np.lexsort((numbers[taken], owners[taken]))]  # stable: the last of equals is the last in time
    last = np.ones(len(order), bool)
    last[:-1] = (owners[order[1:]] != owners[order[:-1]]) | (numbers[order[1:]] != numbers[order[:-1]])
    order = order[last]
    return TakeUps(numbers[order], weights[order], times[order])
