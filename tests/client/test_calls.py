"""What is sent for a call, and what is made of the answer. Every test runs with both clients."""

import datetime as dt
import struct

import pytest

import tanager
from tanager import _answers
from tanager.v1 import common_pb2, embedding_pb2, model_pb2, recommendation_pb2

TIMING = common_pb2.Timing(queue_us=1, tokenize_us=20, encode_us=300, search_us=4000, rank_us=50000, batch_size=7)
SERVED_BY = common_pb2.ServedBy(bundle_id="abc", strategy=common_pb2.STRATEGY_PERSONAL)
RESULTS = [
    common_pb2.Result(
        item_id="film-1",
        title="降临",
        domain="film",
        rank=1,
        score=0.5,
        sources=[common_pb2.SOURCE_WISH, common_pb2.SOURCE_COLLABORATIVE],
    ),
    common_pb2.Result(item_id="book-1", title="Solaris", rank=2, score=0.25, sources=[common_pb2.SOURCE_POPULAR]),
]


@pytest.fixture
def server(server):
    server.on(
        "Recommend",
        recommendation_pb2.RecommendResponse(
            results=RESULTS,
            shortfall=common_pb2.SHORTFALL_FILTER,
            unknown_item_count=3,
            unknown_attribute_count=2,
            served_by=SERVED_BY,
            timing=TIMING,
        ),
    )
    server.on(
        "SimilarItems",
        recommendation_pb2.SimilarItemsResponse(
            results=RESULTS[1:],
            shortfall=common_pb2.SHORTFALL_NONE,
            served_by=common_pb2.ServedBy(bundle_id="abc", strategy=common_pb2.STRATEGY_SIMILAR),
        ),
    )
    server.on(
        "Embed",
        embedding_pb2.EmbedResponse(vectors=struct.pack("<4f", 0, 1, -1, 0), dim=2, served_by=SERVED_BY, timing=TIMING),
    )
    status = model_pb2.GetStatusResponse(server_version="0.1.0", execution_provider="CPU", queue_depth=4)
    status.start_time.FromJsonString("2026-01-02T03:04:05Z")
    status.bundle.bundle_id = "abc"
    status.bundle.create_time.FromJsonString("2026-01-01T00:00:00Z")
    status.bundle.simulated_behaviour = True
    status.bundle.item_count = 5
    status.bundle.domain_item_counts.update({"film": 4, "": 1})
    status.bundle.quality.update({"index_recall_at_10": 0.75})
    server.on("GetStatus", status)
    return server


async def test_recommend_answers_with_typed_results(client):
    answer = await client.recommend(text="first contact", request_id="r-1")
    assert answer == tanager.Recommendations(
        results=(
            tanager.Result(
                item_id="film-1",
                title="降临",
                domain="film",
                rank=1,
                score=0.5,
                sources=(tanager.Source.WISH, tanager.Source.COLLABORATIVE),
            ),
            tanager.Result(
                item_id="book-1", title="Solaris", domain="", rank=2, score=0.25, sources=(tanager.Source.POPULAR,)
            ),
        ),
        strategy=tanager.Strategy.PERSONAL,
        shortfall=tanager.Shortfall.FILTER,
        unknown_item_count=3,
        unknown_attribute_count=2,
        bundle_id="abc",
        timing=tanager.Timing(queue_us=1, tokenize_us=20, encode_us=300, search_us=4000, rank_us=50000, batch_size=7),
        request_id="r-1",
    )


async def test_recommend_sends_nothing_that_was_not_given(client, server):
    await client.recommend()
    assert server.call.request == recommendation_pb2.RecommendRequest()
    assert not server.call.request.HasField("page_size")


