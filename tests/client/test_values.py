"""Values that callers make, and values that clients answer with."""

import dataclasses
import datetime as dt
import struct

import numpy as np
import pytest

import tanager
from tanager.v1 import common_pb2

TIMING = tanager.Timing(queue_us=1, tokenize_us=2, encode_us=3, search_us=4, rank_us=5, batch_size=6)


def recommendations(*item_ids: str) -> tanager.Recommendations:
    return tanager.Recommendations(
        results=tuple(
            tanager.Result(item_id=item_id, title="", domain="", rank=rank, score=1 / rank, sources=())
            for rank, item_id in enumerate(item_ids, 1)
        ),
        strategy=tanager.Strategy.WISH,
        shortfall=tanager.Shortfall.NONE,
        unknown_item_count=0,
        unknown_attribute_count=0,
        bundle_id="abc",
        timing=TIMING,
        request_id="r-1",
    )


def embeddings(*vectors: tuple[float, ...]) -> tanager.Embeddings:
    data = b"".join(struct.pack(f"<{len(vector)}f", *vector) for vector in vectors)
    return tanager.Embeddings(data=data, dim=3, bundle_id="abc", timing=TIMING, request_id="r-1")


def test_recommendations_are_a_sequence():
    answer = recommendations("a", "b", "c")
    assert len(answer) == 3
    assert [result.item_id for result in answer] == ["a", "b", "c"]
    assert answer[-1].item_id == "c"
    assert [result.rank for result in answer[:2]] == [1, 2]
    assert answer[1] in answer
    assert not recommendations()
    with pytest.raises(IndexError):
        answer[3]


def test_answers_are_immutable():
    answer = recommendations("a")
    for value, name in [(answer, "strategy"), (answer[0], "score"), (TIMING, "queue_us")]:
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, name, None)
        assert not hasattr(value, "__dict__")


def test_embeddings_are_a_sequence_of_vectors():
    answer = embeddings((1, 2, 3), (4, 5, 6))
    assert len(answer) == 2
    assert list(answer[1]) == list(answer[-1]) == [4, 5, 6]
    assert [list(vector) for vector in answer[1:]] == [[4, 5, 6]]
    assert memoryview(answer[0]).format == "f"
    with pytest.raises(IndexError):
        answer[2]
    assert len(embeddings()) == 0


def test_embeddings_as_an_array():
    array = embeddings((1, 2, 3), (4, 5, 6)).to_numpy()
    assert array.dtype == np.float32
    assert array.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert embeddings().to_numpy().shape == (0, 3)


def test_the_total_of_a_timing_is_its_stages():
    assert TIMING.total_us == 15


@pytest.mark.parametrize(
    ("members", "wire"),
    [
        (tanager.Strategy, common_pb2.Strategy),
        (tanager.Shortfall, common_pb2.Shortfall),
        (tanager.Source, common_pb2.Source),
    ],
)
def test_every_value_of_the_contract_has_its_member(members, wire):
    prefix = f"{members.__name__.upper()}_"
    named = {name.removeprefix(prefix) for name in wire.keys()} - {"UNSPECIFIED"}  # noqa: SIM118 - no mapping
    assert {member.name for member in members} == named | {"UNKNOWN"}
    assert all(member.value == member.name.lower() for member in members)


def test_an_event_needs_a_time_zone():
    with pytest.raises(ValueError, match=r"Event\.time must have a time zone"):
        tanager.Event("a", time=dt.datetime(2026, 1, 1))  # noqa: DTZ001


def test_an_event_needs_a_number_as_weight():
    with pytest.raises(TypeError, match=r"Event\.weight must be a number, not str"):
        tanager.Event("a", weight="1")  # type: ignore[arg-type]
    assert tanager.Event("a", weight=np.float32(0.5)).weight == 0.5  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_attempts": 1}, "max_attempts must be 2 to 5, not 1"),
        ({"max_attempts": 6}, "max_attempts must be 2 to 5, not 6"),
        ({"initial_backoff_s": 0.001}, r"initial_backoff_s must be at least 0\.01 and finite, not 0\.001"),
        ({"max_backoff_s": float("inf")}, "max_backoff_s must be at least .* and finite, not inf"),
        ({"multiplier": float("nan")}, "multiplier must be at least 1 and finite, not nan"),
    ],
)
def test_a_retry_that_grpc_would_ignore_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        tanager.Retry(**arguments)


def test_tls_that_contradicts_itself_is_refused():
    with pytest.raises(ValueError, match="ca_file or ca_bytes, not both"):
        tanager.Tls(ca_file="a", ca_bytes=b"a")
    with pytest.raises(ValueError, match="cert_file and key_file together"):
        tanager.Tls(cert_file="a")
