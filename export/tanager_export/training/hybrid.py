"""The trained recommender: parts, blend, and the exact score of every item."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tanager_export.training.parts import Behaviour, Parts
from tanager_export.training.sequence import fit_sequence_head
from tanager_export.training.terms import TERMS, total

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tanager_export.dataset import Dataset, Interactions
    from tanager_export.evaluation.cases import Cases
    from tanager_export.training.blend import Blend
    from tanager_export.training.sequence import SequenceHead


def fit_head(
    train: Interactions, vectors: NDArray[np.float32], blend: Blend, *, seed: int, progress: bool = False
) -> SequenceHead | None:
    """The sequence head that a blend asks for, trained; None where it asks for none."""
    if blend.sequence is None:
        return None
    with tempfile.TemporaryDirectory(prefix="tanager-sequence-") as scratch:
        return fit_sequence_head(
            train,
            vectors,
            options=blend.sequence,
            directory=Path(scratch),
            seed=seed,
            search=False,
            progress=progress,
        )


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
    def fit(
        cls,
        dataset: Dataset,
        train: Interactions,
        vectors: NDArray[np.float32],
        blend: Blend,
        *,
        sequence: SequenceHead | None = None,
        seed: int = 0,
        progress: bool = False,
    ) -> Hybrid:
        """Fits the parts that the blend asks for.

        Args:
            dataset: the catalogue and its users.
            train: what may be learned from.
            vectors: (items, dim) float32 of unit length.
            blend: as learned.
            sequence: the head, where it is trained on `train` already.
            seed: of the head, where the blend asks for one and it is not.
            progress: whether to show bars of that on stderr, if that is a terminal.
        """
        if sequence is None:
            sequence = fit_head(train, vectors, blend, seed=seed, progress=progress)
        return cls(Parts.fit(Behaviour(dataset, train, vectors), blend.structure, sequence), blend)

    def score(self, cases: Cases) -> NDArray[np.float32]:
        """(cases, items) float32."""
        return total(self._weights, self.parts, cases, self.blend.structure)
