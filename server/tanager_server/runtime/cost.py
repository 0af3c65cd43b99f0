"""What a batch costs, learned while serving: the scheduler's picture of the encoder."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

# Share of its weight that a measurement keeps at each later one: the last fifty or so count.
_KEEP = 0.98
# More than so many times what was expected tells of a machine that stood still; if it was the encoder that has become
# slow, the next batches tell so too.
_OUTLIER = 10.0
# What was learned keeps so much of its weight when a probe takes less than half of the time that it foretold.
_DOUBT = 0.5
# A prediction that shall hold is this many mean deviations above the mean.
_DEVIATIONS = 2.0


class CostModel:
    """Seconds a batch takes: `fixed + rate * padded tokens`, by least squares, recent batches weighing most.

    Args:
        samples: (padded tokens, seconds) measured before serving; they keep their weight, so that traffic of a single
            size does not leave the line without a slope.

    Without any sample or observation everything costs nothing, and so nothing is refused for its cost.
    """

    def __init__(self, samples: Iterable[tuple[int, float]] = ()) -> None:
        self._prior = [0.0] * 5
        for padded_tokens, seconds in samples:
            _add(self._prior, padded_tokens, seconds)
        self._sums = [0.0] * 5
        self._deviation = 0.0
        self._busy_s = self._tokens = 0.0
        self.fixed_s = self.token_s = 0.0
        self._solve()

    def copy(self) -> CostModel:
        """Another one that has learned the same so far."""
        return copy.deepcopy(self)

    def observe(self, *, tokens: int, padded_tokens: int, seconds: float) -> None:
        """A batch took so long."""
        if expected_s := self.predict(padded_tokens):
            seconds = min(seconds, _OUTLIER * expected_s)
        self._deviation = _KEEP * self._deviation + (1 - _KEEP) * abs(seconds - self.predict(padded_tokens))
        self._sums = [_KEEP * total for total in self._sums]
        _add(self._sums, padded_tokens, seconds)
        self._busy_s = _KEEP * self._busy_s + seconds
        self._tokens = _KEEP * self._tokens + tokens
        self._solve()

    def observe_probe(self, *, padded_tokens: int, seconds: float) -> None:
        """A text took so long that was tried although there seemed to be no time for it.

        Who tries nothing learns nothing, and would believe for ever that all is as slow as it once was. Probes are few:
        one that finds the model much too slow counts for many batches.
        """
        if seconds < _DOUBT * self.predict(padded_tokens):
            self._sums = [_DOUBT * total for total in self._sums]
            self._deviation *= _DOUBT
        self.observe(tokens=padded_tokens, padded_tokens=padded_tokens, seconds=seconds)

    def predict(self, padded_tokens: int) -> float:
        """Seconds that a batch of so many padded tokens takes on average."""
        return self.fixed_s + self.token_s * padded_tokens

    def bound(self, padded_tokens: int) -> float:
        """Seconds within which such a batch is mostly done."""
        return self.predict(padded_tokens) + _DEVIATIONS * self._deviation

    @property
    def backlog_token_s(self) -> float:
        """Seconds per token of a queue, padding and the fixed cost of its batches included."""
        return self._busy_s / self._tokens if self._tokens else self.token_s

    def _solve(self) -> None:
        n, x, y, xx, xy = (prior + recent for prior, recent in zip(self._prior, self._sums, strict=True))
        if not n:
            return
        spread = n * xx - x * x
        self.token_s = max((n * xy - x * y) / spread, 0.0) if spread > 1e-9 * xx else xy / xx
        self.fixed_s = (y - self.token_s * x) / n
        if self.fixed_s < 0:
            self.fixed_s, self.token_s = 0.0, xy / xx


def _add(sums: list[float], padded_tokens: float, seconds: float) -> None:
    for index, value in enumerate(
        (1.0, padded_tokens, seconds, padded_tokens * padded_tokens, padded_tokens * seconds)
    ):
        sums[index] += value
