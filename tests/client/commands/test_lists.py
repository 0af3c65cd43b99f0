"""`tanager recommend`, `rank`, `trending` and `audience`."""

import json

import pytest

from tanager.commands import lists
from tanager.v1 import common_pb2, recommendation_pb2

RESULTS = [
    common_pb2.Result(item_id="a", title="A", domain="film", rank=1, score=0.5, sources=["SOURCE_GIVEN"]),
    common_pb2.Result(item_id="b", title="B", rank=2, score=0.25, sources=["SOURCE_TRENDING"]),
]


def test_recommend_sends_all_that_a_live_server_knows(server, run):
    server.on("Recommend", recommendation_pb2.RecommendResponse())
    run(
        *["recommend", "--user", "u", "--filter", 'domain = "film"', "--target-domain", "film"],
        *["--source-domain", "book", "--source-domain", "game", "--example", "a", "--example", "b=-0.5"],
        *["--page-token", "p", "--min-consistency-token", "t"],
    )
    assert server.call.request == recommendation_pb2.RecommendRequest(
        user_id="u",
        filter='domain = "film"',
        target_domains=["film"],
        source_domains=["book", "game"],
        examples=[recommendation_pb2.Example(item_id="a"), recommendation_pb2.Example(item_id="b", weight=-0.5)],
        page_token="p",
        min_consistency_token="t",
    )


def test_recommend_tells_the_tokens(server, run):
    served_by = common_pb2.ServedBy(strategy=common_pb2.STRATEGY_TRENDING, degraded=True)
    server.on(
        "Recommend",
        recommendation_pb2.RecommendResponse(
            results=RESULTS,
            shortfall=common_pb2.SHORTFALL_FILTER,
            served_by=served_by,
            next_page_token="n",
            attribution_token="x",
        ),
    )
    assert run("recommend")[4:-1] == [
        "strategy     trending: what users take up lately",
        "shortfall    fewer than asked for: the rest is seen, excluded or filtered out",
        "degraded     something was left out, for there was no time or no room for it",
        "next page    --page-token n",
        "attribution  x",
    ]


@pytest.mark.parametrize(
    ("entry", "item_id", "weight"),
    [("a", "a", None), ("a=2", "a", 2), ("a=b=-1", "a=b", -1), ("a=b", "a=b", None), ("=2", "=2", None)],
)
def test_an_example_has_a_weight_where_a_number_follows(entry, item_id, weight):
    example = lists._example(entry)
    assert (example, None) == (item_id, weight) or (example.item_id, example.weight) == (item_id, weight)  # type: ignore[union-attr]


def test_rank(server, run):
    served_by = common_pb2.ServedBy(strategy=common_pb2.STRATEGY_RANK)
    server.on("Rank", recommendation_pb2.RankResponse(results=RESULTS, unknown_item_count=1, served_by=served_by))
    lines = run("rank", "a", "b", "c", *["--user", "u", "--text", "t", "--history", "h", "--max-reasons", "2"])
    assert server.call.request == recommendation_pb2.RankRequest(
        item_ids=["a", "b", "c"],
        user_id="u",
        text="t",
        recent_events=[recommendation_pb2.Event(item_id="h")],
        explain=True,
        max_reasons=2,
    )
    assert lines[:6] == [
        "rank   score  title  domain  id  found by",
        "   1  0.5000  A      film    a   given",
        "   2  0.2500  B      -       b   trending",
        "",
        "strategy  rank: the given items, ordered for the user",
        "ignored   1 of the items and of the history, not in the catalogue",
    ]
    assert len(lines) == 7


def test_rank_names_its_own_options(failing):
    assert failing("rank", "a", "--text", "\udce9")[1].startswith("--text: text has no UTF-8 form")


def test_trending(server, run):
    served_by = common_pb2.ServedBy(strategy=common_pb2.STRATEGY_TRENDING)
    server.on(
        "Trending",
        recommendation_pb2.TrendingResponse(results=RESULTS, shortfall=common_pb2.SHORTFALL_NONE, served_by=served_by),
    )
    options = "trending -n 2 --half-life 24 --filter year>2000 --target-domain film --exclude x"
    lines = run(*options.split())
    assert server.call.request == recommendation_pb2.TrendingRequest(
        page_size=2, half_life_h=24, filter="year>2000", target_domains=["film"], exclude_item_ids=["x"]
    )
    assert lines[4:6] == ["strategy   trending: what users take up lately", "shortfall  none"]
    assert "in the server" not in lines[6]


def test_audience(server, run):
    reason = common_pb2.Reason(kind="REASON_KIND_PROFILE", attribute="age=18-24", contribution=0.25)
    members = [
        recommendation_pb2.AudienceMember(user_id="u\t1", rank=1, score=0.5, reasons=[reason]),
        recommendation_pb2.AudienceMember(user_id="u2", rank=2, score=0.25),
    ]
    server.on("FindAudience", recommendation_pb2.FindAudienceResponse(members=members, candidate_count=1234))
    lines = run("audience", "a", *["-n", "2", "--filter", "age >= 18", "--include-seen", "--explain"])
    assert server.call.request == recommendation_pb2.FindAudienceRequest(
        item_id="a", page_size=2, filter="age >= 18", include_seen=True, explain=True
    )
    assert lines[:6] == [
        "rank   score  user",
        "   1  0.5000  u 1",
        "      +0.2500  liked by users with age=18-24",
        "   2  0.2500  u2",
        "",
        "chosen from  1,234 users",
    ]


def test_an_audience_of_nobody(server, run):
    server.on("FindAudience", recommendation_pb2.FindAudienceResponse())
    assert run("audience", "a")[0] == "no users"
    assert server.call.request == recommendation_pb2.FindAudienceRequest(item_id="a")


@pytest.mark.parametrize(
    ("method", "argv", "key"),
    [
        ("Rank", ["rank", "a"], "results"),
        ("Trending", ["trending"], "results"),
        ("FindAudience", ["audience", "a"], "members"),
    ],
)
def test_as_json(server, run, method, argv, key):
    server.on(method, getattr(recommendation_pb2, f"{method}Response")())
    answer = json.loads("\n".join(run(*argv, "--format", "json")))
    assert answer[key] == []
    assert answer["request_id"] == server.call.metadata["x-request-id"]
