from collections.abc import Sequence

class ResultEncoder:
    def __init__(
        self, ids: Sequence[str], titles: Sequence[str], domains: Sequence[str], sources: Sequence[bytes]
    ) -> None: ...
    def put(self, position: int, item_id: str, title: str, domain: str) -> None: ...
    def encode(
        self,
        positions: Sequence[int],
        scores: Sequence[float],
        sources: Sequence[int],
        rests: Sequence[bytes] = (),
        first_rank: int = 1,
        propensities: Sequence[float] = (),
    ) -> bytes: ...
