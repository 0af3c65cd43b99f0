"""The blocking client."""

from __future__ import annotations

import time
from types import MappingProxyType
from typing import TYPE_CHECKING, Self, TypeVar

import grpc

from tanager import _convert
from tanager._channel import DEFAULT_RETRY, DEFAULT_TARGET, DEFAULT_TIMEOUT_S, READY_PAUSE_S, Connection
from tanager._errors import UnavailableError
from tanager._stubs import Stubs, stubs
from tanager.v1 import model_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import TracebackType

    from tanager._results import Embeddings, Recommendations, SimilarItems, Status
    from tanager._values import Attribute, Diversity, Event, Retry, Tls

_Request = TypeVar("_Request")
_Response = TypeVar("_Response")
_Result = TypeVar("_Result")


class Client:
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
        timeout_s: Deadline of a call, in seconds, retries included. A large `embed` may need more.
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

    def recommend(
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
        """Recommends items for a wish in words, a history, a profile, a context, or for none (the most popular items).

        Fewer items than asked for is no error: see `Recommendations.shortfall`.

        Args:
            text: What the user wishes for, in words.
            history: What the user did lately, oldest first: item ids, or `Event` for a weight or a time.
            page_size: How many items to return; None leaves it to the server, which takes 10.
            exclude_item_ids: Items that must not be returned.
            include_seen: Whether items of the history may be returned too.
            profile: Who the user is: attributes by name, for example `{"gender": "female", "age": 25}`.
            context: Where the user is, in words by name, for example `{"occasion": "a rainy evening"}`.
            explain: Whether each result comes with reasons: the largest terms of its score.
            max_reasons: How many reasons at most; None leaves it to the server, which takes 3.
            diversity: How to choose among the best; None takes the best as they are.
            timeout_s: See `Client`.
            request_id: See `Client`.
        """
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
        return self._call(rpc, request, _convert.recommendations, timeout_s, request_id)

    def similar_items(
        self,
        item_id: str,
        *,
        page_size: int | None = None,
        exclude_item_ids: Iterable[str] = (),
        timeout_s: float | None = None,
        request_id: str | None = None,
    ) -> SimilarItems:
        """Finds items like a given item, which is never among them.

        Args:
            item_id: The item to find like items for.
            page_size: How many items to return; None leaves it to the server, which takes 10.
            exclude_item_ids: Items that must not be returned.
            timeout_s: See `Client`.
            request_id: See `Client`.

        Raises:
            NotFoundError: The catalogue has no such item.
        """
        request = _convert.similar_items_request(
            item_id=item_id, page_size=page_size, exclude_item_ids=exclude_item_ids
        )
        rpc = self._stubs.recommendation.SimilarItems
        return self._call(rpc, request, _convert.similar_items, timeout_s, request_id)

    def embed(
        self, texts: Iterable[str], *, timeout_s: float | None = None, request_id: str | None = None
    ) -> Embeddings:
        """Encodes texts into unit-length vectors with the encoder of the served bundle.

        Args:
            texts: The texts, up to 1,024.
            timeout_s: See `Client`.
            request_id: See `Client`.
        """
        rpc = self._stubs.embedding.Embed
        return self._call(rpc, _convert.embed_request(texts), _convert.embeddings, timeout_s, request_id)

    def status(self, *, timeout_s: float | None = None, request_id: str | None = None) -> Status:
        """Tells what the server is and what it serves.

        Args:
            timeout_s: See `Client`.
            request_id: See `Client`.
        """
        rpc = self._stubs.model.GetStatus
        return self._call(rpc, model_pb2.GetStatusRequest(), _convert.status, timeout_s, request_id)

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
                return self._call(rpc, request, _convert.status, timeout_s, None, wait_for_ready=True)
            except UnavailableError:
                timeout_s = end - time.monotonic() - READY_PAUSE_S
                if timeout_s <= 0:
                    raise
            time.sleep(READY_PAUSE_S)

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
