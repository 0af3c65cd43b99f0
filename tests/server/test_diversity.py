"""Pages chosen for diversity, against naive readings of the rules; scores stay the sum that they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tanager_server.engine import Diversity, Events, RecommendQuery, Shortfall, Strategy
from tanager_server.engine._diversity import Chooser
from tanager_server.engine.diversity import candidates

ITEMS = 300
CATEGORIES = 4
seeds = st.integers(0, 2**32 - 1)


def rows_of(categories):
    indptr = np.cumsum([0, *map(len, categories)])
    indices = np.array([number for each in categories for number in each], np.int32)
    return indptr, indices, np.ones(len(indices), np.float32)


@pytest.fixture(scope="module")
def vectors(unit_vectors):
    return unit_vectors(ITEMS)


def draw(random, n=40):
    positions = random.permutation(ITEMS)[:n].tolist()
    scores = np.sort(random.normal(size=n).astype(np.float32))[::-1].tolist()
    categories = [sorted(set(random.integers(0, CATEGORIES, random.integers(0, 3)).tolist())) for _ in range(ITEMS)]
    return positions, scores, categories


def alike(vectors, categories, one, other):
    mine, theirs = set(categories[one]), set(categories[other])
    return len(mine & theirs) / len(mine | theirs) if mine and theirs else float(vectors[one] @ vectors[other])


def owed_places(shares, count):
    owed = [0] * len(shares)
    for _ in range(count // 2):
        owed[max(range(len(shares)), key=lambda group: (shares[group] / (2 * owed[group] + 1), -group))] += 1
    return owed


def naive(vectors, positions, scores, categories, *, spread=1.0, mmr_lambda=1.0, cap=0, groups=(), shares=(), count=10):
    chosen: list[int] = []
    owed = owed_places(shares, count) if groups else []

    def allowed(place):
        held = [number for other in chosen for number in categories[positions[other]]]
        return place not in chosen and (
            cap == 0 or all(held.count(number) < cap for number in categories[positions[place]])
        )

    def value(place):
        likeness = [alike(vectors, categories, positions[place], positions[other]) for other in chosen]
        return mmr_lambda * scores[place] / spread - (1 - mmr_lambda) * (np.mean(likeness) if likeness else 0.0)

    while len(chosen) < count:
        left = [place for place in range(len(positions)) if allowed(place)]
        if sum(owed) >= count - len(chosen):
            left = [place for place in left if owed[groups[place]]] or left
        if not left:
            break
        best = max(left, key=lambda place: (value(place), -place))
        chosen.append(best)
        if groups:
            owed[groups[best]] = max(0, owed[groups[best]] - 1)
    return sorted(chosen, key=lambda place: (-scores[place], place))


@settings(max_examples=80, deadline=None)
@given(
    seed=seeds,
    mmr_lambda=st.sampled_from([0.0, 0.3, 0.7, 1.0]),
    cap=st.integers(0, 4),
    interests=st.integers(0, 4),
    count=st.integers(1, 50),
)
def test_the_choice_is_that_of_the_rules(vectors, seed, mmr_lambda, cap, interests, count):
    random = np.random.default_rng(seed)
    positions, scores, categories = draw(random)
    shares = random.dirichlet(np.ones(interests)).tolist() if interests else []
    groups = random.integers(0, interests, len(positions)).tolist() if interests else []
    chooser = Chooser(vectors, rows_of(categories), CATEGORIES)
    spread = max(scores) - min(scores)
    rules = {"spread": spread, "mmr_lambda": mmr_lambda, "groups": groups, "shares": shares, "count": count}
    found = chooser.choose(positions=positions, scores=scores, max_per_category=cap, **rules)
    assert found == naive(vectors, positions, scores, categories, cap=cap, **rules)


def test_lambda_of_one_is_the_order_by_score_and_of_zero_minds_likeness_alone(vectors):
    positions, scores, categories = draw(np.random.default_rng(0))
    chooser = Chooser(vectors, rows_of(categories), CATEGORIES)
    assert chooser.choose(positions, scores, [], [], 1.0, 1.0, 0, 10) == list(range(10))
    spread = chooser.choose(positions, scores, [], [], 1.0, 0.0, 0, 10)

    def mean(chosen):
        pairs = [(a, b) for a in chosen for b in chosen if a != b]
        return np.mean([alike(vectors, categories, positions[a], positions[b]) for a, b in pairs])

    assert mean(spread) < mean(range(10))


def test_no_candidates_and_equal_scores(vectors):
    chooser = Chooser(vectors, rows_of([[]] * ITEMS), 0)
    assert chooser.choose([], [], [], [], 0.0, 0.5, 2, 10) == []
    assert chooser.choose([5, 6, 7], [1.0] * 3, [], [], 0.0, 1.0, 0, 2) == [0, 1]


def test_what_interests_are_owed_they_get_and_the_rest_goes_to_the_best(vectors):
    chooser = Chooser(vectors, rows_of([[]] * ITEMS), 0)
    scores = [float(20 - place) for place in range(20)]
    groups = [0] * 14 + [1] * 4 + [2] * 2
    found = chooser.choose(list(range(20)), scores, groups, [0.5, 0.3, 0.2], 20.0, 1.0, 0, 8)
    assert found == [0, 1, 2, 3, 4, 5, 14, 18]
    assert [groups[place] for place in found].count(0) == 6
    nobody = chooser.choose(list(range(20)), scores, [0] * 20, [0.5, 0.5], 20.0, 1.0, 0, 8)
    assert nobody == list(range(8)), "places owed to an interest without candidates go to others"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"positions": [ITEMS]}, IndexError),
        ({"positions": [-1]}, IndexError),
        ({"groups": [2], "shares": [0.5, 0.5]}, IndexError),
        ({"scores": []}, ValueError),
        ({"groups": [0, 0], "shares": [1.0]}, ValueError),
    ],
)
def test_what_does_not_fit_is_refused(vectors, arguments, error):
    defaults: dict[str, Any] = {"positions": [0], "scores": [1.0], "groups": [], "shares": []}
    defaults |= {"spread": 1.0, "mmr_lambda": 0.5, "max_per_category": 0, "count": 1}
    with pytest.raises(error):
        Chooser(vectors, rows_of([[]] * ITEMS), 0).choose(**(defaults | arguments))
    with pytest.raises(ValueError, match="categories"):
        Chooser(vectors, rows_of([[CATEGORIES]] * ITEMS), CATEGORIES)
    with pytest.raises(ValueError, match="a row for each item"):
        Chooser(vectors, rows_of([[]] * (ITEMS + 3)), CATEGORIES)


# In the engine


@pytest.fixture(scope="module")
def generation(make_generation):
    return make_generation(ITEMS, categories=lambda number: (f"c{number % 7}",) if number % 8 else ())


@pytest.fixture(scope="module")
def ask(generation, make_engine):
    engine, _ = make_engine(generation, wish=generation.vectors[3])

    def run(page_size=10, **query):
        with pytest.raises(StopIteration) as done:  # nothing in it waits
            engine.recommend(RecommendQuery(page_size, **query), deadline=0).send(None)
        return done.value.value

    return run


def likes(*numbers):
    return Events([f"item-{number}" for number in numbers], [1.0] * len(numbers))


SUBJECTS = {
    Strategy.PERSONAL: {"events": likes(1, 2, 30, 41)},
    Strategy.WISH: {"text": "wish"},
    Strategy.PROFILE: {"profile": {"color": "red"}},
    Strategy.COLD_START: {},
}
everybody = pytest.mark.parametrize(("strategy", "subject"), SUBJECTS.items(), ids=lambda value: str(value)[:20])
DIVERSITIES = (Diversity(0.5), Diversity(None, 2), Diversity(None, 0, 3), Diversity(0.3, 2, 8))


@everybody
@pytest.mark.parametrize("diversity", DIVERSITIES)
def test_scores_stay_what_they_are_and_their_reasons_too(ask, strategy, subject, diversity):
    plain = {item.item_id: item.score for item in ask(ITEMS, **subject).items}
    answer = ask(diversity=diversity, reasons=1000, exclude=("item-9",), **subject)
    assert answer.strategy is strategy
    assert len({item.item_id for item in answer.items}) == 10
    for item, explanation in zip(answer.items, answer.explanations, strict=True):
        assert item.score == pytest.approx(plain[item.item_id], abs=1e-5)
        total = sum(reason.contribution for reason in explanation.reasons) + explanation.other
        assert total == pytest.approx(item.score, abs=2e-5)
        assert item.sources
        assert item.item_id not in ("item-9", *subject.get("events", likes()).item_ids)


@everybody
def test_a_lambda_of_one_changes_nothing_and_less_makes_categories_differ(ask, strategy, subject):
    plain = ask(20, **subject)
    assert ask(20, diversity=Diversity(1.0), **subject).page.positions == plain.page.positions

    def likeness(answer):
        held = [position % 7 for position in answer.page.positions if position % 8]
        return sum(held.count(one) - 1 for one in held)

    other = ask(20, diversity=Diversity(0.2), **subject)
    assert likeness(other) < likeness(plain)
    assert other.page.scores == sorted(other.page.scores, reverse=True)


@everybody
def test_where_there_are_no_categories_texts_differ(make_generation, make_engine, strategy, subject):
    generation = make_generation(ITEMS)
    engine, _ = make_engine(generation, wish=generation.vectors[3])

    def likeness(diversity):
        with pytest.raises(StopIteration) as done:
            engine.recommend(RecommendQuery(20, diversity=diversity, **subject), deadline=0).send(None)
        own = generation.vectors[done.value.value.page.positions]
        return (own @ own.T).mean()

    assert likeness(Diversity(0.2)) < likeness(None)


@everybody
def test_no_category_has_more_than_it_may(ask, generation, strategy, subject):
    answer = ask(30, diversity=Diversity(None, 2), **subject)
    assert (len(answer.items), answer.shortfall) == (30, Shortfall.NONE)
    held = [position % 7 for position in answer.page.positions if position % 8]
    assert max(map(held.count, held)) <= 2
    scores = [item.score for item in answer.items]
    assert scores == sorted(scores, reverse=True)


@everybody
def test_where_categories_are_full_the_shortfall_says_filter(make_generation, make_engine, strategy, subject):
    generation = make_generation(ITEMS, categories=lambda number: ("all",))
    engine, _ = make_engine(generation, wish=generation.vectors[3])
    with pytest.raises(StopIteration) as done:
        engine.recommend(RecommendQuery(10, diversity=Diversity(None, 4), **subject), deadline=0).send(None)
    assert (len(done.value.value.items), done.value.value.shortfall) == (4, Shortfall.FILTER)


def test_every_interest_gets_half_its_share_at_least(make_generation, make_engine, unit_vectors):
    """Nine likes of one direction and three of another, which the best ten know nothing of."""
    random = np.random.default_rng(0)
    vectors = np.eye(16, dtype=np.float32)[random.permutation(np.repeat(np.arange(4), 100))]
    vectors = vectors + 0.1 * random.normal(size=vectors.shape).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    topic = vectors.argmax(axis=1)
    nothing = np.zeros((400, 400))
    generation = make_generation(
        400,
        vectors=vectors,
        weights=nothing,
        follows=nothing,
        priors=np.zeros((2, 400)),
        history_text_half_life=1e12,
        history_limit=50,
    )
    engine, _ = make_engine(generation)
    liked = [*np.flatnonzero(topic == 0)[:9].tolist(), *np.flatnonzero(topic == 1)[:3].tolist()]

    def topics(diversity):
        query = RecommendQuery(8, events=likes(*liked), diversity=diversity)
        with pytest.raises(StopIteration) as done:
            engine.recommend(query, deadline=0).send(None)
        return topic[done.value.value.page.positions].tolist()

    assert topics(None) == [0] * 8
    assert sorted(topics(Diversity(None, 0, 2))) == [0] * 7 + [1]


def test_interests_of_a_single_like_are_its_own_list(ask):
    assert ask(events=likes(5), diversity=Diversity(None, 0, 4)).page.positions == ask(events=likes(5)).page.positions


@pytest.mark.parametrize(("page_size", "count"), [(1, 100), (20, 100), (21, 105), (100, 500)])
def test_how_many_candidates_there_are(page_size, count):
    assert candidates(page_size) == count
