from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from tanager_server.index._growth import Growth

_Rows = tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]

class Terms:
    def __init__(
        self,
        *,
        growth: Growth,
        vectors: NDArray[np.float32],
        sequence_vectors: NDArray[np.float32],
        neighbours: _Rows,
        transitions: _Rows,
        attributes: _Rows,
        priors: NDArray[np.float32],
        collaborative: float,
        collaborative_half_life: float,
        transitions_weight: float,
        transitions_half_life: float,
        history_text: float,
        history_text_half_life: float,
        profile: float,
        known_events: float,
    ) -> None: ...
    def explain(
        self,
        positions: Sequence[int],
        rows: Sequence[int],
        weights: Sequence[float],
        attributes: Collection[int],
        words: Sequence[tuple[NDArray[np.float32], float]],
        expected: NDArray[np.float32] | None,
        left_out: Sequence[int],
        without: NDArray[np.float32] | None,
        scale: float,
        count: int,
    ) -> list[tuple[list[tuple[int, int, float]], float]]: ...
    def shares(
        self, positions: Sequence[int], rows: Sequence[int], weights: Sequence[float], groups: Sequence[int], count: int
    ) -> NDArray[np.float64]: ...
