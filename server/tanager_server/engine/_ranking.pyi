from collections.abc import Callable, Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from tanager_server.index._growth import Growth

_Page = tuple[list[int], list[float], list[int], float]
_Rows = tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]
# Vector, positions, similarities, weight, source.
_Asked = tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32], float, int]
# Bytes of the items that may be answered with, items that are looked at one by one, share of the index that may be.
_Allowed = NDArray[np.uint8] | None
_View = tuple[_Allowed, NDArray[np.int64], float]
_Search = Callable[[NDArray[np.float32], int, _Allowed], NDArray[np.int64]]

class Ranking:
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
        by_prior: NDArray[np.int64],
        average: NDArray[np.float32],
        mean: NDArray[np.float32],
        near: NDArray[np.int32],
        similarities: NDArray[np.float32],
        near_found: NDArray[np.uint8],
        collaborative: float,
        collaborative_half_life: float,
        transitions_weight: float,
        transitions_half_life: float,
        history_text: float,
        history_text_half_life: float,
        wish_prior: float,
        profile: float,
        known_events: float,
        spread: float,
        spare: int,
        interests: int,
        candidate_spreads: float,
        outside_spreads: float,
        most_listed: int,
        rounding: float,
        from_text: int,
        from_collaborative: int,
        from_popular: int,
        from_transition: int,
        from_profile: int,
        from_sequence: int,
        search: _Search,
        search_sequence: _Search,
        fill_neighbours: Callable[[Sequence[int]], None],
    ) -> None: ...
    def by_wish(
        self, asked: _Asked, attributes: Collection[int], page_size: int, excluded: Collection[int], view: _View
    ) -> _Page: ...
    def by_history(
        self,
        rows: Sequence[int],
        weights: Sequence[float],
        attributes: Collection[int],
        asked: _Asked | None,
        expected: NDArray[np.float32] | None,
        page_size: int,
        excluded: Collection[int],
        personal: bool,
        view: _View,
    ) -> _Page: ...
    def score_items(
        self,
        items: Sequence[int],
        rows: Sequence[int],
        weights: Sequence[float],
        attributes: Collection[int],
        asked: _Asked | None,
        expected: NDArray[np.float32] | None,
    ) -> tuple[list[float], list[int]]: ...
    def clean(self) -> bool: ...

def project(
    direction: NDArray[np.float32], mean: NDArray[np.float32], spread: float, lift: float
) -> tuple[float, float]: ...
