"""The HTTP generator against small servers that answer well, badly, or in pieces."""

from __future__ import annotations

import asyncio
import json

import pytest
from tests.bench.http_load import ClosedLoop, LoadError, posts, quantile, read_items, request_body, split_target

ITEMS = [{"id": f"i{number}", "title": "", "score": 0.5} for number in range(10)]


async def run_against(answer, *, texts=("a", "b", "c"), concurrency=2, count=None, duration_s=None, pieces=1):
    """Runs the generator against a server that answers by a function from the body to (status, body)."""
    seen: list[str] = []
    callers: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
                body = json.loads(await reader.readexactly(length))
                seen.append(body["text"])
                status, answered = answer(body)
                message = b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(answered), answered)
                size = -(-len(message) // pieces)
                for start in range(0, len(message), size):
                    writer.write(message[start : start + size])
                    await writer.drain()
                    await asyncio.sleep(0)
        except (asyncio.IncompleteReadError, ConnectionError):  # the generator has closed the connection
            pass
        finally:
            writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        callers.add(asyncio.create_task(handle(reader, writer)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        port = server.sockets[0].getsockname()[1]
        prepared = list(posts(texts, host="127.0.0.1", path="/p", batched=False))
        load = ClosedLoop(prepared, duration_s=duration_s, count=count)
        await load.run("127.0.0.1", port, concurrency)
    finally:
        server.close()
        await asyncio.gather(*callers)
    return load, seen


@pytest.mark.parametrize("pieces", [1, 7])
async def test_every_request_is_sent_and_its_answer_kept(pieces: int) -> None:
    def answer(body):
        return 200, json.dumps([{**item, "id": body["text"] + item["id"]} for item in ITEMS]).encode()

    load, seen = await run_against(answer, count=5, pieces=pieces)
    assert sorted(seen) == ["a", "a", "b", "b", "c"]
    assert [load.answers[number][0] for number in range(5)] == ["ai0", "bi0", "ci0", "ai0", "bi0"]
    assert len(load.latencies_s) == load.sent == load.in_time == 5


async def test_it_stops_when_the_time_is_over() -> None:
    load, seen = await run_against(lambda _: (200, json.dumps(ITEMS).encode()), duration_s=0.05)
    assert load.sent == len(seen) == len(load.latencies_s) >= load.in_time
    assert load.duration_s == 0.05


async def test_a_status_that_is_not_200_ends_the_run() -> None:
    with pytest.raises(LoadError, match="503"):
        await run_against(lambda _: (503, b"{}"), count=5)


async def test_an_answer_of_fewer_items_ends_the_run() -> None:
    with pytest.raises(LoadError, match="9 items where 10 were expected"):
        await run_against(lambda _: (200, json.dumps(ITEMS[1:]).encode()), count=5)


@pytest.mark.parametrize("body", [b"no json", b"{}", b"3", b'[{"id": 1}]', b"[[]]"])
def test_what_is_no_answer_is_refused(body: bytes) -> None:
    with pytest.raises(LoadError):
        read_items(body)


def test_a_list_of_one_answer_is_an_answer() -> None:
    assert read_items(json.dumps([ITEMS]).encode())[9] == "i9"


def test_small_parts() -> None:
    assert json.loads(request_body("x", batched=True)) == {"texts": ["x"]}
    assert split_target("127.0.0.1:80/a/b") == ("127.0.0.1", 80, "/a/b")
    assert quantile([1.0, 2.0, 3.0, 4.0], 0.5) == 2.0
    assert quantile([1.0, 2.0, 3.0, 4.0], 0.99) == 4.0
