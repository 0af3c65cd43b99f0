"""Requests: every field out of its bounds is named by its path, all of them at once; what is within passes as it is."""

from __future__ import annotations

import math
from urllib.parse import quote

import pytest

from tanager.v1.common_pb2 import AttributeValue, StringList
from tanager.v1.embedding_pb2 import EmbedRequest
from tanager.v1.recommendation_pb2 import Diversity as DiversityMessage
from tanager.v1.recommendation_pb2 import Event as EventMessage
from tanager.v1.recommendation_pb2 import RecommendRequest, SimilarItemsRequest
from tanager_server.engine import Diversity, Events, RecommendQuery, SimilarQuery
from tanager_server.errors import InvalidRequestError
from tanager_server.rpc.validation import embed_texts, recommend_query, similar_query

YEAR_1, YEAR_9999 = -62_135_596_800, 253_402_300_799


def violations(check, request):
    """Field path → description."""
    with pytest.raises(InvalidRequestError) as refused:
        check(request)
    found = {violation.field: violation.description for violation in refused.value.violations}
    assert len(found) == len(refused.value.violations)
    assert all(f"{field}: {description}" in str(refused.value) for field, description in found.items())
    return found


def event(item_id="a", weight=None, **time):
    message = EventMessage(item_id=item_id, weight=weight)
    if time:
        message.event_time.seconds = time.get("seconds", 0)
        message.event_time.nanos = time.get("nanos", 0)
    return message


def text(value):
    return AttributeValue(string_value=value)


def texts(*values):
    return AttributeValue(string_list=StringList(values=values))


# What passes


def test_an_empty_request_asks_for_ten_items():
    assert recommend_query(RecommendRequest()) == RecommendQuery(page_size=10)


def test_every_field_is_passed_on():
    request = RecommendRequest(
        text="三体 👽",
        recent_events=[event("a", -0.5, seconds=1_700_000_000, nanos=500_000_000), event("b")],
        page_size=7,
        exclude_item_ids=["c", "", "c"],
        include_seen=True,
        profile={"b": AttributeValue(number_value=25), "a": text("x"), "c": AttributeValue(bool_value=False)},
        context={"place": "三体"},
    )
    request.profile["d"].CopyFrom(texts("x", "y"))
    assert recommend_query(request) == RecommendQuery(
        page_size=7,
        text="三体 👽",
        events=Events(["a", "b"], [-0.5, 1.0], None),
        exclude=("c", "", "c"),
        include_seen=True,
        profile={"a": "x", "b": 25.0, "c": False, "d": ("x", "y")},
        context={"place": "三体"},
    )
    assert list(recommend_query(request).profile) == ["a", "b", "c", "d"], "the same text whatever the order"


def test_a_weight_of_zero_is_zero_and_not_the_default():
    assert recommend_query(RecommendRequest(recent_events=[event(weight=0)])).events == Events(["a"], [0.0])


@pytest.mark.parametrize("size", [1, 1000])
def test_page_sizes_at_the_bounds(size):
    assert recommend_query(RecommendRequest(page_size=size)).page_size == size
    assert similar_query(SimilarItemsRequest(item_id="a", page_size=size)).page_size == size


@pytest.mark.parametrize("text", ["x" * 8192, "三" * 8192, "\u200b", "0", "DROP TABLE items; --", "\x00"])
def test_texts_at_the_bounds(text):
    assert recommend_query(RecommendRequest(text=text)).text == text
    assert embed_texts(EmbedRequest(texts=[text])) == (text,)


@pytest.mark.parametrize("weight", [-100, 100, 1e-38, -0.0])
def test_weights_at_the_bounds(weight):
    events = recommend_query(RecommendRequest(recent_events=[event(weight=weight)])).events
    assert list(events.weights) == pytest.approx([weight], rel=1e-6)


