"""Baselines of an evaluation, each with the space that it is tuned over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tanager_export.evaluation.baselines.ease import Ease
from tanager_export.evaluation.baselines.factors import BPR, IALS
from tanager_export.evaluation.baselines.hybrid import Hybrid
from tanager_export.evaluation.baselines.itemknn import ItemKNN
from tanager_export.evaluation.baselines.popularity import Popularity, RecentPopularity
from tanager_export.evaluation.baselines.sasrec import SASRec
from tanager_export.evaluation.baselines.text import FrozenEncoder, RidgeToEase

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tanager_export.evaluation.cases import Method

__all__ = [
    "BPR",
    "IALS",
    "Ease",
    "FrozenEncoder",
    "Hybrid",
    "ItemKNN",
    "Popularity",
    "RecentPopularity",
    "RidgeToEase",
    "SASRec",
    "baselines",
]


def baselines(vectors: NDArray[np.float32] | None = None) -> dict[str, Method]:
    """All baselines by name, in the order of a table.

    Args:
        vectors: `(items, dim)`, the items' texts as a frozen encoder has them; without, the baselines that read them
            are left out.
    """
    methods: list[Method] = [Popularity(), RecentPopularity(), ItemKNN(), Ease(), IALS(), BPR(), Hybrid(), SASRec()]
    if vectors is not None:
        methods += [FrozenEncoder(vectors), RidgeToEase(vectors)]
    return {method.name: method for method in methods}
