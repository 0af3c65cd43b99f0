"""What an evaluation is made of: what is hidden, answers taken together, lists, and who may not be evaluated."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.export.evaluation.made import ITEMS, USERS, dataset_of, interactions_of, rows_of, some_rows

from tanager_export.errors import ExportError
from tanager_export.evaluation.baselines import ItemKNN
from tanager_export.evaluation.cases import Cases, Histories, Split
from tanager_export.evaluation.evaluate import evaluate
from tanager_export.evaluation.experiment.answers import Answers, with_lists
from tanager_export.evaluation.experiment.encoder import centred
from tanager_export.evaluation.experiment.methods import Among, Backed, Masked, Popular, contestant
from tanager_export.evaluation.experiment.served import words_to_encode
from tanager_export.evaluation.hiding import hide
from tanager_export.evaluation.leaks import refuse_leaks
from tanager_export.evaluation.splits import SplitError, leave_one_out

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tanager_export.evaluation.cases import Parameter

ROWS = [(user, (user + step) % ITEMS, 10 * step + user, 1.0) for user in range(USERS) for step in range(7)]
DATASET = dataset_of(ROWS)
KNN: Mapping[str, Parameter] = {"similarity": "cosine", "neighbours": 20, "shrinkage": 0.0, "decay": 1.0}


class Fixed:
    """The same random scores for everybody."""

    def __init__(self, seed: int = 0) -> None:
        self._scores = np.random.default_rng(seed).permutation(ITEMS).astype(np.float32)

    def score(self, cases):
        return np.tile(self._scores, (len(cases), 1))


class Broken:
    """A method that cannot be had."""

    name = "broken"
    space: Mapping[str, Sequence[Parameter]] = MappingProxyType({})

    def fit(self, dataset, train, parameters, *, seed):
        raise ExportError("the library is not installed")


@given(rows=some_rows, seed=st.integers(0, 9))
@settings(max_examples=150, deadline=None)
def test_what_is_hidden_is_asked_and_nowhere_else(rows, seed):
    dataset = dataset_of(rows)
    try:
        hidden = hide(dataset, share=0.3, seed=seed)
    except SplitError:
        return
    for split in (hidden.both, hidden.cold):
        refuse_leaks(split)
    cold = set(np.flatnonzero(hidden.is_cold).tolist())
    learned = {(user, item) for user, item, *_ in rows_of(hidden.both.train)}
    assert not cold & {item for _, item in learned}
    targets, cases = hidden.both.cases.targets, hidden.both.cases
    asked = set(zip(cases.user[targets.row_of_event].tolist(), targets.item.tolist(), strict=True))
    assert not asked & learned
    taken = {item for _, item, _, weight in rows_of(hidden.both.train) if weight > 0}
    assert all(item in taken or item in cold for _, item in asked), "a warm target is an item that is still known"
    only_cold = hidden.cold.cases
    assert set(only_cold.targets.item.tolist()) <= cold
    assert (cases.histories.lengths > 0).all()


def test_other_items_are_cold_for_another_seed():
    assert (hide(DATASET, share=0.3, seed=0).is_cold != hide(DATASET, share=0.3, seed=1).is_cold).any()


def test_lists_have_the_ranks_of_their_places():
    split = leave_one_out(DATASET)
    outcome = evaluate(Fixed(), split, k=ITEMS)
    again = with_lists(outcome, outcome.ranks.top, histories=split.cases.histories)
    for name in ("ndcg@3", "recall@5", "mrr@4", "precision@2"):
        np.testing.assert_array_equal(again.values(name), outcome.values(name))
    nothing = with_lists(outcome, np.full_like(outcome.ranks.top, -1), histories=split.cases.histories)
    assert nothing.mean(f"recall@{ITEMS}") == 0
    with pytest.raises(ExportError, match="twice"):
        with_lists(outcome, np.zeros_like(outcome.ranks.top), histories=split.cases.histories)


def test_answers_of_two_seeds_are_compared_user_by_user():
    split = leave_one_out(DATASET)
    first, second = (evaluate(Fixed(seed), split) for seed in (0, 1))
    ours, theirs = Answers([first, second]), Answers([second, first])
    assert ours.mean("ndcg@3") == pytest.approx((first.mean("ndcg@3") + second.mean("ndcg@3")) / 2)
    found = ours.compare(theirs, "ndcg@3").difference
    # Each user has the same two figures on both sides, so there is nothing to be unsure of.
    assert (found.low, found.value, found.high) == pytest.approx((0, 0, 0))
    other = evaluate(Fixed(), replace(split, cases=split.cases.take(slice(0, 3))))
    with pytest.raises(ExportError, match="different cases"):
        ours.compare(Answers([first, other]), "ndcg@3")


def test_masked_items_are_never_recommended():
    allowed = np.arange(ITEMS) % 2 == 0
    outcome = evaluate(Masked(Fixed(), allowed), leave_one_out(DATASET), k=ITEMS)
    first = outcome.ranks.top[:, 0]
    assert allowed[first].all()


def test_a_method_is_tuned_among_the_items_it_is_asked_for():
    class Method:
        name = "fixed"
        space: Mapping[str, Sequence[Parameter]] = MappingProxyType({"seed": (0, 1)})

        def fit(self, dataset, train, parameters, *, seed):
            return Fixed(parameters["seed"])

    hidden = hide(DATASET, share=0.3, seed=0)
    inner = hide(replace(DATASET, interactions=hidden.both.train), share=0.3, seed=1)
    allowed = {id(part.cold.train): part.is_cold for part in (hidden, inner)}
    found = contestant(
        Among(Method(), allowed), DATASET, [inner.cold], [hidden.cold], trials=2, seeds=[0], metric="recall@1"
    )
    assert found.tuned is not None
    best = max(evaluate(Masked(Fixed(seed), inner.is_cold), inner.cold).mean("recall@1") for seed in (0, 1))
    assert found.tuned.score == best


def test_a_method_that_cannot_be_had_is_missing_and_no_error():
    test = leave_one_out(DATASET)
    window = leave_one_out(replace(DATASET, interactions=test.train))
    found = contestant(Broken(), DATASET, [window], [test], trials=1, seeds=[0])
    assert found.recommenders == []
    assert found.missing == "the library is not installed"


def test_who_is_unknown_gets_what_was_popular_lately_where_that_is_better():
    day = 86_400
    # Item 0 was everybody's, long ago; item 1 is what new users begin with now.
    old = [(user, item, user, 1.0) for user in range(4) for item in (0, 2, 3)]
    new = [(4, 4, 900 * day, 1.0), (4, 1, 900 * day + 1, 1.0)]
    train = interactions_of([*old, *new])
    cases = cold_cases([(5, 1, 901 * day)])
    window = Split("made", train, cases, items=ITEMS)
    dataset = replace(DATASET, interactions=train)
    # Who is known is not asked, though of popularity at large there would be more to say to them.
    known = leave_one_out(DATASET).cases
    popular = Popular.tune(dataset, [window, Split("made", train, known, items=ITEMS)])
    assert str(popular).startswith("recent-popularity (kind ")
    found = Backed(ItemKNN(), popular).fit(dataset, train, KNN, seed=0)
    plain = ItemKNN().fit(dataset, train, KNN, seed=0)
    recent = popular.method.fit(dataset, train, popular.parameters, seed=0)
    np.testing.assert_array_equal(found.score(cases), recent.score(cases))
    assert found.score(cases)[0].argmax() == 1 != plain.score(cases)[0].argmax() == 0
    np.testing.assert_array_equal(found.score(known), plain.score(known))
    assert str(Popular.tune(dataset, [Split("made", train, known, items=ITEMS)])) == "popularity"


def cold_cases(targets: Sequence[tuple[int, int, int]]) -> Cases:
    """Users of whom nothing is known, and what each takes up at a time."""
    events = interactions_of([(user, item, time, 1.0) for user, item, time in targets])
    users = np.array([user for user, _, _ in targets])
    nothing = Histories.of_users(interactions_of([]), users)
    at = np.array([time for _, _, time in targets])
    return Cases(users.astype(np.int32), nothing, Histories.of_users(events, users), [{}] * len(users), at)


def test_centring_takes_away_what_all_vectors_share():
    random = np.random.default_rng(0)
    vectors = random.normal(size=(50, 4)).astype(np.float32) + np.array([9, 0, 0, 0], np.float32)
    found = centred(vectors)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)
    assert abs(found.mean(axis=0)[0]) < 0.3
    assert not centred(np.ones((3, 4), np.float32)).any()


def test_words_of_profiles_that_no_attribute_was_learned_of_are_counted():
    profiles = {f"user-{user}": {"taste": "War", "zip": f"{user}"} for user in range(USERS)}
    cases = leave_one_out(dataset_of(ROWS, profiles=profiles)).cases
    assert words_to_encode(cases, ["taste=war", "zip=3"]) == {"zip": len(cases) - 1}
    assert words_to_encode(cases, ["taste=war", *(f"zip={user}" for user in range(USERS))]) == {}
