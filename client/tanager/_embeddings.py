"""Vectors of texts, as the clients answer with them."""

from __future__ import annotations

import array
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tanager._results import Timing

_FLOAT_BYTES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Embeddings(Sequence["array.array[float]"]):
    """Unit-length vectors in the order of their texts: a sequence of `array.array("f")`.

    Attributes:
        data: The vectors as they came, (texts, dim) float32, little-endian, row by row.
        dim: Dimensions of one vector.
        bundle_id: The bundle that answered: the sha256 over its contents.
        timing: Where the server's time went.
        request_id: What to look for in the server's logs.
    """

    data: bytes
    dim: int
    bundle_id: str
    timing: Timing
    request_id: str

    def __len__(self) -> int:
        return len(self.data) // (_FLOAT_BYTES * self.dim)

    @overload
    def __getitem__(self, index: int) -> array.array[float]: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[array.array[float], ...]: ...
    def __getitem__(self, index: int | slice) -> array.array[float] | tuple[array.array[float], ...]:
        rows = range(len(self))[index]  # negative, out of range and sliced indices mean what they mean for a list
        return self._row(rows) if isinstance(rows, int) else tuple(map(self._row, rows))

    def _row(self, row: int) -> array.array[float]:
        size = _FLOAT_BYTES * self.dim
        vector = array.array("f", self.data[row * size : (row + 1) * size])
        if sys.byteorder == "big":
            vector.byteswap()
        return vector

    def to_numpy(self) -> NDArray[np.float32]:
        """All vectors as one array, (texts, dim) float32, read-only and without a copy.

        Raises:
            ImportError: NumPy, which the client itself does not need, is not installed.
        """
        import numpy as np

        return np.frombuffer(self.data, dtype="<f4").reshape(-1, self.dim)
