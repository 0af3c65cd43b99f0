"""Kills a server with SIGKILL over and over while it is written to, and looks for what is lost.

    python -m tests.bench.chaos BUNDLE [--kills 1000]

A real `tanager-server` is filled with items, users and events by several clients; its items are deleted and written
anew, its users purged; an index is made in the background whenever it is due; a backup is copied beside it. At a
random moment it is killed, and its state looked at: the file must be sound, every backup that has its name must be
too, and the server, started again, must listen and know all that it had acknowledged, and nothing that it acknowledged
to have removed. What was not answered may be there or not, but as a whole. Prints how often it was killed, in the
midst of what, and what was found. The exit status is 1 if anything was lost.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import random
import shutil
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support import ServerProcess

from tanager import Client, Item, NotFoundError, TanagerError, User, UserEvent
from tanager_server.engine.records import read_item, read_profile
from tanager_server.errors import ServerError
from tanager_server.state import open_snapshot, verify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

OPTIONS = (
    *("--encoder.threads", "1", "--encoder.workers", "1"),
    *("--batching.max-batch-tokens", "512", "--batching.batch-cost-tokens", "0"),
    *("--metrics.enabled", "false", "--log.calls", "false"),
)
_LONGEST_S = 0.6
"""Between the first write after a start and the kill, at most."""
_ITEMS_AT_A_TIME, _USERS_AT_A_TIME, _EVENTS_AT_A_TIME = 100, 20, 100
_SAMPLE = 50
"""Of each kind, looked at through the server after each start; the store is looked at as a whole."""
_AT_ONCE = 0.3
"""Share of the kills that come soon after the start, while the server makes an index of what it found."""
_KILLS_OF_A_STATE = 40
"""After which a new one is begun, or most of the time would go into reading it."""


@dataclass(slots=True)
class Records:
    """What was acknowledged of one kind, by id; and ids of whose last write no answer came."""

    there: dict[str, str] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    unsure: dict[str, set[str]] = field(default_factory=dict)

    def asked(self, values: dict[str, str]) -> None:
        """Before a write: from now on each may be what it was, or this. An empty value is a removal."""
        for name, value in values.items():
            self.unsure.setdefault(name, {self.there.get(name, "")}).add(value)

    def answered(self, values: dict[str, str]) -> None:
        """The write was acknowledged."""
        for name, value in values.items():
            self.unsure.pop(name, None)
            if value:
                self.there[name] = value
                self.gone.discard(name)
            else:
                self.there.pop(name, None)
                self.gone.add(name)

    def compare(self, found: dict[str, str]) -> tuple[int, int]:
        """How many acknowledged writes are lost, and how many removed ones are back; settles what was not sure."""
        for name, values in list(self.unsure.items()):
            value = found.get(name, "")
            if value in values:
                self.answered({name: value})
            else:  # neither what it was nor what it was to be
                self.there[name] = "|".join(sorted(values))
        self.unsure.clear()
        lost = sum(found.get(name) != value for name, value in self.there.items())
        back = sum(name not in self.there for name in found)
        self.there = dict(found)
        return lost, back


@dataclass(slots=True)
class Ledger:
    """What the server acknowledged. Items are told by their texts, users by a number in their profiles.

    Each writer has ids of its own, so that no two calls about one id are under way.
    """

    items: Records = field(default_factory=Records)
    users: Records = field(default_factory=Records)
    events: Records = field(default_factory=Records)
    counts: collections.Counter[str] = field(default_factory=collections.Counter)
    last_token: str = ""


class Writers:
    """Threads that write to a server until it is gone.

    Args:
        client: of the server.
        ledger: what is acknowledged; each kind is changed by one thread alone.
        turn: makes the ids of this life of the server differ from those of others.
        seed: of what is written.
    """

    def __init__(self, client: Client, ledger: Ledger, *, turn: int, seed: int) -> None:
        self._client, self._ledger = client, ledger
        self._turn, self._ended = turn, threading.Event()
        self._kinds: tuple[Callable[[random.Random, int], None], ...] = (
            self._write_items,
            self._write_users,
            self._write_events,
            self._back_up,
        )
        self.errors: list[BaseException] = []
        self.under_way: set[str] = set()
        self._threads = [
            threading.Thread(target=self._go_on, args=(work, random.Random(f"{seed} {place}")), daemon=True)
            for place, work in enumerate(self._kinds)
        ]

    def start(self) -> None:
        """Begins."""
        for thread in self._threads:
            thread.start()

    def expect_the_end(self) -> None:
        """From here on a call may fail."""
        self._ended.set()

    def wait(self) -> None:
        """Waits for the threads, whose server is gone."""
        for thread in self._threads:
            thread.join()

    def _back_up(self, _: random.Random, number: int) -> None:
        with self._doing("backup"):
            self._client.back_up_state(f"backup-{self._turn}-{number}", timeout_s=60)

    def _go_on(self, work: Callable[[random.Random, int], None], draw: random.Random) -> None:
        number = 0
        while not self._ended.is_set():
            number += 1
            try:
                work(draw, number)
            except TanagerError as error:
                if not self._ended.is_set():
                    self.errors.append(error)
                return
            except BaseException as error:
                self.errors.append(error)
                return

    @contextlib.contextmanager
    def _doing(self, what: str) -> Iterator[None]:
        """What is under way when the server is killed stays noted: its answer does not come."""
        self.under_way.add(what)
        yield
        if not self._ended.is_set():
            self.under_way.discard(what)
        self._ledger.counts[what] += 1

    def _write_items(self, draw: random.Random, number: int) -> None:
        known, client = self._ledger.items, self._client
        if known.there and draw.random() < 0.2:
            names = draw.sample(sorted(known.there), min(5, len(known.there)))
            values = dict.fromkeys(names, "")
            known.asked(values)
            with self._doing("delete items"):
                client.delete_items(names)
            known.answered(values)
            return
        names = [f"item-{self._turn}-{number}-{n}" for n in range(_ITEMS_AT_A_TIME)]
        if known.there:  # some of them anew, with other texts
            names[:3] = draw.sample(sorted(known.there), min(3, len(known.there)))
        values = {name: f"{draw.choice(('space', 'love', 'war'))} film {draw.randrange(10**6)}" for name in names}
        known.asked(values)
        with self._doing("write items"):
            answer = client.upsert_items(
                [Item(item_id=name, text=text, domain="film") for name, text in values.items()]
            )
        known.answered(values)
        self._ledger.last_token = answer.consistency_token

    def _write_users(self, draw: random.Random, number: int) -> None:
        known, client = self._ledger.users, self._client
        if known.there and draw.random() < 0.2:
            name = draw.choice(sorted(known.there))
            known.asked({name: ""})
            with self._doing("purge a user"):
                client.purge_user(name)
            known.answered({name: ""})
            return
        values = {f"user-{self._turn}-{number}-{n}": str(draw.randrange(10**6)) for n in range(_USERS_AT_A_TIME)}
        known.asked(values)
        with self._doing("write users"):
            client.upsert_users([User(user_id=name, profile={"mark": mark}) for name, mark in values.items()])
        known.answered(values)

    def _write_events(self, draw: random.Random, number: int) -> None:
        known = self._ledger.events  # of users who are never purged
        values = {f"event-{self._turn}-{number}-{n}": f"fan-{draw.randrange(50)}" for n in range(_EVENTS_AT_A_TIME)}
        known.asked(values)
        events = [
            UserEvent(event_id=name, user_id=user, item_id=f"film-space-{draw.randrange(12)}", type="click")
            for name, user in values.items()
        ]
        with self._doing("write events"):
            self._client.write_events(events)
        known.answered(values)


@dataclass(slots=True)
class Findings:
    """What the kills came to."""

    kills: int = 0
    corrupt: int = 0
    failed_starts: int = 0
    lost: int = 0
    back: int = 0
    errors: int = 0
    leftovers: int = 0
    backups: int = 0
    corrupt_backups: int = 0
    interrupted: collections.Counter[str] = field(default_factory=collections.Counter)
    restart_s: list[float] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """Whether nothing was lost or damaged."""
        return not (
            self.corrupt
            or self.failed_starts
            or self.lost
            or self.back
            or self.errors
            or self.leftovers
            or self.corrupt_backups
        )


def stored(directory: Path) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    """Items, users and events that a state has, as a ledger tells them."""
    with open_snapshot(directory) as snapshot:
        items = {item.item_id: read_item(item.data).item.text for item, _ in snapshot.items() if not item.deleted}
        users = {user.user_id: str(read_profile(user.data)["mark"]) for user in snapshot.users()}
        events = {event.event_id: event.user_id for event in snapshot.events()}
    return items, users, events


def look_at_server(client: Client, ledger: Ledger, draw: random.Random) -> int:
    """How much of a sample the server does not know as it was acknowledged."""
    wrong = 0
    if ledger.last_token:
        client.recommend(user_id="fan-1", min_consistency_token=ledger.last_token)
    for name, text in draw.sample(sorted(ledger.items.there.items()), min(_SAMPLE, len(ledger.items.there))):
        try:
            wrong += client.get_item(name).text != text
        except NotFoundError:
            wrong += 1
    for name, mark in draw.sample(sorted(ledger.users.there.items()), min(_SAMPLE, len(ledger.users.there))):
        try:
            wrong += client.get_user(name).profile["mark"] != mark
        except NotFoundError:
            wrong += 1
    state = client.status().state
    assert state is not None
    wrong += state.event_count != len(ledger.events.there)
    listed = {item.item_id for item in client.iter_items(page_size=1000)}
    written = {name for name in listed if name.startswith("item-")}
    wrong += len(written ^ ledger.items.there.keys())
    return wrong


def run(bundle: Path, kills: int, *, seed: int = 0, tell: Callable[[str], None] = print) -> Findings:
    """Kills a server of a bundle so many times.

    Args:
        bundle: what it serves.
        kills: how often it is killed.
        seed: of what is written, and when it is killed.
        tell: told of what is found wrong, and now and then how far it is.
    """
    findings = Findings()
    for first in range(0, kills, _KILLS_OF_A_STATE):
        with tempfile.TemporaryDirectory(prefix="tanager-chaos-") as scratch:
            last = min(kills, first + _KILLS_OF_A_STATE)
            _run_state(bundle, range(first, last), Path(scratch), findings, seed, tell)
        tell(f"{last:,} kills")
    return findings


def _run_state(
    bundle: Path,
    kills: range,
    scratch: Path,
    findings: Findings,
    seed: int,
    tell: Callable[[str], None],
) -> None:
    directory, backups, copy = scratch / "state", scratch / "backups", scratch / "copy"
    backups.mkdir()
    ledger, draw = Ledger(), random.Random(f"{seed} {kills.start}")
    for turn in range(kills.start, kills.stop + 1):
        # The files are looked at as the killed server left them; it, started again, brings in what its log holds.
        at_once = kills.start < turn < kills.stop and draw.random() < _AT_ONCE
        if directory.exists() and not at_once:
            shutil.copytree(directory, copy)
            _look_at_files(copy, backups, ledger, findings, f"kill {turn}", tell)
            shutil.rmtree(copy)
        began = time.monotonic()
        server = ServerProcess(bundle, *OPTIONS, "--state", str(directory), "--backups", str(backups))
        try:
            server.__enter__()
        except AssertionError as error:
            findings.failed_starts += 1
            tell(f"kill {turn}: it does not start again: {error}")
            server.kill()
            server.wait()
            return
        findings.restart_s.append(time.monotonic() - began)
        writers = None
        try:
            with Client(server.address, timeout_s=60, retry=None) as client:
                if not at_once and (wrong := look_at_server(client, ledger, draw)):
                    findings.lost += wrong
                    tell(f"kill {turn}: {wrong} of what was acknowledged is not served")
                if turn == kills.stop:
                    return
                writers = Writers(client, ledger, turn=turn, seed=seed)
                writers.start()
                time.sleep(_LONGEST_S * draw.random() ** (4 if at_once else 2))
                findings.interrupted.update(writers.under_way)
                findings.interrupted["index"] += any(directory.glob("index-*"))
                writers.expect_the_end()
                server.kill()
                server.wait()
                writers.wait()
        finally:
            if writers is not None:
                writers.expect_the_end()
            server.kill()
            server.wait()
        findings.kills += 1
        for failed in writers.errors:
            findings.errors += 1
            tell(f"kill {turn + 1}: a call failed before the kill: {failed!r}")


def _look_at_files(
    directory: Path, backups: Path, ledger: Ledger, findings: Findings, where: str, tell: Callable[[str], None]
) -> None:
    try:
        verify(directory)
        found = stored(directory)
    except ServerError as error:
        findings.corrupt += 1
        tell(f"{where}: {error}")
        return
    for records, now, kind in zip(
        (ledger.items, ledger.users, ledger.events), found, ("items", "users", "events"), strict=True
    ):
        lost, back = records.compare(now)
        findings.lost += lost
        findings.back += back
        if lost or back:
            tell(f"{where}: {lost} {kind} lost, {back} back")
    for backup in backups.iterdir():
        if backup.name.startswith("."):
            continue  # never was finished; the next one of its name begins with what there is
        findings.backups += 1
        try:
            verify(backup)
        except ServerError as error:
            findings.corrupt_backups += 1
            tell(f"{where}: {error}")
        shutil.rmtree(backup)
    # What a killed process was making is removed by the next one: at most the last one's can lie there.
    left = len(list(directory.glob("index-*")))
    if left > 1:
        findings.leftovers += left - 1
        tell(f"{where}: {left} indexes that nobody finished lie in the state's directory")


def report(findings: Findings) -> Sequence[str]:
    """What is printed."""
    starts = sorted(findings.restart_s)
    midst = ", ".join(f"{what} {count:,}" for what, count in sorted(findings.interrupted.items()))
    return (
        f"kill -9                         {findings.kills:,}",
        f"in the midst of                 {midst}",
        f"backups made                    {findings.backups:,}",
        f"corrupt loads                   {findings.corrupt + findings.failed_starts}",
        f"corrupt backups                 {findings.corrupt_backups}",
        f"acknowledged writes lost        {findings.lost}",
        f"acknowledged removals undone    {findings.back}",
        f"calls that failed before a kill {findings.errors}",
        f"files left behind               {findings.leftovers}",
        f"seconds to start again          {starts[len(starts) // 2]:.2f} median, {starts[-1]:.2f} at most",
    )


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    findings = run(arguments.bundle, arguments.kills, seed=arguments.seed)
    print(*report(findings), sep="\n")
    return 0 if findings.sound else 1


if __name__ == "__main__":
    sys.exit(main())
