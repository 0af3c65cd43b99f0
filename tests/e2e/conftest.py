"""One server for most of the end-to-end tests: they leave it as they found it, and say so."""

from __future__ import annotations

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