@pytest.mark.parametrize("seconds", [YEAR_1, YEAR_9999, 0, -1])
def test_times_at_the_bounds(seconds):
    events = recommend_query(RecommendRequest(recent_events=[event(seconds=seconds, nanos=999_999_999)])).events
    assert events.times_ns == [seconds * 10**9 + 999_999_999]


@pytest.mark.parametrize("timed", [(0, 1), (0, 2), (1, 2)])
def test_times_count_only_if_every_event_has_one(timed):
    messages = [event(seconds=5 - index) if index in timed else event() for index in range(3)]
    assert recommend_query(RecommendRequest(recent_events=messages)).events.times_ns is None
    messages = [messages[index] for index in timed]
    expected = [(5 - index) * 10**9 for index in timed]
    assert recommend_query(RecommendRequest(recent_events=messages)).events.times_ns == expected


def test_as_much_as_allowed():
    query = recommend_query(RecommendRequest(recent_events=[event()] * 10_000, exclude_item_ids=["a"] * 10_000))
    assert (len(query.events.item_ids), len(query.events.weights), len(query.exclude)) == (10_000, 10_000, 10_000)
    assert len(embed_texts(EmbedRequest(texts=["a"] * 1024))) == 1024


def test_similar_items_with_every_field():
    request = SimilarItemsRequest(item_id="a", page_size=3, exclude_item_ids=["b"])
    assert similar_query(request) == SimilarQuery("a", 3, ("b",))
    assert similar_query(SimilarItemsRequest(item_id="a")) == SimilarQuery("a", 10)


# What is refused


@pytest.mark.parametrize("size", [0, -1, 1001, 10**9, -(2**31), 2**31 - 1])
def test_page_sizes_out_of_bounds(size):
    expected = {"page_size": f"must be 1 to 1000, is {size}"}
    assert violations(recommend_query, RecommendRequest(page_size=size)) == expected
    assert violations(similar_query, SimilarItemsRequest(item_id="a", page_size=size)) == expected


@pytest.mark.parametrize("text", [" ", "\n\t", "\u3000", "\u00a0" * 5])
def test_a_blank_text_is_refused_where_an_empty_one_means_none(text):
    assert recommend_query(RecommendRequest(text="")).text == ""
    assert violations(recommend_query, RecommendRequest(text=text)) == {"text": "must not be blank"}


@pytest.mark.parametrize("length", [8193, 1_000_000])
def test_a_text_too_long(length):
    problem = f"must be at most 8192 characters, has {length}; shorten it"
    assert violations(recommend_query, RecommendRequest(text="x" * length)) == {"text": problem}
    assert violations(embed_texts, EmbedRequest(texts=["a", "三" * length])) == {"texts[1]": problem}


@pytest.mark.parametrize("weight", [math.nan, math.inf, -math.inf, 100.001, -1e30])
def test_weights_out_of_bounds(weight):
    request = RecommendRequest(recent_events=[event(), event(weight=weight)])
    assert violations(recommend_query, request) == {"recent_events[1].weight": "must be finite and from -100 to 100"}


@pytest.mark.parametrize(
    "time",
    [
        {"seconds": YEAR_1 - 1},
        {"seconds": YEAR_9999 + 1},
        {"seconds": 2**63 - 1},
        {"seconds": -(2**63)},
        {"seconds": 0, "nanos": -1},
        {"seconds": 0, "nanos": 10**9},
        {"seconds": 0, "nanos": 2**31 - 1},
    ],
    ids=str,
)
def test_times_out_of_range(time):
    found = violations(recommend_query, RecommendRequest(recent_events=[event(**time)]))
    assert found == {"recent_events[0].event_time": "must be a valid google.protobuf.Timestamp, years 1 to 9999"}


def test_an_event_without_an_item():
    found = violations(recommend_query, RecommendRequest(recent_events=[event(), event(""), event()]))
    assert found == {"recent_events[1].item_id": "is required"}


@pytest.mark.parametrize("count", [10_001, 100_000])
def test_too_many_events(count):
    found = violations(recommend_query, RecommendRequest(recent_events=[event(weight=math.nan)] * count))
    assert found == {"recent_events": f"must hold at most 10000 events, holds {count}; send the most recent ones"}


