"""What compression costs: N@10 of recommendations and nearness to wishes, with nothing changed but the vectors."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tanager_export.errors import ExportError
from tanager_export.evaluation.evaluate import Outcome, evaluate
from tanager_export.training.blend import Blend, learn_blend
from tanager_export.training.hybrid import Hybrid
from tanager_export.training.parts import Behaviour, Parts
from tanager_export.training.terms import history_weights
from tanager_export.training.windows import held_out, protocol_of, validation_windows

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from tanager_export.dataset import Dataset
    from tanager_export.evaluation.bootstrap import Comparison
    from tanager_export.evaluation.cases import Cases, Split

_log = logging.getLogger(__name__)

METRIC = "ndcg@10"
_TOP = 10
_TIE = 1e-6
_HALF_LIFE = 10.0  # of text alone, in events: the same whether a blend is learned or not


@dataclass(frozen=True, slots=True)
class Price:
    """What vectors other than the uncompressed model's do to recommendations.

    Attributes:
        ndcg: N@10 with these vectors.
        against: these against the uncompressed ones, over the same cases.
    """

    ndcg: float
    against: Comparison

    @property
    def loss(self) -> float:
        """Share of the uncompressed model's N@10 that is lost; below 0 where it is a gain."""
        return 1 - self.against.ratio.value

    @property
    def loss_interval(self) -> tuple[float, float]:
        """Where the loss may lie: the paired bootstrap's 95 % interval."""
        return 1 - self.against.ratio.high, 1 - self.against.ratio.low


def test_of(dataset: Dataset) -> Split:
    """What is asked: the test of `evaluate` by global time, or by leave-one-out.

    Raises:
        ExportError: there is no behaviour to measure with.
    """
    if dataset.times == "none" or not len(dataset.interactions):
        raise ExportError(f"{dataset.name}: compress needs interactions with times, or with an order, to measure N@10")
    return held_out(dataset, protocol=protocol_of(dataset), seed=0)


class Accuracy:
    """Recommendations with the vectors of one encoder or another.

    The blend is learned once, with the uncompressed vectors, on windows within what may be learned from.

    Args:
        dataset: what to recommend from.
        vectors: (items, dim) float32 of unit length: the uncompressed model's.
        seed: of all draws.
        hybrid: whether to learn and measure the blend, beside the vectors alone.

    Raises:
        ExportError: there is no behaviour to measure with.
    """

    def __init__(self, dataset: Dataset, vectors: NDArray[np.float32], *, seed: int, hybrid: bool = True) -> None:
        self._seed = seed
        self.split = test_of(dataset)
        self.blend: Blend | None = None
        if hybrid:
            windows = validation_windows(dataset, self.split.train, protocol=protocol_of(dataset), seed=seed)
            self.blend = learn_blend(dataset, windows, vectors, seed=seed, progress=True)
        self._behaviour = Behaviour(dataset, self.split.train, vectors)
        self._text, self._hybrid = self._outcomes(vectors)

    def price(self, vectors: NDArray[np.float32]) -> tuple[Price, Price | None]:
        """Of these vectors alone, and in the hybrid, if there is one."""
        text, hybrid = self._outcomes(vectors)
        of_hybrid = None if hybrid is None or self._hybrid is None else self._price(hybrid, self._hybrid)
        return self._price(text, self._text), of_hybrid

    def _price(self, ours: Outcome, theirs: Outcome) -> Price:
        return Price(ours.mean(METRIC), ours.compare(theirs, METRIC, seed=self._seed))

    def _outcomes(self, vectors: NDArray[np.float32]) -> tuple[Outcome, Outcome | None]:
        text = evaluate(_TextAlone(vectors), self.split, progress=True)
        if self.blend is None:
            return text, None
        parts = Parts.fit(self._behaviour.with_vectors(vectors), self.blend.structure)
        return text, evaluate(Hybrid(parts, self.blend), self.split, progress=True)


class _TextAlone:
    """How near each item is to the recency-weighted mean of the history."""

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        self._vectors = vectors

    def score(self, cases: Cases) -> NDArray[np.float32]:
        weights = history_weights(cases.histories, items=len(self._vectors), half_life=_HALF_LIFE, normalized=True)
        return np.asarray((weights @ self._vectors) @ self._vectors.T, np.float32)


def same_nearest(
    expected: tuple[NDArray[np.float32], NDArray[np.float32]], found: tuple[NDArray[np.float32], NDArray[np.float32]]
) -> float:
    """Mean share of the ten items nearest to each text that stay the same; equally near ones are interchangeable.

    Args:
        expected: vectors of the texts, and of the items, by the uncompressed model.
        found: the same by another.
    """
    exact, other = expected[0] @ expected[1].T, found[0] @ found[1].T
    top = min(_TOP, exact.shape[1])
    last = -np.partition(-exact, top - 1, axis=1)[:, top - 1]
    chosen = np.argpartition(-other, top - 1, axis=1)[:, :top]
    near = np.take_along_axis(exact, chosen, axis=1) >= last[:, None] - _TIE
    return float((near.sum(axis=1) / top).mean())


def wish_overlap(
    expected: Mapping[str, NDArray[np.float32]],
    expected_items: NDArray[np.float32],
    found: Mapping[str, NDArray[np.float32]],
    found_items: NDArray[np.float32],
) -> dict[str, float]:
    """`same_nearest` of each kind of wish."""
    return {kind: same_nearest((expected[kind], expected_items), (found[kind], found_items)) for kind in expected}


def shortened(vectors: NDArray[np.float32], dim: int) -> NDArray[np.float32]:
    """The first `dim` numbers of each vector, of unit length again (Kusupati et al., 2022, "Matryoshka")."""
    kept = vectors[:, :dim]
    return np.asarray(kept / np.maximum(np.linalg.norm(kept, axis=1, keepdims=True), 1e-12), np.float32)
