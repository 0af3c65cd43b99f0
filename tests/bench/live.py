"""What a server that is written to takes: for a write, for an answer that knows of it, for all others meanwhile.

    python -m tests.bench.live BUNDLE [--rate 500] [--events 1000000 --items 100000]

Starts a server with state (on the disk of the temporary directory, see TMPDIR) and prints, as medians over interleaved
repetitions with the range in brackets:

- `upsert -> recommendable`: one new item is written, and a list for its text that has it is asked for;
- `event -> changed list`: one event is written, and a list for its user that has changed is asked for;
- `events/s`: acknowledged and durable, in batches of 100 from one client, one batch at a time and four at a time, with
  requests made beforehand;
- `search p99`: of lists for a history asked for one after the other, idle, while a process of its own writes items of
  the bundle anew at a steady rate, whose texts stay and of which an attribute changes, and while it writes new items,
  whose texts have to be encoded, as fast as the server takes them; and the ratios to the idle stretch just before;
- `restart`: from the start of a process until it listens, killed before, with so many events and new items, beside one
  without state.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import math
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
from tests.bench.http_load import quantile
from tests.support import ServerProcess

from tanager import Client, Item, UserEvent
from tanager.v1 import event_pb2, event_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_BATCH = 100
_UPSERT_BATCH = 25
_IN_FLIGHT = 4
_USERS = 10_000
_HISTORY = 20
_TIMEOUT_S = 600.0
_WARM_UP = 30


def lines_of(bundle: Path) -> list[dict[str, Any]]:
    """A bundle's items."""
    with (bundle / "items.jsonl").open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def texts_of(bundle: Path) -> list[str]:
    """What a bundle's items say."""
    return [line["text"] for line in lines_of(bundle)]


class NewItems:
    """Items that nobody has written yet: texts of the bundle, each with a word of its own.

    Args:
        texts: of the bundle.
        name: what their ids begin with.
    """

    def __init__(self, texts: Sequence[str], name: str) -> None:
        self._texts, self._name, self._numbers = texts, name, itertools.count()

    def __iter__(self) -> Iterator[Item]:
        return self

    def __next__(self) -> Item:
        number = next(self._numbers)
        text = f"{self._texts[number % len(self._texts)]} {self._name} {number}"
        return Item(item_id=f"{self._name}-{number}", text=text, title=text[:60])


def changed_items(bundle: Path) -> Iterator[Item]:
    """The items of a bundle again and again, each time with another stock; their texts stay."""
    lines = lines_of(bundle)
    for number in itertools.count():
        line = lines[number % len(lines)]
        yield Item(
            item_id=line["id"],
            text=line["text"],
            title=line["title"],
            domain=line["domain"],
            categories=line["categories"],
            attributes={**line["attributes"], "stock": number},
        )