def test_too_many_exclusions():
    problem = {"exclude_item_ids": "must hold at most 10000 ids, holds 10001"}
    ids = ["a"] * 10_001
    assert violations(recommend_query, RecommendRequest(exclude_item_ids=ids)) == problem
    assert violations(similar_query, SimilarItemsRequest(item_id="a", exclude_item_ids=ids)) == problem


@pytest.mark.parametrize(
    ("profile", "problem"),
    [
        (
            {"a": AttributeValue()},
            {"profile['a']": "must have a value: a text, a number, true or false, or a list of texts"},
        ),
        ({"a": text(" ")}, {"profile['a']": "must not be blank"}),
        (
            {"a": text("x" * 8193)},
            {"profile['a']": "must be at most 8192 characters", "profile": "must have at most 8192"},
        ),
        ({"a": AttributeValue(number_value=math.nan)}, {"profile['a']": "must be finite"}),
        ({"a": AttributeValue(number_value=-math.inf)}, {"profile['a']": "must be finite"}),
        ({"a": texts("x", "")}, {"profile['a'][1]": "must not be blank"}),
        ({"a": texts(*"x" * 101)}, {"profile['a']": "must hold at most 100 texts, holds 101"}),
        ({"": text("x")}, {"profile": "a name must not be blank"}),
        ({"x" * 101: text("x")}, {"profile": "a name must be at most 100 characters, one has 101"}),
        ({str(n): text("x") for n in range(101)}, {"profile": "must hold at most 100 attributes, holds 101"}),
        (
            {"a": text("x" * 5000), "b": texts("x" * 4000)},
            {"profile": "must have at most 8192 characters of text in all"},
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_profiles_out_of_bounds(profile, problem):
    found = violations(recommend_query, RecommendRequest(profile=profile))
    assert set(found) == set(problem)
    assert all(found[field].startswith(problem[field]) for field in problem)


def test_profiles_and_contexts_at_the_bounds():
    profile = {"x" * 100: text("x" * 8192), **{str(n): AttributeValue(number_value=n) for n in range(99)}}
    context = {str(n): "x" * 1000 for n in range(50)}
    query = recommend_query(RecommendRequest(profile=profile, context=context))
    assert (len(query.profile), len(query.context)) == (100, 50)


@pytest.mark.parametrize(
    ("context", "problem"),
    [
        ({"a": " "}, {"context['a']": "must not be blank"}),
        ({"a": "x" * 1001}, {"context['a']": "must be at most 1000 characters, has 1001; shorten it"}),
        ({" ": "x"}, {"context": "a name must not be blank"}),
        ({str(n): "x" for n in range(51)}, {"context": "must hold at most 50 texts, holds 51"}),
    ],
    ids=lambda value: str(value)[:40],
)
def test_contexts_out_of_bounds(context, problem):
    assert violations(recommend_query, RecommendRequest(context=context)) == problem


@pytest.mark.parametrize(
    ("fields", "reasons"),
    [({}, 0), ({"max_reasons": 5}, 0), ({"explain": True}, 3), ({"explain": True, "max_reasons": 20}, 20)],
    ids=str,
)
def test_reasons_are_told_when_asked_for(fields, reasons):
    assert recommend_query(RecommendRequest(**fields)).reasons == reasons


@pytest.mark.parametrize("count", [0, -1, 21])
def test_too_many_reasons(count):
    found = violations(recommend_query, RecommendRequest(explain=True, max_reasons=count))
    assert found == {"max_reasons": f"must be 1 to 20, is {count}"}


def test_too_many_results_to_explain():
    assert recommend_query(RecommendRequest(explain=True, page_size=100)).page_size == 100
    found = violations(recommend_query, RecommendRequest(explain=True, page_size=101))
    assert found == {"explain": "page_size must be at most 100 with it, is 101"}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({}, None),
        ({"max_per_category": 0, "interests": 0}, None),
        ({"mmr_lambda": 0.0}, Diversity(0.0)),
        ({"mmr_lambda": 1.0, "max_per_category": 100, "interests": 8}, Diversity(1.0, 100, 8)),
    ],
    ids=str,
)
def test_diversity_at_the_bounds(message, expected):
    request = RecommendRequest(diversity=DiversityMessage(**message), page_size=100)
    assert recommend_query(request).diversity == expected


@pytest.mark.parametrize("name", ["max_per_category", "interests"])
def test_counts_of_diversity_out_of_bounds(name):
    most = {"max_per_category": 100, "interests": 8}[name]
    for value in (-1, most + 1):
        found = violations(recommend_query, RecommendRequest(diversity=DiversityMessage(**{name: value})))
        assert found == {f"diversity.{name}": f"must be 0 to {most}, is {value}"}


@pytest.mark.parametrize("value", [-0.01, 1.01, math.nan, math.inf])
def test_a_lambda_out_of_bounds(value):
    found = violations(recommend_query, RecommendRequest(diversity=DiversityMessage(mmr_lambda=value)))
    assert found == {"diversity.mmr_lambda": "must be 0 to 1"}


def test_too_many_results_to_choose():
    message = DiversityMessage(interests=2)
    found = violations(recommend_query, RecommendRequest(diversity=message, page_size=101))
    assert found == {"diversity": "page_size must be at most 100 with it, is 101"}
    assert recommend_query(RecommendRequest(diversity=DiversityMessage(), page_size=1000)).page_size == 1000


def test_similar_items_to_nothing():
    assert violations(similar_query, SimilarItemsRequest()) == {"item_id": "is required"}


@pytest.mark.parametrize("count", [0, 1025, 5000])
def test_texts_to_embed_too_few_or_too_many(count):
    found = violations(embed_texts, EmbedRequest(texts=[""] * count))
    assert found == {"texts": f"must hold 1 to 1024 texts, holds {count}"}


@pytest.mark.parametrize("text", ["", " "])
def test_a_blank_text_has_no_vector(text):
    assert violations(embed_texts, EmbedRequest(texts=["a", text])) == {"texts[1]": "must not be blank"}


def test_every_field_at_fault_is_named_at_once():
    request = RecommendRequest(
        text=" ",
        page_size=0,
        recent_events=[event(weight=math.inf), event(""), event("", math.nan, seconds=2**62)],
        exclude_item_ids=["a"] * 10_001,
    )
    assert set(violations(recommend_query, request)) == {
        "text",
        "page_size",
        "recent_events[0].weight",
        "recent_events[1].item_id",
        "recent_events[2].item_id",
        "recent_events[2].weight",
        "recent_events[2].event_time",
        "exclude_item_ids",
    }


def test_a_time_out_of_range_is_named_though_the_others_have_none():
    found = violations(recommend_query, RecommendRequest(recent_events=[event(), event(seconds=2**62), event()]))
    assert set(found) == {"recent_events[1].event_time"}


def test_ten_thousand_faults_are_cut_to_what_fits_the_headers_of_a_response():
    worst = RecommendRequest(recent_events=[event(seconds=2**62)] * 10_000)
    found = violations(recommend_query, worst)
    assert len(found) == 20
    assert len("; ".join(map(": ".join, found.items()))) < 4096


@pytest.mark.parametrize("letter", ["a", "三", "🚀"])
def test_long_names_at_fault_fit_the_headers_too(letter):
    names = [letter * 97 + f"{number:03}" for number in range(100)]
    found = violations(recommend_query, RecommendRequest(profile={name: text(" ") for name in names[:1]}))
    assert set(found) == {f"profile['{letter * 30}']"}
    request = RecommendRequest(profile={letter * (number + 1): text(" ") for number in range(99)})
    found = violations(recommend_query, request)
    assert 1 <= len(found) <= 20
    assert len(quote("; ".join(map(": ".join, found.items())), safe=" ';:[]")) < 2_200
