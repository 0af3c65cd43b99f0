"""What a server acknowledged, and what of it is found again."""

from __future__ import annotations

import collections
import itertools
from dataclasses import dataclass, field
from typing import NamedTuple


class Difference(NamedTuple):
    """What does not agree with what was acknowledged.

    Attributes:
        lost: acknowledged writes that are not found, or as something that nobody wrote.
        back: what was removed and is there, or never was written.
        torn: writes without an answer that are there in part.
    """

    lost: int = 0
    back: int = 0
    torn: int = 0

    def __add__(self, other: object) -> Difference:
        assert isinstance(other, Difference)
        return Difference(*(one + another for one, another in zip(self, other, strict=True)))


class Known(NamedTuple):
    """What was acknowledged at one moment.

    Attributes:
        at: the moment.
        there: values by name.
        gone: names that were removed.
    """

    at: int
    there: dict[str, str]
    gone: frozenset[str]


class _Asked(NamedTuple):
    """A write: when it was asked for, and what each name was and is to be."""

    at: int
    values: dict[str, tuple[str, str]]


@dataclass(slots=True)
class Records:
    """What was acknowledged of one kind, by name; and names of whose last write no answer came.

    One thread asks and hears the answers; others may take what `known` gives.
    """

    there: dict[str, str] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    unsure: dict[str, set[str]] = field(default_factory=dict)
    asked_at: dict[str, int] = field(default_factory=dict)
    _unanswered: list[_Asked] = field(default_factory=list)
    _moments: itertools.count[int] = field(default_factory=itertools.count)

    def asked(self, values: dict[str, str]) -> None:
        """Before a write, which is one: from now on each may be what it was, or this. An empty value is a removal."""
        at = next(self._moments)
        self._unanswered.append(_Asked(at, {name: (self.there.get(name, ""), value) for name, value in values.items()}))
        for name, value in values.items():
            self.unsure.setdefault(name, {self.there.get(name, "")}).add(value)
            self.asked_at[name] = at

    def answered(self, values: dict[str, str]) -> None:
        """The write that was asked last was acknowledged."""
        self._unanswered.pop()
        self._settle(values)

    def _settle(self, values: dict[str, str]) -> None:
        for name, value in values.items():
            if value:
                self.there[name] = value
                self.gone.discard(name)
            else:
                self.there.pop(name, None)
                self.gone.add(name)
            self.unsure.pop(name, None)  # the last: see `known`

    def may_be(self, name: str) -> set[str]:
        """What may be there by a name."""
        return self.unsure.get(name) or {self.there.get(name, "")}

    def known(self) -> Known:
        """What is acknowledged now, for `missing`; what is being written is left out."""
        at, unsure = next(self._moments), set(self.unsure)
        there, gone = self.there.copy(), self.gone.copy()
        return Known(at, {name: value for name, value in there.items() if name not in unsure}, frozenset(gone - unsure))

    def missing(self, known: Known, found: dict[str, str]) -> Difference:
        """How much of what was acknowledged at a moment is not in a copy that was begun later.

        What was written again since may be in it or not.
        """
        lost = sum(
            found.get(name) != value for name, value in known.there.items() if self.asked_at.get(name, -1) < known.at
        )
        back = sum(name in found for name in known.gone if self.asked_at.get(name, -1) < known.at)
        return Difference(lost, back)

    def compare(self, found: dict[str, str]) -> Difference:
        """How all that is found differs from what was acknowledged; settles what was not sure."""
        torn = sum(self._is_torn(write, found) for write in self._unanswered)
        self._unanswered.clear()
        lost = 0
        for name, values in list(self.unsure.items()):
            value = found.get(name, "")
            lost += value not in values  # neither what it was nor what it was to be
            self._settle({name: value})
        self.unsure.clear()
        lost += sum(found.get(name) != value for name, value in self.there.items())
        back = sum(name not in self.there for name in found)
        self.there = dict(found)
        return Difference(lost, back, torn)

    def _is_torn(self, write: _Asked, found: dict[str, str]) -> bool:
        """Whether a part of a write is there and another is not, as far as no other write hides it."""
        done = {
            found.get(name, "") == after
            for name, (before, after) in write.values.items()
            if before != after and self.unsure.get(name) == {before, after} and self.asked_at[name] == write.at
        }
        return len(done) > 1


@dataclass(slots=True)
class Ledger:
    """What a server acknowledged. No two calls about one name are under way at a time.

    Attributes:
        items: texts by item id.
        users: what their profiles say by user id; and of those users, who may be purged, whose and what each event is.
        events: whose and of which item, by event id, of users who stay.
        bundle: which one is served, and which was before.
        backups: what was acknowledged when each one began, by its name; None as long as it is not acknowledged itself.
        counts: calls answered by what they do.
        last_token: of the last write of items.
        unanswered_events: what is to be sent once more, as a client would.
        activations_s: how long each activation took.
    """

    items: Records = field(default_factory=Records)
    users: Records = field(default_factory=Records)
    events: Records = field(default_factory=Records)
    bundle: Records = field(default_factory=Records)
    backups: dict[str, Backup] = field(default_factory=dict)
    counts: collections.Counter[str] = field(default_factory=collections.Counter)
    last_token: str = ""
    unanswered_events: dict[str, str] = field(default_factory=dict)
    activations_s: list[float] = field(default_factory=list)

    @property
    def kinds(self) -> dict[str, Records]:
        """All records by kind."""
        return {"items": self.items, "users": self.users, "events": self.events, "bundle": self.bundle}


@dataclass(slots=True)
class Backup:
    """A backup that was asked for.

    Attributes:
        known: by kind, what was acknowledged before.
        answered: whether it was acknowledged itself.
    """

    known: dict[str, Known]
    answered: bool = False