def seconds_of(call: Callable[[], object]) -> float:
    """What a call takes."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def quantiles_ms(seconds: Sequence[float]) -> tuple[float, float]:
    """Median and 99th percentile, in milliseconds."""
    ordered = sorted(seconds)
    return quantile(ordered, 0.5) * 1e3, quantile(ordered, 0.99) * 1e3


class Bench:
    """One server, and what is asked of it.

    Args:
        client: of the server.
        address: of the server.
        bundle: what it serves.
        count: of calls for a quantile.
    """

    def __init__(self, client: Client, address: str, bundle: Path, count: int) -> None:
        self._client, self._address, self._bundle, self._count = client, address, bundle, count
        self._items = NewItems(texts_of(bundle), "fresh")
        self._item_ids = [item.item_id for item in client.iter_items(page_size=1000)]
        self._draw = random.Random(0)
        self._user = itertools.count()
        self._event = itertools.count()
        for _ in range(_WARM_UP):
            self._search()
            self._upsert()
            self._event_seen()

    def upserts(self) -> list[float]:
        """Seconds from the call that writes an item to the list that has it."""
        return [self._upsert() for _ in range(self._count)]

    def _upsert(self) -> float:
        item = next(self._items)
        began = time.perf_counter()
        token = self._client.upsert_items([item]).consistency_token
        answer = self._client.recommend(text=item.text, page_size=100, min_consistency_token=token)
        took = time.perf_counter() - began
        assert any(result.item_id == item.item_id for result in answer), f"{item.item_id} is not recommended"
        return took

    def events_seen(self) -> list[float]:
        """Seconds from the call that writes an event to the list that knows of it."""
        return [self._event_seen() for _ in range(self._count)]

    def _event_seen(self) -> float:
        user = f"watcher-{next(self._user)}"
        before = [result.item_id for result in self._client.recommend(user_id=user)]
        event = UserEvent(user_id=user, item_id=before[0], type="click")
        began = time.perf_counter()
        token = self._client.write_events([event]).consistency_token
        after = self._client.recommend(user_id=user, min_consistency_token=token)
        took = time.perf_counter() - began
        assert before[0] not in [result.item_id for result in after], "the list has not changed"
        return took

    def events_per_second(self, batches: int, in_flight: int) -> float:
        """Acknowledged events a second."""
        requests = [self._request() for _ in range(batches)]
        with grpc.insecure_channel(self._address) as channel:
            stub = event_pb2_grpc.EventServiceStub(channel)
            stub.WriteEvents(self._request(), timeout=_TIMEOUT_S)
            began = time.perf_counter()
            written = 0
            waiting: list[Any] = []
            for request in requests:
                if len(waiting) == in_flight:
                    written += waiting.pop(0).result().written_count
                waiting.append(stub.WriteEvents.future(request, timeout=_TIMEOUT_S))
            written += sum(future.result().written_count for future in waiting)
            took = time.perf_counter() - began
        assert written == _BATCH * batches
        return batches * _BATCH / took

    def _request(self) -> event_pb2.WriteEventsRequest:
        request = event_pb2.WriteEventsRequest()
        for _ in range(_BATCH):
            request.events.add(
                event_id=f"measured-{next(self._event)}",
                user_id=f"user-{self._draw.randrange(_USERS)}",
                item_id=self._draw.choice(self._item_ids),
                type="click",
            )
        return request

    def searches(self, seconds: float) -> list[float]:
        """What each of the lists took that are asked for one after the other, for so long."""
        end = time.monotonic() + seconds
        taken = []
        while time.monotonic() < end:
            taken.append(self._search())
        return taken

    def _search(self) -> float:
        history = self._draw.sample(self._item_ids, min(_HISTORY, len(self._item_ids)))
        return seconds_of(lambda: self._client.recommend(history=history))

    def searches_while_written(self, seconds: float, *, rate: float, new: str = "") -> tuple[list[float], float]:
        """The same while items are written: new ones, whose ids begin so, or else those of the bundle.

        Returns:
            What each took, and how many items were written a second.
        """
        command = [sys.executable, "-m", "tests.bench.live", str(self._bundle), "--write-to", self._address]
        with subprocess.Popen(
            [*command, "--rate", str(rate), "--name", new], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdin is not None
            assert writer.stdout is not None
            writer.stdout.readline()  # it has begun
            taken = self.searches(seconds)
            writer.stdin.close()
            return taken, float(writer.stdout.readline())


def write_on(bundle: Path, address: str, rate: float, new: str) -> None:
    """Writes items until the standard input ends; prints how many a second."""
    ended = threading.Event()

    def wait() -> None:
        sys.stdin.read()
        ended.set()

    items = NewItems(texts_of(bundle), new) if new else changed_items(bundle)
    with Client(address, timeout_s=_TIMEOUT_S) as client:
        client.upsert_items(itertools.islice(items, _UPSERT_BATCH))
        print("writing", flush=True)
        threading.Thread(target=wait, daemon=True).start()
        began, written = time.monotonic(), 0
        while not ended.wait(max(0.0, began + written / rate - time.monotonic())):
            client.upsert_items(itertools.islice(items, _UPSERT_BATCH))
            written += _UPSERT_BATCH
        print(written / (time.monotonic() - began), flush=True)


@contextlib.contextmanager
def started(bundle: Path, *options: str) -> Iterator[tuple[ServerProcess, float]]:
    """A server, and the seconds until it listened."""
    began = time.perf_counter()
    with ServerProcess(bundle, "--log.calls", "false", *options) as server:
        yield server, time.perf_counter() - began


def measure_restart(bundle: Path, scratch: Path, events: int, items: int, repetitions: int) -> None:
    """Fills a state, and starts servers over it."""
    options = ("--state", str(scratch / "filled"))
    # Quicker to fill; it is read the same way.
    with started(bundle, *options, "--storage.survives", "process") as (server, _):
        with Client(server.address, timeout_s=_TIMEOUT_S) as client:
            known = [item.item_id for item in client.iter_items(page_size=1000)]
            draw = random.Random(1)
            client.import_items(itertools.islice(NewItems(texts_of(bundle), "filled"), items))
            client.import_events(
                UserEvent(
                    event_id=f"filled-{n}",
                    user_id=f"user-{draw.randrange(max(1, events // 50))}",
                    item_id=draw.choice(known),
                    type="click",
                )
                for n in range(events)
            )
        server.kill()
        server.wait()
    with_state, without = [], []
    for _ in range(repetitions):
        with started(bundle) as (_, took):
            without.append(took)
        with started(bundle, *options) as (server, took):
            with_state.append(took)
            server.kill()
    print(f"restart, {events:,} events, {items:,} new items  {spread(with_state)} s; without state {spread(without)} s")


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Median, least and most."""
    return f"{statistics.median(values):.{digits}f} [{min(values):.{digits}f}, {max(values):.{digits}f}]"


