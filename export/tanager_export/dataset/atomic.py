"""A directory that appears complete or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from .problem import DatasetError, Problem
from .records import ITEMS

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def fresh_directory(target: str | os.PathLike[str], *, overwrite: bool = False) -> Iterator[Path]:
    """A new directory to write a dataset into; on leaving without an exception it takes the target's place.

    It lies beside the target, so that taking the place is a rename; its files are on disk before that.

    Args:
        target: Where the dataset is to be; its parents are made.
        overwrite: Whether a dataset that is there already may be replaced.

    Raises:
        DatasetError: The target is there already and is not empty, or not a dataset, or cannot be written.
    """
    place = Path(target).resolve()
    _check_free(place, overwrite)
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
        raise DatasetError(Problem(str(target), None, "unwritable", f"cannot be written ({error.strerror})")) from error
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _check_free(place: Path, overwrite: bool) -> None:
    if not place.exists():
        return
    if not place.is_dir():
        raise DatasetError(Problem(str(place), None, "exists", "is there already and is no directory"))
    if not any(place.iterdir()):
        return
    if not overwrite:
        raise DatasetError(
            Problem(str(place), None, "exists", "is there already", "choose another name, or overwrite it")
        )
    # To overwrite the wrong directory would be beyond mending.
    if not (place / ITEMS).is_file():
        message = f"holds something else than a dataset (no {ITEMS})"
        raise DatasetError(Problem(str(place), None, "exists", message, "choose another name"))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
