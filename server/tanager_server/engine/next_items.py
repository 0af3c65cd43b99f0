"""What the sequence head makes of a history, and of the same history without each of its items."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tanager_server.engine.reasons import LeftOut
from tanager_server.errors import OverloadedError
from tanager_server.runtime.worker import WorkerThread

if TYPE_CHECKING:
    from tanager_server.engine.subject import History
    from tanager_server.runtime import SequenceHead

_LEFT_OUT = 8
"""Items that are left out one by one, the latest: each is one more history to read."""
_NICENESS = 8  # as the threads that encode: the event loop goes first
_MOST_WAITING = 64
_RETRY_AFTER_S = 0.1


class NextItems:
    """The sequence head with its weight in the score.

    Args:
        head: reads histories.
        weight: of its scores.
    """

    def __init__(self, head: SequenceHead, *, weight: float) -> None:
        self._head, self._weight = head, np.float32(weight)
        self._worker = WorkerThread("next-items", niceness=_NICENESS)
        self._waiting = 0

    def expected(self, history: History) -> History:
        """The history with what comes next; as it is, where nothing in it is liked."""
        liked = _liked(history)
        return history._replace(expected=self._weight * self._head.expect([liked])[0]) if liked else history

    async def left_out(self, history: History) -> LeftOut:
        """What would come next without each of the latest items.

        Raises:
            OverloadedError: too many histories wait for it.
        """
        if self._waiting >= _MOST_WAITING:
            raise OverloadedError(
                f"explain: {self._waiting} calls with reasons wait already; ask again, or without reasons",
                retry_after_s=_RETRY_AFTER_S,
            )
        self._waiting += 1
        try:
            return await self._worker.run(self.leave_out, history)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Ends the thread, when it has done what it was given."""
        self._worker.close()

    def leave_out(self, history: History) -> LeftOut:
        """The same, in the caller's thread."""
        liked = _liked(history)
        items = list(dict.fromkeys(reversed(liked[-self._head.max_events :])))[:_LEFT_OUT]
        rest = [[position for position in liked if position != item] for item in items]
        return LeftOut(items, self._weight * self._head.expect(rest))


def _liked(history: History) -> list[int]:
    return [position for position, weight in zip(history.scored, history.weights, strict=True) if weight > 0]
