from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tanager_server.index._growth import Growth

class Chooser:
    def __init__(
        self,
        vectors: NDArray[np.float32],
        categories: tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]],
        category_count: int,
        growth: Growth | None = None,
    ) -> None: ...
    def choose(
        self,
        positions: Sequence[int],
        scores: Sequence[float],
        groups: Sequence[int],
        shares: Sequence[float],
        spread: float,
        mmr_lambda: float,
        max_per_category: int,
        count: int,
    ) -> list[int]: ...
