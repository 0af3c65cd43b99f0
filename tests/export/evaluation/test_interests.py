"""Lists for several interests from exact scores, against the server's own on a small bundle."""

from __future__ import annotations

import numpy as np
import pytest
from tests.export.training.made import dataset, interactions

from tanager_export.bundle import BundleOptions, build_bundle
from tanager_export.dataset import Item
from tanager_export.evaluation.diversity import Yardstick
from tanager_export.evaluation.evaluate import evaluate
from tanager_export.evaluation.experiment.diversity import LAMBDAS, Lists, Rule, choose, diversity_curve
from tanager_export.evaluation.experiment.interests import Pool, of_interests, shares
from tanager_export.evaluation.splits import leave_one_out
from tanager_export.model import find_model
from tanager_export.training.blend import Blend
from tanager_export.training.hybrid import Hybrid
from tanager_export.training.parts import Behaviour
from tanager_export.training.served import served_scores
from tanager_export.training.structure import Structure
from tanager_export.training.terms import TERMS
from tanager_server.bundle import open_bundle
from tanager_server.engine import Diversity
from tanager_server.engine.diversity import Diversifier
from tanager_server.engine.ranking import Ranker
from tanager_server.engine.reasons import Explainer
from tanager_server.engine.subject import History
from tanager_server.index import Generation

ITEMS = 140
TOPICS = ("space", "love", "war", "music", "food", "crime", "ghosts")
WEIGHTS = {"collaborative": 2.0, "transitions": 1.0, "text": 3.0, "log recent popularity": 0.1}
BLEND = Blend(
    Structure(text_half_life=5.0), {name: WEIGHTS.get(name, 0.0) for name in TERMS}, loss=0.0, ndcg=0.0, cases=1
)


@pytest.fixture(scope="module")
def data():
    """Users who like two topics each, and dislike something now and then."""
    random = np.random.default_rng(0)
    rows = []
    for user in range(80):
        for day in range(12):
            topic = (user + (day % 2) * (1 + user % 3)) % len(TOPICS)
            rows.append((user, topic + len(TOPICS) * int(random.integers(0, 20)), day, float(random.random() < 0.9)))
    made = dataset(interactions(*rows), items=ITEMS)
    items = tuple(
        Item(f"i{at}", text=f"{TOPICS[at % 7]} {at}", categories=(TOPICS[at % 7], f"c{at % 3}")[: at % 4])
        for at in range(ITEMS)
    )
    return type(made)(name="made", items=items, interactions=made.interactions, users=(), times="seconds")


@pytest.fixture(scope="module")
def split(data):
    return leave_one_out(data)


@pytest.fixture(scope="module")
def served(data, split, tiny_model, tmp_path_factory):
    """A generation of a bundle, and the hybrid that it was made of."""
    made = []

    def fit(vectors):
        made.append(Hybrid.fit(data, split.train, vectors, BLEND))
        return served_scores(made[0], Behaviour(data, split.train, vectors), split.cases)

    path = tmp_path_factory.mktemp("interests") / "bundle"
    options = BundleOptions(precision="fp32")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("TOP", "TOP_UNKNOWN"):  # what is left out is not the matter here
            patch.setattr(f"tanager_export.training.sparse.{name}", ITEMS)
        build_bundle(find_model(str(tiny_model)), data, path, options=options, fit_scores=fit)
    return Generation.load(open_bundle(path)), made[0]


@pytest.mark.parametrize(
    ("mmr_lambda", "cap", "interests"), [(1.0, 0, 0), (0.4, 0, 0), (1.0, 3, 0), (1.0, 0, 2), (1.0, 0, 4), (0.4, 2, 3)]
)
def test_lists_are_those_of_the_server(data, split, served, mmr_lambda, cap, interests):
    generation, hybrid = served
    outcome = evaluate(hybrid, split)
    rule = Rule("any", 0, mmr_lambda, cap, interests)
    lists = Lists(data, [hybrid], [split], [outcome], [None]).answers(rule).outcomes[0].ranks.top
    ranker = Ranker(generation)
    diversifier = Diversifier(generation, ranker, Explainer(generation))
    histories = split.cases.histories
    exact = hybrid.score(split.cases)
    several = alike = 0
    for case in range(len(split.cases)):
        part = slice(histories.indptr[case], histories.indptr[case + 1])
        seen = histories.item[part].tolist()
        history = History(seen, (histories.weight[part] > 0).astype(float).tolist(), 0)

        def find(count, history=history, seen=seen):
            return ranker.by_history(history, page_size=count, excluded=set(seen))

        diversity = Diversity(mmr_lambda, cap, interests)
        page = diversifier.page(find, diversity, page_size=10, excluded=set(seen), history=history)
        # Equals may change places: the compiled loops add up in another order.
        np.testing.assert_allclose(exact[case, lists[case]], page.scores, atol=1e-5)
        alike += lists[case].tolist() == list(page.positions)
        several += lists[case].tolist() != outcome.ranks.top[case, :10].tolist()
    assert alike > 0.9 * len(split.cases)
    assert bool(several) == (mmr_lambda < 1 or cap > 0 or interests > 0), "or the test shows nothing"


def test_shares_are_those_of_the_server(split, served):
    generation, hybrid = served
    histories = split.cases.histories.take(slice(0, 1))
    weights = (histories.weight > 0).astype(np.float64)
    groups = np.arange(len(weights)) % 3 - 1
    positions = np.arange(0, ITEMS, 5, dtype=np.int32)
    found = shares(hybrid, histories.item, weights, groups, 2, positions)
    history = History(histories.item.tolist(), weights.tolist(), 0)
    told = Explainer(generation).shares(positions.tolist(), history=history, groups=groups.tolist(), count=2)
    np.testing.assert_allclose(found, told, rtol=1e-3, atol=1e-4)


def test_the_strongest_that_loses_little_on_validation_is_chosen(data, split, served):
    _, hybrid = served
    found = choose(data, [hybrid], [split])
    outcome = evaluate(hybrid, split)
    curve = diversity_curve(data, [hybrid], [split], [outcome], [Yardstick.of(data, split.train)], found)
    for kind in {point.kind for point in curve}:
        own = [point for point in curve if point.kind == kind]
        within = [point for point in own if point.ratio.value >= 0.99]
        assert [point for point in own if point.chosen] == within[-1:]
    assert [point.value for point in curve if point.kind == "mmr, 3 interests"] == list(LAMBDAS)
    assert {point.value for point in curve if point.kind == "interests"} == {2, 3, 4}


def test_who_has_liked_nothing_has_one_interest(split, served):
    _, hybrid = served
    scores = hybrid.score(split.cases.take(slice(0, 1)))[0]
    best = Pool(np.arange(5, dtype=np.int32), scores[:5], np.zeros(0, np.int32), (), 1.0)
    nobody = split.cases.histories.take(slice(0, 1)).latest(0)
    mean = hybrid.parts.vectors.mean(axis=0)
    assert of_interests(hybrid, best, scores, nobody, mean=mean, count=3, page_size=10) is best
