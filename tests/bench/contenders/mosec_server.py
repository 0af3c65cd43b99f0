"""mosec: one stage, tokeniser, encoder and search together, batched by mosec.

BENCH_...=... python -m tests.bench.contenders.mosec_server --address 127.0.0.1 --port PORT
"""

from __future__ import annotations

from typing import Any

from mosec import Server, Worker
from tests.bench.contenders.tuning import Tuning
from tests.bench.pipeline import Item, Pipeline


class Recommender(Worker):
    """A worker process."""

    def __init__(self) -> None:
        self._pipeline = Pipeline.from_environment()

    def forward(self, data: list[dict[str, Any]] | dict[str, Any]) -> list[list[Item]] | list[Item]:
        if isinstance(data, dict):  # mosec hands over a lone request as such where batching is off
            return self._pipeline.answer([data["text"]])[0]
        return self._pipeline.answer([request["text"] for request in data])


def main() -> None:
    """Serves until SIGTERM."""
    tuning = Tuning.from_environment()
    server = Server()
    server.append_worker(
        Recommender,
        num=tuning.workers,
        max_batch_size=tuning.max_batch_size,
        max_wait_time=tuning.max_wait_ms,
        route="/recommend",
    )
    server.run()


if __name__ == "__main__":
    main()
