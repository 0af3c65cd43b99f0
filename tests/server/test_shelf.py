"""The bundles that can be served."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tanager_server.bundle import Shelf
from tanager_server.errors import BundleError, BundleNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def directory(tiny_bundle: Path, tmp_path: Path, reseal: Callable[..., None]) -> Path:
    directory = tmp_path / "bundles"
    for number, name in enumerate(("old", "new")):
        reseal(shutil.copytree(tiny_bundle, directory / name), created_at=f"20{20 + number}-01-01T00:00:00Z")
    (directory / "unreadable").mkdir()
    (directory / "unreadable" / "manifest.json").write_text("{}")
    (directory / "under-way").mkdir()
    (directory / "notes.txt").write_text("")
    return directory


def test_bundles_come_latest_first_and_those_that_cannot_be_read_last(directory: Path):
    found = Shelf(directory / "new", directory).bundles()
    assert [bundle.name for bundle in found] == ["new", "old", "unreadable"]
    assert [bool(bundle.manifest) for bundle in found] == [True, True, False]
    assert "manifest.json" in found[-1].problem
    assert not found[0].problem


def test_what_is_missing_is_told(directory: Path):
    (directory / "old" / "vectors.npy").unlink()
    (found,) = (bundle for bundle in Shelf(directory / "new", directory).bundles() if bundle.name == "old")
    assert "vectors.npy: missing" in found.problem


def test_the_one_that_was_given_is_among_them_wherever_it_lies(directory: Path, tiny_bundle: Path):
    shelf = Shelf(tiny_bundle, directory)
    assert tiny_bundle.name in {bundle.name for bundle in shelf.bundles()}
    assert shelf.path(tiny_bundle.name) == shelf.given
    assert [bundle.name for bundle in Shelf(tiny_bundle, None).bundles()] == [tiny_bundle.name]


@pytest.mark.parametrize("name", ["third", "", ".", "..", "../bundles/new", "under-way", "notes.txt", "new/"])
def test_only_names_of_bundles_are_found(directory: Path, name: str):
    with pytest.raises(BundleNotFoundError, match="name"):
        Shelf(directory / "new", directory).path(name)


def test_a_directory_that_is_none_is_refused(directory: Path):
    with pytest.raises(BundleError, match="bundles"):
        Shelf(directory / "new", directory / "nowhere").check()