async def test_recommend_sends_everything_that_was_given(client, server):
    await client.recommend(
        text="宇宙 🚀",
        history=["a", tanager.Event("b"), tanager.Event("c", weight=-0.5)],
        page_size=0,
        exclude_item_ids=("x", "y"),
        include_seen=True,
    )
    assert server.call.request == recommendation_pb2.RecommendRequest(
        text="宇宙 🚀",
        recent_events=[
            recommendation_pb2.Event(item_id="a"),
            recommendation_pb2.Event(item_id="b"),
            recommendation_pb2.Event(item_id="c", weight=-0.5),
        ],
        page_size=0,
        exclude_item_ids=["x", "y"],
        include_seen=True,
    )
    assert not server.call.request.recent_events[0].HasField("weight")


async def test_a_profile_and_a_context_are_sent_as_what_they_are(client, server):
    await client.recommend(
        profile={
            "gender": "female",
            "age": 25,
            "height": 1.7,
            "member": True,
            "hobbies": ["go", "三体"],
            "no": (),
        },
        context={"occasion": "rain"},
    )
    value = common_pb2.AttributeValue
    assert server.call.request == recommendation_pb2.RecommendRequest(
        profile={
            "gender": value(string_value="female"),
            "age": value(number_value=25),
            "height": value(number_value=1.7),
            "member": value(bool_value=True),
            "hobbies": value(string_list=common_pb2.StringList(values=["go", "三体"])),
            "no": value(string_list=common_pb2.StringList()),
        },
        context={"occasion": "rain"},
    )


async def test_reasons_are_asked_for_and_answered_typed(client, server):
    reasons = [
        common_pb2.Reason(kind="REASON_KIND_TEXT", item_id="a", title="A", contribution=0.5),
        common_pb2.Reason(kind="REASON_KIND_PROFILE", attribute="age=18-24", contribution=0.25),
        common_pb2.Reason(kind=99, contribution=0.125),  # type: ignore[arg-type]
    ]
    server.on(
        "Recommend",
        recommendation_pb2.RecommendResponse(
            results=[common_pb2.Result(item_id="b", score=0.75, reasons=reasons, other_contribution=-0.125)]
        ),
    )
    answer = await client.recommend(explain=True, max_reasons=3)
    assert server.call.request == recommendation_pb2.RecommendRequest(explain=True, max_reasons=3)
    assert answer[0].reasons == (
        tanager.Reason(kind=tanager.ReasonKind.TEXT, item_id="a", title="A", attribute="", contribution=0.5),
        tanager.Reason(kind=tanager.ReasonKind.PROFILE, item_id="", title="", attribute="age=18-24", contribution=0.25),
        tanager.Reason(kind=tanager.ReasonKind.UNKNOWN, item_id="", title="", attribute="", contribution=0.125),
    )
    assert answer[0].other_contribution == -0.125


async def test_diversity_is_sent_as_it_is(client, server):
    await client.recommend(diversity=tanager.Diversity(mmr_lambda=0.5, max_per_category=2, interests=3))
    assert server.call.request == recommendation_pb2.RecommendRequest(
        diversity=recommendation_pb2.Diversity(mmr_lambda=0.5, max_per_category=2, interests=3)
    )


async def test_diversity_that_says_nothing_sends_no_lambda(client, server):
    await client.recommend(diversity=tanager.Diversity())
    assert not server.call.request.diversity.HasField("mmr_lambda")


@pytest.mark.parametrize("kind", [kind for kind in tanager.ReasonKind if kind is not tanager.ReasonKind.UNKNOWN])
def test_every_kind_of_reason_is_known_by_its_name(kind):
    wire = common_pb2.ReasonKind.Value(f"REASON_KIND_{kind.name}")
    assert _answers._REASON_KINDS[wire] is kind


