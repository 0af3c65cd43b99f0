"""The client for asyncio."""

from __future__ import annotations

import asyncio
import time
from types import MappingProxyType
from typing import TYPE_CHECKING, Self, TypeVar

import grpc

from tanager import _convert
from tanager._channel import DEFAULT_RETRY, DEFAULT_TARGET, DEFAULT_TIMEOUT_S, READY_PAUSE_S, Connection
from tanager._errors import CancelledError, UnavailableError
from tanager._stubs import AsyncStubs, async_stubs
from tanager.v1 import model_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import TracebackType

    from tanager._results import Embeddings, Recommendations, SimilarItems, Status
    from tanager._values import Attribute, Diversity, Event, Retry, Tls

_Request = TypeVar("_Request")
_Response = TypeVar("_Response")
_Result = TypeVar("_Result")


class AsyncClient:
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

    async def recommend(
        self,
        *,
        text: str = "",
        history: Iterable[str | Event] = (),
        page_size: int | None = None,
        exclude_item_ids: Iterable[str] = (),
        include_seen: bool = False,
        profile: Mapping[str, Attribute] = MappingProxyType({}),
        context: Mapping[str, str] = MappingProxyType({}),
        explain: bool = False,
        max_reasons: int | None = None,
        diversity: Diversity | None = None,
        timeout_s: float | None = None,
        request_id: str | None = None,
    ) -> Recommendations:
        """Recommends items; see `Client.recommend`."""
        request = _convert.recommend_request(
            text=text,
            history=history,
            page_size=page_size,
            exclude_item_ids=exclude_item_ids,
            include_seen=include_seen,
            profile=profile,
            context=context,
            explain=explain,
            max_reasons=max_reasons,
            diversity=diversity,
        )
        rpc = self._stubs.recommendation.Recommend
        return await self._call(rpc, request, _convert.recommendations, timeout_s, request_id)

    async def similar_items(
        self,
        item_id: str,
        *,
        page_size: int | None = None,
        exclude_item_ids: Iterable[str] = (),
        timeout_s: float | None = None,
        request_id: str | None = None,
    ) -> SimilarItems:
        """Finds items like a given item; see `Client.similar_items`."""
        request = _convert.similar_items_request(
            item_id=item_id, page_size=page_size, exclude_item_ids=exclude_item_ids
        )
        rpc = self._stubs.recommendation.SimilarItems
        return await self._call(rpc, request, _convert.similar_items, timeout_s, request_id)

    async def embed(
        self, texts: Iterable[str], *, timeout_s: float | None = None, request_id: str | None = None
    ) -> Embeddings:
        """Encodes texts into unit-length vectors; see `Client.embed`."""
        rpc = self._stubs.embedding.Embed
        return await self._call(rpc, _convert.embed_request(texts), _convert.embeddings, timeout_s, request_id)

    async def status(self, *, timeout_s: float | None = None, request_id: str | None = None) -> Status:
        """Tells what the server is and what it serves; see `Client.status`."""
        rpc = self._stubs.model.GetStatus
        return await self._call(rpc, model_pb2.GetStatusRequest(), _convert.status, timeout_s, request_id)

    async def wait_until_ready(self, timeout_s: float = 30.0) -> Status:
        """Waits until the server answers, and returns its status; see `Client.wait_until_ready`."""
        end = time.monotonic() + timeout_s
        rpc, request = self._stubs.model.GetStatus, model_pb2.GetStatusRequest()
        while True:
            try:
                return await self._call(rpc, request, _convert.status, timeout_s, None, wait_for_ready=True)
            except UnavailableError:
                timeout_s = end - time.monotonic() - READY_PAUSE_S
                if timeout_s <= 0:
                    raise
            await asyncio.sleep(READY_PAUSE_S)

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
