"""Looks at what a killed server left, and at what it serves when it is started again."""

from __future__ import annotations

import collections
import contextlib
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.bench.chaos.ledger import Difference
from tests.bench.chaos.writers import BUNDLE, FANS, PREVIOUS

from tanager import Client, NotFoundError
from tanager_server.engine.records import read_item, read_profile
from tanager_server.errors import ServerError
from tanager_server.live import Lineage
from tanager_server.state import open_snapshot, verify

if TYPE_CHECKING:
    import random
    from collections.abc import Callable
    from pathlib import Path

    from tests.bench.chaos.ledger import Backup, Ledger

_SAMPLE = 50
"""Profiles looked at through the server after each start; in the store all are looked at."""


@dataclass(slots=True)
class Findings:
    """What the kills came to.

    Attributes:
        kills: how many.
        corrupt: states that were damaged.
        failed_starts: starts that did not come to an end.
        difference: what the store has, beside what was acknowledged.
        unserved: what the store has, and the server did not tell of as it was acknowledged.
        errors: calls that failed, or servers that ended, before they were killed.
        leftovers: files that nobody removed.
        backups: backups that were looked at.
        bad_backups: those that were damaged, or lacked what was acknowledged before they began.
        lost_backups: those that were acknowledged and are not there.
        answered: how many calls of each kind were acknowledged.
        interrupted: how often the server was killed in the midst of what.
        restart_s: how long each start took.
    """

    kills: int = 0
    corrupt: int = 0
    failed_starts: int = 0
    difference: Difference = field(default=Difference())
    unserved: int = 0
    errors: int = 0
    leftovers: int = 0
    backups: int = 0
    bad_backups: int = 0
    lost_backups: int = 0
    answered: collections.Counter[str] = field(default_factory=collections.Counter)
    interrupted: collections.Counter[str] = field(default_factory=collections.Counter)
    restart_s: list[float] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """Whether nothing was lost or damaged."""
        return not (
            self.corrupt
            or self.failed_starts
            or any(self.difference)
            or self.unserved
            or self.errors
            or self.leftovers
            or self.bad_backups
            or self.lost_backups
        )

    def take(self, other: Findings) -> None:
        """Adds those of other kills."""
        for name in self.__slots__:
            value = getattr(self, name)
            if isinstance(value, list):
                value.extend(getattr(other, name))
            elif isinstance(value, collections.Counter):
                value.update(getattr(other, name))
            else:
                setattr(self, name, value + getattr(other, name))


def stored(directory: Path, given: str) -> dict[str, dict[str, str]]:
    """What a state has by kind, as a ledger tells it.

    Args:
        directory: of the state.
        given: name of the bundle that is served as long as none was activated.

    Raises:
        ServerError: it cannot be read, or has an event twice.
    """
    found: dict[str, dict[str, str]] = {kind: {} for kind in ("items", "users", "events", "bundle")}
    with open_snapshot(directory) as snapshot:
        for item, _ in snapshot.items():  # noqa: PERF102  # no dict
            if not item.deleted:
                found["items"][item.item_id] = read_item(item.data).item.text
        for user in snapshot.users():
            found["users"][user.user_id] = str(read_profile(user.data)["mark"])
        for event in snapshot.events():
            kind = found["users" if event.event_id.startswith("own-") else "events"]
            if event.event_id in kind:
                raise ServerError(f"{directory}: has the event {event.event_id} twice")
            kind[event.event_id] = f"{event.user_id} {event.item_id}"
        lineage = Lineage.of_meta(snapshot.meta())
        found["bundle"] = {BUNDLE: lineage.active or given}
        if lineage.previous is not None:
            found["bundle"][PREVIOUS] = lineage.previous or given
    return found


def look_at_files(
    directory: Path, backups: Path, given: str, ledger: Ledger, findings: Findings, tell: Callable[[str], None]
) -> None:
    """Compares all that the files have with all that was acknowledged.

    Args:
        directory: a copy of the state, as the killed server left it.
        backups: what it made of them; they are removed.
        given: name of the bundle that the server was started with first.
        ledger: what was acknowledged.
        findings: added to.
        tell: told of what is wrong.
    """
    _look_at_backups(backups, given, ledger, findings, tell)
    try:
        verify(directory)
        found = stored(directory, given)
    except ServerError as error:
        findings.corrupt += 1
        tell(str(error))
        return
    for kind, records in ledger.kinds.items():
        difference = records.compare(found[kind])
        findings.difference += difference
        if any(difference):
            tell(f"{kind}: {difference}")
    # What a killed process was making is removed by the next one: at most the last one's can lie there. Two, if it was
    # indexing what it served and what it activated.
    left = len(list(directory.glob("index-*")))
    if left > 2:
        findings.leftovers += left - 2
        tell(f"{left} indexes that nobody finished lie in the state's directory")


def _look_at_backups(
    backups: Path, given: str, ledger: Ledger, findings: Findings, tell: Callable[[str], None]
) -> None:
    for name, backup in ledger.backups.items():
        directory = backups / name
        if directory.exists():
            findings.backups += 1
            if problem := _problem(directory, given, ledger, backup):
                findings.bad_backups += 1
                tell(f"{name}: {problem}")
        elif backup.answered:
            findings.lost_backups += 1
            tell(f"{name}: acknowledged, and not there")
    ledger.backups.clear()
    for each in backups.iterdir():  # also those that never were finished
        shutil.rmtree(each)


def _problem(directory: Path, given: str, ledger: Ledger, backup: Backup) -> str:
    try:
        verify(directory)
        found = stored(directory, given)
    except ServerError as error:
        return str(error)
    missing = {kind: records.missing(backup.known[kind], found[kind]) for kind, records in ledger.kinds.items()}
    return ", ".join(f"{kind}: {difference}" for kind, difference in missing.items() if any(difference))


def served_bundle(client: Client) -> str:
    """Name of the bundle that a server says it serves."""
    return next(bundle.name for bundle in client.list_bundles() if bundle.active)


def look_at_server(client: Client, ledger: Ledger, draw: random.Random) -> list[str]:
    """What the server tells otherwise than it was acknowledged: of all items and fans, and of some profiles."""
    wrong = []
    if ledger.last_token:  # refused, if the write is not known
        client.recommend(user_id="fan-1", min_consistency_token=ledger.last_token)
    listed = {item.item_id: item.text for item in client.iter_items(page_size=1000) if item.item_id.startswith("item-")}
    if listed != ledger.items.there:
        wrong.append(f"{len(listed.items() ^ ledger.items.there.items())} items or texts")
    users = {name: mark for name, mark in ledger.users.there.items() if not name.startswith("own-")}
    for name, mark in draw.sample(sorted(users.items()), min(_SAMPLE, len(users))):
        with contextlib.suppress(NotFoundError):
            if client.get_user(name).profile["mark"] == mark:
                continue
        wrong.append(f"the profile of {name}")
    counts = collections.Counter(value.split()[0] for value in ledger.events.there.values())
    for fan in (f"fan-{number}" for number in range(FANS)):
        count = 0
        with contextlib.suppress(NotFoundError):
            count = client.get_user(fan).event_count
        if count != counts[fan]:
            wrong.append(f"{count} events of {fan}, who has {counts[fan]}")
    state = client.status().state
    assert state is not None
    events = len(ledger.events.there) + len(ledger.users.there) - len(users)
    if state.event_count != events:
        wrong.append(f"{state.event_count} events, not {events}")
    return wrong