@pytest.mark.parametrize(
    ("arguments", "error", "named"),
    [
        ({"max_reasons": "3"}, TypeError, "max_reasons must be an int"),
        ({"diversity": 0.5}, TypeError, "diversity must be a Diversity"),
        ({"diversity": tanager.Diversity(mmr_lambda="x")}, TypeError, "diversity.mmr_lambda must be a number"),  # type: ignore[arg-type]
        ({"diversity": tanager.Diversity(interests=2**40)}, ValueError, "diversity.interests must fit in 32 bits"),
        ({"profile": {"a": None}}, TypeError, "profile['a'] must be a str, a number, a bool or a list of str"),
        ({"profile": {"a": b"x"}}, TypeError, "profile['a']"),
        ({"profile": {"a": {"b": 1}}}, TypeError, "profile['a']"),
        ({"profile": {"a": [1]}}, TypeError, "profile['a'][0] must be a str"),
        ({"profile": {1: "x"}}, TypeError, "profile: a name must be a str"),
        ({"profile": {"a": "\ud800"}}, ValueError, "profile['a'] has no UTF-8 form"),
        ({"profile": ["a"]}, TypeError, "profile must be a mapping"),
        ({"context": "rain"}, TypeError, "context must be a mapping"),
        ({"context": {"a": 1}}, TypeError, "context['a'] must be a str"),
    ],
    ids=str,
)
async def test_what_no_profile_can_hold_is_refused_by_name(client, server, arguments, error, named):
    with pytest.raises(error) as refused:
        await client.recommend(**arguments)
    assert str(refused.value).startswith(named)
    assert not server.calls


async def test_the_time_of_an_event_is_sent_as_utc(client, server):
    beijing = dt.timezone(dt.timedelta(hours=8))
    await client.recommend(history=[tanager.Event("a", time=dt.datetime(2026, 1, 2, 8, 30, tzinfo=beijing))])
    assert server.call.request.recent_events[0].event_time.ToJsonString() == "2026-01-02T00:30:00Z"


async def test_bounds_are_left_to_the_server(client, server):
    await client.recommend(text=" ", page_size=10**9, history=[tanager.Event("", weight=float("nan"))])
    assert server.call.request.page_size == 10**9


async def test_a_history_of_100_000_items_is_sent(client, server):
    await client.recommend(history=(str(item) for item in range(100_000)))
    assert len(server.call.request.recent_events) == 100_000


async def test_similar_items(client, server):
    answer = await client.similar_items("a", page_size=2, exclude_item_ids=["b"])
    assert server.call.request == recommendation_pb2.SimilarItemsRequest(
        item_id="a", page_size=2, exclude_item_ids=["b"]
    )
    assert [result.item_id for result in answer] == ["book-1"]
    assert answer.strategy is tanager.Strategy.SIMILAR
    assert answer.shortfall is tanager.Shortfall.NONE


async def test_embed(client, server):
    answer = await client.embed(["a", "百年孤独"])
    assert list(server.call.request.texts) == ["a", "百年孤独"]
    assert [list(vector) for vector in answer] == [[0, 1], [-1, 0]]
    assert (answer.bundle_id, answer.timing.batch_size) == ("abc", 7)


async def test_an_answer_beyond_grpcs_own_limit_of_4_mib_is_read(client, server):
    server.on("Embed", embedding_pb2.EmbedResponse(vectors=bytes(5 * 1024 * 1024), dim=1024))
    assert len(await client.embed(["a"])) == 5 * 256


@pytest.mark.parametrize(("vectors", "dim"), [(b"1234", 0), (b"12345", 1)])
async def test_vectors_that_are_no_vectors_are_an_error(client, server, vectors, dim):
    server.on("Embed", embedding_pb2.EmbedResponse(vectors=vectors, dim=dim))
    with pytest.raises(tanager.InternalError, match=f"{len(vectors)} bytes of vectors of {dim} dimensions"):
        await client.embed(["a"])


async def test_status(client):
    status = await client.status()
    assert (status.server_version, status.execution_provider, status.queue_depth) == ("0.1.0", "CPU", 4)
    assert status.start_time == dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
    assert status.bundle.create_time == dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    assert status.bundle.simulated_behaviour
    assert status.bundle.domain_item_counts == {"film": 4, "": 1}
    assert status.bundle.quality == {"index_recall_at_10": 0.75}


