"""What the methods of `AsyncClient` stand on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    import grpc

    from tanager._stubs import AsyncStubs

_Request = TypeVar("_Request")
_Response = TypeVar("_Response")
_Result = TypeVar("_Result")


class AsyncCaller(ABC):
    """Makes calls."""

    _stubs: AsyncStubs

    @abstractmethod
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
        """Makes one call and awaits its answer."""
