"""Encoded responses, read again by protobuf."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tanager.v1 import common_pb2, recommendation_pb2
from tanager_server.engine import (
    Explanation,
    Page,
    Reason,
    ReasonKind,
    Recommendation,
    Shortfall,
    Source,
    Strategy,
    Timing,
)
from tanager_server.rpc._results import ResultEncoder
from tanager_server.rpc.responses import _SOURCES, ResponseEncoder

RESPONSES = (recommendation_pb2.RecommendResponse, recommendation_pb2.SimilarItemsResponse)
texts = st.text(max_size=200)
items = st.lists(st.tuples(texts, texts, texts), min_size=1, max_size=20)
ranked = st.lists(
    st.tuples(
        st.integers(0, 19),
        st.one_of(st.just(0.0), st.just(-0.0), st.floats(width=32)),
        st.integers(0, (1 << len(Source)) - 1),
        st.floats(0, 1, width=32),
    ),
    max_size=300,
)


def read(encoded):
    return recommendation_pb2.RecommendResponse.FromString(encoded).results


@given(catalogue=items, page=ranked, explored=st.booleans())
def test_results_are_those_that_protobuf_would_have_written(catalogue, page, explored):
    page = [(position % len(catalogue), *rest) for position, *rest in page]
    ids, titles, domains = zip(*catalogue, strict=True)
    encoder = ResultEncoder(ids, titles, domains, _SOURCES)
    positions, scores, flags, propensities = ([row[column] for row in page] for column in range(4))
    encoded = encoder.encode(positions, scores, flags, propensities=propensities if explored else ())
    expected = recommendation_pb2.RecommendResponse(
        results=[
            common_pb2.Result(
                item_id=catalogue[position][0],
                title=catalogue[position][1],
                domain=catalogue[position][2],
                rank=rank,
                score=score,
                sources=[f"SOURCE_{source.name}" for source in Source if source & sources],
                propensity=propensity if explored else 1.0,
            )
            for rank, (position, score, sources, propensity) in enumerate(page, start=1)
        ]
    )
    assert encoded == expected.SerializeToString()


def test_titles_longer_than_a_length_of_one_byte_arrive():
    encoder = ResultEncoder(["a", "b"], ["é" * 70, "x" * 20_000], ["", "film"], _SOURCES)
    first, second = read(encoder.encode([1, 0], [0.5, -math.inf], [1, 15]))
    assert (first.title, first.domain, first.rank, first.score) == ("x" * 20_000, "film", 1, 0.5)
    assert (second.title, second.domain, second.rank, second.score) == ("é" * 70, "", 2, -math.inf)


@pytest.mark.parametrize("page", [([2], [1.0], [1]), ([0], [1.0], [1 << len(Source)]), ([2**63], [1.0], [1])])
def test_nothing_beyond_the_catalogue_is_read(page):
    with pytest.raises(IndexError):
        ResultEncoder(["a", "b"], ["", ""], ["", ""], _SOURCES).encode(*page)


def test_columns_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="each position"):
        ResultEncoder(["a"], [""], [""], _SOURCES).encode([0], [1.0], [1], [b"", b""])
    with pytest.raises(ValueError, match="each position"):
        ResultEncoder(["a"], [""], [""], _SOURCES).encode([0, 0], [1.0], [1, 1])
    with pytest.raises(ValueError, match="each position"):
        ResultEncoder(["a"], [""], [""], _SOURCES).encode([0], [1.0], [1], propensities=[0.5, 0.5])
    with pytest.raises(ValueError, match="a domain each"):
        ResultEncoder(["a"], [""], [], _SOURCES)


def answer(generation, **changes):
    values = {
        "generation": generation,
        "page": Page([4, 0], [0.5, 0.25], [Source.TEXT.value, Source.WISH | Source.POPULAR], 0.0),
        "strategy": Strategy.PERSONAL,
        "shortfall": Shortfall.NONE,
        "unknown_items": 0,
        "timing": Timing(tokenize_s=1e-6, queue_s=2e-6, encode_s=3e-6, search_s=4e-6, rank_s=5e-6, batch_size=6),
    }
    return Recommendation(**(values | changes))


@pytest.mark.parametrize("response", RESPONSES)
def test_everything_that_an_answer_says_arrives(make_generation, response):
    generation = make_generation(20)
    encoder = ResponseEncoder(generation)
    for strategy in Strategy:
        for shortfall in Shortfall:
            message = response.FromString(
                encoder.encode(response, answer(generation, strategy=strategy, shortfall=shortfall))
            )
            assert common_pb2.Strategy.Name(message.served_by.strategy) == f"STRATEGY_{strategy.name}"
            assert common_pb2.Shortfall.Name(message.shortfall) == f"SHORTFALL_{shortfall.name}"
    assert message.served_by.bundle_id == generation.manifest.bundle_id
    assert [result.item_id for result in message.results] == ["item-4", "item-0"]
    assert [list(result.sources) for result in message.results] == [[2], [1, 4]]
    timing = message.timing
    assert (timing.tokenize_us, timing.queue_us, timing.encode_us, timing.search_us, timing.rank_us) == (1, 2, 3, 4, 5)
    assert timing.batch_size == 6


def test_reasons_arrive_with_their_results(make_generation):
    generation = make_generation(20)
    explanations = (
        Explanation([Reason(ReasonKind.TEXT, 3, "", 0.5), Reason(ReasonKind.PROFILE, -1, "age=18-24", 0.25)], -0.25),
        Explanation([], 0.25),
    )
    encoded = ResponseEncoder(generation).encode(RESPONSES[0], answer(generation, explanations=explanations))
    first, second = RESPONSES[0].FromString(encoded).results
    assert list(first.reasons) == [
        common_pb2.Reason(kind="REASON_KIND_TEXT", item_id="item-3", title="Title 3", contribution=0.5),
        common_pb2.Reason(kind="REASON_KIND_PROFILE", attribute="age=18-24", contribution=0.25),
    ]
    assert (first.item_id, first.other_contribution) == ("item-4", -0.25)
    assert (list(second.reasons), second.other_contribution) == ([], 0.25)


def test_every_kind_of_reason_has_its_name_in_the_contract():
    wire = {name.removeprefix("REASON_KIND_") for name in common_pb2.ReasonKind.keys()}  # noqa: SIM118
    assert wire == {kind.name for kind in ReasonKind} | {"UNSPECIFIED"}


def test_items_that_were_not_known_are_counted(make_generation):
    generation = make_generation(20)
    encoded = ResponseEncoder(generation).encode(
        RESPONSES[0], answer(generation, unknown_items=3, unknown_attributes=2)
    )
    message = RESPONSES[0].FromString(encoded)
    assert (message.unknown_item_count, message.unknown_attribute_count) == (3, 2)


@pytest.mark.parametrize("degraded", [False, True])
def test_what_was_left_out_and_what_was_left_to_chance_arrives(make_generation, degraded):
    generation = make_generation(20)
    page = Page([4, 0], [0.5, 0.25], [1, 1], 0.0, [1.0, 0.125])
    encoded = ResponseEncoder(generation).encode(
        RESPONSES[0], answer(generation, page=page, degraded=degraded), attribution_token="shown"
    )
    message = RESPONSES[0].FromString(encoded)
    assert (message.served_by.degraded, message.attribution_token) == (degraded, "shown")
    assert [result.propensity for result in message.results] == [1.0, 0.125]


def test_answers_of_another_generation_are_told_with_its_items(make_generation):
    generations = [make_generation(20), make_generation(30)]
    encoder, response = ResponseEncoder(generations[1]), RESPONSES[0]
    shown = Page([0], [1.0], [1], 0.0)
    for generation in (*generations, generations[0]):
        message = response.FromString(encoder.encode(response, answer(generation, page=shown)))
        assert message.served_by.bundle_id == generation.manifest.bundle_id
        assert message.results[0].title == generation.catalogue.titles[0]
