"""A client with many calls in flight, each with an answer of over a hundred kilobytes: for a test that stops it.

    slow_reader.py ADDRESS CALLS TIMEOUT_S

Prints the sizes of the answers and the statuses of the failures, each with their number, as a JSON object.
"""

from __future__ import annotations

import asyncio
import collections
import json
import sys

import grpc

from tanager.v1 import embedding_pb2, embedding_pb2_grpc

TEXTS = 1024


async def main() -> None:
    """Makes the calls over one connection."""
    address, calls, timeout_s = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    outcomes: collections.Counter[str] = collections.Counter()
    async with grpc.aio.insecure_channel(address) as channel:
        stub = embedding_pb2_grpc.EmbeddingServiceStub(channel)

        async def ask(number: int) -> None:
            # One text by which each call must wait; the same one over and over costs no more to encode.
            request = embedding_pb2.EmbedRequest(texts=[f"nature {number}"] * TEXTS)
            try:
                answer = await stub.Embed(request, timeout=timeout_s)
                outcomes[str(len(answer.vectors))] += 1
            except grpc.aio.AioRpcError as error:
                outcomes[error.code().name] += 1

        await asyncio.gather(*map(ask, range(calls)))
    print(json.dumps(outcomes))


if __name__ == "__main__":
    asyncio.run(main())
