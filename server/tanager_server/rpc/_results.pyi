from collections.abc import Sequence

class ResultEncoder:
    def __init__(
        self, ids: Sequence[str], titles: Sequence[str], domains: Sequence[str], sources: Sequence[bytes]
    ) -> None: ...
    def encode(
        self, positions: Sequence[int], scores: Sequence[float], sources: Sequence[int], rests: Sequence[bytes] = ()
    ) -> bytes: ...
