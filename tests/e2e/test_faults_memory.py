"""A week's worth of requests in miniature: resident memory stays where it was."""

from __future__ import annotations

import asyncio
import json
import random
from typing import TYPE_CHECKING, Any

from tests.support import BIN, ServerProcess

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support import Metrics

CALLS = 200_000
CONCURRENCY = 300
MEMORY = "process_resident_memory_bytes"
MAX_GROWTH = 10e6
TOPICS = ("space", "love", "war", "music", "nature")
ITEMS = [f"{domain}-{topic}-{number}" for domain in ("book", "film") for topic in TOPICS for number in range(12)]
# Shares of what is asked, in hundredths. An item as a text is known from before, a number in it makes it new.
SHARES = {"history": 35, "popular": 20, "similar": 20, "known text": 10, "new text": 10, "invalid": 3, "not found": 2}


async def test_resident_memory_is_flat_over_200_000_calls(tiny_bundle: Path, tmp_path: Path):
    requests = tmp_path / "requests.jsonl"
    kinds = random.Random(0).choices(list(SHARES), weights=list(SHARES.values()), k=CALLS)
    with requests.open("w") as lines:
        lines.writelines(json.dumps({"pageSize": 5} | request) + "\n" for request in _requests(kinds))
    # The cache is full before the first measurement.
    with ServerProcess(tiny_bundle, "--cache.max-mb", "1", "--log.calls", "false") as server:
        load = await asyncio.create_subprocess_exec(
            *(BIN / "tanager", "load", server.address, "--workload", "mixed", "--requests-file", requests),
            *("--count", str(CALLS), "--concurrency", str(CONCURRENCY), "--connections", "8"),
            *("--warm-up", "0", "--timeout", "60", "--json", "-"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        ended = asyncio.create_task(load.communicate())
        at_first = await asyncio.to_thread(
            server.wait_until, lambda metrics: _calls(metrics) >= CALLS / 5, timeout_s=600.0
        )
        output, _ = await ended
        at_last = server.metrics()
    figures = json.loads(output)
    assert figures["statuses"] == {
        "OK": CALLS - kinds.count("invalid") - kinds.count("not found"),
        "INVALID_ARGUMENT": kinds.count("invalid"),
        "NOT_FOUND": kinds.count("not found"),
    }
    assert at_last[MEMORY] - at_first[MEMORY] < MAX_GROWTH
    assert at_last["tanager_queue_texts"] == at_last["tanager_calls_in_flight"] == 0


def _requests(kinds: list[str]) -> Iterator[dict[str, Any]]:
    """One of each kind, in their order."""
    chance = random.Random(1)
    for number, kind in enumerate(kinds):
        match kind:
            case "history":
                items = chance.sample(ITEMS, chance.randint(1, 8))
                yield {"recentEvents": [{"itemId": item_id} for item_id in items]}
            case "popular":
                yield {}
            case "similar":
                yield {"itemId": chance.choice(ITEMS)}
            case "known text":
                yield {"text": chance.choice(ITEMS)}
            case "new text":
                yield {"text": f"{chance.choice(TOPICS)} {number}"}
            case "invalid":
                yield {"pageSize": 0}
            case _:
                yield {"itemId": f"{number}"}


def _calls(metrics: Metrics) -> float:
    """Calls answered so far."""
    return sum(value for name, value in metrics.items() if name.startswith("tanager_call_seconds_count"))
