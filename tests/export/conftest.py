"""Datasets made for one test each."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

MakeDataset = Callable[..., Path]

HEADER = "user_id,item_id,timestamp"


@pytest.fixture
def make_dataset(tmp_path: Path) -> MakeDataset:
    """Writes a dataset directory: items as objects or as text, the other files as text."""

    def make(
        items: Sequence[Mapping[str, Any]] | str | bytes | None = None,
        interactions: Sequence[str] | str | bytes | None = None,
        users: str | None = None,
        metadata: str | None = None,
        name: str = "made",
    ) -> Path:
        directory = tmp_path / name
        directory.mkdir()
        if items is None:
            items = [
                {"id": f"i{number}", "title": f"Item {number}", "text": f"Text of item {number}"} for number in range(4)
            ]
        if not isinstance(items, str | bytes):
            items = "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items)
        if interactions is not None and not isinstance(interactions, str | bytes):
            interactions = "\n".join((HEADER, *interactions)) + "\n"
        files = {
            "items.jsonl": items,
            "interactions.csv": interactions,
            "users.jsonl": users,
            "dataset.json": metadata,
        }
        for file, content in files.items():
            if content is not None:
                (directory / file).write_bytes(content.encode() if isinstance(content, str) else content)
        return directory

    return make
