"""Tells the log of every call, and sparingly of those that were shed."""

from __future__ import annotations

import asyncio
import logging
import time

from tanager_server.telemetry.call_lines import CALL_MESSAGE, CALLS_LOGGER
from tanager_server.telemetry.logs import BackgroundHandler

# Of calls that were shed, so many a second are told of; the next line tells how many were not.
_SHED_LINES_PER_S = 20
# After so long without a shed call the number of those not told of is told by itself.
_QUIET_S = 1.0
_INFO = logging.INFO


class CallLog:
    """Logs calls; for use on an event loop.

    Args:
        answered: whether answered and cancelled calls are logged too, or failed ones only.
    """

    def __init__(self, *, answered: bool) -> None:
        self._logger = logging.getLogger(CALLS_LOGGER)
        self._answered = answered
        self._shed_second = self._shed_logged = self._unlogged = 0
        self._shed_at = 0.0
        self._teller: asyncio.Task[None] | None = None

    def write(self, *, method: str, code: str, seconds: float, request_id: str, shed: bool) -> None:
        """A call has ended.

        Args:
            method: its full name.
            code: the gRPC status by name.
            seconds: from its receipt to its end.
            request_id: what its caller knows it by.
            shed: whether it was refused because there was too much to do; of such calls few a second are logged.
        """
        if not self._answered and (code == "OK" or code == "CANCELLED"):
            return
        if not self._logger.isEnabledFor(_INFO):
            return
        unlogged = 0
        if shed:
            if not self._may_tell_of_shed():
                return
            unlogged, self._unlogged = self._unlogged, 0
        handler = self._background()
        if handler is not None:
            handler.handle_call((time.time_ns(), method, code, seconds, request_id, unlogged))
            return
        fields = {"method": method, "code": code, "ms": round(seconds * 1e3, 3), "request_id": request_id}
        self._logger.info(CALL_MESSAGE, extra=fields | ({"unlogged_before": unlogged} if unlogged else {}))

    def _background(self) -> BackgroundHandler | None:
        """The handler that needs no record; None if somebody has put another one beside it, who must get records."""
        found: BackgroundHandler | None = None
        logger: logging.Logger | None = self._logger
        while logger is not None:
            for handler in logger.handlers:
                if found is not None or not isinstance(handler, BackgroundHandler):
                    return None
                found = handler
            logger = logger.parent if logger.propagate else None
        return found

    def _may_tell_of_shed(self) -> bool:
        self._shed_at = time.monotonic()
        second = int(self._shed_at)
        if second != self._shed_second:
            self._shed_second, self._shed_logged = second, 0
        self._shed_logged += 1
        if self._shed_logged <= _SHED_LINES_PER_S:
            return True
        self._unlogged += 1
        if self._teller is None or self._teller.done():
            self._teller = asyncio.get_running_loop().create_task(self._tell_unlogged(), name="unlogged")
        return False

    async def _tell_unlogged(self) -> None:
        """Tells of what no later line has told; a loop that ends cancels this, which then tells at once."""
        try:
            # By the clock and not by an event, which every shed call would have to set.
            while (quiet_s := time.monotonic() - self._shed_at) < _QUIET_S:  # noqa: ASYNC110
                await asyncio.sleep(_QUIET_S - quiet_s)
        finally:
            if self._unlogged:
                unlogged, self._unlogged = self._unlogged, 0
                self._logger.info("refused calls were not logged one by one", extra={"unlogged": unlogged})
