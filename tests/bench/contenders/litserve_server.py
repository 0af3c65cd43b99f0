"""LitServe: tokeniser, encoder and search in `predict`, batched by LitServe.

BENCH_...=... python -m tests.bench.contenders.litserve_server PORT
"""

from __future__ import annotations

import sys

import litserve
from tests.bench.contenders.tuning import Tuning
from tests.bench.pipeline import Pipeline


class Recommender(litserve.LitAPI):
    """What a worker process does."""

    # LitServe reads these annotations: without them a request is what its JSON says, and an answer is sent as it is.

    def setup(self, device):
        self._pipeline = Pipeline.from_environment()

    def decode_request(self, request):
        return request["text"]

    def batch(self, inputs):
        return list(inputs)

    def unbatch(self, output):
        return output

    def predict(self, x):
        return self._pipeline.answer(x)

    def encode_response(self, output):
        return output


def main() -> None:
    """Serves until SIGTERM."""
    tuning = Tuning.from_environment()
    api = Recommender(
        max_batch_size=tuning.max_batch_size, batch_timeout=tuning.max_wait_ms / 1000, api_path="/recommend"
    )
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=tuning.workers, fast_queue=True)
    server.run(
        host="127.0.0.1", port=int(sys.argv[1]), num_api_servers=1, log_level="warning", generate_client_file=False
    )


if __name__ == "__main__":
    main()
