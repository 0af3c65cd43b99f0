"""What finding the users whom an item is for takes, and whether they are the right ones.

    python -m tests.bench.audience build/ml/bundle build/ml/dataset

Makes up users: each has the latest events of one of the dataset's users, of about the length asked for, a part of them
exchanged for others' so that no two are alike, and the profile of one. Asks for the audience of random items and prints
the median and the 99th percentile in milliseconds, the share of the best that belongs there beside exact scoring of
everybody (recall), memory, and what an event costs. With `--items` as many more items, each a copy of one with its text
vector shaken, stand for a larger catalogue: histories are drawn from all of them.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from tanager_export.dataset import Dataset, load_dataset
from tanager_server.bundle import open_bundle
from tanager_server.engine.audience import Audience
from tanager_server.engine.audience import Users as Histories
from tanager_server.engine.audience_index import AudienceIndex
from tanager_server.engine.audience_tables import AudienceTables, Items
from tanager_server.index import Generation
from tanager_server.runtime import SequenceHead
from tanager_server.state.users import Users

_SHAKEN = 0.03  # of every dimension: a cosine of about 0.86 at 384
_EXCHANGED = 0.2
_CHECKED = 5  # items for which everybody is scored exactly
_TIE = 1e-5  # scores closer than this are equal but for rounding


def draw(dataset: Dataset, positions: dict[str, int], copies: int, count: int, events: int, *, seed: int = 0) -> Users:
    """So many users, in the form that the server has them in."""
    random, interactions = np.random.default_rng(seed), dataset.interactions
    order = np.lexsort((interactions.timestamp, interactions.user))
    owner, taken = interactions.user[order], interactions.item[order]
    own = np.array([positions[item.id] for item in dataset.items])[taken]
    starts = np.searchsorted(owner, np.arange(owner.max() + 2))
    lengths = np.minimum(random.poisson(events, count), 10 * events)
    models = random.integers(len(starts) - 1, size=count)
    users = np.repeat(np.arange(count), lengths)
    ends = np.cumsum(lengths)
    ages = ends[users] - 1 - np.arange(len(users))
    sizes = (starts[1:] - starts[:-1])[models][users]
    items = own[starts[1:][models][users] - 1 - ages % np.maximum(sizes, 1)]
    others = random.random(len(items)) < _EXCHANGED
    items[others] = random.choice(own, int(others.sum()))
    items = items + len(dataset.items) * random.integers(copies, size=len(items))
    known = Users()
    for number in range(count):
        profile = dataset.users[int(models[number]) % len(dataset.users)].attributes if dataset.users else {}
        known.put_profile(f"user-{number}", profile)
    known.load_events(
        [f"user-{number}" for number in range(count)],
        users,
        items.astype(np.int32),
        ["rating"],
        np.zeros(len(items), np.int64),
        np.ones(len(items)),
        -ages,
    )
    return known


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("dataset", type=Path, help="the dataset that the bundle was made from")
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--events", type=int, default=50, help="of a user, on average")
    parser.add_argument("--items", type=int, default=0, help="of the catalogue at least")
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--top", type=int, default=100, help="users asked for")
    arguments = parser.parse_args()
    bundle = open_bundle(arguments.bundle)
    generation, head = Generation.load(bundle), SequenceHead.from_bundle(bundle)
    dataset, base = load_dataset(arguments.dataset), len(generation.catalogue)
    copies = max(1, -(-arguments.items // base))
    positions = {item_id: position for position, item_id in enumerate(generation.catalogue.ids)}
    random = np.random.default_rng(1)
    vectors = np.tile(generation.vectors, (copies, 1))
    vectors[base:] += _SHAKEN * random.standard_normal(vectors[base:].shape, dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    items = Items(np.arange(len(vectors), dtype=np.int32), vectors)
    began = time.perf_counter()
    users = draw(dataset, positions, copies, arguments.users, arguments.events)
    print(f"{len(users)} users, {int(users.events.lengths.sum())} events, {len(vectors)} items")
    print(f"users in memory   {time.perf_counter() - began:8.1f} s  {users.nbytes / 2**20:8.1f} MB")
    snapshots = list(users.snapshots(events=head is not None))
    began = time.perf_counter()
    tables = AudienceTables.build(generation, snapshots, items=items, head=head)
    print(f"tables by slot    {time.perf_counter() - began:8.1f} s  {tables.nbytes / 2**20:8.1f} MB")
    index = AudienceIndex(users, tables)

    chosen = random.integers(base, size=arguments.calls).tolist()
    times, of_cpu, turns = [], [], []
    for position in chosen:
        search = index.search(tables.item(position, position), arguments.top, items=items)
        began = last = time.perf_counter()
        cpu = time.thread_time()
        try:
            while True:
                next(search)
                now = time.perf_counter()
                turns.append(now - last)
                last = now
        except StopIteration:
            times.append(time.perf_counter() - began)
            of_cpu.append(time.thread_time() - cpu)
    _show("a call", times)
    _show("  of one core", of_cpu)
    _show("until others run", turns)

    changes = [(f"user-{random.integers(len(users))}", int(random.integers(base))) for _ in range(20_000)]
    began = time.perf_counter()
    for number, (user_id, item) in enumerate(changes):
        users.add_event(user_id, item, "rating", 1.0, number + 1)
    print(f"an event          {(time.perf_counter() - began) / len(changes) * 1e6:8.1f} us")
    began = time.perf_counter()
    index.find(tables.item(0, 0), arguments.top, items=items)
    print(f"the call after {len(changes)} events {(time.perf_counter() - began) * 1e3:8.1f} ms")
    found = [index.find(tables.item(position, position), arguments.top, items=items) for position in chosen[:_CHECKED]]
    if copies == 1:
        exact = [_exact(users, generation, head, position) for position in chosen[:_CHECKED]]
    else:  # the library knows the bundle's items alone; but for the text in bytes the index is held to it above
        tables.text = None
        alike = [index.find(tables.item(position, position), len(users), items=items) for position in chosen[:_CHECKED]]
        exact = [dict(zip(members.user_ids, members.scores, strict=True)) for members in alike]
    shares = [_share(members.user_ids, own) for members, own in zip(found, exact, strict=True)]
    print(f"recall@{arguments.top}        {np.mean(shares):8.4f}")


def _exact(users: Users, generation: Generation, head: SequenceHead | None, position: int) -> dict[str, float]:
    """The score of everybody who has not seen the item, by the library function."""
    histories, attributes, names = [], [], []
    for slot in range(users.slots):
        numbers, weights = users.events.latest(slot, 0), users.events.latest(slot, 1)
        if position not in numbers:
            names.append(users.user_id(slot) or "")
            histories.append((numbers.tolist(), weights.tolist()))
            attributes.append(generation.profile.know(users.profile(slot) or {}).rows)
    scores = Audience(generation, head).score([position], Histories.of(histories, attributes))[0]
    return dict(zip(names, scores.tolist(), strict=True))


def _share(found: list[str], exact: dict[str, float]) -> float:
    least = sorted(exact.values(), reverse=True)[len(found) - 1] - _TIE
    return sum(exact[user_id] >= least for user_id in found) / len(found)


def _show(name: str, seconds: list[float]) -> None:
    if seconds:
        median, p99 = np.quantile(seconds, (0.5, 0.99)) * 1e3
        print(f"{name:<17} p50 {median:6.2f} ms  p99 {p99:6.2f} ms")


if __name__ == "__main__":
    main()
