"""RAW: the same work in one process without a network. Tokenises, sorts by length, encodes in batches, searches.

    python -m tests.bench.raw BUNDLE REQUESTS [--duration S] [--single N] [--answers N]

Prints a JSON object: throughput and CPU of texts in bulk, the p50 of one text at a time, and the answers to the first
texts if they are asked for.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import time
from pathlib import Path

from tests.bench.pipeline import Pipeline
from tests.bench.process import machine_cpu_s, resident_mb
from tests.bench.request_files import read_texts

CHUNK = 2_000
_WARM_UP = 256


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("requests", type=Path)
    parser.add_argument("--duration", type=float, default=4.0, help="least seconds of work in bulk")
    parser.add_argument("--single", type=int, default=200, help="texts answered one at a time")
    parser.add_argument("--answers", type=int, default=0, help="texts of which the answers are printed")
    arguments = parser.parse_args()
    texts = read_texts(arguments.requests)
    pipeline = Pipeline(arguments.bundle)
    pipeline.answer_all(texts[-_WARM_UP:])

    chunks = itertools.cycle([texts[start : start + CHUNK] for start in range(0, len(texts), CHUNK)])
    done, began, cpu_began, busy_began = 0, time.perf_counter(), time.process_time(), machine_cpu_s()
    while (wall_s := time.perf_counter() - began) < arguments.duration:
        chunk = next(chunks)
        pipeline.answer_all(chunk)
        done += len(chunk)
    cpu_s = time.process_time() - cpu_began
    other_cores = max(0.0, machine_cpu_s() - busy_began - cpu_s) / wall_s

    single_s = []
    for text in texts[: arguments.single]:
        began = time.perf_counter()
        pipeline.answer([text])
        single_s.append(time.perf_counter() - began)
    report = {
        "throughput_rps": done / wall_s,
        "cpu_ms": cpu_s / done * 1e3,
        "single_p50_ms": statistics.median(single_s) * 1e3 if single_s else None,
        "resident_mb": resident_mb(os.getpid()),
        "other_cores": other_cores,
        "answers": [[item["id"] for item in items] for items in pipeline.answer_all(texts[: arguments.answers])]
        if arguments.answers
        else [],
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
