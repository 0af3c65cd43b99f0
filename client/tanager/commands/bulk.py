"""Writes the records of a file."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Protocol, TypeVar

from tanager import _bulk
from tanager._errors import ImportStoppedError, InvalidArgumentError
from tanager.commands.files import FileError, RecordFile
from tanager.commands.progress import Progress

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable

    from tanager.commands.fields import Fields

_Record = TypeVar("_Record")
_Contra = TypeVar("_Contra", contravariant=True)
_Imported = TypeVar("_Imported", bound=_bulk.Imported)
_Co = TypeVar("_Co", bound=_bulk.Imported, covariant=True)

TIMEOUT_S = _bulk.DEFAULT_BATCH_TIMEOUT_S


class StoppedError(Exception):
    """A file that was not written to its end; the message says what is not written, and why.

    Attributes:
        refused: Whether a record was at fault, and not the server or the way to it.
    """

    def __init__(self, message: str, *, refused: bool) -> None:
        super().__init__(message)
        self.refused = refused


class _Import(Protocol[_Contra, _Co]):
    def __call__(
        self,
        records: Iterable[_Contra],
        /,
        *,
        batch_size: int,
        max_in_flight: int,
        on_progress: Callable[[_Co], None] | None,
        timeout_s: float,
    ) -> _Co: ...


def add_options(parser: argparse.ArgumentParser, *, batch_size: int) -> None:
    """How a file is written."""
    parser.add_argument(
        "--batch-size", type=int, default=batch_size, metavar="N", help="records in a call (default: %(default)s)"
    )
    parser.add_argument(
        "--in-flight", type=int, default=4, metavar="N", help="calls at a time at most (default: %(default)s)"
    )


def put(
    write: _Import[_Record, _Imported],
    name: str,
    arguments: argparse.Namespace,
    convert: Callable[[Fields], _Record],
    *,
    csv: bool = False,
) -> _Imported:
    """Writes the records of `arguments.file`, with a progress bar where there is a terminal.

    Args:
        write: The client's method.
        name: What the records are called, in the plural.
        arguments: Of the command line.
        convert: Makes a record of its fields.
        csv: Whether the file is CSV.

    Raises:
        StoppedError: A record was not written.
    """
    file = RecordFile(arguments.file, convert, csv=csv)
    with Progress(name, file) as progress:
        try:
            return write(
                file,
                batch_size=arguments.batch_size,
                max_in_flight=arguments.in_flight,
                on_progress=progress.update,
                timeout_s=arguments.timeout,
            )
        except ImportStoppedError as error:
            raise _stopped(error, file, name) from error
        except KeyboardInterrupt:
            print(f"tanager: interrupted: {progress.done_count:,} {name} are written", file=sys.stderr)
            raise


def _stopped(error: ImportStoppedError, file: RecordFile[object], name: str) -> StoppedError:
    cause = error.__cause__
    if isinstance(cause, OSError) and not error.not_written and not error.written.record_count:
        raise cause  # the file could not be opened
    why = [_in_file(f"{field}: {description}", file, name) for field, description in error.field_violations]
    if not why:
        why = [str(cause) if isinstance(cause, FileError) else _in_file(str(cause), file, name)]
    lines = ", ".join(
        _lines(file.lines[positions.start], file.lines[positions.stop - 1]) for positions in error.not_written
    )
    what_is = f"{error.written.record_count:,} {name} are written" + (f", {lines} not" if lines else "")
    return StoppedError(f"{'; '.join(why)}; {what_is}", refused=isinstance(cause, ValueError | InvalidArgumentError))


def _in_file(message: str, file: RecordFile[object], name: str) -> str:
    """The message, with the line in place of the position that it begins with."""
    match = re.match(rf"{name}\[(\d+)\]\.?", message)
    if match is None or int(match[1]) >= len(file.lines):
        return f"{file.name}: {message}"
    return f"{file.name}: line {file.lines[int(match[1])]}: {message[match.end() :]}"


def _lines(first: int, last: int) -> str:
    return f"line {first}" if first == last else f"lines {first} to {last}"
