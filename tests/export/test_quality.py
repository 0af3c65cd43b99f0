"""The figures that decide whether a bundle is written, against slow and plain definitions."""

from __future__ import annotations

import math
from typing import cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tanager_export.quality import ONNX_BOUND, PRECISION_BOUNDS, Parity, ParityBound, ParityError, index_recall
from tanager_server.bundle import IndexInfo
from tanager_server.index import HnswIndex, Nearest

BOUND = ParityBound(cosine_mean=0.9, cosine_min=0.8, top10_overlap=0.7)


def unit(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def random_unit(count: int, dim: int, seed: int = 0) -> np.ndarray:
    return unit(np.random.default_rng(seed).normal(size=(count, dim)))


def nearest_others(vectors: np.ndarray, row: int) -> list[int]:
    others = [other for other in range(len(vectors)) if other != row]
    return sorted(others, key=lambda other: -float(vectors[row] @ vectors[other]))[:10]


class TestParity:
    @settings(deadline=None, derandomize=True)  # floats within rounding of each other would order by chance
    @given(
        count=st.integers(2, 30), dim=st.integers(2, 16), noise=st.sampled_from([0, 0.1, 1]), seed=st.integers(0, 9999)
    )
    def test_it_is_what_plain_loops_say(self, count, dim, noise, seed):
        reference = random_unit(count, dim, seed)
        other = unit(reference + noise * random_unit(count, dim, seed + 1))
        cosines = [float(a @ b) for a, b in zip(reference, other, strict=True)]
        shares = []
        for row in range(count):
            wanted, found = nearest_others(reference, row), nearest_others(other, row)
            shares.append(len(set(wanted) & set(found)) / len(wanted))
        parity = Parity.measure(reference, other)
        assert parity.cosine_mean == pytest.approx(np.mean(cosines), abs=1e-5)
        assert parity.cosine_min == pytest.approx(min(cosines), abs=1e-5)
        assert parity.top10_overlap == pytest.approx(np.mean(shares), abs=1e-5)

    def test_it_is_the_same_over_more_texts_than_one_block_holds(self):
        reference = random_unit(1100, 8)
        assert Parity.measure(reference, reference).top10_overlap == 1
        turned = np.roll(reference, 1, axis=0)
        assert Parity.measure(reference, turned).top10_overlap < 0.2

    def test_one_text_has_no_neighbours_to_lose(self):
        vector = np.array([[1, 0]], np.float32)
        assert Parity.measure(vector, vector) == Parity(1, 1, 1)

    def test_of_two_texts_each_has_the_other(self):
        assert Parity.measure(random_unit(2, 4), random_unit(2, 4, seed=1)).top10_overlap == 1

    def test_which_of_many_equal_texts_are_found_is_no_fault(self):
        """A catalogue where forty items say the same, encoded twice with the rounding of other batches."""
        texts = np.repeat(random_unit(3, 8), 40, axis=0)
        random = np.random.default_rng(0)
        once, again = (unit(texts + 1e-7 * random.normal(size=texts.shape)) for _ in range(2))
        assert Parity.measure(once, again).top10_overlap == 1

    def test_but_other_texts_in_their_place_are(self):
        texts = np.repeat(random_unit(3, 8), 40, axis=0)
        assert Parity.measure(texts, np.roll(texts, 20, axis=0)).top10_overlap < 0.9


class TestGate:
    def test_figures_at_their_bounds_pass(self):
        Parity(0.9, 0.8, 0.7).require(BOUND, what="this", mend="")

    @pytest.mark.parametrize("name", ["cosine_mean", "cosine_min", "top10_overlap"])
    @pytest.mark.parametrize("value", [0.5, math.nan, -1.0])
    def test_a_figure_under_its_bound_is_named_and_no_other(self, name, value):
        figures = {"cosine_mean": 1.0, "cosine_min": 1.0, "top10_overlap": 1.0, name: value}
        with pytest.raises(ParityError) as raised:
            Parity(**figures).require(BOUND, what="int8 against fp32", mend="Do this.")
        assert str(raised.value) == (
            f"int8 against fp32: {name} {value:.4f} (at least {getattr(BOUND, name)}); nothing was written. Do this."
        )

    def test_all_that_are_short_are_named(self):
        with pytest.raises(ParityError, match=r"cosine_mean 0\.1.*cosine_min 0\.2.*top10_overlap 0\.3"):
            Parity(0.1, 0.2, 0.3).require(BOUND, what="this", mend="")

    def test_vectors_that_are_no_numbers_do_not_pass(self):
        good = random_unit(5, 4)
        with pytest.raises(ParityError, match="cosine_mean nan"):
            Parity.measure(good, np.full_like(good, np.nan)).require(BOUND, what="this", mend="")

    def test_the_bounds_are_ordered_by_precision(self):
        for name in ("cosine_mean", "cosine_min", "top10_overlap"):
            fp32, fp16, int8 = (getattr(PRECISION_BOUNDS[precision], name) for precision in ("fp32", "fp16", "int8"))
            assert 1 > getattr(ONNX_BOUND, name) >= fp32 >= fp16 >= int8 > 0


class FixedAnswers:
    """An index that answers with the nearest items, but leaves out the first of them."""

    def __init__(self, vectors: np.ndarray, skip: int) -> None:
        self._vectors, self._skip = vectors, skip

    def search(self, queries: np.ndarray, k: int) -> Nearest:
        similarities = queries @ self._vectors.T
        order = np.argsort(-similarities, axis=1)[:, self._skip : self._skip + k]
        return Nearest(order, np.take_along_axis(similarities, order, axis=1))


def recall(index: object, vectors: np.ndarray) -> float:
    return index_recall(cast("HnswIndex", index), vectors)


class TestIndexRecall:
    @pytest.mark.parametrize("count", [1, 2, 3, 11, 600])
    def test_exact_search_has_all(self, count):
        vectors = random_unit(count, 8)
        assert recall(FixedAnswers(vectors, skip=0), vectors) == 1

    def test_what_is_missing_is_missing(self):
        vectors = random_unit(200, 8)
        # The first to be left out is the item itself, which nobody asked for; then three of its ten nearest.
        assert recall(FixedAnswers(vectors, skip=1), vectors) == 1
        assert recall(FixedAnswers(vectors, skip=4), vectors) == pytest.approx(0.7)
        assert recall(FixedAnswers(vectors, skip=50), vectors) == 0

    def test_equal_items_may_stand_for_each_other(self):
        vectors = np.repeat(random_unit(4, 8), 50, axis=0)
        assert recall(FixedAnswers(vectors, skip=20), vectors) == 1
        assert recall(FixedAnswers(vectors, skip=50), vectors) == 0

    def test_a_poor_index_is_seen_to_be_poor_and_a_good_one_to_be_good(self):
        vectors = random_unit(3000, 32)
        good = HnswIndex.build(vectors, info=IndexInfo(m=16, ef_construction=200, ef_search=200))
        poor = HnswIndex.build(vectors, info=IndexInfo(m=2, ef_construction=5, ef_search=1))
        assert recall(good, vectors) > 0.95
        assert recall(poor, vectors) < 0.6

    @pytest.mark.parametrize("count", [1, 2, 3])
    def test_a_catalogue_of_few(self, count):
        vectors = random_unit(count, 4)
        assert recall(HnswIndex.build(vectors, info=IndexInfo(m=16, ef_construction=200, ef_search=64)), vectors) == 1
