"""One server to a state directory."""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import TYPE_CHECKING, Self

from tanager_server.errors import StateError

if TYPE_CHECKING:
    from pathlib import Path

_NAME = "lock"
_PID_BYTES = 32


class DirectoryLock:
    """Holds a directory until it is released or the process ends, however it ends.

    Args:
        directory: must exist.

    Raises:
        StateError: another process holds it, or the lock file cannot be written.
    """

    def __init__(self, directory: Path) -> None:
        path = directory / _NAME
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StateError(f"{path}: {error.strerror}; the server must be able to write there") from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            pid = os.pread(self._descriptor, _PID_BYTES, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._descriptor)
            raise StateError(f"{directory}: in use by process {pid}; two servers cannot share a state") from error
        except OSError as error:
            os.close(self._descriptor)
            raise StateError(f"{path}: {error.strerror}; the state cannot be locked") from error
        # The file stays when the lock is released: to remove it would let two hold two files of one name.
        with contextlib.suppress(OSError):  # a full disk: the lock holds, only who has it cannot be told
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, b"%d\n" % os.getpid(), 0)

    def release(self) -> None:
        """Lets the directory go; once is enough."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
