"""Closed-loop load on an HTTP/1.1 server: so many connections, each with one request in flight, kept alive.

    python -m tests.bench.http_load HOST:PORT/PATH REQUESTS --concurrency N (--duration S | --count N)

Prints a JSON object with the keys of `tanager load --json` that the bench reads. On raw asyncio protocols: it costs
about the CPU a call that `tanager load` does (the report shows both), so that neither is a handicap.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.request_files import TOP, read_texts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_HEADER_END = b"\r\n\r\n"
_TIMEOUT_S = 60.0


class LoadError(Exception):
    """The server did not answer as it should."""


def request_body(text: str, *, batched: bool) -> bytes:
    """What is posted: an object with the text, or, for a server that takes lists only, with a list of it alone."""
    return json.dumps({"texts": [text]} if batched else {"text": text}).encode()


def read_items(body: bytes) -> list[str]:
    """Ids of the ten items of an answer: `{"items": [...]}`, or the list itself, or a list of one such list.

    Raises:
        LoadError: it is none.
    """
    try:
        answer = json.loads(body)
        items = answer["items"] if isinstance(answer, dict) else answer
        if len(items) == 1:
            (items,) = items
        ids = [item["id"] for item in items]
        if len(ids) != TOP or not all(item["title"] is not None and item["score"] is not None for item in items):
            raise LoadError(f"{len(ids)} items where {TOP} were expected: {body[:200]!r}")
    except (ValueError, KeyError, TypeError) as error:
        raise LoadError(f"no answer of ten items with id, title and score: {body[:200]!r}") from error
    return ids


class ClosedLoop:
    """Sends requests as fast as they are answered, until the time is over or all are sent.

    Args:
        posts: whole HTTP requests; begun anew when they run out, unless `count` says when to stop.
        duration_s: time to send for; None for no end.
        count: requests to send; None for no end.
    """

    def __init__(self, posts: Sequence[bytes], *, duration_s: float | None, count: int | None) -> None:
        self._posts = posts
        self._duration_s = duration_s
        self._end: float | None = None
        self._count = count
        self.sent = 0
        self.in_time = 0  # answers before the end of the time
        self.latencies_s: list[float] = []
        self.answers: dict[int, list[str]] = {}
        self.duration_s = 0.0
        self.cpu_s = 0.0
        self.failure: LoadError | None = None

    async def run(self, host: str, port: int, concurrency: int) -> None:
        """Opens the connections and sends until the end.

        Raises:
            LoadError: an answer is no answer, or none came for a minute.
        """
        loop = asyncio.get_running_loop()
        opened = await asyncio.gather(
            *(loop.create_connection(lambda: _Connection(self, host), host, port) for _ in range(concurrency))
        )
        began, cpu_began = time.perf_counter(), time.process_time()
        self._end = None if self._duration_s is None else began + self._duration_s
        connections = [connection for _, connection in opened]
        for connection in connections:
            connection.send_next()
        waiting = asyncio.gather(*(connection.done for connection in connections))
        try:
            await asyncio.wait_for(waiting, _TIMEOUT_S + (self._duration_s or 0))
        except TimeoutError:
            raise LoadError("requests were left without an answer") from None
        finally:
            self.duration_s = self._duration_s or time.perf_counter() - began
            self.cpu_s = time.process_time() - cpu_began
            for transport, _ in opened:
                transport.close()
        if self.failure is not None:
            raise self.failure

    def next_post(self) -> tuple[int, bytes] | None:
        """The next request and its number; None at the end."""
        over = self._end is not None and time.perf_counter() >= self._end
        if over or self.sent == self._count or self.failure is not None:
            return None
        number = self.sent
        self.sent += 1
        return number, self._posts[number % len(self._posts)]

    def note(self, number: int, latency_s: float, body: bytes) -> None:
        """Takes an answer in."""
        self.latencies_s.append(latency_s)
        self.in_time += self._end is None or time.perf_counter() < self._end
        ids = read_items(body)
        if self._count is not None:
            self.answers[number] = ids


class _Connection(asyncio.Protocol):
    def __init__(self, load: ClosedLoop, host: str) -> None:
        self._load = load
        self._host = host
        self._received = b""
        self._needed = 0  # bytes of the answer, headers and all; 0 while its headers are not complete
        self._body = 0
        self._number = 0
        self._began = 0.0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def send_next(self) -> None:
        following = self._load.next_post()
        if following is None:
            self.done.set_result(None)
            return
        self._number, post = following
        self._began = time.perf_counter()
        self._transport.write(post)

    def data_received(self, data: bytes) -> None:
        self._received = self._received + data if self._received else data
        try:
            if not self._needed and not self._read_headers():
                return
            if len(self._received) < self._needed:
                return
            latency_s = time.perf_counter() - self._began
            body = self._received[self._body : self._needed]
            self._received, self._needed = b"", 0
            self._load.note(self._number, latency_s, body)
        except LoadError as error:
            self._fail(error)
            return
        self.send_next()

    def _read_headers(self) -> bool:
        end = self._received.find(_HEADER_END)
        if end < 0:
            return False
        headers = self._received[:end].lower()
        status = headers.split(b" ", 2)[1]
        if status != b"200":
            raise LoadError(f"the server answered {self._received[:300]!r}")
        _, found, rest = headers.partition(b"\r\ncontent-length:")
        if not found:
            raise LoadError(f"the server's answer has no content-length: {headers!r}")
        self._body = end + len(_HEADER_END)
        self._needed = self._body + int(rest.partition(b"\r\n")[0])
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self._fail(LoadError(f"the server closed the connection: {exc}"))

    def _fail(self, error: LoadError) -> None:
        self._load.failure = self._load.failure or error
        if not self.done.done():
            self.done.set_result(None)


def posts(texts: Sequence[str], *, host: str, path: str, batched: bool) -> Iterator[bytes]:
    """Whole requests as they go over the wire."""
    for text in texts:
        body = request_body(text, batched=batched)
        yield (
            f"POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\n\r\n"
        ).encode() + body


def split_target(target: str) -> tuple[str, int, str]:
    """HOST:PORT/PATH in its parts."""
    address, _, path = target.partition("/")
    host, _, port = address.rpartition(":")
    return host, int(port), f"/{path}"


def ask(target: str, texts: Sequence[str], *, concurrency: int, batched: bool) -> list[list[str]]:
    """The ids of each text's ten items.

    Raises:
        LoadError: the server did not answer them all.
        OSError: it does not listen.
    """
    host, port, path = split_target(target)
    load = ClosedLoop(list(posts(texts, host=host, path=path, batched=batched)), duration_s=None, count=len(texts))
    asyncio.run(load.run(host, port, min(concurrency, len(texts))))
    return [load.answers[number] for number in range(len(texts))]


def quantile(ordered: Sequence[float], share: float) -> float:
    """The least value that such a share of the values does not exceed (nearest rank)."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def main() -> int:
    """Sends and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", help="HOST:PORT/PATH")
    parser.add_argument("requests", type=Path)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--duration", type=float)
    parser.add_argument("--count", type=int)
    parser.add_argument("--batched", action="store_true", help='post {"texts": [...]} in place of {"text": ...}')
    arguments = parser.parse_args()
    host, port, path = split_target(arguments.target)
    prepared = list(posts(read_texts(arguments.requests), host=host, path=path, batched=arguments.batched))
    load = ClosedLoop(prepared, duration_s=arguments.duration, count=arguments.count)
    try:
        asyncio.run(load.run(host, port, arguments.concurrency))
    except (LoadError, OSError) as error:
        print(f"http_load: {arguments.target}: {error}", file=sys.stderr)
        return 1
    ordered = sorted(latency * 1e3 for latency in load.latencies_s)
    report = {
        "throughput_rps": load.in_time / load.duration_s,
        "latency_ms": {"OK": {"p50": quantile(ordered, 0.5), "p99": quantile(ordered, 0.99)}},
        "statuses": {"OK": len(ordered)},
        "sent": load.sent,
        "ok": len(ordered),
        "duration_s": load.duration_s,
        "generator_cpu_s": load.cpu_s,
    }
    print(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
