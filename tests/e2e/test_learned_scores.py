"""A bundle whose scores were fitted, through the server: what follows what, what profiles say, and reasons for both."""

from __future__ import annotations

import dataclasses
import math
import subprocess
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.support import BIN, ServerProcess

from tanager import Client, ReasonKind, Source, Strategy
from tanager_export.bundle import BundleOptions, build_bundle, default_scores
from tanager_export.dataset import load_dataset
from tanager_export.model import find_model
from tanager_server.bundle import Neighbours, ProfileWeights

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LAST = "book-space-0"
NEXT = "film-love-5"
LIKED_BY_WOMEN, LIKED_BY_THE_YOUNG = "book-war-2", "film-music-7"


@pytest.fixture(scope="module")
def learned(tiny_model: Path, tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server of the tiny model and dataset, with scores as a training run might give them."""
    dataset = load_dataset(tiny_dataset)
    items = len(dataset.items)
    place = {item.id: position for position, item in enumerate(dataset.items)}
    default = default_scores(dataset)
    scores = dataclasses.replace(
        default,
        transitions=Neighbours(
            (np.arange(items + 1) > place[LAST]).astype(np.int64),
            np.array([place[NEXT]], np.int32),
            np.array([0.75], np.float32),
        ),
        priors=np.linspace([0.2, 0.1], [0.0, -0.1], items, axis=1).astype(np.float32),
        profile=ProfileWeights(
            ("gender=female", "age=18-24"),
            {"age=18-24": (18.0, 25.0)},
            np.array([0, 1, 2]),
            np.array([place[LIKED_BY_WOMEN], place[LIKED_BY_THE_YOUNG]], np.int32),
            np.array([2, 3], np.float32),
        ),
        scoring=default.scoring.model_copy(update={"origin": "learned", "transitions": 4.0, "known_events": 1.0}),
    )
    target = tmp_path_factory.mktemp("learned") / "bundle"
    options = BundleOptions(precision="fp32")
    build_bundle(find_model(str(tiny_model)), dataset, target, options=options, fit_scores=lambda _: scores)
    with ServerProcess(target) as process:
        yield process


@pytest.fixture(scope="module")
def client(learned: ServerProcess) -> Iterator[Client]:
    with Client(learned.address, timeout_s=30) as connected:
        yield connected


def test_what_follows_the_last_event_comes_first(client: Client):
    answer = client.recommend(history=["book-space-3", LAST], page_size=3, explain=True)
    assert answer[0].item_id == NEXT
    assert Source.TRANSITION in answer[0].sources
    reason = answer[0].reasons[0]
    assert (reason.kind, reason.item_id, reason.title) == (ReasonKind.TRANSITION, LAST, "Space book 0")
    assert math.isclose(reason.contribution, 4.0 * 0.75, rel_tol=1e-5)
    assert client.similar_items(LAST, page_size=3)[0].item_id != NEXT, "what follows an item is not like it"


def test_the_profile_of_somebody_new(client: Client):
    answer = client.recommend(profile={"gender": "Female", "age": 20}, page_size=3, explain=True)
    assert answer.strategy is Strategy.PROFILE
    assert [item.item_id for item in answer][:2] == [LIKED_BY_THE_YOUNG, LIKED_BY_WOMEN]
    reasons = [item.reasons[0] for item in answer][:2]
    assert [(reason.kind, reason.attribute, reason.contribution) for reason in reasons] == [
        (ReasonKind.PROFILE, "age=18-24", 3.0),
        (ReasonKind.PROFILE, "gender=female", 2.0),
    ]
    assert answer.unknown_attribute_count == 0
    assert answer.timing.batch_size == 0, "nothing had to be encoded"


def test_one_event_halves_what_the_profile_says(client: Client):
    scores = []
    for profile in ({}, {"gender": "female"}):
        answer = client.recommend(history=[LAST], profile=profile, page_size=119)
        scores.append(next(item.score for item in answer if item.item_id == LIKED_BY_WOMEN))
    assert math.isclose(scores[1] - scores[0], 0.5 * 2.0, abs_tol=1e-5)


def test_somebody_unknown_gets_the_priors(client: Client):
    answer = client.recommend(page_size=120)
    assert math.isclose(answer[0].score, 0.2, rel_tol=1e-5)
    assert math.isclose(answer[119].score, 0.0, abs_tol=1e-6)


def test_the_command_line_says_why(learned: ServerProcess):
    said = subprocess.run(
        [
            *(BIN / "tanager", "recommend", "--history", f"book-space-3,{LAST}", "--profile", "age=20", "-n", "2"),
            *("--explain", "--mmr", "0.9", "--max-per-category", "1", "--target", learned.address),
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    ).stdout
    assert "often follows Space book 0" in said
    assert "+1.0000  liked by users with age=18-24" in said, "3, of which two events leave a third"