def measure(bundle: Path, scratch: Path, arguments: argparse.Namespace) -> None:
    """Measures all but restarts, in turns."""
    found: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        found.setdefault(name, []).append(value)

    with (
        started(bundle, "--state", str(scratch / "measured")) as (server, _),
        Client(server.address, timeout_s=_TIMEOUT_S) as client,
    ):
        bench = Bench(client, server.address, bundle, arguments.count)
        for repetition in range(arguments.repetitions):
            for name, measured in (("upsert", bench.upserts()), ("event", bench.events_seen())):
                median, p99 = quantiles_ms(measured)
                note(f"{name}_p50", median)
                note(f"{name}_p99", p99)
            note("events_1", bench.events_per_second(arguments.batches, 1))
            note("events_4", bench.events_per_second(arguments.batches, _IN_FLIGHT))
            for kind, at_most, new in (("stay", arguments.rate, ""), ("new", math.inf, f"beside{repetition}")):
                _, idle = quantiles_ms(bench.searches(arguments.seconds))
                taken, rate = bench.searches_while_written(arguments.seconds, rate=at_most, new=new)
                _, busy = quantiles_ms(taken)
                note("idle", idle)
                for name, value in (("busy", busy), ("rate", rate), ("ratio", busy / idle)):
                    note(f"{kind}_{name}", value)
    print(f"upsert -> recommendable, ms     p50 {spread(found['upsert_p50'])}  p99 {spread(found['upsert_p99'])}")
    print(f"event -> changed list, ms       p50 {spread(found['event_p50'])}  p99 {spread(found['event_p99'])}")
    print(f"events/s, one batch at a time   {spread(found['events_1'], 0)}")
    print(f"events/s, {_IN_FLIGHT} batches at a time    {spread(found['events_4'], 0)}")
    print(f"search p99, idle, ms            {spread(found['idle'])}")
    for kind, what in (("stay", "items/s whose texts stay"), ("new", "new texts/s, as fast as they go")):
        at = f"at {spread(found[f'{kind}_rate'], 0)} {what}"
        print(f"search p99, written to, ms      {spread(found[f'{kind}_busy'])} {at}")
        print(f"search p99, written to / idle   {spread(found[f'{kind}_ratio'])}")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--count", type=int, default=300, help="calls for a quantile of writes")
    parser.add_argument("--batches", type=int, default=200, help="of 100 events, in a repetition")
    parser.add_argument("--seconds", type=float, default=5.0, help="of searches, idle and not, in a repetition")
    parser.add_argument("--rate", type=float, default=500.0, help="items a second, whose texts stay, beside searches")
    parser.add_argument("--events", type=int, default=20_000, help="at the restart")
    parser.add_argument("--items", type=int, default=1_000, help="new ones, at the restart")
    parser.add_argument("--write-to", help=argparse.SUPPRESS)
    parser.add_argument("--name", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.write_to is not None:
        write_on(arguments.bundle, arguments.write_to, arguments.rate, arguments.name)
        return
    with tempfile.TemporaryDirectory(prefix="tanager-live-") as scratch:
        measure(arguments.bundle, Path(scratch), arguments)
        measure_restart(
            arguments.bundle, Path(scratch), arguments.events, arguments.items, max(1, arguments.repetitions)
        )


if __name__ == "__main__":
    main()
