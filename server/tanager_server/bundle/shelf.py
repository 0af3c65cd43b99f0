"""The bundles that a server can be told to serve."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tanager_server.bundle import manifest as schema
from tanager_server.bundle.reader import open_manifest
from tanager_server.errors import BundleError, BundleNotFoundError

if TYPE_CHECKING:
    from pathlib import Path

    from tanager_server.bundle.manifest import Manifest

_SHOWN_NAME_CHARS = 100


class ShelvedBundle(NamedTuple):
    """A directory that holds a bundle, or should.

    Attributes:
        name: of the directory.
        path: to it.
        manifest: what it says of itself; None if that cannot be read.
        problem: why it cannot be served, as far as its manifest and the names of its files tell.
    """

    name: str
    path: Path
    manifest: Manifest | None
    problem: str


class Shelf:
    """A directory of bundles, and the one that the server was given to begin with, wherever that lies.

    Args:
        given: directory of that one.
        directory: of all others, each in a directory of its own; None for no others.
    """

    def __init__(self, given: Path, directory: Path | None) -> None:
        self._given, self._directory = given.resolve(), None if directory is None else directory.resolve()

    @property
    def given(self) -> Path:
        """Directory of the bundle that the server was given."""
        return self._given

    def check(self) -> None:
        """Looks whether the directory is one.

        Raises:
            BundleError: it is none.
        """
        if self._directory is not None and not self._directory.is_dir():
            raise BundleError(f"bundles: {self._directory} is no directory")

    def path(self, name: str) -> Path:
        """Directory of a bundle. One in the directory goes before the one that was given, if both have the name.

        Raises:
            BundleNotFoundError: there is none.
        """
        if (found := self._paths().get(name)) is None:
            raise BundleNotFoundError(
                f"name: there is no bundle {name[:_SHOWN_NAME_CHARS]!r}; ListBundles tells which are"
            )
        return found

    def bundles(self) -> list[ShelvedBundle]:
        """All of them, latest first; those whose manifest cannot be read last."""
        found = [_look(name, path) for name, path in sorted(self._paths().items())]
        found.sort(key=lambda bundle: bundle.manifest.created_at.timestamp() if bundle.manifest else 0.0, reverse=True)
        return found

    def _paths(self) -> dict[str, Path]:
        found = {self._given.name: self._given}
        if self._directory is not None:
            try:
                # Where a bundle is being copied or exported to, a manifest may be missing yet.
                inside = [path for path in self._directory.iterdir() if (path / schema.MANIFEST).is_file()]
            except OSError as error:
                raise BundleError(f"bundles: {self._directory} cannot be read: {error.strerror}") from error
            found |= {path.name: path for path in inside if not path.name.startswith(".")}
        return found


def _look(name: str, path: Path) -> ShelvedBundle:
    try:
        return ShelvedBundle(name, path, open_manifest(path), "")
    except BundleError as error:
        return ShelvedBundle(name, path, None, str(error))
