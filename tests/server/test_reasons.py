"""Reasons: terms of the very sum that is the score, told by the items, texts and attributes they come from."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tanager_server.engine import Events, ReasonKind, RecommendQuery, Strategy
from tanager_server.engine.reasons import Explainer
from tanager_server.engine.subject import History, decayed

ITEMS = 60
EVERY = 1000
BEHAVIOUR = (ReasonKind.COLLABORATIVE, ReasonKind.TRANSITION)
seeds = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="module")
def generation(make_generation):
    return make_generation(ITEMS, query_prompt="q ", profile_prompt="p ", context_prompt="c ")


@pytest.fixture(scope="module")
def ask(generation, make_engine):
    """Recommends; every text has a vector of its own."""
    texts = {"q wish": 3, "p about: go": 4, "c at: sea": 5}
    engine, _ = make_engine(generation, **{text: -generation.vectors[item] for text, item in texts.items()})

    def run(**query):
        with pytest.raises(StopIteration) as done:  # nothing in it waits
            engine.recommend(RecommendQuery(**({"page_size": ITEMS, "reasons": EVERY} | query)), deadline=0).send(None)
        return done.value.value

    return run


def draw_query(random):
    count = int(random.integers(0, 13))
    profile = {"color": "red", "age": 20.0, "about": "go"}
    return {
        "events": Events([f"item-{n}" for n in random.integers(0, ITEMS, count)], random.normal(size=count).tolist()),
        "text": "wish" if random.random() < 0.5 else "",
        "profile": {name: profile[name] for name in profile if random.random() < 0.5},
        "context": {"at": "sea"} if random.random() < 0.5 else {},
        "include_seen": True,
    }


@settings(max_examples=60, deadline=None)
@given(seed=seeds, reasons=st.sampled_from([1, 3, EVERY]))
def test_reasons_and_the_rest_add_up_to_the_score(ask, seed, reasons):
    answer = ask(**draw_query(np.random.default_rng(seed)), reasons=reasons)
    assert len(answer.explanations) == len(answer.items) == ITEMS
    for item, explanation in zip(answer.items, answer.explanations, strict=True):
        told = [reason.contribution for reason in explanation.reasons]
        assert sum(told) + explanation.other == pytest.approx(item.score, abs=2e-5)
        assert len(told) <= reasons
        assert told == sorted(told, reverse=True)
        assert all(contribution > 0 for contribution in told)


def test_without_being_asked_for_there_are_none(ask):
    assert ask(text="wish", reasons=0).explanations == ()


def test_every_term_is_what_the_formula_has_for_it(ask, generation):
    events = Events(["item-7", "item-9", "item-7"], [1.0, -0.5, 2.0])
    answer = ask(
        events=events, text="wish", profile={"color": "red", "about": "go"}, context={"at": "sea"}, include_seen=True
    )
    scoring, vectors = generation.scoring, generation.vectors
    text = decayed(events.weights, scoring.history_text_half_life)
    text /= np.abs(text).sum()
    known = scoring.known(3)

    def both(half_life):  # item 7 comes twice, and is one
        weights = decayed(events.weights, half_life)
        return {7: weights[0] + weights[2], 9: weights[1]}

    def dense(rows, item):
        one = np.zeros(len(rows.indptr) - 1)
        for row in range(len(one)):
            part = slice(rows.indptr[row], rows.indptr[row + 1])
            one[row] = rows.weights[part][rows.indices[part] == item].sum()
        return one

    for position, explanation in zip(answer.page.positions, answer.explanations, strict=True):
        expected = {
            (ReasonKind.WISH, -1, ""): scoring.wish * -vectors[3] @ vectors[position],
            (ReasonKind.PROFILE_TEXT, -1, ""): scoring.profile_text * -vectors[4] @ vectors[position],
            (ReasonKind.CONTEXT, -1, ""): scoring.context_text * -vectors[5] @ vectors[position],
            (ReasonKind.PROFILE, -1, "color=red"): (1 - known)
            * scoring.profile
            * dense(generation.profile, position)[0],
            (ReasonKind.POPULARITY, -1, ""): generation.priors[0, position] + known * generation.priors[1, position],
        }
        together, follows = dense(generation.neighbours, position), dense(generation.transitions, position)
        for item, weight in {7: text[0] + text[2], 9: text[1]}.items():
            weights = both(scoring.collaborative_half_life), both(scoring.transitions_half_life)
            expected |= {
                (ReasonKind.COLLABORATIVE, item, ""): scoring.collaborative * weights[0][item] * together[item],
                (ReasonKind.TRANSITION, item, ""): scoring.transitions * weights[1][item] * follows[item],
                (ReasonKind.TEXT, item, ""): scoring.history_text * weight * vectors[item] @ vectors[position],
            }
        told = {(reason.kind, reason.position, reason.attribute): reason.contribution for reason in explanation.reasons}
        assert told == {term: pytest.approx(value, abs=1e-5) for term, value in expected.items() if value > 0}
        assert explanation.other == pytest.approx(sum(value for value in expected.values() if value < 0), abs=2e-5)


@settings(max_examples=40, deadline=None)
@given(seed=seeds)
def test_without_the_cited_events_the_score_falls_by_the_terms(ask, generation, seed):
    """Their weights are set to 0, so that the others keep their places in time, and the user is known as before."""
    random = np.random.default_rng(seed)
    count = int(random.integers(2, 12))
    numbers, weights = random.integers(0, ITEMS, count).tolist(), random.uniform(0.1, 2, count).tolist()
    before = _by_item(ask(events=Events([f"item-{n}" for n in numbers], weights), include_seen=True))
    removed = numbers[int(random.integers(count))]
    left = [0.0 if number == removed else weight for number, weight in zip(numbers, weights, strict=True)]
    after = _by_item(ask(events=Events([f"item-{n}" for n in numbers], left), include_seen=True))
    text = decayed(weights, generation.scoring.history_text_half_life)
    share = sum(text[np.array(numbers) == removed]) / sum(text)
    vectors, scoring = generation.vectors, generation.scoring
    for item, (score, explanation) in before.items():
        own = [reason for reason in explanation.reasons if reason.position == removed]
        if not any(reason.kind in BEHAVIOUR for reason in own):
            continue
        gone = sum(reason.contribution for reason in own if reason.kind in BEHAVIOUR)
        # What is not more than 0 is not told: it is reckoned anew.
        for kind, part, weight, half_life in (
            (BEHAVIOUR[0], generation.neighbours, scoring.collaborative, scoring.collaborative_half_life),
            (BEHAVIOUR[1], generation.transitions, scoring.transitions, scoring.transitions_half_life),
        ):
            if not any(reason.kind is kind for reason in own):
                mine = decayed(weights, half_life)[np.array(numbers) == removed].sum()
                gone += weight * mine * part.weighted_sum(np.array([removed]), np.ones(1))[item]
        term = scoring.history_text * share * float(vectors[removed] @ vectors[item])
        mean = scoring.history_text * float((text / text.sum()) @ vectors[numbers] @ vectors[item])
        gone += (term - share * mean) / (1 - share) if share < 1 else term
        assert score - after[item][0] == pytest.approx(gone, abs=3e-5)
        left_over = [reason for reason in after[item][1].reasons if reason.position == removed]
        assert not left_over


def test_by_b_and_t_alone_the_score_falls_by_just_the_cited_terms(make_generation, make_engine):
    every = np.random.default_rng(0).random((2, ITEMS, ITEMS))
    engine, _ = make_engine(make_generation(ITEMS, weights=every[0], follows=every[1], history_text=0.0))

    def ask(weights):
        query = RecommendQuery(ITEMS, events=Events(["item-1", "item-2", "item-3"], weights), reasons=EVERY)
        with pytest.raises(StopIteration) as done:
            engine.recommend(query, deadline=0).send(None)
        return _by_item(done.value.value)

    before, after = ask([1.0, 1.0, 1.0]), ask([1.0, 0.0, 1.0])
    for item, (score, explanation) in before.items():
        own = {reason.kind: reason.contribution for reason in explanation.reasons if reason.position == 2}
        assert set(own) == set(BEHAVIOUR)
        assert score - after[item][0] == pytest.approx(sum(own.values()), abs=1e-5)


def _by_item(answer):
    return {
        position: (score, explanation)
        for position, score, explanation in zip(
            answer.page.positions, answer.page.scores, answer.explanations, strict=True
        )
    }


@pytest.mark.parametrize(
    ("query", "strategy", "kinds"),
    [
        ({}, Strategy.COLD_START, {ReasonKind.POPULARITY}),
        ({"text": "wish"}, Strategy.WISH, {ReasonKind.WISH, ReasonKind.POPULARITY}),
        ({"profile": {"color": "blue"}}, Strategy.PROFILE, {ReasonKind.PROFILE, ReasonKind.POPULARITY}),
    ],
    ids=str,
)
def test_kinds_of_reasons_by_what_was_known(ask, query, strategy, kinds):
    answer = ask(**query)
    assert answer.strategy is strategy
    assert {reason.kind for explanation in answer.explanations for reason in explanation.reasons} == kinds


@pytest.mark.parametrize(
    "arguments",
    [
        {"positions": [ITEMS]},
        {"positions": [-1]},
        {"history": History([ITEMS], [1.0], 0)},
        {"attributes": [3]},
        {"attributes": [-1]},
    ],
    ids=str,
)
def test_nothing_beyond_the_tables_is_read(generation, arguments):
    defaults = {"positions": [1], "history": History([1], [1.0], 0), "count": 3}
    with pytest.raises(IndexError, match="no such"):
        Explainer(generation).explain(**(defaults | arguments))
