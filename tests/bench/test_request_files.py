"""The files of requests: what is in them is what they promise."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from google.protobuf import json_format
from tests.bench.request_files import distinct_texts, histories, make_requests, mixed_lengths, read_texts
from tokenizers import Tokenizer

from tanager.v1 import recommendation_pb2

if TYPE_CHECKING:
    from pathlib import Path

CATALOGUE = ["a quiet film about trains", "a loud film about cars", "two books", "the sea, the sea and more sea"]


def test_texts_are_distinct_and_hold_the_catalogue() -> None:
    texts = distinct_texts(CATALOGUE, 10, np.random.default_rng(0))
    assert len(set(texts)) == 10
    assert set(CATALOGUE) <= set(texts)


def test_fewer_texts_than_the_catalogue_has_are_all_its_own() -> None:
    assert set(distinct_texts(CATALOGUE, 2, np.random.default_rng(0))) < set(CATALOGUE)


def test_a_catalogue_too_small_is_refused() -> None:
    with pytest.raises(ValueError, match="too few to make 50 different ones"):
        distinct_texts(["one", "two"], 50, np.random.default_rng(0))


def test_histories_hold_different_items() -> None:
    for chosen in histories(["x", "y", "z"], 50, np.random.default_rng(0)):
        assert 1 <= len(chosen) <= 3
        assert len(set(chosen)) == len(chosen)


def test_files_hold_requests_that_the_contract_takes(tiny_bundle: Path, tmp_path: Path) -> None:
    files = make_requests(tiny_bundle, tmp_path, count=100, seed=1)
    for path in (files.texts, files.mixed, files.histories):
        for line in path.read_text().splitlines():
            request = json_format.ParseDict(json.loads(line), recommendation_pb2.RecommendRequest())
            assert request.page_size == 10
            assert request.text or request.recent_events
    sent = [text for path in (files.texts, files.more_texts, files.warm_up) for text in read_texts(path)]
    assert len(set(sent)) == len(sent) == 225


def test_mixed_lengths_are_spread_evenly(tiny_bundle: Path) -> None:
    tokenizer = Tokenizer.from_file(str(tiny_bundle / "tokenizer.json"))
    tokenizer.no_truncation()
    texts = mixed_lengths(CATALOGUE, 500, tokenizer, np.random.default_rng(0))
    lengths = [len(tokenizer.encode(text).ids) for text in texts]
    assert (min(lengths), max(lengths)) == (5, 128)
    assert np.histogram(lengths, bins=4, range=(5, 129))[0].min() > len(lengths) / 8
