"""What the methods of `Client` stand on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    import grpc

    from tanager._stubs import Stubs

_Request = TypeVar("_Request")
_Response = TypeVar("_Response")
_Result = TypeVar("_Result")


class Caller(ABC):
    """Makes calls."""

    _stubs: Stubs

    @abstractmethod
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
        """Makes one call and waits for its answer."""
