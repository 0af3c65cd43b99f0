"""What can go wrong in the server. Every error tells its gRPC status by name; only `rpc` turns it into one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


class ServerError(Exception):
    """Root of the server's errors."""

    code: ClassVar[str] = "INTERNAL"


class StartupError(ServerError):
    """The server cannot start as configured; the message says what to mend."""

    code = "FAILED_PRECONDITION"


class BundleError(StartupError):
    """A bundle is missing, incomplete, altered, or unfit for this machine; the message names the file."""


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """A field of a request that is out of its bounds, by its path: `recent_events[3].weight`."""

    field: str
    description: str


class InvalidRequestError(ServerError):
    """A request is malformed; every field at fault is named."""

    code = "INVALID_ARGUMENT"

    def __init__(self, *violations: FieldViolation) -> None:
        super().__init__("; ".join(f"{v.field}: {v.description}" for v in violations))
        self.violations = violations


class ItemNotFoundError(ServerError):
    """The catalogue has no item with the id asked for."""

    code = "NOT_FOUND"


class OverloadedError(ServerError):
    """There is no room for more work now.

    Attributes:
        retry_after_s: seconds after which a new try may succeed.
    """

    code = "RESOURCE_EXHAUSTED"

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class StatelessError(ServerError):
    """The server keeps no state, so nothing can be written to it."""

    code = "FAILED_PRECONDITION"

    def __init__(self) -> None:
        super().__init__("this server keeps no state: start it with --state DIR")


class StaleError(ServerError):
    """The state does not have a write yet that the caller knows of."""

    code = "FAILED_PRECONDITION"


class UserNotFoundError(ServerError):
    """Nothing is known of the user."""

    code = "NOT_FOUND"


class BundleNotFoundError(ServerError):
    """There is no bundle of the name asked for."""

    code = "NOT_FOUND"


class ActivationError(ServerError):
    """Another bundle cannot be served as things are; the message says what to mend."""

    code = "FAILED_PRECONDITION"


class ActivationUnderWayError(ServerError):
    """Another activation is under way; a new try may succeed when it has ended."""

    code = "ABORTED"


class DrainingError(ServerError):
    """The server takes no new calls; another one, or the same after its restart, will."""

    code = "UNAVAILABLE"


class DeadlineExpiredError(ServerError):
    """The caller's deadline passed before the answer was ready."""

    code = "DEADLINE_EXCEEDED"


class EncodeError(ServerError):
    """The encoder failed, or returned what is no vector."""


class HungTextError(ServerError):
    """The encoder did not come back from this text lately; it is not tried again for a while."""

    code = "FAILED_PRECONDITION"


class EncoderStuckError(ServerError):
    """The encoder did not come back; another server may answer, or this one when it has recovered."""

    code = "UNAVAILABLE"


class StateError(StartupError):
    """The state directory is in use, of a newer or foreign make, damaged, or cannot be written; it is named."""


class StorageError(ServerError):
    """The disk failed a read or a write of the state. Nothing of the write was kept; a new try may succeed."""

    code = "UNAVAILABLE"


class StorageFullError(StorageError):
    """The state's disk, or its quota, is full: writes fail until there is room, reads go on."""

    code = "RESOURCE_EXHAUSTED"


class StorageReadOnlyError(StorageError):
    """The state's disk takes no writes until somebody mends it: a new try alone is of no use. Reads go on."""

    code = "FAILED_PRECONDITION"


class StorageCorruptError(StorageError):
    """The state's file is damaged; a backup is what mends it."""

    code = "DATA_LOSS"
