"""Page tokens: what they say, whom they belong to, and what is no token."""

from __future__ import annotations

import base64
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tanager.v1 import catalog_pb2, recommendation_pb2
from tanager_server.engine import Page, RecommendQuery
from tanager_server.engine.request import Recommendation, Shortfall, Strategy, Timing
from tanager_server.errors import InvalidRequestError
from tanager_server.rpc.paging import MAX_SHOWN, Pages

REQUEST = recommendation_pb2.RecommendRequest(text="space", page_size=10)
HEADER_BYTES = 32


def token_of(pages, values, request=REQUEST):
    return pages.token(request, np.array(values, np.int64))


def answer(generation, positions):
    page = Page(positions, [0.0] * len(positions), [1] * len(positions), 0.0)
    return Recommendation(generation, page, Strategy.WISH, Shortfall.NONE, 0, Timing())


@given(st.lists(st.integers(0, 2**31 - 1), max_size=MAX_SHOWN, unique=True).map(sorted))
def test_a_token_says_what_was_put_into_it(values):
    pages = Pages()
    assert pages.read(REQUEST, token_of(pages, values)).tolist() == values


def test_size_and_freshness_may_differ_from_page_to_page_and_nothing_else():
    pages = Pages()
    token = token_of(pages, [1, 5])
    again = recommendation_pb2.RecommendRequest(text="space", page_size=3, page_token=token, min_consistency_token="x")
    assert pages.shown(again) == [1, 5]
    for field, value in (("text", "love"), ("user_id", "ann"), ("include_seen", True), ("filter", "year > 3")):
        other = recommendation_pb2.RecommendRequest()
        other.CopyFrom(again)
        setattr(other, field, value)
        with pytest.raises(InvalidRequestError, match="page_token: belongs to another request"):
            pages.shown(other)


@pytest.mark.parametrize("token", ["x", "===", "é", "AAAA", "A" * 44, "A" * 400, "+/+/"])
def test_what_is_no_token_is_refused(token):
    with pytest.raises(InvalidRequestError, match="page_token"):
        Pages().read(REQUEST, token)


@given(st.integers(0, 200), st.integers(1, 255))
def test_a_token_in_which_anything_is_changed_is_refused(place, change):
    pages = Pages()
    raw = bytearray(base64.urlsafe_b64decode(token_of(pages, range(0, 300, 7))))
    raw[place % len(raw)] ^= change
    with pytest.raises(InvalidRequestError, match="page_token"):
        pages.read(REQUEST, base64.urlsafe_b64encode(bytes(raw)).decode())


@pytest.mark.parametrize("body", [b"", b"no zlib", zlib.compress(np.array([-5, 1 << 30], "<i4").tobytes())])
def test_nobody_else_can_make_a_token(body):
    """Positions out of a forged one would reach the ranking."""
    pages = Pages()
    raw = base64.urlsafe_b64decode(token_of(pages, [1]))
    for header in (raw[:HEADER_BYTES], raw[:16] + zlib.crc32(body).to_bytes(16, "little")):
        with pytest.raises(InvalidRequestError, match="is no page token"):
            pages.read(REQUEST, base64.urlsafe_b64encode(header + body).decode())


def test_tokens_of_another_process_or_bundle_are_refused():
    pages = Pages()
    token = token_of(pages, [1])
    with pytest.raises(InvalidRequestError, match="begin with the first page"):
        Pages().read(REQUEST, token)


def test_a_list_of_items_has_tokens_too():
    pages, request = Pages(), catalog_pb2.ListItemsRequest(filter="year > 3", page_size=5)
    token = token_of(pages, [17], request)
    assert pages.read(catalog_pb2.ListItemsRequest(filter="year > 3", page_token=token), token).tolist() == [17]


@pytest.mark.parametrize(
    ("shown", "found", "page_size", "more"),
    [
        ([], [4, 2], 2, True),
        ([], [4], 2, False),
        ([9, 1], [4, 2], 2, True),
        (range(10, MAX_SHOWN + 6), [4, 2], 2, True),
        (range(10, MAX_SHOWN + 8), [4, 2], 2, False),
        ([], range(MAX_SHOWN), MAX_SHOWN, False),
    ],
    ids=str,
)
def test_there_is_a_next_page_after_a_full_one_up_to_a_bound(make_generation, shown, found, page_size, more):
    pages, query = Pages(), RecommendQuery(page_size, shown=list(shown))
    token = pages.next_token(REQUEST, query, answer(make_generation(5), list(found)))
    assert bool(token) == more
    if more:
        assert pages.read(REQUEST, token).tolist() == sorted({*shown, *found})
