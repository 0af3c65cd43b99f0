"""Opening a bundle. Sizes and hashes are checked before any parser sees the bytes.

hnswlib reads a crafted file into a heap overflow, and a half-copied model can load and answer nonsense: so a
directory that is not, byte for byte, what its manifest says is refused with the file named.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from pydantic import BaseModel, ValidationError

from tanager_server.bundle import manifest as schema
from tanager_server.bundle.catalogue import Catalogue
from tanager_server.bundle.manifest import FileInfo, Manifest, Probe, Scoring
from tanager_server.bundle.neighbours import Neighbours
from tanager_server.bundle.new_items import NewItems
from tanager_server.bundle.profile import ProfileWeights
from tanager_server.bundle.sparse import MAX_ABS_WEIGHT
from tanager_server.errors import BundleError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

MAX_MANIFEST_BYTES = 4 << 20

_RecordT = TypeVar("_RecordT", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Bundle:
    """A directory that has been verified against its manifest."""

    path: Path
    manifest: Manifest

    def file(self, name: str) -> Path:
        """Path of one of its files."""
        return self.path / name

    def read_catalogue(self) -> Catalogue:
        """The items."""
        catalogue = Catalogue.read(self.file(schema.ITEMS))
        if len(catalogue) != self.manifest.dataset.items:
            raise BundleError(f"{self.file(schema.ITEMS)}: the manifest tells of {self.manifest.dataset.items} items")
        return catalogue

    def read_vectors(self) -> NDArray[np.float32]:
        """(items, dim) float32, unit length, memory-mapped."""
        path = self.file(schema.VECTORS)
        return _read_unit_vectors(path, (self.manifest.dataset.items, self.manifest.encoder.dim))

    def read_sequence_vectors(self) -> NDArray[np.float32]:
        """(items, dim) float32, unit length, memory-mapped: the items as the sequence head reads and scores them.

        Raises:
            BundleError: the bundle has no sequence head, or the file is not what it should be.
        """
        info = self.manifest.sequence
        if info is None:
            raise BundleError(f"{self.path}: has no sequence head")
        return _read_unit_vectors(self.file(schema.SEQUENCE_VECTORS), (self.manifest.dataset.items, info.dim))

    def read_priors(self) -> NDArray[np.float32]:
        """(2, items) float32: what is added to an item's score for anybody, and what for a user who is known."""
        path = self.file(schema.PRIORS)
        priors = _read_array(path, (2, self.manifest.dataset.items))
        if not (np.abs(priors) <= MAX_ABS_WEIGHT).all():  # nor is NaN
            raise BundleError(f"{path}: holds numbers beyond {MAX_ABS_WEIGHT:g}, or none; export the bundle again")
        return priors

    def read_neighbours(self) -> Neighbours:
        """The collaborative weights, B."""
        return Neighbours.read(self.file(schema.NEIGHBOURS), items=self.manifest.dataset.items)

    def read_transitions(self) -> Neighbours:
        """How much an item follows another, T."""
        return Neighbours.read(self.file(schema.TRANSITIONS), items=self.manifest.dataset.items)

    def read_profile(self) -> ProfileWeights:
        """How much attributes of users speak for items, A."""
        return ProfileWeights.read(self.file(schema.PROFILE), items=self.manifest.dataset.items)

    def read_new_items(self) -> NewItems:
        """What an item that the catalogue does not have is expected to be."""
        manifest = self.manifest
        return NewItems.read(
            self.file(schema.NEW_ITEMS),
            items=manifest.dataset.items,
            dim=manifest.encoder.dim,
            sequence_dim=None if manifest.sequence is None else manifest.sequence.dim,
        )

    def read_scoring(self) -> Scoring:
        """The blend."""
        return _parse(self.file(schema.SCORING), Scoring)

    def read_probe(self) -> Probe:
        """The texts that the encoder must reproduce."""
        return _parse(self.file(schema.PROBE), Probe)


