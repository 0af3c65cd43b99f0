"""One server for most of the end-to-end tests: they leave it as they found it, and say so."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from tests.support import ServerProcess

from tanager import Client

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def server(tiny_bundle: Path) -> Iterator[ServerProcess]:
    """A server of the tiny bundle."""
    with ServerProcess(tiny_bundle) as process:
        yield process


@pytest.fixture(scope="session")
def client(server: ServerProcess) -> Iterator[Client]:
    """A client of that server."""
    with Client(server.address, timeout_s=30) as connected:
        yield connected


@pytest.fixture(scope="session")
def two_bundles(
    tiny_bundle: Path, tiny_model: Path, tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A directory with the tiny bundle (`first`) and one of another encoder, whose vectors mean something else."""
    from tanager_export.bundle import BundleOptions, build_bundle
    from tanager_export.dataset import load_dataset
    from tanager_export.model import find_model

    directory = tmp_path_factory.mktemp("bundles")
    shutil.copytree(tiny_bundle, directory / "first")
    options = BundleOptions(precision="int8")
    build_bundle(find_model(str(tiny_model)), load_dataset(tiny_dataset), directory / "second", options=options)
    return directory
