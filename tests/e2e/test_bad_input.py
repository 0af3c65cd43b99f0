"""Bad input is answered as the contract says, with the field named, and the server still serves afterwards."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from tests.support import ServerProcess

from tanager import (
    Client,
    DeadlineExceededError,
    Diversity,
    Event,
    InvalidArgumentError,
    NotFoundError,
    ResourceExhaustedError,
    Strategy,
    UnavailableError,
)
from tanager.v1 import recommendation_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _still_serves(client: Client) -> Iterator[None]:
    yield
    assert len(client.recommend(text="space", page_size=3)) == 3
    assert client.status().queue_depth == 0


def _refused(server: ServerProcess, payload: bytes, *, method: str = "Recommend") -> grpc.RpcError:
    """Sends bytes as they are."""
    with grpc.insecure_channel(server.address, options=[("grpc.max_send_message_length", -1)]) as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
            f"/tanager.v1.RecommendationService/{method}"
        )
        with pytest.raises(grpc.RpcError) as caught:
            call(payload, timeout=10)
    return caught.value


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"text": "   \n"}, "text"),
        ({"text": "x" * 1_000_000}, "text"),
        ({"page_size": 0}, "page_size"),
        ({"page_size": -1}, "page_size"),
        ({"page_size": 10**9}, "page_size"),
        ({"history": [Event("book-war-1", weight=float("nan"))]}, "recent_events[0].weight"),
        ({"history": ["book-war-1", Event("book-war-2", weight=float("inf"))]}, "recent_events[1].weight"),
        ({"history": [Event("book-war-1", weight=float("-inf"))]}, "recent_events[0].weight"),
        ({"history": ["book-war-1"] * 100_000}, "recent_events"),
        ({"history": [""]}, "recent_events[0].item_id"),
        ({"exclude_item_ids": ["book-war-1"] * 10_001}, "exclude_item_ids"),
        ({"profile": {"age": float("nan")}}, "profile['age']"),
        ({"profile": {"likes": ["war", " "]}}, "profile['likes'][1]"),
        ({"profile": {"": "war"}}, "profile"),
        ({"context": {"place": "x" * 1001}}, "context['place']"),
        ({"explain": True, "page_size": 1000}, "explain"),
        ({"explain": True, "max_reasons": 21}, "max_reasons"),
        ({"diversity": Diversity(mmr_lambda=float("nan"))}, "diversity.mmr_lambda"),
        ({"diversity": Diversity(interests=9)}, "diversity.interests"),
        ({"diversity": Diversity(max_per_category=-1)}, "diversity.max_per_category"),
    ],
)
def test_a_field_out_of_its_bounds_is_named(client: Client, arguments: dict[str, Any], field: str):
    with pytest.raises(InvalidArgumentError) as caught:
        client.recommend(**arguments)
    assert [violation.field for violation in caught.value.field_violations] == [field]
    assert field in caught.value.message


@pytest.mark.parametrize("letter", ["x", "三", "🚀"])
def test_however_long_their_names_some_of_many_faults_are_told(client: Client, letter: str):
    with pytest.raises(InvalidArgumentError) as caught:
        client.recommend(profile={letter * (number + 1): " " for number in range(100)})
    assert 1 <= len(caught.value.field_violations) <= 20


def test_every_field_at_fault_is_named_at_once(client: Client):
    with pytest.raises(InvalidArgumentError) as caught:
        client.recommend(text=" ", page_size=-5, history=[Event("a", weight=float("nan"))])
    fields = {violation.field for violation in caught.value.field_violations}
    assert fields == {"text", "page_size", "recent_events[0].weight"}


@pytest.mark.parametrize(
    ("texts", "field"),
    [([], "texts"), (["fine"] * 1025, "texts"), (["fine", ""], "texts[1]"), (["x" * 1_000_000], "texts[0]")],
)
def test_embed_names_the_text_at_fault(client: Client, texts: list[str], field: str):
    with pytest.raises(InvalidArgumentError) as caught:
        client.embed(texts)
    assert caught.value.field_violations[0].field == field


def test_an_empty_item_id_is_invalid_and_an_unknown_one_not_found(client: Client):
    with pytest.raises(InvalidArgumentError, match="item_id"):
        client.similar_items("")
    with pytest.raises(NotFoundError, match="🦜"):
        client.similar_items("🦜")


@pytest.mark.parametrize("text", ["🚀🛸 👽", "三体：关于第一次接触的小说", "ﷺ é ñ \u200b x", "a\x00b", "space " * 1300])
def test_any_writing_is_a_wish(client: Client, text: str):
    assert len(client.recommend(text=text)) == 10


@pytest.mark.parametrize(
    "payload",
    [b"\x0a\x04\xff\xfe\xfd\xfc", b"\x0a\x7fshort", b"\xff\xff\xff\xff"],
    ids=["invalid UTF-8 in text", "truncated", "garbage"],
)
def test_bytes_that_are_no_request_are_the_callers_mistake(server: ServerProcess, payload: bytes):
    error = _refused(server, payload)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "request" in str(error.details())


def test_unknown_items_of_a_history_are_ignored_and_counted(client: Client):
    answer = client.recommend(history=["no-such-item", "book-war-1", "another"])
    assert answer.unknown_item_count == 2
    assert answer.strategy is Strategy.PERSONAL
    unknown_only = client.recommend(history=["no-such-item"])
    assert (unknown_only.unknown_item_count, unknown_only.strategy) == (1, Strategy.COLD_START)


def test_a_history_of_ten_thousand_events_is_answered(client: Client):
    now = datetime.now(UTC)
    answer = client.recommend(history=[Event(f"book-war-{i % 12}", time=now) for i in range(10_000)])
    assert not {item.item_id for item in answer} & {f"book-war-{i}" for i in range(12)}


def test_a_time_that_is_none_is_named(server: ServerProcess, client: Client):
    request = recommendation_pb2.RecommendRequest(recent_events=[recommendation_pb2.Event(item_id="a")])
    request.recent_events[0].event_time.seconds = 10**15
    with pytest.raises(grpc.RpcError) as caught:
        client.stubs.recommendation.Recommend(request, timeout=10)
    assert "recent_events[0].event_time" in str(caught.value.details())


def test_a_request_larger_than_the_limit_is_refused(server: ServerProcess):
    assert _refused(server, b"\x0a" + b"x" * (17 << 20)).code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_an_unknown_method_is_unimplemented(server: ServerProcess):
    assert _refused(server, b"", method="NoSuchMethod").code() is grpc.StatusCode.UNIMPLEMENTED


def test_past_its_deadline_a_call_fails_and_its_work_is_dropped(server: ServerProcess, client: Client):
    with pytest.raises(DeadlineExceededError):
        client.embed([f"space {i} " * 60 for i in range(1024)], timeout_s=0.005)


def test_a_full_queue_refuses_at_once_and_says_when_to_come_back(tiny_bundle: Path):
    with (
        ServerProcess(tiny_bundle, "--batching.max-queue", "4") as small,
        Client(small.address, timeout_s=30) as client,
    ):
        with pytest.raises(ResourceExhaustedError) as caught:
            client.embed([f"space {i}" for i in range(5)])
        assert caught.value.retry_after_s is not None
        assert caught.value.retry_after_s > 0
        assert len(client.embed([f"space {i}" for i in range(4)])) == 4


def test_a_port_that_speaks_no_grpc_is_unavailable(server: ServerProcess):
    with (
        Client(f"127.0.0.1:{server.metrics_port}", timeout_s=10) as lost,
        pytest.raises(UnavailableError, match="port"),
    ):
        lost.recommend()
