"""The trained recommender: parts, blend, and the exact score of every item."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tanager_export.training.parts import Behaviour, Parts
from tanager_export.training.terms import TERMS, total

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tanager_export.dataset import Dataset, Interactions
    from tanager_export.evaluation.cases import Cases
    from tanager_export.training.blend import Blend


class Hybrid:
    """Scores every item exactly, in fp32: what the served score is measured against.

    Args:
        parts: fitted to all that may be learned from.
        blend: learned on windows within it.
    """

    def __init__(self, parts: Parts, blend: Blend) -> None:
        self.parts, self.blend = parts, blend
        self._weights = [blend.weights[name] for name in TERMS]

    @classmethod
    def fit(cls, dataset: Dataset, train: Interactions, vectors: NDArray[np.float32], blend: Blend) -> Hybrid:
        """Fits the parts that the blend asks for.

        Args:
            dataset: the catalogue and its users.
            train: what may be learned from.
            vectors: (items, dim) float32 of unit length.
            blend: as learned.
        """
        return cls(Parts.fit(Behaviour(dataset, train, vectors), blend.structure), blend)

    def score(self, cases: Cases) -> NDArray[np.float32]:
        """(cases, items) float32."""
        return total(self._weights, self.parts, cases, self.blend.structure)
