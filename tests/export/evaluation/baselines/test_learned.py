"""SASRec and the hybrid: order, profiles, features of cold items, and stopping in time."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from tests.export.evaluation.baselines.conftest import ITEMS_A_TOPIC, TOPICS, histories

from tanager_export.dataset import AttributeValue, Dataset, Item
from tanager_export.errors import ExportError
from tanager_export.evaluation.baselines import Ease, Hybrid, Popularity, SASRec, sasrec
from tanager_export.evaluation.baselines.features import ProfileFeatures, item_features
from tanager_export.evaluation.baselines.training import hold_out, ndcg, seeded, train_until_best

SASREC = {"dim": 64, "dropout": 0.2, "learning_rate": 0.003, "weight_decay": 0.0}
HYBRID = {"dim": 64, "learning_rate": 0.01, "held_back": 0.5, "weight_decay": 0.0, "decay": 1.0}


def test_order_is_found_where_only_the_last_item_tells(chains, quality):
    dataset = chains.dataset
    learned = SASRec().fit(dataset, dataset.interactions, SASREC, seed=0)
    ease = Ease().fit(
        dataset, dataset.interactions, {"l2": 5.0, "dropout": 0.0, "user_exponent": 0.0, "decay": 1.0}, seed=0
    )
    # Without the order, what comes before the first is as likely as what follows the last.
    assert quality(ease, chains.cases) < 0.9
    assert quality(learned, chains.cases) > 0.95
    reversed_cases = chains.cases.take(slice(0, None))
    reversed_cases.histories.item[:] = chains.cases.histories.item.reshape(-1, 4)[:, ::-1].ravel()
    assert quality(learned, reversed_cases) < 0.9


def test_a_sequence_that_is_longer_than_the_model_reads_counts_by_its_end(chains, monkeypatch, cases_with):
    monkeypatch.setattr(sasrec, "_LENGTH", 4)
    monkeypatch.setattr(sasrec, "_EPOCHS", 2)
    learned = SASRec().fit(chains.dataset, chains.dataset.interactions, SASREC, seed=0)
    short = [(item, 1.0) for item in (3, 4, 5, 6)]
    long = [(item, 1.0) for item in (40, 41, 20, 3, 4, 5, 6)]
    np.testing.assert_allclose(
        learned.score(cases_with([long], [[7]])), learned.score(cases_with([short], [[7]])), atol=1e-4
    )


@pytest.mark.parametrize("length", range(8))
def test_every_step_of_a_sequence_is_learned_from_once(length, monkeypatch):
    monkeypatch.setattr(sasrec, "_LENGTH", 3)
    pieces = sasrec._pieces(histories([[(item, 1.0) for item in range(length)], [(9, 1.0), (8, 1.0)], [(5, 1.0)]]))
    rows = [pieces.take(slice(row, row + 1)).item.tolist() for row in range(len(pieces))]
    steps = [pair for row in rows for pair in itertools.pairwise(row)]
    assert sorted(steps) == sorted([(item, item + 1) for item in range(length - 1)] + [(9, 8)])
    assert pieces.lengths.max() <= 4


def test_batches_hold_every_piece(monkeypatch):
    monkeypatch.setattr(sasrec, "_POSITIONS_A_BATCH", 5)
    pieces = histories([[(row, 1.0)] * (2 + row % 3) for row in range(20)])
    batches = list(sasrec._batches(pieces, np.random.default_rng(0)))
    assert len(batches) > 5
    assert sorted(int(tokens[0]) - 1 for batch in batches for tokens in batch) == list(range(20))


def test_padding_tells_nothing(chains):
    model = sasrec._Transformer(48, dim=8, dropout=0.0).eval()
    short = torch.tensor([[3, 4, 0, 0, 0]])
    with torch.inference_mode():
        torch.testing.assert_close(model.after_last(short), model.after_last(short[:, :2]))


def test_a_profile_alone_tells_the_topic(topics, quality, cases_with):
    learned = Hybrid().fit(topics.dataset, topics.dataset.interactions, HYBRID, seed=0)
    targets = [[12 * topic + 3, 12 * topic + 5] for topic in range(4)]
    empty: list[list[tuple[int, float]]] = [[] for _ in TOPICS]
    told = cases_with(empty, targets, profiles=[{"fond_of": topic} for topic in TOPICS])
    untold = cases_with(empty, targets, profiles=[{"fond_of": "submarines"}] * 4)
    popular = Popularity().fit(topics.dataset, topics.dataset.interactions, {}, seed=0)
    assert quality(learned, told) > 1.5 * quality(popular, told)
    assert quality(learned, untold) == quality(popular, untold)


def test_the_hybrid_knows_an_item_that_nobody_took_up_by_its_features(topics, without_items, cases_with):
    cold = [10, 11, 22, 23, 34, 35, 46, 47]
    train = without_items(topics.dataset.interactions, cold)
    learned = Hybrid().fit(topics.dataset, train, HYBRID, seed=0)
    asked = [[(12 * topic, 1.0), (12 * topic + 1, 1.0)] for topic in range(4)]
    scores = learned.score(cases_with(asked, [[cold[0]]] * 4))[:, cold]
    assert (np.sort(np.argsort(-scores, axis=1)[:, :2], axis=1) == [[0, 1], [2, 3], [4, 5], [6, 7]]).all()
    np.testing.assert_allclose(scores[:, ::2], scores[:, 1::2], rtol=1e-5)  # the same features, the same score


@pytest.mark.parametrize(("method", "parameters"), [(SASRec(), SASREC), (Hybrid(), HYBRID)])
def test_another_seed_is_another_model(method, parameters, topics, monkeypatch):
    for module in ("sasrec", "hybrid"):
        monkeypatch.setattr(f"tanager_export.evaluation.baselines.{module}._EPOCHS", 1)
    one, other = (
        method.fit(topics.dataset, topics.dataset.interactions, parameters, seed=seed).score(topics.cases)
        for seed in (0, 1)
    )
    assert not np.allclose(one, other)


@pytest.mark.parametrize(("method", "parameters"), [(SASRec(), SASREC), (Hybrid(), HYBRID)])
def test_nothing_to_learn_from_is_refused(method, parameters, topics, interactions_with):
    with pytest.raises(ExportError, match="no interaction of positive weight to learn from"):
        method.fit(topics.dataset, interactions_with([(0, 1, 5, -1.0)], 1), parameters, seed=0)


@pytest.mark.parametrize(("method", "parameters"), [(SASRec(), SASREC), (Hybrid(), HYBRID)])
def test_users_with_one_like_each_are_enough(method, parameters, topics, interactions_with, monkeypatch):
    for module in ("sasrec", "hybrid"):
        monkeypatch.setattr(f"tanager_export.evaluation.baselines.{module}._EPOCHS", 2)
    few = interactions_with([(user, user % 5, user, 1.0) for user in range(10)], 10)
    assert np.isfinite(method.fit(topics.dataset, few, parameters, seed=0).score(topics.cases)).all()


def test_only_the_last_like_is_held_out_and_only_of_who_did_three_things():
    rows = histories([[(1, 1.0), (2, 1.0)], *([[(row, 1.0), (row + 1, 1.0), (row + 2, 1.0)] for row in range(10)])])
    held = hold_out(rows, seed=0)
    assert len(held.row) == 5
    assert 0 not in held.row
    assert held.target.tolist() == (held.row + 1).tolist()  # row r begins with item r - 1
    assert held.known.lengths.tolist() == [2] * 5
    assert len(held.learn.item) == len(rows.item) - 5
    for row in range(len(rows)):
        kept = rows.take(slice(row, row + 1)).item.tolist()
        assert held.learn.take(slice(row, row + 1)).item.tolist() == (kept[:-1] if row in held.row else kept)


def test_quality_masks_the_history_and_counts_ties_against():
    scores = np.array([[9, 1, 5, 5], [1, 9, 8, 7], [3, 2, 1, 0]], np.float32)
    known = histories([[(0, 1.0)], [(1, 1.0)], [(0, 1.0), (1, 1.0), (2, 1.0)]])
    found = ndcg(scores, known, np.array([2, 2, 3], np.int32))
    assert found == pytest.approx((1 / math.log2(3) + 1 + 1) / 3)


def test_training_stops_when_it_gets_no_better_and_takes_the_best_back():
    model = torch.nn.Linear(1, 1, bias=False)
    qualities = iter([1.0, 3.0, 2.0, 2.0, 3.0, 0.0, 0.0, 9.0])
    passed = 0

    def epoch() -> None:
        nonlocal passed
        passed += 1
        with torch.no_grad():
            model.weight.fill_(passed)

    train_until_best(model, epoch, lambda: next(qualities), epochs=100)
    assert passed == 7  # five without a rise after the second
    assert model.weight.item() == 2
    train_until_best(model, epoch, None, epochs=3)
    assert model.weight.item() == 10


def test_seeded_draws_repeat_and_leave_the_others_alone():
    torch.manual_seed(5)
    wanted = torch.rand(2)
    torch.manual_seed(5)
    drawn = []
    for _ in range(2):
        with seeded(1):
            drawn.append(torch.rand(2))
    torch.testing.assert_close(drawn[0], drawn[1], rtol=0, atol=0)
    torch.testing.assert_close(torch.rand(2), wanted, rtol=0, atol=0)


def test_the_features_of_items_are_themselves_categories_and_telling_words():
    items = (
        Item(id="a", text="The red red boat", categories=("sea", "sea")),
        Item(id="b", title="The red train", text="  ", categories=("land", "sea")),
        Item(id="c", text="the boat unique"),
    )
    found = item_features(items)
    rows = [
        dict(zip(found.feature[part].tolist(), found.weight[part].tolist(), strict=True))
        for part in (slice(*found.indptr[row : row + 2]) for row in range(3))
    ]
    assert found.count == 3 + 2 + 2  # items; land, sea; boat, red; "the" is everywhere, the others in one item
    words = {len(items) + 2, len(items) + 3}
    assert rows[0].keys() == {0, 4} | words
    assert rows[1].keys() - words == {1, 3, 4}
    assert rows[2].keys() - words == {2}
    for row in rows:
        assert math.hypot(*(weight for feature, weight in row.items() if feature in words)) == pytest.approx(1)
    assert max(rows[0].values()) == 1
    assert sorted(rows[0][word] for word in words) == pytest.approx(
        sorted(np.array([1, 1 + math.log(2)]) / math.hypot(1, 1 + math.log(2)))
    )


def test_a_profile_is_its_values_and_the_eighth_its_numbers_fall_into():
    people: list[dict[str, AttributeValue]] = [
        {"age": age, "city": "Ulm", "likes": ("a", "b"), "new": age > 40} for age in range(80)
    ]
    features = ProfileFeatures([*people, {"city": "Rome"}])
    asked: list[dict[str, AttributeValue]] = [{"age": age} for age in (5, 9, 11, 500)]
    asked += [{"city": "Ulm", "likes": ("b", "c")}, {"city": "Rome"}, {}]
    bags = features.bags(asked)
    rows = [set(bags.feature[slice(*bags.indptr[row : row + 2])].tolist()) for row in range(len(asked))]
    assert len(features) == 8 + 1 + 2 + 2  # Rome is one user's
    assert rows[0] == rows[1]
    assert len({frozenset(row) for row in rows[1:5]}) == 4
    assert [len(row) for row in rows] == [1, 1, 1, 1, 2, 0, 0]


def test_a_catalogue_without_texts_or_profiles_will_do(interactions_with, cases_with, monkeypatch):
    monkeypatch.setattr("tanager_export.evaluation.baselines.hybrid._EPOCHS", 1)
    dataset = Dataset("bare", tuple(Item(id=str(number), title="x") for number in range(ITEMS_A_TOPIC)))
    train = interactions_with([(user, (user + step) % 12, step, 1.0) for user in range(6) for step in range(4)], 6)
    scores = Hybrid().fit(dataset, train, HYBRID, seed=0).score(cases_with([[(1, 1.0)], []], [[2], [3]]))
    assert np.isfinite(scores).all()
