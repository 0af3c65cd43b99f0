from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_Column = tuple[NDArray[np.int32], NDArray[np.float32]]

class Scorer:
    def __init__(
        self,
        *,
        number: int,
        positions: NDArray[np.int32],
        alike: NDArray[np.float32],
        neighbours: _Column,
        follows: _Column,
        prior: float,
        prior_known: float,
        attributes: Sequence[float],
        sequence: Sequence[float],
        collaborative: float,
        collaborative_half_life: float,
        transitions: float,
        transitions_half_life: float,
        history_text: float,
        history_text_half_life: float,
        history_limit: int,
        known_events: float,
    ) -> None: ...
    def correct(self, numbers: NDArray[np.int32], alike: NDArray[np.float32]) -> None: ...
    def score(
        self,
        slots: NDArray[np.int64],
        include_seen: bool,
        scores: NDArray[np.float32],
        *,
        numbers: Sequence[NDArray[np.int32]],
        weights: Sequence[NDArray[np.float32]],
        starts: NDArray[np.int64],
        lengths: NDArray[np.int32],
        attributes: Sequence[NDArray[np.int32]],
        attribute_starts: NDArray[np.int64],
        attribute_lengths: NDArray[np.int32],
        allowed: NDArray[np.uint8],
        expected: NDArray[np.float32],
    ) -> int: ...

def products(rows: NDArray[np.int8], vector: NDArray[np.int8], into: NDArray[np.int32]) -> None: ...
