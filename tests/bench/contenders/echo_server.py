"""An empty grpc.aio server: Recommend answers ten fixed results. What gRPC in Python costs without any work.

python -m tests.bench.contenders.echo_server PORT
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys

import grpc.aio

from tanager.v1 import common_pb2, recommendation_pb2, recommendation_pb2_grpc

_ANSWER = recommendation_pb2.RecommendResponse(
    results=[
        common_pb2.Result(
            item_id=f"{1000 + number}",
            title=f"A title as long as most: {number}",
            domain="film",
            rank=number,
            score=1 / number,
            sources=[common_pb2.SOURCE_TEXT, common_pb2.SOURCE_COLLABORATIVE],
        )
        for number in range(1, 11)
    ],
    served_by=common_pb2.ServedBy(bundle_id="0" * 64, strategy=common_pb2.STRATEGY_PERSONAL),
    timing=common_pb2.Timing(search_us=100, rank_us=100),
)


class Echo(recommendation_pb2_grpc.RecommendationServiceServicer):
    """Does nothing."""

    async def Recommend(self, request, context):  # noqa: N802
        return _ANSWER


async def serve() -> None:
    """Listens, says so, and ends on SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    server = grpc.aio.server()
    recommendation_pb2_grpc.add_RecommendationServiceServicer_to_server(Echo(), server)
    port = server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}")
    await server.start()
    print(json.dumps({"message": "listening", "port": port}), file=sys.stderr, flush=True)
    await stop.wait()
    await server.stop(1.0)


if __name__ == "__main__":
    asyncio.run(serve())
