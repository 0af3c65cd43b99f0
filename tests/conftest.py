"""Fixtures that more than one package's tests share: a tiny language model, and a bundle made of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests import tiny

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """See `tiny.make_model`."""
    directory = tmp_path_factory.mktemp("model") / "tiny"
    tiny.make_model(directory)
    return directory


@pytest.fixture(scope="session")
def tiny_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """See `tiny.make_dataset`."""
    directory = tmp_path_factory.mktemp("dataset") / "tiny"
    tiny.make_dataset(directory)
    return directory


@pytest.fixture(scope="session")
def tiny_bundle(tiny_model: Path, tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The two above, exported in fp32 by the real pipeline."""
    target = tmp_path_factory.mktemp("bundle") / "tiny"
    tiny.make_bundle(tiny_model, tiny_dataset, target)
    return target
