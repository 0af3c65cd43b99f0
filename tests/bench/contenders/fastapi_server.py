"""What is commonly built: FastAPI and uvicorn, sentence-transformers (torch, fp32) and hnswlib in one `def` endpoint.

python -m tests.bench.contenders.fastapi_server BUNDLE PORT
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from sentence_transformers import SentenceTransformer
from tests.bench.pipeline import open_index
from tests.bench.request_files import TOP

from tanager_export.model import find_model
from tanager_server.bundle import open_bundle


class Wish(BaseModel):
    """The request."""

    text: str


def make_app(path: Path) -> FastAPI:
    """The application over one bundle."""
    manifest = open_bundle(path).manifest
    index = open_index(path, manifest)
    model = SentenceTransformer(str(find_model(None).path), device="cpu")
    with (path / "items.jsonl").open(encoding="utf-8") as lines:
        items = [json.loads(line) for line in lines]
    app = FastAPI()

    @app.post("/recommend")
    def recommend(wish: Wish) -> list[dict[str, Any]]:
        vector = model.encode([manifest.encoder.query_prompt + wish.text], normalize_embeddings=True)
        labels, distances = index.knn_query(vector, k=TOP)
        return [
            {"id": items[label]["id"], "title": items[label]["title"], "score": 1 - float(distance)}
            for label, distance in zip(labels[0], distances[0], strict=True)
        ]

    return app


def main() -> None:
    """Serves until SIGTERM."""
    uvicorn.run(make_app(Path(sys.argv[1])), host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")


if __name__ == "__main__":
    main()