async def test_values_of_a_newer_server_are_unknown_not_errors(client, server):
    server.on(
        "Recommend",
        recommendation_pb2.RecommendResponse(
            results=[common_pb2.Result(sources=[99, common_pb2.SOURCE_TEXT])],  # type: ignore[list-item]
            shortfall=99,  # type: ignore[arg-type]
            served_by=common_pb2.ServedBy(strategy=99),  # type: ignore[arg-type]
        ),
    )
    answer = await client.recommend()
    assert answer.strategy is tanager.Strategy.UNKNOWN
    assert answer.shortfall is tanager.Shortfall.UNKNOWN
    assert answer[0].sources == (tanager.Source.UNKNOWN, tanager.Source.TEXT)


async def test_every_call_has_an_id_of_its_own(client, server):
    answers = [await client.recommend(), await client.similar_items("a"), await client.embed(["a"])]
    answers.append(await client.status())
    sent = [call.metadata["x-request-id"] for call in server.calls]
    assert [answer.request_id for answer in answers] == sent
    assert len(set(sent)) == 4


async def test_every_call_carries_the_metadata_of_its_client(connect, server):
    client = connect(server.target, metadata={"authorization": "Bearer token", "key-bin": b"\xff"})
    await client.status(request_id="mine")
    metadata = server.call.metadata
    assert metadata["authorization"] == "Bearer token"
    assert metadata["key-bin"] == b"\xff"
    assert metadata["x-request-id"] == "mine"
    assert str(metadata["user-agent"]).startswith(f"tanager-python/{tanager.__version__} ")


async def test_every_call_has_a_deadline(connect, server):
    client = connect(server.target, timeout_s=1000)
    await client.status()
    await client.status(timeout_s=10)
    await client.status(timeout_s=1e300)  # gRPC alone would take it for one that has passed
    default, own, endless = (call.time_remaining_s for call in server.calls)
    assert 100 < default < 2000  # gRPC rounds long ones up on the wire
    assert 0 < own < 20
    assert endless > 1e6


async def test_the_raw_stubs_are_reachable(server):
    with tanager.Client(server.target) as client:
        response = client.stubs.recommendation.Recommend(recommendation_pb2.RecommendRequest(), timeout=5)
        assert list(response.results) == RESULTS
    async with tanager.AsyncClient(server.target) as async_client:
        embedded = await async_client.stubs.embedding.Embed(embedding_pb2.EmbedRequest(), timeout=5)
        assert embedded.dim == 2


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"text": None}, TypeError, "text must be a str, not NoneType"),
        ({"text": b"a"}, TypeError, "text must be a str, not bytes"),
        ({"text": "ab\ud800"}, ValueError, "text has no UTF-8 form: a lone surrogate at position 2"),
        ({"history": "abc"}, TypeError, "history must be an iterable such as a list, not str"),
        ({"history": tanager.Event("a")}, TypeError, "history must be an iterable such as a list, not Event"),
        ({"history": ["a", 3]}, TypeError, r"history\[1\] must be an item id \(a str\) or an Event, not int"),
        ({"history": [tanager.Event("\udcff")]}, ValueError, r"history\[0\].item_id has no UTF-8 form"),
        ({"page_size": "3"}, TypeError, "page_size must be an int, not str"),
        ({"page_size": 1.5}, TypeError, "page_size must be an int, not float"),
        ({"page_size": 2**31}, ValueError, "page_size must fit in 32 bits, not 2147483648"),
        ({"exclude_item_ids": "abc"}, TypeError, "exclude_item_ids must be an iterable such as a list, not str"),
        ({"exclude_item_ids": ["a", None]}, TypeError, r"exclude_item_ids\[1\] must be a str, not NoneType"),
        ({"timeout_s": 0}, ValueError, "timeout_s must be a positive number of seconds, not 0"),
        ({"timeout_s": float("inf")}, ValueError, "timeout_s must be a positive number of seconds, not inf"),
        ({"request_id": ""}, ValueError, "request_id must be printable ASCII and not empty"),
        ({"request_id": "a\nb"}, ValueError, "request_id must be printable ASCII and not empty"),
    ],
)
async def test_what_cannot_be_sent_is_refused_by_name(client, server, arguments, error, message):
    with pytest.raises(error, match=f"^{message}"):
        await client.recommend(**arguments)
    assert server.calls == []


