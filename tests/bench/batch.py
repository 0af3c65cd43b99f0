"""What a list costs in a batch, as for a mailing, beside a call of its own: both of the same users and server.

    python -m tests.bench.batch BUNDLE [--users 10000 --items 0]

Starts a server with state (on the disk of the temporary directory, see TMPDIR), gives every user a history, and asks in
turns for all users in as few calls as the contract allows and for some of them one by one over one connection. The
items of a history are two and what is similar to them, as users have interests; with `--random` any items, which takes
longer to rank, as nothing stands out. Lists are not logged, as those of a batch never are; `--logged` has the single
ones logged as they are by default. Prints medians over the rounds with the range in brackets: server CPU time and wall
time per user, the latter with what the client takes to read the answer, and the ratios within each round.
"""

from __future__ import annotations

import argparse
import itertools
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.live import NewItems, spread, texts_of
from tests.support import ServerProcess

from tanager import Client, UserEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_TIMEOUT_S = 600.0
_MOST_USERS, _MOST_RESULTS = 10_000, 100_000  # of one call
_MICROSECONDS = 1e6
_SEEDS, _ALIKE = 300, 30


def cpu_s(pid: int) -> float:
    """CPU time of all threads of a process so far, in seconds (clock_getcpuclockid(3))."""
    return time.clock_gettime((~pid << 3) | 2)


def cost_us(pid: int, count: int, call: Callable[[], object]) -> tuple[float, float]:
    """CPU time of a process and wall time of a call, for each of so many users, in microseconds."""
    cpu, began = cpu_s(pid), time.perf_counter()
    call()
    wall, cpu = time.perf_counter() - began, cpu_s(pid) - cpu
    return cpu / count * _MICROSECONDS, wall / count * _MICROSECONDS


def fill(client: Client, bundle: Path, arguments: argparse.Namespace) -> list[str]:
    """Writes items and histories; gives the users."""
    draw = random.Random(0)
    client.import_items(itertools.islice(NewItems(texts_of(bundle), "more"), arguments.items))
    item_ids = [item.item_id for item in client.iter_items(page_size=1000)]
    users = [f"user-{number}" for number in range(arguments.users)]
    seeds = draw.sample(item_ids, min(_SEEDS, len(item_ids)))
    alike = [[seed, *(one.item_id for one in client.similar_items(seed, page_size=_ALIKE))] for seed in seeds]

    def items(count: int) -> list[str]:
        return draw.choices(item_ids if arguments.random else [*draw.choice(alike), *draw.choice(alike)], k=count)

    client.import_events(
        UserEvent(event_id=f"{user}-{place}", user_id=user, item_id=item_id, type="click")
        for user in users
        for place, item_id in enumerate(items(1 + draw.randrange(2 * arguments.events - 1)))
    )
    return users


def measure(server: ServerProcess, client: Client, users: Sequence[str], arguments: argparse.Namespace) -> None:
    """Asks, and prints what it took."""
    size, draw = arguments.page_size, random.Random(1)
    at_a_time = min(_MOST_USERS, _MOST_RESULTS // size)
    found: dict[str, list[float]] = {}

    def batch() -> None:
        for start in range(0, len(users), at_a_time):
            part = users[start : start + at_a_time]
            answer = client.batch_recommend(part, page_size=size, filter=arguments.filter)
            assert [one.user_id for one in answer.users] == part

    def singles(some: Sequence[str]) -> None:
        for user in some:
            client.recommend(user_id=user, page_size=size, filter=arguments.filter)

    for turn in range(arguments.rounds + 1):
        some = draw.sample(users, min(arguments.calls, len(users)))
        of_batch = cost_us(server.pid, len(users), batch)
        of_single = cost_us(server.pid, len(some), lambda some=some: singles(some))  # type: ignore[misc]
        for what, in_batch, alone in zip(("cpu", "wall"), of_batch, of_single, strict=True):
            if turn:  # the first one finds cold caches
                found.setdefault(f"{what} batch", []).append(in_batch)
                found.setdefault(f"{what} single", []).append(alone)
                found.setdefault(f"{what} ratio", []).append(in_batch / alone)
    for what, name in (("cpu", "server CPU"), ("wall", "wall")):
        batched, single = (spread(found[f"{what} {kind}"], 0) for kind in ("batch", "single"))
        print(f"{name:10}  per user in a batch {batched} us, alone {single} us")
        print(f"{name:10}  in a batch / alone  {spread(found[f'{what} ratio'])}")


def check(client: Client, users: Sequence[str], arguments: argparse.Namespace) -> None:
    """Whether a batch and single calls answer alike."""
    some = users[:: max(1, len(users) // 50)]
    lists = client.batch_recommend(some, page_size=arguments.page_size, filter=arguments.filter).users
    for one in lists:
        alone = client.recommend(user_id=one.user_id, page_size=arguments.page_size, filter=arguments.filter)
        assert [result.item_id for result in one.results] == [result.item_id for result in alone], one.user_id
    print(f"{len(lists)} lists in a batch are those of single calls")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--users", type=int, default=10_000)
    parser.add_argument("--events", type=int, default=20, help="of a user, on average")
    parser.add_argument("--random", action="store_true", help="histories of any items")
    parser.add_argument("--items", type=int, default=0, help="written beside those of the bundle")
    parser.add_argument("--page-size", type=int, default=10)
    parser.add_argument("--filter", default="")
    parser.add_argument("--calls", type=int, default=500, help="single ones, in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--logged", action="store_true", help="single lists are logged")
    arguments = parser.parse_args()
    logged = () if arguments.logged else ("--impressions.share", "0")
    with tempfile.TemporaryDirectory(prefix="tanager-batch-") as scratch:
        options = ("--state", scratch, "--storage.survives", "process", "--log.calls", "false", *logged)
        with (
            ServerProcess(arguments.bundle, *options) as server,
            Client(server.address, timeout_s=_TIMEOUT_S) as client,
        ):
            users = fill(client, arguments.bundle, arguments)
            events = statistics.mean(client.get_user(user).event_count for user in users[:100])
            print(f"{len(users)} users with about {events:.0f} events, {arguments.page_size} results for each")
            check(client, users, arguments)
            measure(server, client, users, arguments)


if __name__ == "__main__":
    main()
