"""What scoring one request takes in the server, with everything that the score is made of.

    python -m tests.bench.scoring build/demo/bundle

Draws histories of 50 events from the bundle's own items, along B's neighbours as far as there are some, and has the
engine recommend ten items for each (seen items left out). Prints the median and the 99th percentile, in milliseconds,
of the whole call and of its two parts: finding candidates, which holds the searches of the index, and scoring them
exactly with all that comes after. The neighbourhoods of items by text are known beforehand, as they are in a server
that has run for a while; `searched` is the share of calls in which the text of the whole history had to be searched
for all the same, and the last line is of the others: what scoring takes beyond search.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tests.bench.candidate_recall import count_searches, recommend

from tanager_server.bundle import open_bundle
from tanager_server.engine import Engine, Events
from tanager_server.index import Generation
from tanager_server.runtime import SequenceHead

if TYPE_CHECKING:
    from collections.abc import Sequence

_TURN = 100  # histories in a row, between which others use the caches


def draw(generation: Generation, events: int, count: int, *, seed: int = 0) -> list[Events]:
    """Walks over B: the next item is one of the present one's neighbours, or any."""
    random = np.random.default_rng(seed)
    neighbours, ids = generation.neighbours, generation.catalogue.ids
    drawn = []
    for _ in range(count):
        item, history = int(random.integers(len(ids))), []
        for _ in range(events):
            history.append(ids[item])
            row = neighbours.indices[neighbours.indptr[item] : neighbours.indptr[item + 1]]
            item = int(random.choice(row)) if len(row) and random.random() < 0.8 else int(random.integers(len(ids)))
        drawn.append(Events(history, [1.0] * events))
    return drawn


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--events", type=int, default=50, help="of each history")
    parser.add_argument("--histories", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5, help="how often each is asked for")
    arguments = parser.parse_args()
    bundle = open_bundle(arguments.bundle)
    generation, head = Generation.load(bundle), SequenceHead.from_bundle(bundle)
    nobody: Any = None  # encodes wishes, of which there are none
    engine = Engine(generation, nobody, head)
    searches = count_searches(engine)
    drawn = draw(generation, arguments.events, arguments.histories)
    for events in drawn:
        recommend(engine, events)
    times: list[tuple[float, float, float, bool]] = []
    for _ in range(arguments.rounds):
        for start in range(0, len(drawn), _TURN):
            for events in drawn[start : start + _TURN]:
                searches.clear()
                began = time.perf_counter()
                answer = recommend(engine, events)
                total = time.perf_counter() - began
                times.append((total, answer.timing.search_s, answer.timing.rank_s, bool(searches)))
    searched = sum(row[3] for row in times) / len(times)
    print(f"{len(generation.catalogue)} items, {arguments.events} events, {len(times)} calls, searched {searched:.3f}")
    print(f"{'ms':<24} {'p50':>7} {'p99':>7}")
    _show("whole call", [row[0] for row in times])
    _show("  finding candidates", [row[1] for row in times])
    _show("  scoring them exactly", [row[2] for row in times])
    _show("whole call, no search", [row[0] for row in times if not row[3]])


def _show(name: str, seconds: Sequence[float]) -> None:
    if seconds:
        median, p99 = np.quantile(seconds, (0.5, 0.99)) * 1e3
        print(f"{name:<24} {median:>7.3f} {p99:>7.3f}")


if __name__ == "__main__":
    main()
