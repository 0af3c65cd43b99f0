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
    try:
        place = Path(os.path.realpath(target))  # Path.resolve raises on a loop of links
        _check_free(place, marker, overwrite=overwrite)
        made = [parent for parent in place.parents if not parent.exists()]
        suffix = secrets.token_hex(4)
        new, old = place.with_name(f".{place.name}.{suffix}.new"), place.with_name(f".{place.name}.{suffix}.old")
        try:
            new.mkdir(parents=True)
            yield new
            for path in new.rglob("*"):
                _sync(path)
            _sync(new)
            _check_free(place, marker, overwrite=overwrite)  # once more: somebody may have come first
            _replace(place, new, old)
            for parent in {place.parent, *(parent.parent for parent in made)}:
                _sync(parent)
        finally:
            shutil.rmtree(new, ignore_errors=True)
            if place.exists():
                shutil.rmtree(old, ignore_errors=True)
            for parent in made:  # only those that stayed empty can be removed
                with contextlib.suppress(OSError):
                    parent.rmdir()
    except OSError as error:
        raise TargetError(f"{target}: cannot be written: {error.strerror or error}") from error


def _replace(place: Path, new: Path, old: Path) -> None:
    try:
        if place.exists():
            place.rename(old)
        new.rename(place)
    except BaseException:  # Ctrl-C too must not leave the place empty
        if old.exists() and not place.exists():
            old.rename(place)
        raise


def _check_free(place: Path, marker: str, *, overwrite: bool) -> None:
    if not place.exists() and not place.is_symlink():
        return
    if place.is_mount():
        raise TargetError(f"{place}: is a mount point, which cannot be replaced; choose a directory below it")
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
