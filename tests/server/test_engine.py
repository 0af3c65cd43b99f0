"""One recommendation from request to list: what is in it, in which order, and what is said about it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tanager_server.engine import Events, RecommendQuery, Shortfall, SimilarQuery, Source, Strategy
from tanager_server.errors import ItemNotFoundError
from tanager_server.index import best_first

if TYPE_CHECKING:
    from tanager_server.bundle import ProfileValue

ITEMS = 60


@pytest.fixture(scope="module")
def generation(make_generation):
    return make_generation(ITEMS)


@pytest.fixture
def engine(generation, make_engine):
    """Its only wish, `near-7`, has the vector of item 7."""
    return make_engine(generation, **{"near-7": generation.vectors[7]})[0]


@pytest.fixture
def recommend(engine):
    async def run(*liked, page_size=10, **query):
        return await engine.recommend(RecommendQuery(page_size, **({"events": likes(*liked)} | query)), deadline=0)

    return run


def ids(recommendation):
    return [item.item_id for item in recommendation.items]


def names(numbers):
    return [f"item-{number}" for number in numbers]


def likes(*numbers):
    return Events(names(numbers), [1.0] * len(numbers))


def only_text(items):
    """Nothing but the text tells items apart."""
    nothing = np.zeros((items, items))
    return {"weights": nothing, "follows": nothing, "priors": np.ones((2, items))}


def dense(rows, columns):
    matrix = np.zeros((len(rows.indptr) - 1, columns), np.float32)
    for row in range(len(matrix)):
        part = slice(rows.indptr[row], rows.indptr[row + 1])
        matrix[row, rows.indices[part]] = rows.weights[part]
    return matrix


# Strategies


@pytest.mark.parametrize(
    ("text", "items", "strategy"),
    [
        ("", [], Strategy.COLD_START),
        ("near-7", [], Strategy.WISH),
        ("", ["item-1"], Strategy.PERSONAL),
        ("near-7", ["item-1"], Strategy.PERSONAL),
        ("", ["nothing"], Strategy.COLD_START),
        ("near-7", ["nothing"], Strategy.WISH),
        ("", ["nothing", "item-1"], Strategy.PERSONAL),
    ],
)
async def test_the_strategy_tells_what_was_known(recommend, text, items, strategy):
    answer = await recommend(text=text, events=Events(items, [1.0] * len(items)))
    assert answer.strategy is strategy
    assert answer.unknown_items == items.count("nothing")
    assert len(answer.items) == 10


async def test_somebody_unknown_gets_the_most_popular_in_order(recommend, generation):
    answer = await recommend(page_size=ITEMS)
    assert ids(answer) == names(best_first(generation.priors[0]))
    assert {item.sources for item in answer.items} == {Source.POPULAR}


async def test_the_popular_list_is_the_same_whatever_was_asked_for_before(recommend, generation):
    order = names(best_first(generation.priors[0]))
    for page_size, excluded in ((3, []), (10, order[:5]), (2, order[1:2]), (ITEMS, order[::2]), (5, [])):
        answer = await recommend(page_size=page_size, exclude=excluded)
        assert ids(answer) == [item for item in order if item not in excluded][:page_size]
    first = answer.items[0]
    assert first.score == pytest.approx(generation.priors[0][generation.catalogue.position(first.item_id)])


async def test_a_wish_is_answered_by_what_is_nearest(recommend):
    answer = await recommend(text="near-7")
    assert ids(answer)[0] == "item-7"
    assert all(item.sources & Source.WISH and not item.sources & Source.POPULAR for item in answer.items)


async def test_the_wish_is_encoded_behind_the_prompt_of_the_bundle(make_generation, make_engine):
    generation = make_generation(5, query_prompt="query: ")
    engine, wishes = make_engine(generation, **{"query: 三体": generation.vectors[0]})
    answer = await engine.recommend(RecommendQuery(1, text="三体"), deadline=12.5)
    assert [(text, deadline) for text, _, deadline in wishes.asked] == [("query: 三体", 12.5)]
    timing = answer.timing
    assert (timing.tokenize_s, timing.queue_s, timing.encode_s, timing.batch_size) == (0.1, 0.2, 0.3, 4)
    assert timing.search_s >= 0.4
    assert timing.rank_s >= 0


@pytest.mark.parametrize(
    ("query", "reach"),
    [
        (RecommendQuery(10), 60),
        (RecommendQuery(10, exclude=["item-1", "item-1", "nothing"]), 61),
        (RecommendQuery(10, events=Events(["item-2", "item-1", "item-2"], [1.0] * 3), exclude=["item-2"]), 62),
        (RecommendQuery(10, events=Events(["item-2"], [1.0]), include_seen=True), 60),
        (RecommendQuery(1000), 300),
    ],
)
async def test_enough_is_searched_for_to_fill_the_page_whatever_is_left_out(make_generation, make_engine, query, reach):
    generation = make_generation(300)
    engine, wishes = make_engine(generation, wish=generation.vectors[0])
    await engine.recommend(query._replace(text="wish"), deadline=0)
    assert [asked for _, asked, _ in wishes.asked] == [reach]


async def test_a_neighbourhood_larger_than_asked_for_changes_nothing(make_generation, make_engine, monkeypatch):
    """As it comes from a cache, where somebody else asked for more."""
    generation = make_generation(300)
    answers = {}
    for wider in (1, 3):
        engine, wishes = make_engine(generation, wish=generation.vectors[0])
        encode = wishes.encode_wish
        monkeypatch.setattr(
            wishes,
            "encode_wish",
            lambda text, reach, **rest: encode(text, reach=reach * wider, **rest),  # noqa: B023
        )
        answers[wider] = [
            (await engine.recommend(RecommendQuery(10, "wish", events), deadline=0)).items
            for events in (Events(), likes(5, 6))
        ]
    assert answers[1] == answers[3]


async def test_without_a_wish_nothing_is_encoded(generation, make_engine):
    engine, wishes = make_engine(generation)
    answer = await engine.recommend(RecommendQuery(3, events=likes(1)), deadline=0)
    assert wishes.asked == []
    assert (answer.timing.encode_s, answer.timing.batch_size) == (0, 0)


# Profile and context


RED = {"color": "red"}


@pytest.mark.parametrize(
    ("query", "strategy"),
    [
        ({"profile": RED}, Strategy.PROFILE),
        ({"profile": RED, "events": likes(1)}, Strategy.PERSONAL),
        ({"profile": RED, "text": "near-7"}, Strategy.WISH),
        ({"profile": {"height": 7.0}}, Strategy.COLD_START),
        ({"profile": {"about": "chess"}}, Strategy.PROFILE),
        ({"context": {"place": "sea"}}, Strategy.PROFILE),
        ({"context": {"place": "sea"}, "events": likes(1)}, Strategy.PERSONAL),
    ],
    ids=str,
)
async def test_the_strategy_tells_of_profile_and_context(generation, make_engine, query, strategy):
    texts = {"near-7": 7, "about: chess": 8, "place: sea": 9}
    engine, _ = make_engine(generation, **{text: generation.vectors[item] for text, item in texts.items()})
    answer = await engine.recommend(RecommendQuery(10, **query), deadline=0)
    assert (answer.strategy, len(answer.items)) == (strategy, 10)


async def test_somebody_of_whom_the_profile_is_known_gets_what_it_says_on_top_of_priors(recommend, generation):
    answer = await recommend(profile={"Color": "RED", "age": 20.0}, page_size=ITEMS)
    rows = dense(generation.profile, ITEMS)
    scores = generation.priors[0] + generation.scoring.profile * (rows[0] + rows[2])
    assert ids(answer) == names(best_first(scores))
    np.testing.assert_allclose([item.score for item in answer.items], np.sort(scores)[::-1], atol=1e-6)
    assert {item.item_id for item in answer.items if item.sources & Source.PROFILE} == set(
        names(np.flatnonzero(rows[0] + rows[2] > 0))
    )


async def test_the_more_is_known_the_less_the_profile_says(recommend, generation):
    rows = dense(generation.profile, ITEMS)
    for events in (1, 4, 16):
        with_profile, without = [
            {item.item_id: item.score for item in answer.items}
            for answer in [
                await recommend(*[1] * events, page_size=ITEMS, include_seen=True, profile=profile)
                for profile in (RED, {})
            ]
        ]
        for item in range(ITEMS):
            name = f"item-{item}"
            expected = generation.scoring.profile * 4 / (4 + events) * rows[0, item]
            assert with_profile[name] - without[name] == pytest.approx(expected, abs=1e-5)


async def test_words_of_a_profile_and_a_context_are_encoded_behind_their_prompts(make_generation, make_engine):
    generation = make_generation(5, query_prompt="q ", profile_prompt="p ", context_prompt="c ")
    vectors = dict(zip(("q wish", "p about: go; likes: a; likes: b", "c at: sea; on: foot"), np.eye(16), strict=False))
    engine, wishes = make_engine(generation, **{text: vector.astype(np.float32) for text, vector in vectors.items()})
    profile: dict[str, ProfileValue] = {"about": "go", "color": "red", "likes": ("a", "b"), "height": 3.0, "vip": True}
    context = {"on": "foot", "at": "sea"}
    answer = await engine.recommend(RecommendQuery(5, text="wish", profile=profile, context=context), deadline=3)
    assert wishes.together == [(list(vectors), 3, False)]
    assert wishes.asked == []
    assert answer.unknown_attributes == 2
    assert answer.timing.batch_size == 4
    scoring, rows = generation.scoring, dense(generation.profile, 5)
    for item in answer.items:
        number = int(item.item_id.removeprefix("item-"))
        vector = generation.vectors[number]
        expected = scoring.wish * vector[0] + scoring.profile_text * vector[1] + scoring.context_text * vector[2]
        expected += scoring.wish_prior * (generation.priors[0][number] + scoring.profile * rows[0, number])
        assert item.score == pytest.approx(expected, abs=1e-5)
        assert item.sources & Source.WISH
        assert item.sources & Source.PROFILE


async def test_a_text_alone_is_searched_for_where_it_is_encoded(make_generation, make_engine):
    generation = make_generation(300, profile_text=9.0)
    engine, wishes = make_engine(generation, **{"about: go": generation.vectors[3]})
    answer = await engine.recommend(RecommendQuery(5, events=likes(9), profile={"about": "go"}), deadline=3)
    assert wishes.asked == [("about: go", 56, 3)]
    assert "item-3" in ids(answer)
    assert any(item.sources & Source.PROFILE for item in answer.items)


async def test_words_that_count_for_nothing_are_not_encoded(make_generation, make_engine):
    generation = make_generation(5, profile_text=0.0, context_text=0.0)
    engine, wishes = make_engine(generation)
    query = RecommendQuery(5, profile={"about": "go", "height": 1.0}, context={"at": "sea"})
    answer = await engine.recommend(query, deadline=0)
    assert (wishes.asked, wishes.together) == ([], [])
    assert (answer.strategy, answer.unknown_attributes) == (Strategy.COLD_START, 2)


async def test_texts_that_cancel_one_another_out_ask_for_nothing(make_generation, make_engine):
    generation = make_generation(5, profile_text=1.3)
    texts = {"wish": generation.vectors[0], "about: no wish": -generation.vectors[0]}
    engine, _ = make_engine(generation, **texts)
    answer = await engine.recommend(RecommendQuery(5, text="wish", profile={"about": "no wish"}), deadline=0)
    assert ids(answer) == names(best_first(generation.priors[0]))


# Scores and their order


async def test_the_list_is_ordered_by_score_and_every_item_comes_once(recommend):
    answer = await recommend(1, 2, 3, page_size=ITEMS, text="near-7")
    scores = [item.score for item in answer.items]
    assert scores == sorted(scores, reverse=True)
    assert len(set(ids(answer))) == len(answer.items)


async def test_the_score_is_the_documented_sum(make_generation, make_engine):
    vectors = np.eye(4, dtype=np.float32)
    vectors[3] = [0.6, 0.8, 0, 0]
    weights, follows, priors = np.zeros((4, 4)), np.zeros((4, 4)), np.zeros((2, 4))
    weights[0, 3], weights[1, 3], follows[1, 3] = 0.5, -0.25, 0.125
    priors[:, 3] = 0.3, -0.06
    generation = make_generation(4, dim=4, vectors=vectors, weights=weights, follows=follows, priors=priors)
    engine, _ = make_engine(generation, wish=vectors[0])
    answer = await engine.recommend(
        RecommendQuery(4, text="wish", events=Events(["item-1", "item-0"], [-2.0, 3.0])), deadline=0
    )
    scores = {item.item_id: item.score for item in answer.items}
    # The dislike is one event back, at half-lives of 3 (B), 1.5 (T) and 6 (text); two events of 4 make half known.
    together = 0.7 * (3 * 0.5 - 2 * 0.5 ** (1 / 3) * -0.25)
    follow = 0.9 * -2 * 0.5 ** (1 / 1.5) * 0.125
    disliked = 2 * 0.5 ** (1 / 6)
    text = 0.4 * (3 * 0.6 - disliked * 0.8) / (3 + disliked)
    expected = together + follow + text + 1.3 * 0.6 + 0.3 + 2 / 6 * -0.06
    assert scores["item-3"] == pytest.approx(expected, abs=1e-6)
    assert set(scores) == {"item-2", "item-3"}


async def test_a_dislike_puts_like_items_behind(make_generation, make_engine):
    vectors = np.eye(4, dtype=np.float32)
    vectors[1] = [0.9, math.sqrt(1 - 0.81), 0, 0]  # like item 0
    generation = make_generation(4, dim=4, vectors=vectors, **only_text(4))
    engine, _ = make_engine(generation)
    for weight, place in ((1.0, 0), (-1.0, 2)):
        answer = await engine.recommend(RecommendQuery(3, events=Events(["item-0"], [weight])), deadline=0)
        assert ids(answer)[place] == "item-1"


async def test_equal_scores_keep_the_order_of_the_catalogue(make_generation, make_engine, unit_vectors):
    vectors = np.repeat(unit_vectors(1), 300, axis=0)
    generation = make_generation(300, vectors=vectors, **only_text(300))
    engine, _ = make_engine(generation, wish=vectors[0])
    nothing = Events(["nothing"], [1.0])
    for query in (RecommendQuery(20), RecommendQuery(20, text="wish"), RecommendQuery(20, events=nothing)):
        assert ids(await engine.recommend(query, deadline=0)) == names(range(20))
    assert ids(engine.similar(SimilarQuery("item-3", 5))) == names([0, 1, 2, 4, 5])


async def test_later_events_weigh_more(make_generation, make_engine):
    vectors = np.eye(4, dtype=np.float32)
    vectors[2, :2], vectors[3, :2] = (0.9, 0.1), (0.1, 0.9)  # like item 0, and like item 1
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    generation = make_generation(4, dim=4, vectors=vectors, **only_text(4))
    engine, _ = make_engine(generation)
    for history, expected in (((0, 1), ["item-3", "item-2"]), ((1, 0), ["item-2", "item-3"])):
        assert ids(await engine.recommend(RecommendQuery(2, events=likes(*history)), deadline=0)) == expected


async def test_the_same_question_has_the_same_answer(recommend):
    first, second = [await recommend(3, 1, 4, 1, 5, text="near-7", page_size=20) for _ in range(2)]
    assert first.items == second.items


# What is left out


async def test_seen_items_are_left_out_unless_asked_for(recommend):
    assert not {"item-1", "item-2"} & set(ids(await recommend(1, 2, page_size=ITEMS)))
    assert {"item-1", "item-2"} <= set(ids(await recommend(1, 2, page_size=ITEMS, include_seen=True)))


async def test_disliked_and_long_past_items_are_seen_too(recommend):
    events = Events(names(range(9, 40)), [-1.0] + [1.0] * 30)  # 20 of them are scored
    answer = await recommend(events=events, page_size=ITEMS)
    assert not set(ids(answer)) & {"item-9", *names(range(10, 40))}
    assert len(answer.items) == ITEMS - 31


@settings(max_examples=60, deadline=None)
@given(
    liked=st.lists(st.integers(0, ITEMS + 5), max_size=15),
    excluded=st.lists(st.integers(0, ITEMS + 5), max_size=ITEMS + 5),
    page_size=st.integers(1, 1000),
    include_seen=st.booleans(),
    wish=st.booleans(),
)
def test_the_list_is_as_long_as_it_can_be_and_holds_nothing_left_out(
    generation, make_engine, liked, excluded, page_size, include_seen, wish
):
    engine, _ = make_engine(generation, wish=generation.vectors[7])
    query = RecommendQuery(
        page_size,
        text="wish" if wish else "",
        events=likes(*liked),
        exclude=tuple(f"item-{number}" for number in excluded),
        include_seen=include_seen,
    )
    with pytest.raises(StopIteration) as done:  # nothing in it waits, so no event loop is needed
        engine.recommend(query, deadline=0).send(None)
    answer = done.value.value
    left = set(names(range(ITEMS))) - set(query.exclude) - (set() if include_seen else set(query.events.item_ids))
    assert len(ids(answer)) == len(set(ids(answer))) == min(page_size, len(left))
    assert set(ids(answer)) <= left
    assert all(item.sources and math.isfinite(item.score) for item in answer.items)
    assert answer.unknown_items == sum(number >= ITEMS for number in liked)
    assert (answer.shortfall is Shortfall.NONE) == (len(answer.items) == page_size)


@pytest.mark.parametrize(
    ("page_size", "excluded", "shortfall"),
    [
        (ITEMS, 0, Shortfall.NONE),
        (ITEMS + 1, 0, Shortfall.CATALOGUE),
        (1000, 5, Shortfall.CATALOGUE),
        (ITEMS, 1, Shortfall.FILTER),
        (1, ITEMS, Shortfall.FILTER),
        (ITEMS - 1, 1, Shortfall.NONE),
    ],
)
async def test_the_shortfall_says_why_there_are_fewer(recommend, page_size, excluded, shortfall):
    answer = await recommend(page_size=page_size, exclude=tuple(names(range(excluded))))
    assert (answer.shortfall, len(answer.items)) == (shortfall, min(page_size, ITEMS - excluded))


async def test_the_last_page_ends_where_the_catalogue_does(recommend):
    answer = await recommend(page_size=5, shown=range(ITEMS - 2))
    assert (answer.shortfall, len(answer.items)) == (Shortfall.CATALOGUE, 2)
    answer = await recommend(page_size=2, shown=range(ITEMS - 2))
    assert (answer.shortfall, len(answer.items)) == (Shortfall.NONE, 2)


# Similar items


@pytest.mark.parametrize("number", range(0, ITEMS, 7))
def test_similar_items_never_hold_the_item_itself(engine, generation, number):
    answer = engine.similar(SimilarQuery(f"item-{number}", ITEMS))
    assert set(ids(answer)) == set(names(range(ITEMS))) - {f"item-{number}"}
    assert (answer.strategy, answer.shortfall) == (Strategy.SIMILAR, Shortfall.FILTER)
    assert answer.generation is generation


def test_a_page_of_similar_items_larger_than_a_neighbourhood_is_full(make_generation, make_engine):
    engine, _ = make_engine(make_generation(300, weights=np.zeros((300, 300))))
    answer = engine.similar(SimilarQuery("item-5", 200))
    assert (len(set(ids(answer))), answer.shortfall) == (200, Shortfall.NONE)


def test_similar_items_are_the_nearest_where_nobody_has_taken_up_anything(make_generation, make_engine):
    generation = make_generation(300, weights=np.zeros((300, 300)))
    engine, _ = make_engine(generation)
    answer = engine.similar(SimilarQuery("item-5", 20))
    nearest = generation.index.search_exact(generation.vectors[[5]], 21).positions[0]
    assert ids(answer) == names(nearest[nearest != 5])
    assert {item.sources for item in answer.items} == {Source.TEXT}


def test_what_the_same_users_like_is_similar_though_its_text_is_not(make_generation, make_engine):
    weights = np.zeros((300, 300))
    weights[0, 250] = 10.0
    engine, _ = make_engine(make_generation(300, weights=weights))
    first = engine.similar(SimilarQuery("item-0", 3)).items[0]
    assert first.item_id == "item-250"
    assert first.sources & Source.COLLABORATIVE


def test_neither_priors_nor_what_follows_has_a_say_in_what_is_similar(make_generation, make_engine):
    every = np.ones((50, 50))
    answers = [
        make_engine(make_generation(50, **parts))[0].similar(SimilarQuery("item-1", 9)).items
        for parts in ({"priors": np.ones((2, 50))}, {}, {"follows": every})
    ]
    assert answers[0] == answers[1] == answers[2]


def test_similar_items_leave_out_what_is_excluded(engine):
    excluded = (*names(range(20, 50)), "item-1", "nothing")
    answer = engine.similar(SimilarQuery("item-1", ITEMS, exclude=excluded))
    assert not set(ids(answer)) & set(excluded)
    assert len(answer.items) == ITEMS - 31


def test_an_unknown_item_is_not_found_and_its_id_not_repeated_at_length(engine):
    with pytest.raises(ItemNotFoundError, match="no item 'nothing'"):
        engine.similar(SimilarQuery("nothing", 3))
    with pytest.raises(ItemNotFoundError) as unknown:
        engine.similar(SimilarQuery("x" * 1_000_000, 3))
    assert len(str(unknown.value)) < 300  # it has to fit a header


def test_what_is_shown_of_an_item_is_the_catalogues(engine):
    item = engine.similar(SimilarQuery("item-1", 1)).items[0]
    number = int(item.item_id.removeprefix("item-"))
    assert (item.title, item.domain) == (f"Title {number}", ["even", "odd"][number % 2])


def test_deadlines_are_on_the_clock_of_the_encoder(engine):
    assert engine.deadline(2.5) == 102.5
