"""Threads that write to a server, back it up and activate bundles until it is killed."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from typing import TYPE_CHECKING

from tests.bench.chaos.ledger import Backup

from tanager import Client, Item, TanagerError, User, UserEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.bench.chaos.ledger import Ledger

ITEMS, DELETED_ITEMS, USERS, EVENTS = 100, 5, 20, 100
"""Of a call."""
MOST_ITEMS = 2_500
"""After which more are deleted than written, or a start would take ever longer."""
FANS = 50
"""Users who are never purged."""
BUNDLE, PREVIOUS = "bundle", "previous"
"""Names of what is served, and of what a rollback would serve."""
WORK = (
    "write items",
    "delete items",
    "write users",
    "purge a user",
    "write events",
    "backup",
    "activation",
    "rollback",
)
"""What is done."""
_TIMEOUT_S = 60.0
_STAYS = 0.5
"""Share of the bundles that are served until the server is killed."""


class Writers:
    """Writes until the server is gone.

    Args:
        client: of the server.
        ledger: what is acknowledged; each kind is changed by one thread alone.
        bundles: names of those that are activated in turn.
        turn: makes the ids of this life of the server differ from those of others.
        seed: of what is written.

    Attributes:
        errors: what failed before the end was expected.
        under_way: what is being asked for.
        activates: whether bundles are activated: only where it is sure which is served, so that it is another one.
    """

    def __init__(self, client: Client, ledger: Ledger, bundles: tuple[str, ...], *, turn: int, seed: int) -> None:
        self._client, self._ledger, self._bundles = client, ledger, bundles
        self._turn, self._ended = turn, threading.Event()
        self.errors: list[BaseException] = []
        self.under_way: set[str] = set()
        self.activates = not ledger.bundle.unsure
        kinds: list[Callable[[random.Random, int], None]] = [
            self._write_items,
            self._write_users,
            self._write_events,
            self._back_up,
        ]
        if self.activates:
            kinds.append(self._activate)
        self._threads = [
            threading.Thread(target=self._go_on, args=(work, random.Random(f"{seed} {turn} {place}")), daemon=True)
            for place, work in enumerate(kinds)
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
        crowded = len(known.there) > MOST_ITEMS
        if known.there and draw.random() < (0.5 if crowded else 0.2):
            names = draw.sample(sorted(known.there), min(2 * ITEMS if crowded else DELETED_ITEMS, len(known.there)))
            values = dict.fromkeys(names, "")
            known.asked(values)
            with self._doing("delete items"):
                client.delete_items(names)
            known.answered(values)
            return
        names = [f"item-{self._turn}-{number}-{n}" for n in range(ITEMS)]
        if known.there:  # some of them anew, with other texts
            again = draw.sample(sorted(known.there), min(3, len(known.there)))
            names[: len(again)] = again
        values = {name: f"{draw.choice(('space', 'love', 'war'))} film {draw.randrange(10**6)}" for name in names}
        known.asked(values)
        with self._doing("write items"):
            answer = client.upsert_items(
                [Item(item_id=name, text=text, domain="film") for name, text in values.items()]
            )
        known.answered(values)
        self._ledger.last_token = answer.consistency_token

    def _write_users(self, draw: random.Random, number: int) -> None:
        """Profiles, an event of each user; and a purge, which takes both away as one."""
        known = self._ledger.users
        users = sorted(name for name in known.there if name.startswith("user-"))
        if users and draw.random() < 0.3:
            name = draw.choice(users)
            values = dict.fromkeys((name, f"own-{name}"), "")
            known.asked(values)
            with self._doing("purge a user"):
                self._client.purge_user(name)
            known.answered(values)
            return
        values = {f"user-{self._turn}-{number}-{n}": str(draw.randrange(10**6)) for n in range(USERS)}
        known.asked(values)
        with self._doing("write users"):
            self._client.upsert_users([User(user_id=name, profile={"mark": mark}) for name, mark in values.items()])
        known.answered(values)
        self._send(known.asked, known.answered, {f"own-{name}": f"{name} film-war-1" for name in values})

    def _write_events(self, draw: random.Random, number: int) -> None:
        known, ledger = self._ledger.events, self._ledger
        values = ledger.unanswered_events or {  # the same once more, as a client would: they must not count twice
            f"event-{self._turn}-{number}-{n}": f"fan-{draw.randrange(FANS)} film-space-{draw.randrange(12)}"
            for n in range(EVENTS)
        }
        ledger.unanswered_events = values
        self._send(known.asked, known.answered, values)
        ledger.unanswered_events = {}

    def _send(
        self,
        asked: Callable[[dict[str, str]], None],
        answered: Callable[[dict[str, str]], None],
        values: dict[str, str],
    ) -> None:
        asked(values)
        events = []
        for name, value in values.items():
            user, item = value.split()
            events.append(UserEvent(event_id=name, user_id=user, item_id=item, type="click"))
        with self._doing("write events"):
            self._client.write_events(events)
        answered(values)

    def _back_up(self, _: random.Random, number: int) -> None:
        name = f"backup-{self._turn}-{number}"
        backup = Backup({kind: records.known() for kind, records in self._ledger.kinds.items()})
        self._ledger.backups[name] = backup
        with self._doing("backup"):
            self._client.back_up_state(name, timeout_s=_TIMEOUT_S)
        backup.answered = True

    def _activate(self, draw: random.Random, _: int) -> None:
        known, client = self._ledger.bundle, self._client
        active, previous = known.there[BUNDLE], known.there.get(PREVIOUS, "")
        back = bool(previous) and draw.random() < 0.3
        wanted = previous if back else draw.choice([name for name in self._bundles if name != active])
        values = {BUNDLE: wanted, PREVIOUS: active}
        known.asked(values)
        began = time.monotonic()
        with self._doing("rollback" if back else "activation"):
            if back:
                client.rollback_bundle(timeout_s=_TIMEOUT_S)
            else:
                client.activate_bundle(wanted, timeout_s=_TIMEOUT_S)
        known.answered(values)
        self._ledger.activations_s.append(time.monotonic() - began)
        if draw.random() < _STAYS:  # while another activation is under way it is less sure what must be served
            self._ended.wait()
