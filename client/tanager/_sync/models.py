"""The methods of `Client` that ask and change what is served."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tanager import _answers, _wire
from tanager._channel import ACTIVATION_TIMEOUT_S, READY_PAUSE_S
from tanager._errors import UnavailableError
from tanager._sync.caller import Caller
from tanager.v1 import model_pb2

if TYPE_CHECKING:
    from tanager._status import Activation, BundleList, Status


class ModelCalls(Caller):
    """The server and its bundles."""

    def status(self, *, timeout_s: float | None = None, request_id: str | None = None) -> Status:
        """Tells what the server is, what it serves and what it keeps.

        Args:
            timeout_s: See `Client`.
            request_id: See `Client`.
        """
        rpc = self._stubs.model.GetStatus
        return self._call(rpc, model_pb2.GetStatusRequest(), _answers.status, timeout_s, request_id)

    def wait_until_ready(self, timeout_s: float = 30.0) -> Status:
        """Waits until the server answers, and returns its status.

        Args:
            timeout_s: How long to wait, in seconds.

        Raises:
            DeadlineExceededError: Nothing answered in that time.
            UnavailableError: The server answered, until the end, that it is not ready.
        """
        end = time.monotonic() + timeout_s
        rpc, request = self._stubs.model.GetStatus, model_pb2.GetStatusRequest()
        while True:
            try:
                return self._call(rpc, request, _answers.status, timeout_s, None, wait_for_ready=True)
            except UnavailableError:
                timeout_s = end - time.monotonic() - READY_PAUSE_S
                if timeout_s <= 0:
                    raise
            time.sleep(READY_PAUSE_S)

    def list_bundles(self, *, timeout_s: float | None = None, request_id: str | None = None) -> BundleList:
        """Lists the bundles that the server can be told to serve.

        Args:
            timeout_s: See `Client`.
            request_id: See `Client`.
        """
        rpc = self._stubs.model.ListBundles
        return self._call(rpc, model_pb2.ListBundlesRequest(), _answers.bundle_list, timeout_s, request_id)

    def activate_bundle(
        self, name: str, *, timeout_s: float = ACTIVATION_TIMEOUT_S, request_id: str | None = None
    ) -> Activation:
        """Serves another bundle, when it is loaded, tried and warm and live items are encoded by it. No call fails.

        Args:
            name: Name of its directory in the server's directory of bundles.
            timeout_s: The deadline, in seconds; not the client's, for this takes its time.
            request_id: See `Client`.

        Raises:
            NotFoundError: There is no such bundle.
            FailedPreconditionError: It is not whole, or unfit for that machine; what was served is served on.
            AbortedError: Another activation is under way.
        """
        rpc, request = self._stubs.model.ActivateBundle, model_pb2.ActivateBundleRequest(name=_wire.text("name", name))
        return self._call(rpc, request, _answers.activation, timeout_s, request_id)

    def rollback_bundle(
        self,
        *,
        expected_bundle_id: str = "",
        timeout_s: float = ACTIVATION_TIMEOUT_S,
        request_id: str | None = None,
    ) -> Activation:
        """Serves the bundle again that was served before.

        Never tried again by itself: done twice, it would be undone. After an `UnavailableError` or a
        `DeadlineExceededError`, `status` tells what is served.

        Args:
            expected_bundle_id: Id of the bundle that is to be left, which makes a new try safe; empty for whichever is
                served.
            timeout_s: The deadline, in seconds; not the client's, for this takes its time.
            request_id: See `Client`.

        Raises:
            FailedPreconditionError: No other bundle was served before.
            AbortedError: Another activation is under way.
        """
        rpc = self._stubs.model.RollbackBundle
        request = model_pb2.RollbackBundleRequest(
            expected_bundle_id=_wire.text("expected_bundle_id", expected_bundle_id)
        )
        return self._call(rpc, request, _answers.activation, timeout_s, request_id)

    def back_up_state(
        self, name: str, *, timeout_s: float = ACTIVATION_TIMEOUT_S, request_id: str | None = None
    ) -> int:
        """Copies the server's state, as it is at one moment, into a new directory of its directory of backups.

        Args:
            name: Name of that directory.
            timeout_s: The deadline, in seconds; not the client's, for this takes its time.
            request_id: See `Client`.

        Returns:
            The size of the backup in bytes.

        Raises:
            FailedPreconditionError: The server keeps no state or has no directory of backups, or there is a backup of
                that name: also where a try whose answer was lost has made it.
        """
        rpc, request = self._stubs.model.BackUpState, model_pb2.BackUpStateRequest(name=_wire.text("name", name))
        return self._call(rpc, request, _answers.backup_size, timeout_s, request_id)
