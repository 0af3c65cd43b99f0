"""New items, on data where an item's text and category tell who takes it up."""

from __future__ import annotations

from dataclasses import replace
from unittest.mock import Mock

import numpy as np
import pytest
from tests.export.training.made import clusters, dataset, interactions

from tanager_export.evaluation.cases import Cases, Histories
from tanager_export.evaluation.evaluate import evaluate
from tanager_export.evaluation.experiment.methods import Masked
from tanager_export.evaluation.hiding import hide
from tanager_export.evaluation.metrics import metric
from tanager_export.evaluation.splits import with_history
from tanager_export.training import new_items
from tanager_export.training.blend import learn_blend
from tanager_export.training.hybrid import Hybrid
from tanager_export.training.new_items import _Raised, hidden_within, learn_new_items


@pytest.fixture(scope="module")
def data():
    return clusters(users=120, groups=4, size=12, events=8)


@pytest.fixture(scope="module")
def vectors(data):
    """Little noise about the direction of the group."""
    random = np.random.default_rng(3)
    found = np.eye(8, dtype=np.float32)[np.arange(len(data.items)) // 12]
    found += 0.2 * random.normal(size=found.shape).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def hidden(data):
    return hide(data, seed=0)


@pytest.fixture(scope="module")
def blend(data, hidden, vectors):
    return learn_blend(data, [hidden.warm], vectors, seed=0, options={})


def fitted(data, hidden, vectors, blend) -> Hybrid:
    return Hybrid.fit(data, hidden.both.train, vectors, blend)


def warm_loss(hybrid, hidden) -> float:
    kept, without = (
        evaluate(one, hidden.both).mean("ndcg@10", slice_name="warm")
        for one in (hybrid, Masked(hybrid, ~hidden.is_cold))
    )
    return 1 - kept / without


def test_new_items_are_raised_as_far_as_the_price_allows(data, hidden, vectors, blend):
    raised = []
    for price in (0.01, 0.1, 0.5):
        learned = learn_new_items(data, hidden, vectors, blend, seed=0, price=price)
        assert 0 < warm_loss(fitted(data, hidden, vectors, learned), hidden) <= price + 1e-6
        raised.append(learned.weights["new"])
    assert raised[0] < raised[1] < raised[2]


def test_users_who_are_not_known_pay_no_more_either(data, hidden, vectors, blend):
    """Nothing but priors holds items in their places there: what users who are known can bear is too much for them."""
    learned = learn_new_items(data, hidden, vectors, blend, seed=0, price=0.1)
    raised, as_known = learned.weights["new"], learned.weights["new, known"]
    assert as_known > 0
    unknown = with_history(hidden.both.cases, 0)

    def cost(cases, **offsets: float) -> float:
        """Against lists without any new items."""
        weights = {**learned.weights, "new": 0.0, "new, known": 0.0}
        plain = Masked(fitted(data, hidden, vectors, replace(learned, weights=weights)), ~hidden.is_cold)
        with_offsets = fitted(data, hidden, vectors, replace(learned, weights=weights | offsets))
        asked, seen = replace(hidden.both, cases=cases), hidden.both.cases.histories
        warm = ~hidden.is_cold[cases.targets.item]
        found = [evaluate(one, asked, seen=seen).ranks.only(warm)[0] for one in (with_offsets, plain)]
        kept, without = (metric(ranks, "ndcg@10").mean() for ranks in found)
        return float(1 - kept / without)

    for cases in (hidden.both.cases, unknown):
        assert 0 < cost(cases, **{"new": raised, "new, known": as_known}) <= 0.1 + 1e-6
    assert cost(unknown, new=raised + as_known) > 0.2


def test_new_items_are_told_apart_by_their_traits(data, hidden, vectors, blend):
    learned = learn_new_items(data, hidden, vectors, blend, seed=0)
    among = evaluate(fitted(data, hidden, vectors, learned), hidden.cold, among=hidden.is_cold)
    assert among.mean("mrr@10") > 0.8  # by chance, of ten: about .4


def test_weights_of_other_terms_stay(data, hidden, vectors, blend):
    learned = learn_new_items(data, hidden, vectors, blend, seed=0)
    offsets = {"new": 0.0, "new, known": 0.0}
    assert {**learned.weights, **offsets} == {**blend.weights, **offsets}
    assert learned.weights["new"] != 0
    assert blend.weights["new"] == 0


def test_the_weights_of_before_a_sequence_head_get_no_offset_that_was_priced_with_it(data, hidden, vectors, blend):
    tried = replace(blend, without_sequence=blend.weights)
    learned = learn_new_items(data, hidden, vectors, tried, seed=0)
    assert learned.weights["new"] != 0
    assert learned.without_sequence == blend.weights
    assert blend.weights["new"] == 0


def test_the_price_holds_in_a_catalogue_of_many_that_nobody_took_up(data, hidden, vectors, blend):
    """They take places as hidden ones do, and nothing was hidden of those. What was hidden is not new in the end."""
    many = replace(data, items=data.items + tuple(replace(item, id=f"{item.id}+") for item in data.items))
    more = replace(
        hidden,
        **{name: replace(getattr(hidden, name), items=len(many.items)) for name in ("both", "cold", "warm")},
        is_cold=np.concatenate((hidden.is_cold, np.zeros(len(data.items), np.bool_))),
    )
    twice = np.concatenate((vectors, vectors))
    learned = learn_new_items(many, more, twice, blend, seed=0, price=0.1)
    new = np.bincount(hidden.both.train.item, minlength=len(many.items)) == 0
    hybrid, count = fitted(many, more, twice, learned), int(hidden.is_cold.sum())
    left_out = np.random.default_rng(1).permutation(np.flatnonzero(new & ~more.is_cold))[:count]
    there = ~np.isin(np.arange(len(many.items)), left_out)
    found = warm_loss(Masked(hybrid, there), replace(more, is_cold=new))
    assert 0 < found <= 0.1 * 1.2  # others are left out than for the price
    assert warm_loss(hybrid, replace(more, is_cold=new)) > found
    few = learn_new_items(data, hidden, vectors, blend, seed=0, price=0.1)
    assert learned.weights["new"] < few.weights["new"]


def wanting_one_of_little_behaviour(*, lead: float, score: float, newness: float) -> _Raised:
    """Lists of five new items, ahead by so much, and 35 others; what is wanted is item 25."""
    cases, count = 12, 40
    scores = np.tile(np.linspace(1, 0, count, dtype=np.float32), (cases, 1))
    scores[:, :5] += lead
    scores[:, 25] = score
    new = np.zeros(count, np.float32)
    new[:5], new[25] = 1, newness

    def each(item: int) -> Histories:
        times, weights = np.zeros(cases, int), np.ones(cases, np.float32)
        return Histories(np.arange(cases + 1), np.full(cases, item, np.int32), times, weights)

    asked = Cases(np.arange(cases, dtype=np.int32), each(39), each(25), [{}] * cases, np.zeros(cases, int))
    return _Raised(scores, new, asked, np.arange(count) < 5)


def test_where_the_price_cannot_be_had_the_least_is_paid():
    """What is wanted is lowered with the new ones, and falls below others before those fall below it."""
    raised = wanting_one_of_little_behaviour(lead=0.5, score=0.96, newness=0.6)
    offset, cost = raised.highest(0.02)
    costs = [raised.cost(at) for at in (-1.5, -0.7, 0.0)]
    assert 0.02 < cost == raised.cost(offset) == min(costs) < max(costs)


def test_a_price_that_can_be_had_by_lowering_a_little_is_found():
    raised = wanting_one_of_little_behaviour(lead=0.6, score=1.5, newness=0.8)
    offset, cost = raised.highest(0.02)
    assert cost <= 0.02
    assert -0.51 < offset < -0.5  # where the first of the new ones comes beside it


def test_where_known_users_can_bear_less_new_items_are_lowered_for_them_alone(monkeypatch):
    """Unknown ones would pay dearly for as much, since what they want is lowered with the new ones."""
    known = wanting_one_of_little_behaviour(lead=0.6, score=1.5, newness=0.8)
    unknown = wanting_one_of_little_behaviour(lead=0.2, score=1.2, newness=0.9)
    offset, of_unknown = known.highest(0.02)[0], unknown.highest(0.02)[0]
    assert offset < of_unknown
    assert unknown.cost(offset) > 0.5
    made = []

    def raised(*_: object, **how: object):
        made.append(how)
        return (known, unknown, Mock(highest=lambda price: (-1.0, 0.01), recall=lambda at: 0.3))[len(made) - 1]

    monkeypatch.setattr(new_items, "_scores", lambda *_: (np.zeros((12, 40), np.float32), np.zeros(40, np.float32)))
    monkeypatch.setattr(new_items, "_Raised", raised)
    monkeypatch.setattr(new_items, "with_history", lambda cases, count: cases)
    monkeypatch.setattr(new_items, "known", lambda *_: "shares")
    none = np.zeros(0, np.int64)
    offer = new_items._offer(Mock(), Mock(), Mock(), None, is_cold=np.zeros(40, np.bool_), left_out=none, price=0.02)
    assert made[2] == {"first": of_unknown, "share": "shares"}
    assert (offer.offset, offer.offset_known, offer.cost, offer.recall) == (of_unknown, -1.0, 0.01, 0.3)


@pytest.mark.parametrize(
    ("found", "confidence"),
    [
        ({0.5: (-1.0, 0.01, 0.1), 0.7: (0.1, 0.02, 0.2), 1.0: (0.0, 0.6, 0.9)}, 0.7),
        ({0.5: (-1.0, 0.3, 0.1), 0.7: (0.1, 0.2, 0.2), 1.0: (0.0, 0.6, 0.9)}, 0.7),
        ({0.5: (-1.0, 0.01, 0.0), 0.7: (0.1, 0.03, 0.2), 1.0: (0.0, 0.6, 0.9)}, 0.5),
    ],
)
def test_of_confidences_within_the_price_the_best_is_taken_or_else_the_cheapest(
    data, hidden, vectors, blend, monkeypatch, caplog, found, confidence
):
    """An offset, what it costs, and the recall of new items that it brings, by confidence."""

    def offer(behaviour, blend, *rest, **how):
        offset, cost, recall = found[blend.structure.confidence]
        return new_items._Offer(offset, 0.0, cost, recall)

    monkeypatch.setattr(new_items, "CONFIDENCES", tuple(found))
    monkeypatch.setattr(new_items, "_offer", offer)
    learned = learn_new_items(data, hidden, vectors, blend, seed=0, price=0.02)
    assert learned.structure.confidence == confidence
    assert learned.weights["new"] == found[confidence][0]
    assert ("they cost the others 20.0 %" in caplog.text) == (min(cost for _, cost, _ in found.values()) > 0.02)


def test_too_little_to_hide_leaves_new_items_as_they_are(caplog):
    train = interactions((0, 0, 1), (0, 1, 2))
    assert hidden_within(dataset(train, items=2), train, seed=0) is None
    assert "new items are left as they are" in caplog.text
