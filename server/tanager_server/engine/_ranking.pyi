from collections.abc import Callable, Collection, Sequence

import numpy as np
from numpy.typing import NDArray

_Page = tuple[list[int], list[float], list[int], float]

class Ranking:
    def __init__(
        self,
        vectors: NDArray[np.float32],
        indptr: NDArray[np.int64],
        indices: NDArray[np.int32],
        weights: NDArray[np.float32],
        popularity: NDArray[np.float32],
        by_popularity: NDArray[np.int64],
        average: NDArray[np.float32],
        mean: NDArray[np.float32],
        neighbours: NDArray[np.int32],
        similarities: NDArray[np.float32],
        neighbours_found: NDArray[np.uint8],
        *,
        collaborative: float,
        history_text: float,
        wish: float,
        spread: float,
        spare: int,
        interests: int,
        candidate_spreads: float,
        outside_spreads: float,
        rounding: float,
        from_wish: int,
        from_text: int,
        from_collaborative: int,
        from_popular: int,
        search: Callable[[NDArray[np.float32], int], NDArray[np.int64]],
        fill_neighbours: Callable[[Sequence[int]], None],
    ) -> None: ...
    def by_wish(
        self,
        vector: NDArray[np.float32],
        near: NDArray[np.int64],
        similarities: NDArray[np.float32],
        page_size: int,
        excluded: Collection[int],
    ) -> _Page: ...
    def by_history(
        self,
        rows: Sequence[int],
        weights: Sequence[float],
        page_size: int,
        excluded: Collection[int],
        popular: bool,
        wish_vector: NDArray[np.float32] | None = None,
        wish_near: NDArray[np.int64] | None = None,
        wish_similarities: NDArray[np.float32] | None = None,
    ) -> _Page: ...
    def clean(self) -> bool: ...

def project(
    direction: NDArray[np.float32], mean: NDArray[np.float32], spread: float, lift: float
) -> tuple[float, float]: ...
