"""What the server's tests share: bundles to tamper with, generations made to measure."""

from __future__ import annotations

import hashlib
import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.server.batching import settle

from tanager_server.bundle import (
    Bundle,
    Catalogue,
    IndexInfo,
    Item,
    Manifest,
    Neighbours,
    NewItems,
    ProfileWeights,
    Scoring,
    open_bundle,
)
from tanager_server.bundle.manifest import SCHEMA_VERSION
from tanager_server.engine import Engine
from tanager_server.index import Generation, HnswIndex, Neighbourhood, SequenceSpace
from tanager_server.runtime import EncodedTexts, EncodedWish

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Floats = NDArray[np.float32]


# Bundles


@pytest.fixture
def bundle_copy(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A copy of the tiny bundle that a test may damage."""
    return Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))


@pytest.fixture(scope="session")
def reseal() -> Callable[..., None]:
    """Makes the manifest true of the directory again, so that what lies behind the hashes can be tested."""

    def seal(directory: Path, **changes: object) -> None:
        path = directory / "manifest.json"
        fields = json.loads(path.read_text()) | changes
        del fields["bundle_id"]
        fields["files"] = {
            entry.name: {"sha256": hashlib.sha256(entry.read_bytes()).hexdigest(), "size": entry.stat().st_size}
            for entry in directory.iterdir()
            if entry != path
        }
        path.write_text(Manifest.seal(**fields).model_dump_json())

    return seal


@pytest.fixture(scope="session")
def opened_bundle(tiny_bundle: Path) -> Bundle:
    return open_bundle(tiny_bundle)


# Generations


@pytest.fixture(scope="session")
def unit_vectors() -> Callable[..., Floats]:
    """Random directions: (count, dim), each of length 1."""

    def make(count: int, dim: int = 16, seed: int = 0) -> Floats:
        vectors: Floats = np.random.default_rng(seed).standard_normal((count, dim), dtype=np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors

    return make


@pytest.fixture(scope="session")
def sparse() -> Callable[[NDArray[Any]], Neighbours]:
    """A matrix in the form of `neighbours.npz`."""

    def convert(dense: NDArray[Any]) -> Neighbours:
        rows, columns = np.nonzero(dense)
        return Neighbours(
            indptr=np.searchsorted(rows, np.arange(len(dense) + 1)).astype(np.int64),
            indices=columns.astype(np.int32),
            weights=dense[rows, columns].astype(np.float32),
        )

    return convert


@pytest.fixture(scope="session")
def index_info() -> IndexInfo:
    return IndexInfo(m=16, ef_construction=100, ef_search=64)


@pytest.fixture(scope="session")
def make_generation(
    unit_vectors: Callable[..., Floats], sparse: Callable[..., Neighbours], index_info: IndexInfo
) -> Callable[..., Generation]:
    """A catalogue `item-0`, `item-1`, … with vectors, weights B, T and A, and priors; what is not given is random.

    A has the attributes color=red, color=blue and age=18-24.
    """

    def make(
        items: int = 60,
        *,
        dim: int = 16,
        seed: int = 0,
        vectors: Floats | None = None,
        weights: NDArray[Any] | None = None,
        follows: NDArray[Any] | None = None,
        priors: NDArray[Any] | None = None,
        attributes: NDArray[Any] | None = None,
        sequence: Floats | None = None,
        categories: Callable[[int], tuple[str, ...]] = lambda number: (),
        query_prompt: str = "",
        profile_prompt: str = "",
        context_prompt: str = "",
        **scoring: object,
    ) -> Generation:
        random = np.random.default_rng(seed)
        if vectors is None:
            vectors = unit_vectors(items, dim, seed)
        if weights is None:
            weights = random.normal(size=(items, items)) * (random.random((items, items)) < 0.1)
        if follows is None:
            follows = random.normal(size=(items, items)) * (random.random((items, items)) < 0.1)
        if priors is None:
            priors = random.normal(size=(2, items)) * 0.2
        if attributes is None:
            attributes = random.normal(size=(3, items)) * (random.random((3, items)) < 0.4)
        by_attribute = sparse(attributes)
        manifest = Manifest.seal(
            schema_version=SCHEMA_VERSION,
            created_at=datetime(2026, 1, 1, tzinfo=UTC),
            model={"name": "none", "source": "none", "weights_sha256": "0" * 64},
            encoder={
                "precision": "fp32",
                "dim": dim,
                "max_tokens": 64,
                "pooling": "mean",
                "item_prompt": "",
                "query_prompt": query_prompt,
                "profile_prompt": profile_prompt,
                "context_prompt": context_prompt,
            },
            index=index_info,
            sequence=None if sequence is None else {"dim": sequence.shape[1], "max_events": 5, "precision": "fp32"},
            dataset={"name": "made", "simulated_behaviour": True, "items": items, "users": 1, "interactions": 1},
            quality={},
            tools={},
            files={},
        )
        blend: dict[str, object] = {
            "origin": "default",
            "collaborative": 0.7,
            "collaborative_half_life": 3.0,
            "transitions": 0.9,
            "transitions_half_life": 1.5,
            "history_text": 0.4,
            "history_text_half_life": 6.0,
            "sequence": 0.0 if sequence is None else 1.1,
            "wish": 1.3,
            "wish_prior": 0.3,
            "profile": 0.8,
            "profile_text": 0.6,
            "context_text": 0.25,
            "history_limit": 20,
            "known_events": 4.0,
        }
        return Generation(
            manifest=manifest,
            catalogue=Catalogue(
                Item(
                    id=f"item-{number}",
                    title=f"Title {number}",
                    text="",
                    domain="even" if number % 2 == 0 else "odd",
                    categories=categories(number),
                    attributes={},
                    popularity=number,
                )
                for number in range(items)
            ),
            vectors=vectors,
            index=HnswIndex.build(vectors, info=index_info),
            neighbours=sparse(weights),
            transitions=sparse(follows),
            priors=np.ascontiguousarray(priors, dtype=np.float32),
            profile=ProfileWeights(
                ("color=red", "color=blue", "age=18-24"),
                {"age=18-24": (18.0, 25.0)},
                by_attribute.indptr,
                by_attribute.indices,
                by_attribute.weights,
            ),
            scoring=Scoring.model_validate(blend | scoring),
            new_items=NewItems.none(vectors.shape[1]),
            sequence=None if sequence is None else SequenceSpace(sequence, HnswIndex.build(sequence, info=index_info)),
        )

    return make


class Wishes:
    """Stands in for the text encoder: every text has the vector it was given, and what was asked for is noted."""

    provider = "none"
    queue_depth = 0

    def __init__(self, generation: Generation, vectors: dict[str, Floats]) -> None:
        self._search = generation.index.search
        self.vectors = vectors
        self.asked: list[tuple[str, int, float]] = []
        self.together: list[tuple[list[str], float, bool]] = []

    def clock(self) -> float:
        return 100.0

    async def encode_texts(self, texts: Sequence[str], *, deadline: float, bulk: bool = True) -> EncodedTexts:
        self.together.append((list(texts), deadline, bulk))
        return EncodedTexts([self.vectors[text] for text in texts], 0.1, 0.2, 0.3, 4)

    async def encode_wish(self, text: str, *, reach: int, deadline: float) -> EncodedWish:
        self.asked.append((text, reach, deadline))
        vector = self.vectors[text]
        found = self._search(vector[None], reach)
        nearest = Neighbourhood(found.positions[0], found.similarities[0])
        return EncodedWish(vector, nearest, 0.1, 0.2, 0.3, 0.4, 4)


@pytest.fixture(scope="session")
def make_engine() -> Callable[..., tuple[Engine, Wishes]]:
    """An engine over a generation, and the stand-in that encodes its wishes."""

    def make(generation: Generation, *, head: Any = None, **vectors: Floats) -> tuple[Engine, Wishes]:
        wishes: Any = Wishes(generation, vectors)
        return Engine(generation, wishes, head), wishes

    return make


# Time


@pytest.fixture(scope="session", name="settle")
def settle_fixture() -> Callable[[], Any]:
    return settle
