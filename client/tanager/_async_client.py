"""The client for asyncio."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self, TypeVar

import grpc

from tanager._async.discovery import AsyncDiscoveryCalls
from tanager._async.imports import AsyncImportCalls
from tanager._async.models import AsyncModelCalls
from tanager._async.recommendation import AsyncRecommendationCalls
from tanager._async.records import AsyncRecordCalls
from tanager._async.trials import AsyncTrialCalls
from tanager._channel import DEFAULT_RETRY, DEFAULT_TARGET, DEFAULT_TIMEOUT_S, Connection
from tanager._errors import CancelledError
from tanager._stubs import AsyncStubs, async_stubs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from tanager._values import Retry, Tls

_Request = TypeVar("_Request")
_Response = TypeVar("_Response")
_Result = TypeVar("_Result")


class AsyncClient(
    AsyncRecommendationCalls,
    AsyncDiscoveryCalls,
    AsyncRecordCalls,
    AsyncImportCalls,
    AsyncModelCalls,
    AsyncTrialCalls,
):
    """Calls a Tanager server from asyncio: the arguments, methods and errors of `Client`, awaited.

    Belongs to the event loop that runs when it is made. Cancelling the task that awaits a call cancels the call, also
    on the server.

    Args:
        target: See `Client`, as for the other arguments.
        timeout_s: Deadline of a call, in seconds, retries included.
        retry: How calls answered UNAVAILABLE are tried again; None for not at all.
        tls: How to encrypt; None for not at all.
        metadata: Sent with every call.

    Raises:
        RuntimeError: No event loop runs.
        ValueError: An argument makes no sense; the message names it.
        OSError: A file of `tls` cannot be read.
    """

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        retry: Retry | None = DEFAULT_RETRY,
        tls: Tls | None = None,
        metadata: Mapping[str, str | bytes] | None = None,
    ) -> None:
        # Without a running loop, grpc.aio would pick one that is never run, and calls would hang.
        asyncio.get_running_loop()
        self._connection = connection = Connection(target, timeout_s=timeout_s, retry=retry, tls=tls, metadata=metadata)
        if connection.credentials is None:
            self._channel = grpc.aio.insecure_channel(connection.uri, connection.options)
        else:
            self._channel = grpc.aio.secure_channel(connection.uri, connection.credentials, connection.options)
        self._stubs = async_stubs(self._channel)
        self._closed = False

    @property
    def stubs(self) -> AsyncStubs:
        """The generated stubs on this client's channel, for what the typed methods leave out."""
        return self._stubs

    async def close(self) -> None:
        """Closes the connection. Calls in flight raise `CancelledError`. Closing twice is harmless."""
        self._closed = True
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._connection.target!r})"

    async def _call(
        self,
        rpc: grpc.aio.UnaryUnaryMultiCallable[_Request, _Response],
        request: _Request,
        convert: Callable[[_Response, str], _Result],
        timeout_s: float | None,
        request_id: str | None,
        *,
        wait_for_ready: bool = False,
    ) -> _Result:
        call = self._connection.new_call(timeout_s, request_id)
        if self._closed:
            raise RuntimeError("the client is closed")
        try:
            response = await rpc(request, timeout=call.timeout_s, metadata=call.metadata, wait_for_ready=wait_for_ready)
        except grpc.RpcError as error:
            raise call.error(error) from error
        except asyncio.CancelledError:
            # grpc.aio raises this also when the channel closes, where nobody asked the caller's task to stop.
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise CancelledError("the client was closed", request_id=call.request_id) from None
        return convert(response, call.request_id)