def open_bundle(path: Path) -> Bundle:
    """Verifies a bundle and opens it.

    Args:
        path: the bundle's directory.

    Raises:
        BundleError: there is no bundle, or it is not exactly what its manifest says; the file is named.
    """
    try:
        return _open(path)
    except OSError as error:  # not permitted, a disk that fails
        raise BundleError(f"{error.filename or path}: cannot be read: {error.strerror}") from error


def open_manifest(path: Path) -> Manifest:
    """Reads what a bundle says of itself, and looks whether its files are there; what is in them is not looked at.

    Args:
        path: the bundle's directory.

    Raises:
        As `open_bundle`.
    """
    try:
        return _open_manifest(path)
    except OSError as error:
        raise BundleError(f"{error.filename or path}: cannot be read: {error.strerror}") from error


def _open(path: Path) -> Bundle:
    manifest = _open_manifest(path)
    for name, info in sorted(manifest.files.items()):
        _verify(path / name, info)
    return Bundle(path, manifest)


def _open_manifest(path: Path) -> Manifest:
    manifest_path = path / schema.MANIFEST
    if not path.is_dir():
        what = "is no directory" if path.exists() else "no such directory"
        raise BundleError(f"{path}: {what}; make a bundle with `tanager-export bundle`")
    if not manifest_path.is_file():
        raise BundleError(f"{manifest_path}: missing; this is no bundle, or its export did not finish")
    if manifest_path.stat().st_size > MAX_MANIFEST_BYTES:
        raise BundleError(f"{manifest_path}: larger than {MAX_MANIFEST_BYTES} bytes; this is no manifest")
    manifest = _parse(manifest_path, Manifest)
    if manifest.content_id() != manifest.bundle_id:
        raise BundleError(f"{manifest_path}: edited after export: its contents do not have the id that it states")

    expected, found = set(manifest.files), {entry.name for entry in path.iterdir()} - {schema.MANIFEST}
    if unlisted := set(manifest.content_files) - expected:
        raise BundleError(f"{manifest_path}: does not list {', '.join(sorted(unlisted))}")
    if missing := expected - found:
        raise BundleError(f"{path / min(missing)}: missing; copy the whole bundle again")
    if extra := found - expected:
        raise BundleError(f"{path / min(extra)}: not part of the bundle; a bundle is immutable, move the file away")
    return manifest


def _verify(path: Path, info: FileInfo) -> None:
    if path.is_symlink() or not path.is_file():
        raise BundleError(f"{path}: not a regular file")
    size = path.stat().st_size
    if size != info.size:
        raise BundleError(f"{path}: {size} bytes where the manifest tells of {info.size}; copy the bundle again")
    with path.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    if digest != info.sha256:
        raise BundleError(f"{path}: altered: its sha256 is not the manifest's; copy the bundle again")


def _read_unit_vectors(path: Path, shape: tuple[int, int]) -> NDArray[np.float32]:
    vectors = _read_array(path, shape)
    if not (np.abs(np.einsum("id,id->i", vectors, vectors) - 1.0) < 1e-2).all():
        raise BundleError(f"{path}: holds vectors that are not of unit length; export the bundle again")
    return vectors


def _read_array(path: Path, shape: tuple[int, ...]) -> NDArray[np.float32]:
    try:
        # A plain view of the mapping: indexing a numpy.memmap itself is slower.
        array = np.asarray(np.lib.format.open_memmap(path, mode="r"))
    except Exception as error:  # whatever NumPy raises over a file that is none
        raise BundleError(f"{path}: not an array file: {error}") from error
    if array.shape != shape or array.dtype != np.float32 or not array.flags.c_contiguous:
        order = "" if array.flags.c_contiguous else ", column by column"
        raise BundleError(
            f"{path}: expected float32 of shape {shape}, row by row, found {array.dtype} {array.shape}{order}"
        )
    return array


def _parse(path: Path, record: type[_RecordT]) -> _RecordT:
    try:
        return record.model_validate_json(path.read_bytes())
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}") from error
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors()[:5])
        older = any(e["loc"] == ("schema_version",) for e in error.errors())
        mend = "; it was made by another version of Tanager: export it again" if older else ""
        raise BundleError(f"{path}: {problems}{mend}") from error
