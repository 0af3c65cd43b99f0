"""The methods of `AsyncClient` that try a bundle beside the one that is served."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tanager import _answers, _wire
from tanager._async.caller import AsyncCaller
from tanager._channel import ACTIVATION_TIMEOUT_S
from tanager._enums import TrialMode
from tanager.v1 import model_pb2

if TYPE_CHECKING:
    from tanager._status import EndedTrial, StartedTrial


class AsyncTrialCalls(AsyncCaller):
    """Trials."""

    async def start_trial(
        self,
        name: str,
        share: float,
        *,
        mode: TrialMode = TrialMode.SPLIT,
        variant: str = "",
        timeout_s: float = ACTIVATION_TIMEOUT_S,
        request_id: str | None = None,
    ) -> StartedTrial:
        """Tries a bundle beside the one that is served; see `Client.start_trial`."""
        request = model_pb2.StartTrialRequest(
            name=_wire.text("name", name),
            mode=f"TRIAL_MODE_{TrialMode(mode).name}",
            share=_wire.number("share", share),
            variant=_wire.text("variant", variant),
        )
        return await self._call(self._stubs.model.StartTrial, request, _answers.started_trial, timeout_s, request_id)

    async def end_trial(self, *, timeout_s: float = ACTIVATION_TIMEOUT_S, request_id: str | None = None) -> EndedTrial:
        """Ends the trial; see `Client.end_trial`."""
        rpc, request = self._stubs.model.EndTrial, model_pb2.EndTrialRequest()
        return await self._call(rpc, request, _answers.ended_trial, timeout_s, request_id)
