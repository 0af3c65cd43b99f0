"""BentoML: tokeniser, encoder and search in one service, batched by BentoML's adaptive batching.

BENCH_...=... bentoml serve tests.bench.contenders.bentoml_server:Recommender --host 127.0.0.1 --port PORT
"""

from __future__ import annotations

from typing import Any

import bentoml
from tests.bench.contenders.tuning import Tuning
from tests.bench.pipeline import Pipeline

_tuning = Tuning.from_environment()


@bentoml.service(workers=_tuning.workers, traffic={"timeout": 60}, logging={"access": {"enabled": False}})
class Recommender:
    """A worker process."""

    def __init__(self) -> None:
        self._pipeline = Pipeline.from_environment()

    @bentoml.api(batchable=True, max_batch_size=_tuning.max_batch_size, max_latency_ms=60_000)
    def recommend(self, texts: list[str]) -> list[list[dict[str, Any]]]:
        return [[dict(item) for item in items] for items in self._pipeline.answer(texts)]
