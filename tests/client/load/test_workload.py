from random import Random

import pytest

from tanager.load import workload
from tanager.load.workload import (
    METHODS,
    RECOMMEND,
    SIMILAR_ITEMS,
    Item,
    WorkloadError,
    list_items,
    make_pool,
    read_pool,
)
from tanager.v1 import recommendation_pb2

ITEMS = [Item(f"film-{i}", f"Film {i}") for i in range(40)]


def parsed(pool):
    messages = (recommendation_pb2.RecommendRequest, recommendation_pb2.SimilarItemsRequest)
    return [messages[method].FromString(request) for method, request in pool.requests]


def made(kind, *, size=100, items=ITEMS, seed=1):
    return make_pool(items, kind, page_size=7, size=size, random=Random(seed))


def test_wishes_are_made_of_titles_and_all_differ():
    pool = made("text", size=300)
    requests = parsed(pool)
    assert {method for method, _ in pool.requests} == {RECOMMEND}
    assert len({request.text for request in requests}) == len(requests) == 300
    assert all("Film " in request.text and not request.recent_events for request in requests)
    assert {request.page_size for request in requests} == {7}
    assert "40 items" in pool.source


def test_there_are_no_more_wishes_than_titles_make():
    assert len(made("text", size=10_000, items=ITEMS[:3]).requests) == 3 * len(workload._PHRASES)


def test_histories_have_1_to_20_different_items():
    histories = [[event.item_id for event in request.recent_events] for request in parsed(made("history", size=500))]
    assert {len(history) for history in histories} == set(range(1, 21))
    assert all(len(set(history)) == len(history) for history in histories)


def test_histories_fit_a_small_catalogue():
    assert {len(request.recent_events) for request in parsed(made("history", items=ITEMS[:2]))} == {1, 2}


def test_similar_asks_for_every_item_once():
    pool = made("similar")
    assert {method for method, _ in pool.requests} == {SIMILAR_ITEMS}
    assert sorted(request.item_id for request in parsed(pool)) == sorted(item.item_id for item in ITEMS)


def test_mixed_has_everything_in_its_shares():
    pool = made("mixed", size=2_000)
    kinds = []
    for (method, _), request in zip(pool.requests, parsed(pool), strict=True):
        if method == SIMILAR_ITEMS:
            kinds.append("similar")
        else:
            kinds.append({(1, 0): "text", (0, 1): "history", (1, 1): "text and history", (0, 0): "nothing"}[
                (bool(request.text), bool(request.recent_events))
            ])  # fmt: skip
    assert sum(workload.MIX.values()) == 100
    for kind, share in workload.MIX.items():
        assert kinds.count(kind) / len(kinds) == pytest.approx(share / 100, abs=0.03)


@pytest.mark.parametrize("kind", workload.WORKLOADS)
def test_a_seed_repeats_the_pool(kind):
    assert made(kind) == made(kind)
    assert made(kind).requests != made(kind, seed=2).requests


def test_what_a_catalogue_lacks_is_named():
    with pytest.raises(WorkloadError, match="empty"):
        made("history", items=[])
    with pytest.raises(WorkloadError, match="no titles"):
        made("text", items=[Item("a", " ")])


class Catalogue:
    """A client of a catalogue of which no page holds more than 1,000 items."""

    def __init__(self, size):
        self.ids = [f"film-{i}" for i in range(size)]
        self.pages = []

    def recommend(self, *, page_size, exclude_item_ids):
        self.pages.append(page_size)
        left = [item_id for item_id in self.ids if item_id not in set(exclude_item_ids)]
        return [Item(item_id, f"title of {item_id}") for item_id in left[:page_size]]


@pytest.mark.parametrize(("size", "pages", "listed"), [(0, 1, 0), (10, 1, 10), (1_000, 2, 1_000), (9_000, 4, 4_000)])
def test_the_catalogue_is_listed_page_by_page(size, pages, listed):
    catalogue = Catalogue(size)
    items = list_items(catalogue)  # type: ignore[arg-type]
    assert [item.item_id for item in items] == catalogue.ids[:listed]
    assert catalogue.pages == [1_000] * pages
    assert all(item.title == f"title of {item.item_id}" for item in items)


@pytest.fixture
def lines(tmp_path):
    def write(*text):
        path = tmp_path / "requests.jsonl"
        path.write_text("\n".join(text), encoding="utf-8")
        return path

    return write


def test_requests_are_read_in_either_spelling_of_json(lines):
    path = lines('{"text": "宇宙", "pageSize": 3}', "", '{"recent_events": [{"item_id": "a", "weight": -1}]}')
    pool = read_pool(path, "text", 7)
    first, second = parsed(pool)
    assert (first.text, first.page_size) == ("宇宙", 3)
    assert (second.recent_events[0].item_id, second.recent_events[0].weight, second.page_size) == ("a", -1, 7)
    assert str(path) in pool.source


def test_similar_reads_its_own_message_and_mixed_both(lines):
    path = lines('{"itemId": "a"}')
    assert read_pool(path, "similar", 7).requests[0][0] == SIMILAR_ITEMS
    mixed = read_pool(lines('{"item_id": "a"}', '{"text": "b"}', "{}"), "mixed", 7)
    assert [method for method, _ in mixed.requests] == [SIMILAR_ITEMS, RECOMMEND, RECOMMEND]


@pytest.mark.parametrize(
    ("line", "kind", "message"),
    [
        ("nonsense", "text", r"requests\.jsonl:2: .*Expecting value"),
        ("[1]", "text", r"requests\.jsonl:2: .*JSON object"),
        ('{"txt": "a"}', "text", r"requests\.jsonl:2: .*txt"),
        ('{"text": 5}', "text", r"requests\.jsonl:2: .*text"),
        ('{"itemId": "a"}', "text", r"requests\.jsonl:2: .*itemId"),
        ('{"text": "a"}', "similar", r"requests\.jsonl:2: .*text"),
    ],
)
def test_a_line_that_is_no_request_is_named(lines, line, kind, message):
    path = lines('{"itemId": "a"}' if kind == "similar" else "{}", line)
    with pytest.raises(WorkloadError, match=message):
        read_pool(path, kind, 10)


def test_a_file_without_requests_is_refused(lines):
    with pytest.raises(WorkloadError, match="no request"):
        read_pool(lines("", "  "), "text", 10)


def test_the_methods_are_those_of_the_contract():
    service = recommendation_pb2.DESCRIPTOR.services_by_name["RecommendationService"]
    assert [f"/{service.full_name}/{service.methods_by_name[name].name}" for name in ("Recommend", "SimilarItems")] == [
        *METHODS
    ]
