"""The blocking client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self, TypeVar

import grpc

from tanager._channel import DEFAULT_RETRY, DEFAULT_TARGET, DEFAULT_TIMEOUT_S, Connection
from tanager._stubs import Stubs, stubs
from tanager._sync.discovery import DiscoveryCalls
from tanager._sync.imports import ImportCalls
from tanager._sync.models import ModelCalls
from tanager._sync.recommendation import RecommendationCalls
from tanager._sync.records import RecordCalls
from tanager._sync.trials import TrialCalls

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from tanager._values import Retry, Tls

_Request = TypeVar("_Request")
_Response = TypeVar("_Response")
_Result = TypeVar("_Result")


class Client(RecommendationCalls, DiscoveryCalls, RecordCalls, ImportCalls, ModelCalls, TrialCalls):
    """Calls a Tanager server and waits for its answers. Safe to share between threads.

    Connecting happens at the first call, and again whenever the connection was lost. A client is meant to live as long
    as the program; `close` it, or use it as a context manager.

    Every method takes, beside its own arguments:

    - `timeout_s`: the deadline of this call, in seconds; the client's if not given.
    - `request_id`: printable ASCII that names this call in the server's logs; a new one if not given.

    and raises a subclass of `TanagerError` if the call fails, TypeError or ValueError if an argument cannot be sent,
    and RuntimeError if the client is closed. Bounds of arguments are the server's to check: `InvalidArgumentError`.

    Args:
        target: The server as host:port, or a gRPC URI such as "unix:/run/tanager.sock". Calls are spread over all
            addresses of the host.
        timeout_s: Deadline of a call, in seconds, retries included. Calls with much in them, such as a large `embed`,
            may need more.
        retry: How calls answered UNAVAILABLE are tried again; None for not at all.
        tls: How to encrypt; None for not at all.
        metadata: Sent with every call, for example {"authorization": "Bearer …"}. Keys are lower case.

    Raises:
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
        self._connection = connection = Connection(target, timeout_s=timeout_s, retry=retry, tls=tls, metadata=metadata)
        if connection.credentials is None:
            self._channel = grpc.insecure_channel(connection.uri, connection.options)
        else:
            self._channel = grpc.secure_channel(connection.uri, connection.credentials, connection.options)
        self._stubs = stubs(self._channel)
        self._closed = False

    @property
    def stubs(self) -> Stubs:
        """The generated stubs on this client's channel, for what the typed methods leave out."""
        return self._stubs

    def close(self) -> None:
        """Closes the connection. Calls in flight raise `CancelledError`. Closing twice is harmless."""
        self._closed = True
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._connection.target!r})"

    def _call(
        self,
        rpc: grpc.UnaryUnaryMultiCallable[_Request, _Response],
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
            response = rpc(request, timeout=call.timeout_s, metadata=call.metadata, wait_for_ready=wait_for_ready)
        except grpc.RpcError as error:
            raise call.error(error) from error
        return convert(response, call.request_id)