async def test_one_text_in_place_of_many_is_refused(client, server):
    with pytest.raises(TypeError, match="texts must be an iterable such as a list, not str"):
        await client.embed("abc")
    with pytest.raises(TypeError, match="item_id must be a str, not int"):
        await client.similar_items(3)
    assert server.calls == []


async def test_recommend_sends_all_that_a_live_server_knows(client, server):
    await client.recommend(
        user_id="u",
        filter='domain = "film"',
        target_domains=["film"],
        source_domains=("book", "game"),
        examples=["a", tanager.Example("b", weight=-2)],
        page_token="p",
        min_consistency_token="t",
    )
    request = server.call.request
    assert request == recommendation_pb2.RecommendRequest(
        user_id="u",
        filter='domain = "film"',
        target_domains=["film"],
        source_domains=["book", "game"],
        examples=[recommendation_pb2.Example(item_id="a"), recommendation_pb2.Example(item_id="b", weight=-2)],
        page_token="p",
        min_consistency_token="t",
    )
    assert not request.examples[0].HasField("weight")


async def test_recommend_tells_all_that_a_live_server_does(client, server):
    served_by = common_pb2.ServedBy(bundle_id="abc", strategy=common_pb2.STRATEGY_TRENDING, generation=3, degraded=True)
    result = common_pb2.Result(item_id="a", sources=[common_pb2.SOURCE_EXPLORATION], propensity=0.25)
    server.on(
        "Recommend",
        recommendation_pb2.RecommendResponse(
            results=[result],
            shortfall=common_pb2.SHORTFALL_FILTER,
            served_by=served_by,
            next_page_token="n",
            attribution_token="x",
        ),
    )
    answer = await client.recommend()
    assert (answer.next_page_token, answer.attribution_token) == ("n", "x")
    assert (answer.generation, answer.degraded) == (3, True)
    assert (answer.strategy, answer.shortfall) == (tanager.Strategy.TRENDING, tanager.Shortfall.FILTER)
    assert (answer[0].propensity, answer[0].sources) == (0.25, (tanager.Source.EXPLORATION,))


async def test_batch_recommend(client, server):
    users = [
        recommendation_pb2.UserRecommendations(
            user_id="u",
            results=RESULTS,
            strategy=common_pb2.STRATEGY_PERSONAL,
            shortfall=common_pb2.SHORTFALL_NONE,
        ),
        recommendation_pb2.UserRecommendations(user_id="v", strategy=common_pb2.STRATEGY_COLD_START),
    ]
    server.on("BatchRecommend", recommendation_pb2.BatchRecommendResponse(users=users, served_by=SERVED_BY))
    answer = await client.batch_recommend(
        (user_id for user_id in "uv"),
        page_size=2,
        filter="f",
        target_domains=["d"],
        source_domains=["s"],
        exclude_item_ids=["x"],
        include_seen=True,
        request_id="r",
    )
    assert server.call.request == recommendation_pb2.BatchRecommendRequest(
        user_ids=["u", "v"],
        page_size=2,
        filter="f",
        target_domains=["d"],
        source_domains=["s"],
        exclude_item_ids=["x"],
        include_seen=True,
    )
    assert [user.user_id for user in answer] == ["u", "v"]
    assert [result.item_id for result in answer[0]] == ["film-1", "book-1"]
    assert (answer[0].strategy, answer[0].shortfall) == (tanager.Strategy.PERSONAL, tanager.Shortfall.NONE)
    assert (answer[1].strategy, len(answer[1])) == (tanager.Strategy.COLD_START, 0)
    assert (answer.bundle_id, answer.request_id) == ("abc", "r")


