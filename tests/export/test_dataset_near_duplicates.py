"""Texts that are nearly the same: what is found is what comparing each with each finds."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tanager_export.dataset.checks.near_duplicates import near_duplicate_pairs


def similarity(one: str, other: str) -> float:
    sets = [set(itertools.pairwise(["", *text.split(), ""])) for text in (one, other)]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


sentences = st.lists(st.sampled_from("abcdefgh"), max_size=12).map(" ".join)


@settings(deadline=None)
@given(texts=st.lists(sentences, max_size=12))
def test_whatever_is_found_is_nearly_the_same(texts):
    pairs = near_duplicate_pairs(texts, similarity=0.6)
    assert pairs.dtype == np.int64
    assert pairs.tolist() == sorted(pairs.tolist())
    for one, other in pairs.tolist():
        assert one < other
        assert similarity(texts[one], texts[other]) >= 0.6


def test_what_is_nearly_the_same_is_found_among_many():
    chance = random.Random(0)
    vocabulary = [f"w{number}" for number in range(3000)]
    originals = [chance.choices(vocabulary, k=30) for _ in range(1500)]
    changed = [[*words[:14], "new", *words[15:]] for words in originals[:500]]  # similarity 29 / 33
    texts = [" ".join(words) for words in (*originals, *changed)]
    pairs = near_duplicate_pairs(texts)
    assert {tuple(pair) for pair in pairs.tolist()} <= {(n, 1500 + n) for n in range(500)}
    assert len(pairs) >= 495  # MinHash finds 99.9 in 100 at this similarity


def test_few_are_missed_where_many_are_alike():
    chance = random.Random(0)
    texts = sorted({
        f"steel screw with {chance.choice('abcdefghij')} head and {chance.choice('klmnop')} finish for use in "
        f"{chance.choice('qrstuv')} walls by {chance.choice('wxyz')} in a box of {chance.choice('123456789')}"
        for _ in range(600)
    })  # fmt: skip
    alike = {
        position
        for pair in itertools.combinations(range(len(texts)), 2)
        if similarity(*(texts[at] for at in pair)) >= 0.7
        for position in pair
    }
    found = set(near_duplicate_pairs(texts, similarity=0.7).ravel().tolist())
    assert found <= alike
    assert len(alike) > 400
    assert len(found) >= 0.95 * len(alike)


def test_a_group_is_found_as_a_chain():
    texts = [f"one long text about a thing that comes in sizes and in colours size {n}" for n in range(5)]
    pairs = near_duplicate_pairs(texts, similarity=0.7)
    assert set(np.unique(pairs).tolist()) == set(range(5))


@pytest.mark.parametrize("similarity", [0.5, 1.0])
def test_case_and_punctuation_do_not_count(similarity):
    texts = ["Red, red wine!", "red red  WINE", "wine red red"]
    assert near_duplicate_pairs(texts, similarity=similarity).tolist()[0] == [0, 1]


def test_scripts_without_spaces_are_read_by_the_character():
    texts = ["三体是一部关于外星文明的小说", "三体是一部关于外星文明的小说书", "完全不同的东西在这里"]
    assert near_duplicate_pairs(texts).tolist() == [[0, 1]]


@pytest.mark.parametrize("texts", [[], ["alone"], ["", "x"]])
def test_there_may_be_nothing_to_compare(texts):
    assert near_duplicate_pairs(texts).shape == (0, 2)


def test_pairs_are_compared_by_the_block(monkeypatch):
    texts = [f"this is the same text with one word at its end {n % 40} {n // 40}" for n in range(200)]
    whole = near_duplicate_pairs(texts, similarity=0.6)
    monkeypatch.setattr("tanager_export.dataset.checks.near_duplicates._PAIRS_A_BLOCK", 7)
    assert near_duplicate_pairs(texts, similarity=0.6).tolist() == whole.tolist()
    assert len(whole) > 7
