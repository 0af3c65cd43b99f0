"""What a failed call raises: one class per status code of the contract, one root."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from grpc import StatusCode

from tanager import _details

if TYPE_CHECKING:
    from collections.abc import Iterable

    import grpc

    from tanager._writes import ImportedEvents, ImportedItems, ImportedUsers


class TanagerError(Exception):
    """A call that failed.

    Attributes:
        code: The gRPC status code, the same for every error of a class.
        message: What went wrong.
        request_id: What to look for in the server's logs; empty if no call was made.
    """

    code: StatusCode = StatusCode.UNKNOWN

    def __init__(self, message: str, *, request_id: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.request_id = request_id

    def __str__(self) -> str:
        return f"{self.message} (request {self.request_id})" if self.request_id else self.message


class InvalidArgumentError(TanagerError):
    """The server refused the request.

    Attributes:
        field_violations: What is wrong with which field; empty if the server did not say.
    """

    code = StatusCode.INVALID_ARGUMENT

    def __init__(
        self, message: str, *, request_id: str = "", field_violations: tuple[_details.FieldViolation, ...] = ()
    ) -> None:
        super().__init__(message, request_id=request_id)
        self.field_violations = field_violations


class NotFoundError(TanagerError):
    """The server does not have the item, the user or the bundle that was asked about."""

    code = StatusCode.NOT_FOUND


class FailedPreconditionError(TanagerError):
    """The server cannot serve such calls in the state it is in.

    For example it keeps no state, does not know the write of `min_consistency_token`, or finds a bundle unfit.
    """

    code = StatusCode.FAILED_PRECONDITION


class AbortedError(TanagerError):
    """What was asked for is under way already: another bundle is being activated."""

    code = StatusCode.ABORTED


class ResourceExhaustedError(TanagerError):
    """The server's queue or its disk is full, or a message is larger than 16 MiB.

    Attributes:
        retry_after_s: When to try again, in seconds from now; None if the server did not say.
    """

    code = StatusCode.RESOURCE_EXHAUSTED

    def __init__(self, message: str, *, request_id: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(message, request_id=request_id)
        self.retry_after_s = retry_after_s


class DeadlineExceededError(TanagerError):
    """No answer came within the call's deadline."""

    code = StatusCode.DEADLINE_EXCEEDED


class UnavailableError(TanagerError):
    """The server cannot be reached, is starting or is draining, and retrying did not help."""

    code = StatusCode.UNAVAILABLE


class InternalError(TanagerError):
    """A fault of the server; the message carries an id that its logs carry too."""

    code = StatusCode.INTERNAL


class UnimplementedError(TanagerError):
    """What answered does not offer the method: no Tanager server, or one older than this client."""

    code = StatusCode.UNIMPLEMENTED


class UnauthenticatedError(TanagerError):
    """What answered wants credentials: see the clients' `metadata` and `tls`."""

    code = StatusCode.UNAUTHENTICATED


class PermissionDeniedError(TanagerError):
    """The credentials do not allow the call."""

    code = StatusCode.PERMISSION_DENIED


class CancelledError(TanagerError):
    """The call was cancelled by the server, or because its client was closed.

    Cancelling the asyncio task that makes a call raises `asyncio.CancelledError` there, as anywhere.
    """

    code = StatusCode.CANCELLED


class UnexpectedStatusError(TanagerError):
    """A status that Tanager does not use, for example from a proxy on the way; `code` tells which."""

    def __init__(self, message: str, *, request_id: str = "", code: StatusCode = StatusCode.UNKNOWN) -> None:
        super().__init__(message, request_id=request_id)
        self.code = code


class ImportStoppedError(TanagerError):
    """An import that ended early, at the first batch that was not written. What was in flight beside it was waited for.

    `__cause__` is what went wrong: the error of that batch's call, or what a record or the iterable raised.

    Attributes:
        code: That of the batch's error; INVALID_ARGUMENT for a record that cannot be sent, UNKNOWN for an iterable that
            broke off.
        written: What came of the import so far.
        not_written: Which records were taken from the iterable and not acknowledged, by their positions from 0 in the
            order of the iterable. No later ones were taken. Where the code is DEADLINE_EXCEEDED, UNAVAILABLE, CANCELLED
            or INTERNAL, they may have been written all the same; to write them again is harmless.
        field_violations: What is wrong with which field, as in "items[2017].text", by positions again; empty if
            unknown.
    """

    def __init__(
        self,
        message: str,
        *,
        request_id: str = "",
        code: StatusCode,
        written: ImportedItems | ImportedUsers | ImportedEvents,
        not_written: tuple[range, ...],
        field_violations: tuple[_details.FieldViolation, ...] = (),
    ) -> None:
        super().__init__(message, request_id=request_id)
        self.code = code
        self.written = written
        self.not_written = not_written
        self.field_violations = field_violations

    def __reduce__(self) -> tuple[object, ...]:
        # The arguments that have no default are not in `args`.
        return _restored, (type(self), self.message, vars(self))


def _restored(kind: type[ImportStoppedError], message: str, attributes: dict[str, object]) -> ImportStoppedError:
    error = kind.__new__(kind, message)
    vars(error).update(attributes)
    return error


_PLAIN: dict[StatusCode, type[TanagerError]] = {
    error.code: error
    for error in (
        NotFoundError,
        FailedPreconditionError,
        AbortedError,
        InternalError,
        UnauthenticatedError,
        PermissionDeniedError,
        CancelledError,
    )
}


def from_rpc_error(error: grpc.RpcError, *, target: str, timeout_s: float, request_id: str) -> TanagerError:
    """The error of this package that tells what `error` tells, and where it helps, what to check."""
    code = error.code()
    text = error.details() or f"{code.name} without a message"
    # Pairs of key and value in both kinds of client, whatever grpc's stubs call them.
    trailing_metadata = cast("Iterable[tuple[str, str | bytes]] | None", error.trailing_metadata())
    details = _details.decode(trailing_metadata)
    match code:
        case StatusCode.INVALID_ARGUMENT:
            return InvalidArgumentError(text, request_id=request_id, field_violations=details.field_violations)
        case StatusCode.RESOURCE_EXHAUSTED:
            return ResourceExhaustedError(text, request_id=request_id, retry_after_s=details.retry_after_s)
        case StatusCode.UNAVAILABLE:
            text = (
                f"{target} is unavailable: {text}. Check that tanager-server runs there, that this is its gRPC port, "
                "and that client and server agree on TLS"
            )
            return UnavailableError(text, request_id=request_id)
        case StatusCode.DEADLINE_EXCEEDED:
            text = (
                f"no answer from {target} within {timeout_s:g} s: {text}. Check that a Tanager server listens there, "
                "or allow a longer timeout_s"
            )
            return DeadlineExceededError(text, request_id=request_id)
        case StatusCode.UNIMPLEMENTED:
            text = f"{target} does not offer this method: {text}. Check that it is a Tanager server of this version"
            return UnimplementedError(text, request_id=request_id)
    if code in _PLAIN:
        return _PLAIN[code](text, request_id=request_id)
    return UnexpectedStatusError(f"{code.name}: {text}", request_id=request_id, code=code)