async def test_rank(client, server):
    served_by = common_pb2.ServedBy(strategy=common_pb2.STRATEGY_RANK)
    server.on(
        "Rank",
        recommendation_pb2.RankResponse(results=RESULTS, unknown_item_count=2, served_by=served_by, timing=TIMING),
    )
    answer = await client.rank(
        ["a", "b"],
        user_id="u",
        text="t",
        history=["c"],
        profile={"age": 25},
        context={"place": "sea"},
        explain=True,
        max_reasons=2,
    )
    assert server.call.request == recommendation_pb2.RankRequest(
        item_ids=["a", "b"],
        user_id="u",
        text="t",
        recent_events=[recommendation_pb2.Event(item_id="c")],
        profile={"age": common_pb2.AttributeValue(number_value=25)},
        context={"place": "sea"},
        explain=True,
        max_reasons=2,
    )
    assert [result.item_id for result in answer] == ["film-1", "book-1"]
    assert (answer.strategy, answer.unknown_item_count, answer.timing.batch_size) == (tanager.Strategy.RANK, 2, 7)


async def test_trending(client, server):
    server.on(
        "Trending",
        recommendation_pb2.TrendingResponse(
            results=RESULTS,
            shortfall=common_pb2.SHORTFALL_FILTER,
            served_by=common_pb2.ServedBy(strategy=common_pb2.STRATEGY_TRENDING),
        ),
    )
    answer = await client.trending(
        page_size=3, half_life_h=24, filter="f", target_domains=["film"], exclude_item_ids=["x"]
    )
    assert server.call.request == recommendation_pb2.TrendingRequest(
        page_size=3, half_life_h=24, filter="f", target_domains=["film"], exclude_item_ids=["x"]
    )
    assert (len(answer), answer.strategy, answer.shortfall) == (
        2,
        tanager.Strategy.TRENDING,
        tanager.Shortfall.FILTER,
    )
    await client.trending()
    assert server.calls[1].request == recommendation_pb2.TrendingRequest()


async def test_find_audience(client, server):
    reason = common_pb2.Reason(kind="REASON_KIND_TEXT", item_id="a", title="A", contribution=0.5)
    members = [
        recommendation_pb2.AudienceMember(user_id="u", rank=1, score=0.5, reasons=[reason]),
        recommendation_pb2.AudienceMember(user_id="v", rank=2, score=0.25),
    ]
    server.on(
        "FindAudience",
        recommendation_pb2.FindAudienceResponse(members=members, candidate_count=9, served_by=SERVED_BY),
    )
    answer = await client.find_audience("a", page_size=2, include_seen=True, filter="age >= 18", explain=True)
    assert server.call.request == recommendation_pb2.FindAudienceRequest(
        item_id="a", page_size=2, include_seen=True, filter="age >= 18", explain=True
    )
    typed = tanager.Reason(kind=tanager.ReasonKind.TEXT, item_id="a", title="A", attribute="", contribution=0.5)
    assert list(answer) == [
        tanager.AudienceMember(user_id="u", rank=1, score=0.5, reasons=(typed,)),
        tanager.AudienceMember(user_id="v", rank=2, score=0.25),
    ]
    assert (answer.candidate_count, answer.bundle_id) == (9, "abc")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda c: c.recommend(examples="a"), TypeError, "examples must be an iterable such as a list, not str"),
        (lambda c: c.recommend(examples=[3]), TypeError, r"examples\[0\] must be an item id \(a str\) or an Example"),
        (lambda c: c.recommend(target_domains="film"), TypeError, "target_domains must be an iterable"),
        (lambda c: c.recommend(user_id=3), TypeError, "user_id must be a str, not int"),
        (lambda c: c.recommend(page_token=None), TypeError, "page_token must be a str"),
        (lambda c: c.batch_recommend("abc"), TypeError, "user_ids must be an iterable such as a list, not str"),
        (lambda c: c.rank("abc"), TypeError, "item_ids must be an iterable such as a list, not str"),
        (lambda c: c.trending(half_life_h="24"), TypeError, "half_life_h must be a number, not str"),
        (lambda c: c.find_audience(None), TypeError, "item_id must be a str, not NoneType"),
    ],
)
async def test_what_cannot_be_asked_is_refused_by_name(client, server, call, error, message):
    with pytest.raises(error, match=f"^{message}"):
        await call(client)
    assert server.calls == []
