"""The methods of `Client` that try a bundle beside the one that is served."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tanager import _answers, _wire
from tanager._channel import ACTIVATION_TIMEOUT_S
from tanager._enums import TrialMode
from tanager._sync.caller import Caller
from tanager.v1 import model_pb2

if TYPE_CHECKING:
    from tanager._status import EndedTrial, StartedTrial


class TrialCalls(Caller):
    """Trials."""

    def start_trial(
        self,
        name: str,
        share: float,
        *,
        mode: TrialMode = TrialMode.SPLIT,
        variant: str = "",
        timeout_s: float = ACTIVATION_TIMEOUT_S,
        request_id: str | None = None,
    ) -> StartedTrial:
        """Tries a bundle beside the one that is served, when it is loaded, tried and warm. No call fails.

        Called again for the same bundle and variant, it changes the trial's mode and share, and counts begin anew;
        users who were in a smaller share are in a larger one too. `activate_bundle` of the bundle that is tried ends
        the trial.

        Args:
            name: Name of the bundle's directory in the server's directory of bundles.
            share: Share of the users, more than 0, up to 1.
            mode: Whether these users are answered from it, or what it would have answered is only compared.
            variant: What its answers are told to be of, and what the choice of users depends on; empty for `name`.
            timeout_s: The deadline, in seconds; not the client's, for this takes its time.
            request_id: See `Client`.

        Raises:
            NotFoundError: There is no such bundle.
            FailedPreconditionError: It is not whole, unfit for that machine or served; or there is a trial of another.
            AbortedError: An activation is under way.
        """
        request = model_pb2.StartTrialRequest(
            name=_wire.text("name", name),
            mode=f"TRIAL_MODE_{TrialMode(mode).name}",
            share=_wire.number("share", share),
            variant=_wire.text("variant", variant),
        )
        return self._call(self._stubs.model.StartTrial, request, _answers.started_trial, timeout_s, request_id)

    def end_trial(self, *, timeout_s: float = ACTIVATION_TIMEOUT_S, request_id: str | None = None) -> EndedTrial:
        """Ends the trial: all users are answered from the bundle that is served.

        Args:
            timeout_s: The deadline, in seconds; not the client's, for this takes its time.
            request_id: See `Client`.

        Raises:
            AbortedError: An activation is under way.
        """
        rpc, request = self._stubs.model.EndTrial, model_pb2.EndTrialRequest()
        return self._call(rpc, request, _answers.ended_trial, timeout_s, request_id)
