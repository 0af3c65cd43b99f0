"""A bundle with a sequence head, through the server: its items are found, and its reasons hold when they are tried."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.support import ServerProcess

from tanager import Client, Event, ReasonKind, Source
from tanager_export.bundle import BundleOptions, build_bundle, default_scores
from tanager_export.dataset import load_dataset
from tanager_export.evaluation.cases import Histories
from tanager_export.model import find_model
from tanager_export.training.sequence import SequenceOptions, fit_sequence_head
from tanager_export.training.sequence_onnx import ServedSequence

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tanager_export.bundle import Scores

HISTORY = ("book-space-0", "film-love-5", "book-war-2", "film-music-7")


@pytest.fixture(scope="module")
def server(tiny_model: Path, tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    dataset = load_dataset(tiny_dataset)
    directory = tmp_path_factory.mktemp("sequence")

    def scores(vectors: np.ndarray) -> Scores:
        head = fit_sequence_head(
            dataset.interactions,
            vectors,
            options=SequenceOptions(dim=16, layers=1, epochs=2),
            directory=directory / "head",
            seed=0,
            search=False,
        )
        default = default_scores(dataset)
        sample = Histories.of_users(dataset.interactions, np.arange(20))
        return dataclasses.replace(
            default,
            scoring=default.scoring.model_copy(update={"sequence": 1.5, "collaborative": 0.0, "history_text": 0.0}),
            sequence=ServedSequence(head, sample),
        )

    build_bundle(
        find_model(str(tiny_model)),
        dataset,
        directory / "bundle",
        options=BundleOptions(precision="fp32"),
        fit_scores=scores,
    )
    with ServerProcess(directory / "bundle") as process:
        yield process


@pytest.fixture(scope="module")
def client(server: ServerProcess) -> Iterator[Client]:
    with Client(server.address, timeout_s=30) as connected:
        yield connected


def test_what_comes_next_is_among_the_results(client: Client):
    answer = client.recommend(history=HISTORY, page_size=120)
    assert any(Source.SEQUENCE in item.sources for item in answer)
    assert not any(Source.SEQUENCE in item.sources for item in client.recommend(page_size=120))


def test_without_the_cited_item_the_score_falls_by_its_term(client: Client):
    """In this bundle nothing else reads the history, so each of its reasons is the sequence head's."""
    answer = client.recommend(history=HISTORY, page_size=100, explain=True, max_reasons=10)
    tried = 0
    for removed in HISTORY:
        events = [Event(item, weight=0.0 if item == removed else 1.0) for item in HISTORY]
        after = {item.item_id: item.score for item in client.recommend(history=events, page_size=120)}
        for item in answer:
            for reason in item.reasons:
                if reason.item_id == removed:
                    assert reason.kind is ReasonKind.SEQUENCE
                    assert item.score - after[item.item_id] == pytest.approx(reason.contribution, abs=1e-5)
                    tried += 1
    assert tried > 50


def test_the_order_of_the_history_counts(client: Client):
    one, other = (
        {item.item_id: item.score for item in client.recommend(history=history, page_size=120)}
        for history in (HISTORY, HISTORY[::-1])
    )
    assert one != other
