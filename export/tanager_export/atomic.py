"""A directory that appears complete or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from tanager_export.errors import ExportError

if TYPE_CHECKING:
    from collections.abc import Iterator


class TargetError(ExportError):
    """A directory cannot be written, or what is there must not be replaced."""


@contextlib.contextmanager
def fresh_directory(target: str | os.PathLike[str], *, marker: str, overwrite: bool = False) -> Iterator[Path]:
    """A new directory to write into; on leaving without an exception it takes the target's place.

    It lies beside the target, so that taking the place is a rename; its files are on disk before that.

    Args:
        target: where the directory is to be; its parents are made.
        marker: a file by which a directory of this kind is known; only such a one is ever replaced.
        overwrite: whether to replace one that is there already.

    Raises:
        TargetError: the target is there already and is not empty, or is of another kind, or cannot be written.
    """
    place = Path(target).resolve()
    _check_free(place, marker, overwrite=overwrite)
    suffix = secrets.token_hex(4)
    new, old = place.with_name(f".{place.name}.{suffix}.new"), place.with_name(f".{place.name}.{suffix}.old")
    try:
        new.mkdir(parents=True)
        yield new
        for path in new.rglob("*"):
            _sync(path)
        _sync(new)
        if replaces := place.exists():
            place.rename(old)
        try:
            new.rename(place)
        except OSError:
            if replaces:
                old.rename(place)
            raise
        _sync(place.parent)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise TargetError(f"{target}: cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _check_free(place: Path, marker: str, *, overwrite: bool) -> None:
    if not place.exists():
        return
    if not place.is_dir():
        raise TargetError(f"{place}: is there already and is no directory; choose another name")
    if not any(place.iterdir()):
        return
    if not overwrite:
        raise TargetError(f"{place}: is there already; choose another name, or --overwrite")
    # To replace the wrong directory would be beyond mending.
    if not (place / marker).is_file():
        raise TargetError(f"{place}: holds something else (no {marker}), and is not replaced; choose another name")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
