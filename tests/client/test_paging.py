"""Following page tokens. Every test that makes calls runs with both clients."""

import grpc
import pytest

import tanager
from tanager.v1 import catalog_pb2, common_pb2, recommendation_pb2

PAGES = {"": ("ab", "p1"), "p1": ("c", "p2"), "p2": ("", "")}


def items_page(request, context):
    ids, token = PAGES[request.page_token]
    return catalog_pb2.ListItemsResponse(items=[catalog_pb2.Item(item_id=each) for each in ids], next_page_token=token)


def results_page(request, context):
    ids, token = PAGES[request.page_token]
    return recommendation_pb2.RecommendResponse(
        results=[common_pb2.Result(item_id=each) for each in ids],
        next_page_token=token,
        attribution_token=f"of {request.page_token}",
    )


async def test_items_are_read_to_the_last_page(client, server):
    server.on("ListItems", items_page)
    items = [item.item_id async for item in client.iter_items(filter="year > 2000", page_size=2)]
    assert items == ["a", "b", "c"]
    assert [call.request for call in server.calls] == [
        catalog_pb2.ListItemsRequest(filter="year > 2000", page_size=2, page_token=token) for token in PAGES
    ]
    assert len({call.metadata["x-request-id"] for call in server.calls}) == 3


async def test_a_page_is_asked_for_when_it_is_wanted(client, server):
    server.on("ListItems", items_page)
    items = client.iter_items()
    assert server.calls == []
    assert (await anext(items)).item_id == "a"
    assert (await anext(items)).item_id == "b"
    assert len(server.calls) == 1
    assert server.call.request.page_size == 1000
    assert (await anext(items)).item_id == "c"
    assert len(server.calls) == 2
    await items.aclose()


async def test_pages_of_recommendations_keep_their_tokens(client, server):
    server.on("Recommend", results_page)
    pages = client.iter_recommendation_pages(text="t", history=iter(["h"]), page_size=2, user_id="u", timeout_s=20)
    found = [([result.item_id for result in page], page.attribution_token) async for page in pages]
    assert found == [(["a", "b"], "of "), (["c"], "of p1"), ([], "of p2")]
    assert [call.request for call in server.calls] == [
        recommendation_pb2.RecommendRequest(
            text="t",
            recent_events=[recommendation_pb2.Event(item_id="h")],
            page_size=2,
            user_id="u",
            page_token=token,
        )
        for token in PAGES
    ]


async def test_what_cannot_be_sent_is_refused_before_the_first_page(client, server):
    with pytest.raises(TypeError, match="filter must be a str"):
        client.iter_items(filter=3)
    with pytest.raises(TypeError, match="history must be an iterable"):
        client.iter_recommendation_pages(history="a")
    assert server.calls == []


async def test_a_page_that_fails_ends_the_reading(client, server):
    def answer(request, context):
        if request.page_token:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the token is not of this filter")
        return items_page(request, context)

    server.on("ListItems", answer)
    items = client.iter_items()
    assert [(await anext(items)).item_id, (await anext(items)).item_id] == ["a", "b"]
    with pytest.raises(tanager.InvalidArgumentError, match="not of this filter"):
        await anext(items)


async def test_pages_that_never_end_are_an_error(client, server):
    server.on("ListItems", catalog_pb2.ListItemsResponse(next_page_token="same"))
    with pytest.raises(tanager.InternalError, match="the token of that very page"):
        async for _ in client.iter_items():
            pass
    assert len(server.calls) == 2
