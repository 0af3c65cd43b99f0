import enum

import numpy as np
from numpy.typing import NDArray

class Strategy(enum.Enum):
    BEST = ...
    SCAN = ...
    AROUND = ...
    THROUGH = ...

class Searcher:
    def __init__(
        self,
        vectors: NDArray[np.float32],
        links: NDArray[np.int32],
        upper: NDArray[np.int32],
        upper_starts: NDArray[np.int64],
        entry: int,
        levels: int,
    ) -> None: ...
    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        mask: NDArray[np.uint8],
        count: int,
        positions: NDArray[np.int32] | None,
        ef: int,
        strategy: Strategy,
        threads: int,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32], tuple[int, int, int]]: ...
