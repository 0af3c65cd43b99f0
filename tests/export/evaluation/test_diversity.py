"""Measures of lists, against naive Python."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from tests.export.evaluation.made import histories_of, interactions_of

from tanager_export.dataset import Dataset, Item
from tanager_export.evaluation import diversity
from tanager_export.evaluation.cases import Histories
from tanager_export.evaluation.diversity import Yardstick

CATEGORIES = [("a",), ("a", "b"), ("b", "c"), (), ("d",), ("a", "b", "c")]
ITEMS = len(CATEGORIES)
VECTORS = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 2], [0, 0, 0], [-1, 0, 0], [0.5, 0.5, 3]], np.float32)

lists = st.lists(st.lists(st.integers(0, ITEMS - 1), unique=True, max_size=4), min_size=1, max_size=5)
histories = st.lists(st.integers(0, ITEMS - 1), unique=True, max_size=5)


def table(rows: list[list[int]], k: int = 4) -> np.ndarray:
    return np.array([row + [-1] * (k - len(row)) for row in rows], np.int32)


def items() -> tuple[Item, ...]:
    return tuple(Item(id=str(number), categories=names) for number, names in enumerate(CATEGORIES))


def mean_of_pairs(row, known, distance) -> float:
    values = [distance(one, other) for one, other in combinations([item for item in row if known(item)], 2)]
    return sum(values) / len(values) if values else math.nan


def check(found: np.ndarray, expected: list[float]) -> None:
    np.testing.assert_allclose(found, expected, atol=1e-6)


@given(lists)
def test_diversity_by_category_is_one_less_jaccard(rows):
    def distance(one: int, other: int) -> float:
        a, b = set(CATEGORIES[one]), set(CATEGORIES[other])
        return 1 - len(a & b) / len(a | b)

    found = diversity.category_diversity(table(rows), diversity.category_matrix(items()))
    check(found, [mean_of_pairs(row, lambda item: CATEGORIES[item], distance) for row in rows])


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array], ids=["dense", "sparse"])
@given(rows=lists)
def test_diversity_in_a_space_is_one_less_the_cosine(form, rows):
    def distance(one: int, other: int) -> float:
        a: list[float] = VECTORS[one].tolist()
        b: list[float] = VECTORS[other].tolist()
        return 1 - sum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))

    expected = [mean_of_pairs(row, lambda item: VECTORS[item].any(), distance) for row in rows]
    check(diversity.vector_diversity(table(rows), form(VECTORS)), expected)


def test_it_is_the_same_in_chunks(monkeypatch):
    top = np.random.default_rng(0).permuted(np.tile(np.arange(ITEMS, dtype=np.int32), (20, 1)), axis=1)[:, :4]
    whole = diversity.vector_diversity(top, VECTORS)
    monkeypatch.setattr(diversity, "_CELLS", 40)
    np.testing.assert_array_equal(diversity.vector_diversity(top, VECTORS), whole)


@given(rows=lists, taken=st.lists(st.integers(0, ITEMS - 1), max_size=20))
def test_novelty_is_the_information_of_the_smoothed_share(rows, taken):
    train = interactions_of([(0, item, 0, 1.0) for item in taken] + [(1, 2, 0, -1.0)])
    found = diversity.novelty(table(rows), diversity.information(train, items=ITEMS))

    def bits(item: int) -> float:
        return -math.log2((taken.count(item) + 1) / (len(taken) + ITEMS))

    check(found, [sum(map(bits, row)) / len(row) if row else math.nan for row in rows])


@given(lists)
def test_coverage_and_gini_are_of_the_whole_catalogue(rows):
    counts = [sum(item in row for row in rows) for item in range(ITEMS)]
    assert diversity.coverage(table(rows), items=ITEMS) == sum(map(bool, counts)) / ITEMS
    found = diversity.gini(table(rows), items=ITEMS)
    if not any(counts):
        assert math.isnan(found)
    else:
        apart = sum(abs(one - other) for one in counts for other in counts)
        assert found == pytest.approx(apart / (2 * ITEMS * sum(counts)))


def distribution(chosen: list[int]) -> dict[str, float]:
    mass: dict[str, float] = {}
    for item in chosen:
        for name in CATEGORIES[item]:
            mass[name] = mass.get(name, 0) + 1 / len(CATEGORIES[item])
    total = sum(mass.values())
    return {name: share / total for name, share in mass.items()}


@given(rows=lists, known=st.lists(histories, min_size=5, max_size=5))
def test_calibration_is_the_divergence_of_the_paper(rows, known):
    known = known[: len(rows)]
    found = diversity.calibration(table(rows), histories_of(*known), diversity.category_matrix(items()))
    expected = []
    for row, history in zip(rows, known, strict=True):
        p, q = distribution(history), distribution(row)
        terms = [share * math.log(share / (0.99 * q.get(name, 0) + 0.01 * share)) for name, share in p.items()]
        expected.append(sum(terms) if terms else math.nan)
    check(found, expected)


def test_a_list_like_the_history_is_calibrated_and_dislikes_are_no_history():
    known = Histories(
        np.array([0, 2]), np.array([0, 4], np.int32), np.zeros(2, np.int64), np.array([1, -1], np.float32)
    )
    categories = diversity.category_matrix(items())
    assert diversity.calibration(table([[0]]), known, categories).tolist() == [0]
    assert diversity.calibration(table([[4]]), known, categories)[0] == pytest.approx(math.log(100))


def test_a_yardstick_leaves_out_what_the_dataset_does_not_know():
    train = interactions_of([(0, 1, 0, 1.0)])
    top, known = table([[0, 1]]), histories_of([2])
    bare = Yardstick.of(Dataset(name="bare", items=(Item("x", "X"), Item("y", "Y"), Item("z", "Z"))), train)
    assert set(bare.each(top, known)) == {"novelty"}
    full = Yardstick.of(Dataset(name="full", items=items()), train, vectors=VECTORS)
    assert set(full.each(top, known)) == {"novelty", "category_diversity", "calibration", "ease_diversity"}
    assert full.overall(top) == {"coverage": 2 / ITEMS, "gini": pytest.approx(4 / 6)}
