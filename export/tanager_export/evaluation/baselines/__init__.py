"""Baselines of an evaluation, each with the space that it is tuned over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tanager_export.evaluation.baselines.ease import Ease
from tanager_export.evaluation.baselines.factors import BPR, IALS
from tanager_export.evaluation.baselines.itemknn import ItemKNN
from tanager_export.evaluation.baselines.popularity import Popularity, RecentPopularity

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tanager_export.evaluation.cases import Method

__all__ = ["BPR", "IALS", "Ease", "ItemKNN", "Popularity", "RecentPopularity", "baselines"]


def baselines(vectors: NDArray[np.float32] | None = None) -> dict[str, Method]:
    """All baselines by name, in the order of a table.

    Args:
        vectors: `(items, dim)`, the items' texts as a frozen encoder has them; without, the baselines that read them
            are left out.
    """
    del vectors
    methods: tuple[Method, ...] = (Popularity(), RecentPopularity(), ItemKNN(), Ease(), IALS(), BPR())
    return {method.name: method for method in methods}
