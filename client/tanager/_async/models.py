"""The methods of `AsyncClient` that ask and change what is served."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from tanager import _answers, _wire
from tanager._async.caller import AsyncCaller
from tanager._channel import ACTIVATION_TIMEOUT_S, READY_PAUSE_S
from tanager._errors import UnavailableError
from tanager.v1 import model_pb2

if TYPE_CHECKING:
    from tanager._status import Activation, BundleList, Status


class AsyncModelCalls(AsyncCaller):
    """The server and its bundles."""

    async def status(self, *, timeout_s: float | None = None, request_id: str | None = None) -> Status:
        """Tells what the server is, what it serves and what it keeps; see `Client.status`."""
        rpc = self._stubs.model.GetStatus
        return await self._call(rpc, model_pb2.GetStatusRequest(), _answers.status, timeout_s, request_id)

    async def wait_until_ready(self, timeout_s: float = 30.0) -> Status:
        """Waits until the server answers, and returns its status; see `Client.wait_until_ready`."""
        end = time.monotonic() + timeout_s
        rpc, request = self._stubs.model.GetStatus, model_pb2.GetStatusRequest()
        while True:
            try:
                return await self._call(rpc, request, _answers.status, timeout_s, None, wait_for_ready=True)
            except UnavailableError:
                timeout_s = end - time.monotonic() - READY_PAUSE_S
                if timeout_s <= 0:
                    raise
            await asyncio.sleep(READY_PAUSE_S)

    async def list_bundles(self, *, timeout_s: float | None = None, request_id: str | None = None) -> BundleList:
        """Lists the bundles that the server can be told to serve; see `Client.list_bundles`."""
        rpc = self._stubs.model.ListBundles
        return await self._call(rpc, model_pb2.ListBundlesRequest(), _answers.bundle_list, timeout_s, request_id)

    async def activate_bundle(
        self, name: str, *, timeout_s: float = ACTIVATION_TIMEOUT_S, request_id: str | None = None
    ) -> Activation:
        """Serves another bundle; see `Client.activate_bundle`."""
        rpc, request = self._stubs.model.ActivateBundle, model_pb2.ActivateBundleRequest(name=_wire.text("name", name))
        return await self._call(rpc, request, _answers.activation, timeout_s, request_id)

    async def rollback_bundle(
        self,
        *,
        expected_bundle_id: str = "",
        timeout_s: float = ACTIVATION_TIMEOUT_S,
        request_id: str | None = None,
    ) -> Activation:
        """Serves the bundle again that was served before; see `Client.rollback_bundle`."""
        rpc = self._stubs.model.RollbackBundle
        request = model_pb2.RollbackBundleRequest(
            expected_bundle_id=_wire.text("expected_bundle_id", expected_bundle_id)
        )
        return await self._call(rpc, request, _answers.activation, timeout_s, request_id)

    async def back_up_state(
        self, name: str, *, timeout_s: float = ACTIVATION_TIMEOUT_S, request_id: str | None = None
    ) -> int:
        """Copies the server's state into a new directory of its directory of backups; see `Client.back_up_state`."""
        rpc, request = self._stubs.model.BackUpState, model_pb2.BackUpStateRequest(name=_wire.text("name", name))
        return await self._call(rpc, request, _answers.backup_size, timeout_s, request_id)
