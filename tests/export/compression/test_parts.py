"""What a compression is measured by: texts, nearest items, N@10, speed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tanager_export.compression.accuracy import Accuracy, same_nearest, shortened, wish_overlap
from tanager_export.compression.speed import compare_speed
from tanager_export.compression.texts import lesson, spoken_wishes
from tanager_export.dataset import Item, load_dataset
from tanager_export.errors import ExportError
from tanager_export.training.parts import Behaviour, Parts
from tanager_export.training.structure import Structure

FILM = Item(
    "1", "Toy Story", "Toy Story (1995). Film. Animation, children. Tags: pixar, fun.", categories=("animation",)
)


def unit(*shape: int, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


@pytest.fixture
def dataset(tiny_dataset):
    return replace(load_dataset(tiny_dataset), times="order")


class TestTexts:
    def test_no_text_of_an_item_held_out_is_learned(self, dataset):
        titled = [
            replace(item, title=f"x{at}y", text=f"x{at}y", categories=()) for at, item in enumerate(dataset.items)
        ]
        found = lesson(titled, wishes_an_item=2, seed=0)
        assert sorted((*found.items, *found.held_out)) == list(range(len(titled)))
        assert len(found.held_out) == 6
        hidden = {titled[i].title for i in found.held_out}
        assert not hidden & set(found.wishes)
        assert set(found.held_out_wishes) <= hidden
        assert {titled[i].title for i in found.items} >= set(found.wishes)

    def test_the_seed_says_what_is_drawn(self, dataset):
        made = [lesson(dataset.items, wishes_an_item=3, seed=seed) for seed in (0, 0, 1)]
        assert made[0] == made[1] != made[2]

    def test_wishes_are_made_of_the_items_words_and_none_is_empty(self):
        found = lesson([FILM] * 40, wishes_an_item=4, seed=0)
        words = set(FILM.text.lower().replace(".", "").replace(",", "").replace(":", "").split())
        assert {"toy story", "pixar"} <= {wish.lower() for wish in found.wishes}
        for wish in found.wishes:
            assert wish.strip()
            assert {word.strip(".,:").lower() for word in wish.split()} - {""} <= words | {"1995"}

    @pytest.mark.parametrize(
        "item", [Item("1", "", "x"), Item("1", "x", ""), Item("1", "", "…"), Item("1", "", "a" * 300)]
    )
    def test_even_the_barest_item_makes_wishes(self, item):
        assert all(wish.strip() for wish in lesson([item, item], wishes_an_item=4, seed=0).wishes)
        assert all(text.strip() for asked in spoken_wishes([item], [0], most=3, seed=0).values() for text in asked)

    def test_wishes_are_asked_of_the_chosen_alone(self, dataset):
        asked = spoken_wishes(dataset.items, [3, 5], most=10, seed=0)
        assert sorted(asked["titles"]) == sorted(dataset.items[i].title for i in (3, 5))
        assert list(asked) == ["titles", "phrases", "sentences"]
        assert all(len(text) > len(phrase) for text, phrase in zip(asked["sentences"], asked["phrases"], strict=True))
        assert len(spoken_wishes(dataset.items, [3, 5], most=1, seed=0)["titles"]) == 1


class TestNearest:
    def test_the_same_vectors_have_the_same_nearest(self):
        assert same_nearest((unit(5, 8), unit(40, 8, seed=1)), (unit(5, 8), unit(40, 8, seed=1))) == 1

    def test_the_share_that_stays(self):
        items = np.eye(40, dtype=np.float32)
        exact, other = np.zeros((2, 1, 40), np.float32)
        exact[0, :10], other[0, 7:17] = 1, 1
        assert same_nearest((exact, items), (other, items)) == pytest.approx(0.3)

    def test_equally_near_items_are_interchangeable(self):
        items = np.repeat(np.eye(2, dtype=np.float32), 20, axis=0)
        exact = np.array([[1, 0]], np.float32)
        shuffled = items + np.random.default_rng(0).normal(scale=0.01, size=items.shape).astype(np.float32)
        assert same_nearest((exact, items), (exact, shuffled)) == 1
        assert same_nearest((exact, items), (exact[:, ::-1], items)) == 0

    def test_each_kind_of_wish_for_itself(self):
        items, wishes = unit(40, 8), {"titles": unit(5, 8, seed=1), "phrases": unit(5, 8, seed=2)}
        found = wish_overlap(wishes, items, wishes | {"phrases": -wishes["phrases"]}, items)
        assert found["titles"] == 1
        assert found["phrases"] < 0.2

    def test_shortened_vectors_are_the_first_numbers_at_unit_length(self):
        vectors = unit(5, 8)
        cut = shortened(vectors, 3)
        np.testing.assert_allclose(np.linalg.norm(cut, axis=1), 1, rtol=1e-6)
        np.testing.assert_allclose(
            cut * np.linalg.norm(vectors[:, :3], axis=1, keepdims=True), vectors[:, :3], atol=1e-6
        )


class TestAccuracy:
    def vectors(self, dataset):
        """Such that items of one topic are near each other: users like one topic each."""
        topics = sorted({item.categories for item in dataset.items})
        raw = np.eye(16)[[topics.index(item.categories) for item in dataset.items]]
        raw += np.random.default_rng(0).normal(scale=0.02, size=raw.shape)
        return (raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float32)

    def test_the_models_own_vectors_lose_nothing_and_noise_loses_much(self, dataset):
        exact = self.vectors(dataset)
        accuracy = Accuracy(dataset, exact, seed=0, hybrid=False)
        same, hybrid = accuracy.price(exact)
        assert (same.loss, same.loss_interval, hybrid) == (0, (0, 0), None)
        noise, _ = accuracy.price(unit(len(exact), 16))
        assert noise.ndcg < 0.7 * same.ndcg
        assert noise.loss == pytest.approx(1 - noise.ndcg / same.ndcg)
        low, high = noise.loss_interval
        assert 0 < low < noise.loss < high

    def test_in_the_hybrid_nothing_changes_but_the_vectors(self, dataset):
        exact, other = self.vectors(dataset), unit(len(dataset.items), 16)
        shared = Behaviour(dataset, dataset.interactions, exact)
        structure = Structure(borrow=3.0)
        first = Parts.fit(shared, structure)
        swapped = Parts.fit(shared.with_vectors(other), structure)
        fresh = Parts.fit(Behaviour(dataset, dataset.interactions, other), structure)
        for name in ("collaborative", "transitions", "vectors", "priors"):
            np.testing.assert_array_equal(getattr(swapped, name), getattr(fresh, name))
        assert not np.array_equal(first.collaborative, swapped.collaborative)
        again = Parts.fit(shared, structure)
        np.testing.assert_array_equal(again.collaborative, first.collaborative)

    def test_behaviour_without_an_order_is_refused(self, dataset):
        with pytest.raises(ExportError, match="needs interactions with times"):
            Accuracy(replace(dataset, times="none"), self.vectors(dataset), seed=0)


class TestSpeed:
    def test_ratios_are_of_one_round_and_the_first_round_does_not_count(self, monkeypatch):
        now = [0.0]

        class Timed:
            def __init__(self, *seconds: float) -> None:
                self.seconds = list(seconds)

            def encode_texts(self, texts):
                now[0] += self.seconds.pop(0)

        monkeypatch.setattr("tanager_export.compression.speed.time.perf_counter", lambda: now[0])
        encoders = {"int8": Timed(100, 1, 2, 4), "student": Timed(200, 0.5, 0.5, 2)}
        found = compare_speed(encoders, ["text"] * 10, against="int8", rounds=3)  # type: ignore[arg-type]
        assert (found["int8"].ratio, found["int8"].texts_per_s) == (1, 5)
        student = found["student"]
        assert (student.ratio, student.ratio_low, student.ratio_high, student.texts_per_s) == (2, 2, 4, 20)
